"""Rows that don't fit, and what others do with rows between the vote and the finish of a transaction."""
import contextlib
import re
import threading

import psycopg2
import pytest
import transaction
from persistent.mapping import PersistentMapping
from support.server import is_python, wait_until
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZODB import DB
from ZODB.blob import Blob
from ZODB.POSException import ConflictError, POSKeyError, ReadConflictError, StorageError
from ZODB.utils import p64, u64

from postgres.cluster import Cluster
from postgres.conftest import Database

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

FAR = b'\x7f' + b'\xff' * 7
# A row if the connection that commits waits for somebody.
WAITS = """SELECT 1 FROM pg_stat_activity WHERE datname = current_database()
    AND application_name = 'rzeo: commit' AND wait_event_type = 'Lock'"""


def open_db(server, **options):
    return DB(ClientStorage(server.address, server_sync=True, **options))


def write(db, **values):
    with db.transaction() as connection:
        connection.root().update(values)


def read(db, key):
    """A value of the root, or what a mapping there has as n."""
    with db.transaction() as connection:
        value = connection.root()[key]
        return value['n'] if isinstance(value, PersistentMapping) else value


def at_last(call):
    """What a call returns that is tried again, as clients do, while the database does not answer in time."""
    found = []

    def is_done():
        with contextlib.suppress(ClientDisconnected, ConflictError):
            found.append(call())
        return found

    wait_until(is_done)
    return found[0]


def add_two(db):
    """Two objects: the states and serials of one that is read and one that is written."""
    write(db, read=PersistentMapping(n=0), written=PersistentMapping(n=0))
    with db.transaction() as connection:
        oids = [connection.root()[name]._p_oid for name in ('read', 'written')]
    return [(oid, *db.storage.loadBefore(oid, FAR)[:2]) for oid in oids]


def vote(storage, checked, stored, txn=None):
    """A transaction that has voted."""
    txn = txn or transaction.Transaction()
    storage.tpc_begin(txn)
    for oid, _, serial in checked:
        storage.checkCurrentSerialInTransaction(oid, serial, txn)
    for oid, state, serial in stored:
        storage.store(oid, serial, state, '', txn)
    storage.tpc_vote(txn)
    return txn


def end_connections(database, purpose):
    ended = database.sql(f"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = "
                         f"'rzeo: {purpose}' AND datname = current_database()")
    assert ended and set(ended) == {'t'}


@pytest.mark.parametrize('changed', ['read', 'written', None])
def test_locks_are_lost_between_vote_and_finish(serve, database, changed):
    """The transaction is committed only if all that was voted on is as it was then."""
    db = open_db(serve(storages=database.section()))
    to_read, to_write = add_two(db)
    txn = vote(db.storage, [to_read], [to_write])
    end_connections(database, 'lock')
    if changed:
        python = DB(database.open())
        with python.transaction() as connection:
            connection.root()[changed]['n'] = 1
        python.close()
    if changed is None:
        # Nobody has noticed that they are lost, and nothing has come of it; or somebody has.
        with contextlib.suppress(ReadConflictError):
            db.storage.tpc_finish(txn)
    else:
        expected = ReadConflictError if changed == 'read' else ConflictError
        with pytest.raises(expected) as raised:
            db.storage.tpc_finish(txn)
        oid, _, serial = to_read if changed == 'read' else to_write
        if changed == 'read':
            assert raised.value.oid == oid and raised.value.serials[1] == serial
        db.storage.tpc_abort(txn)
    write(db, done=True)
    assert read(db, 'written') == (changed == 'written')
    db.close()


def test_what_was_checked_costs_nobody_a_conflict(serve, database):
    """Those who read the same object and write others get along, in one batch or in several."""
    server = serve(storages=database.section())
    dbs = [open_db(server) for _ in range(3)]
    to_read, to_write = add_two(dbs[0])
    for number, db in enumerate(dbs):
        write(db, **{f'own{number}': PersistentMapping(n=0)})
    for number in range(5):
        for own, db in enumerate(dbs):
            with db.transaction() as connection:
                root = connection.root()
                root[f'own{own}']['n'] += 1
                assert root['read']['n'] == 0
                connection.readCurrent(root['read'])
    assert [read(db, f'own{own}') for own, db in enumerate(dbs)] == [5] * 3
    for db in dbs:
        db.close()


@pytest.mark.parametrize('database', [True], indirect=True)
def test_a_pack_removes_the_base_of_a_record_while_it_is_committed(serve, database):
    """As RelStorage's packs do, which lock no objects: that is a conflict, and nothing else fails."""
    db = open_db(serve(storages=database.section()))
    add_two(db)
    with db.transaction() as connection:
        connection.root()['written']['n'] = 1
        oid = connection.root()['written']._p_oid
    state, serial, _ = db.storage.loadBefore(oid, FAR)
    failures = []

    def finish():
        try:
            db.storage.tpc_finish(txn)
        except Exception as failure:
            failures.append(failure)

    with contextlib.closing(psycopg2.connect(database.dsn)) as pack, pack.cursor() as cursor:
        txn = vote(db.storage, [], [(oid, state, serial)])
        cursor.execute(f"""
            DELETE FROM current_object WHERE zoid = {u64(oid)};
            DELETE FROM object_state WHERE zoid = {u64(oid)};
            DELETE FROM transaction WHERE tid = {u64(serial)}""")
        thread = threading.Thread(target=finish)
        thread.start()
        wait_until(lambda: database.sql(WAITS))
        pack.commit()
        thread.join()
    assert [type(failure) for failure in failures] == [ConflictError], failures
    assert failures[0].oid == oid
    db.storage.tpc_abort(txn)
    write(db, n=1)
    assert read(db, 'n') == 1
    db.close()


def test_a_wrong_md5_and_size_do_no_harm(serve, database):
    """Nothing here relies on them."""
    server = serve(storages=database.section())
    db = open_db(server)
    add_two(db)
    database.sql('UPDATE object_state SET state_size = 9223372036854775807')
    if database.keep_history:
        database.sql(f"UPDATE object_state SET md5 = '{'0' * 32}'")
    db.close()
    server.stop()
    server = serve(storages=database.section())
    db = open_db(server)
    write(db, n=1)
    with contextlib.closing(ClientStorage(server.address)) as client:
        records = [record.data for txn in client.iterator() for record in txn]
        assert len(records) >= 3 and all(records)
    if database.keep_history:
        db.undo(db.undoLog(0, 1)[0]['id'])
        transaction.commit()
        with db.transaction() as connection:
            assert 'n' not in connection.root()
    db.pack()
    assert read(db, 'read') == 0
    db.close()


def test_oids_past_the_sequence(serve, database):
    """As behind a restore without the sequence: they are not given to new objects."""
    server = serve(storages=database.section())
    db = open_db(server)
    for number in range(40):
        write(db, **{str(number): PersistentMapping(n=number)})
    last = int(*database.sql('SELECT max(zoid) FROM object_state'))
    db.close()
    server.stop()
    database.sql("SELECT setval('zoid_seq', 1)")
    server = serve(storages=database.section())
    assert f'object 0x{last:02x} in table object_state is past the sequence zoid_seq' in server.log()
    db = open_db(server)
    assert db.storage.new_oid() > p64(last)
    write(db, more=PersistentMapping(n=1))
    assert [read(db, str(number)) for number in range(40)] == list(range(40))
    db.close()


def test_an_oid_near_the_end(serve, database):
    """A client may choose it; new objects get others all the same."""
    server = serve(storages=database.section())
    db = open_db(server)
    for oid in 2**63 - 1, 2**63 - 17, 2**63 - 2**40:
        txn = transaction.Transaction()
        vote(db.storage, [], [(p64(oid), db.storage.load(p64(0))[0], p64(0))], txn)
        db.storage.tpc_finish(txn)
    assert db.storage.new_oid() < p64(1000)
    write(db, more=PersistentMapping(n=1))
    db.close()
    server.stop()
    server = serve(storages=database.section())
    assert 'past the sequence' not in server.log()
    db = open_db(server)
    assert db.storage.new_oid() < p64(1000)
    db.close()


def test_a_cancelled_vote_keeps_no_locks(serve):
    """As an administrator may end it: other processes would wait for these objects for ever."""
    cluster = Cluster('max_locks_per_transaction = 4000')
    try:
        database = Database(cluster, True)
        database.sql(f"ALTER DATABASE {database.name} SET log_statement = 'all'")
        server = serve(storages=database.section())
        write(open_db(server), n=1)
        with open(f'{cluster.directory}/log') as log:
            function = re.search(r'CREATE FUNCTION pg_temp\.rzeo_lock.*?(\$body\$).*?\1', log.read(), re.S)[0]
        with contextlib.closing(psycopg2.connect(database.dsn)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(function)
            cursor.execute('SET statement_timeout = 300')
            with pytest.raises(psycopg2.errors.QueryCanceled):
                cursor.execute("SELECT pg_temp.rzeo_lock(array(SELECT generate_series(1, 500000)::bigint), '{}', '{}', '{}')")
            assert database.sql(f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
                                f'AND pid = {connection.info.backend_pid}') == ['0']
        server.stop()
    finally:
        cluster.remove()


def test_a_sequence_at_its_end(serve, database):
    db = open_db(serve(storages=database.section()))
    database.sql("SELECT setval('zoid_seq', 9223372036854770000)")
    with pytest.raises(Exception, match='zoid_seq is at 92233720368547700.., which stands for no oids'):
        write(db, more=PersistentMapping(n=1))
    write(db, n=1)
    assert read(db, 'n') == 1
    db.close()


def test_a_last_transaction_in_the_future(serve, database):
    server = serve(storages=database.section())
    db = open_db(server)
    add_two(db)
    db.close()
    server.stop()
    future = 0x7000000000000000
    with contextlib.closing(psycopg2.connect(database.dsn)) as connection, connection.cursor() as cursor:
        if database.keep_history:
            cursor.execute(f"INSERT INTO transaction (tid, username, description) VALUES ({future}, '', '')")
        else:
            cursor.execute(f'UPDATE object_state SET tid = {future} WHERE zoid = 0')
        connection.commit()
    server = serve(storages=database.section())
    assert f'the last transaction, {future:016x}, is ' in server.log()
    db = open_db(server)
    for number in range(3):
        write(db, n=number)
        assert u64(db.storage.lastTransaction()) == future + number + 1
        assert read(db, 'n') == number
    # And none is left.
    database.sql(f'UPDATE object_state SET tid = {2**63 - 1} WHERE zoid = 0' if not database.keep_history else
                 f"INSERT INTO transaction (tid, username, description) VALUES ({2**63 - 1}, '', '')")
    with pytest.raises(StorageError, match='no tid later than 9223372036854775807 of table'):
        write(db, written=PersistentMapping(n=1))
    db.close()


@pytest.mark.parametrize('rows', [
    'UPDATE blob_chunk SET chunk_num = 1',
    # The first of two is there.
    "INSERT INTO blob_chunk (zoid, tid, chunk_num, chunk) SELECT zoid, tid, 2, lo_from_bytea(0, 'x') FROM blob_chunk",
])
def test_a_chunk_of_a_blob_is_missing(serve, database, rows, tmp_path):
    server = serve(storages=database.section(f'blob-dir {tmp_path}/server'))
    db = open_db(server, blob_dir=f'{tmp_path}/client')
    with db.transaction() as connection:
        connection.root()['blob'] = Blob(b'1')
    with db.transaction() as connection:
        oid = u64(connection.root()['blob']._p_oid)
    db.close()
    server.stop()
    database.sql(rows)
    server = serve(storages=database.section(f'blob-dir {tmp_path}/new'))
    db = open_db(server, blob_dir=f'{tmp_path}/new_client')
    with db.transaction() as connection, \
            pytest.raises(Exception, match=f'table blob_chunk lacks chunk . of the blob of object 0x{oid:02x},'):
        connection.root()['blob'].open()
    db.close()


@pytest.mark.parametrize('database', [True], indirect=True)
def test_rows_without_their_transaction(serve, database):
    """As behind a restore of some tables: other objects can be read and changed."""
    server = serve(storages=database.section())
    db = open_db(server)
    (oid, _, serial), _ = add_two(db)
    write(db, other=PersistentMapping(n=0))
    db.close()
    server.stop()
    database.sql(f'''
        ALTER TABLE object_state DROP CONSTRAINT object_state_tid_fkey, DROP CONSTRAINT object_state_prev_tid_fkey;
        DELETE FROM transaction WHERE tid = {u64(serial)}''')
    db = open_db(serve(storages=database.section()))
    assert read(db, 'read') == 0
    with db.transaction() as connection:
        connection.root()['read']['n'] = connection.root()['other']['n'] = 1
    assert read(db, 'read') == read(db, 'other') == 1
    assert [entry['tid'] for entry in db.storage.history(oid, 9)] == [db.storage.lastTransaction()]
    with pytest.raises(POSKeyError):
        db.storage.loadSerial(oid, p64(u64(serial) + 1))
    db.close()


@pytest.mark.parametrize('database', [False], ids=['free'], indirect=True)
def test_more_objects_than_postgresql_can_lock(serve, database):
    """What is refused says which setting to raise, and is no conflict: nobody tries it again."""
    db = open_db(serve(storages=database.section()))
    write(db, n=0)
    count = 5_000
    with contextlib.closing(psycopg2.connect(database.dsn)) as other, other.cursor() as cursor:
        # All locks that there are, but not those of so many objects. Their keys are of another kind.
        cursor.execute('BEGIN')
        for number in range(1000):
            cursor.execute('SAVEPOINT more')
            try:
                cursor.execute(f'SELECT pg_advisory_xact_lock({number}, x) FROM generate_series(1, 1000) x')
            except psycopg2.errors.OutOfMemory:
                cursor.execute('ROLLBACK TO more')
                break
        # New objects are locked as well.
        with pytest.raises(StorageError, match='max_locks_per_transaction') as raised:
            write(db, many=[PersistentMapping(n=n) for n in range(count)])
        assert not isinstance(raised.value, ConflictError)
        write(db, n=1)
    assert read(db, 'n') == 1
    write(db, many=[PersistentMapping(n=n) for n in range(count)])
    locks = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND mode = 'ExclusiveLock'"
    wait_until(lambda: not database.sql(locks))
    db.close()


@pytest.mark.parametrize('database', [True], ids=['history'], indirect=True)
def test_current_object_is_of_another_time(serve, database):
    """As behind a restore of some tables: who changes such an object is told what is wrong, not of a conflict."""
    server = serve(storages=database.section())
    db = open_db(server)
    add_two(db)
    with db.transaction() as connection:
        connection.root()['read']['n'] = 1
        connection.root()['written']['n'] = 1
        oids = [connection.root()[name]._p_oid for name in ('read', 'written')]
    db.close()
    server.stop()
    behind, ahead = map(u64, oids)
    database.sql(f"""
        UPDATE current_object SET tid = (SELECT min(tid) FROM object_state WHERE zoid = {behind}) WHERE zoid = {behind};
        ALTER TABLE current_object DROP CONSTRAINT current_object_zoid_tid_fkey;
        DELETE FROM object_state WHERE zoid = {ahead} AND tid = (SELECT max(tid) FROM transaction)""")
    db = open_db(serve(storages=database.section()))
    for name, oid in ('read', behind), ('written', ahead):
        words = f'table current_object says that transaction .* has written object 0x{oid:02x} last, but its last'
        with pytest.raises(StorageError, match=words) as raised, db.transaction() as connection:
            connection.root()[name]['n'] = 2
        assert not isinstance(raised.value, ConflictError)
    write(db, other=1)
    # What docs/postgres.md has an operator do.
    database.sql("""UPDATE current_object c SET tid = s.tid
        FROM (SELECT zoid, max(tid) AS tid FROM object_state GROUP BY zoid) s
        WHERE s.zoid = c.zoid AND s.tid <> c.tid""")
    for name in 'read', 'written':
        with db.transaction() as connection:
            connection.root()[name]['n'] = 2
        assert read(db, name) == 2
    db.close()
