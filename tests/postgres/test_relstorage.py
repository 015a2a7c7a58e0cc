"""<relstorage>: servers on a PostgreSQL database, beside Python's RelStorage on the same one."""
import threading
import time

import pytest
import transaction
from BTrees.Length import Length
from persistent.mapping import PersistentMapping
from support.server import PATIENCE, REPOSITORY, Server, ServerFailed, is_python, wait_until
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZODB import DB
from ZODB.POSException import ConflictError, POSKeyError, ReadConflictError, UndoError
from ZODB.utils import p64, z64

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

COUNTERS = 5
ROUNDS = 25


def open_db(server):
    return DB(ClientStorage(server.address, server_sync=True))


def add_counters(db):
    with db.transaction() as connection:
        connection.root()['counters'] = [PersistentMapping(n=0) for _ in range(COUNTERS)]


def total(db):
    with db.transaction() as connection:
        return sum(counter['n'] for counter in connection.root()['counters'])


def increment(db, number, failures=()):
    """Adds one to a counter, and reads another; tried until it succeeds. How often it has to be."""
    begun, attempt = time.monotonic(), 0
    # While the database is away, attempts may fail at once.
    while attempt < 1000 or time.monotonic() - begun < PATIENCE:
        manager = transaction.TransactionManager()
        connection = db.open(manager)
        try:
            # Clients of a server ask it here for what others have committed.
            manager.begin()
            counters = connection.root()['counters']
            counters[number % COUNTERS]['n'] += 1
            read = counters[(number + 1) % COUNTERS]
            # A ghost's serial would be that of the state it had.
            assert read['n'] >= 0
            connection.readCurrent(read)
            manager.commit()
            return attempt
        except (ConflictError, *failures):
            attempt += 1
        finally:
            # Whatever has happened: a connection that is joined to a transaction can't be closed.
            manager.abort()
            connection.close()
    raise AssertionError('conflicts without end')


def test_objects_and_conflicts(serve, database, encoding):
    server = serve(storages=database.section(), encoding=encoding)
    db = open_db(server)
    with db.transaction() as connection:
        connection.root()['length'] = Length(1)
        connection.root()['map'] = PersistentMapping(a=1)
    managers = [transaction.TransactionManager() for _ in range(2)]
    connections = [db.open(manager) for manager in managers]
    for connection, change in zip(connections, (10, 100)):
        connection.root()['length'].change(change)
    for manager in managers:
        manager.commit()
    with db.transaction() as connection:
        assert connection.root()['length']() == 111

    for connection, value in zip(connections, (2, 3)):
        connection.root()['map']['a'] = value
    managers[0].commit()
    with pytest.raises(ConflictError):
        managers[1].commit()
    managers[1].abort()
    assert connections[1].root()['map']['a'] == 2
    for connection in connections:
        connection.close()
    db.close()
    # What a new server, and Python, find there.
    server.stop()
    for db in open_db(serve(storages=database.section())), DB(database.open()):
        with db.transaction() as connection:
            assert connection.root()['length']() == 111
            assert dict(connection.root()['map']) == {'a': 2}
        db.close()


def test_history(serve, database):
    storage = ClientStorage(serve(storages=database.section()).address)
    db = DB(storage)
    tids = []
    for number in range(5):
        with db.transaction(f'note {number}') as connection:
            connection.root()['n'] = number
        tids.append(storage.lastTransaction())
    entries = storage.history(z64, 100)
    last = storage.iterator(tids[-1])
    assert [(record.oid, record.tid) for txn in last for record in txn] == [(z64, tids[-1])]
    assert storage.record_iternext()[:2] == (z64, tids[-1])
    if database.keep_history:
        assert [entry['tid'] for entry in entries][:5] == tids[::-1]
        assert entries[0]['description'] == b'note 4'
        assert len(list(storage.iterator())) == 6
        assert [entry['description'] for entry in db.undoLog(0, 2)] == ['note 4', 'note 3']
        assert storage.loadBefore(z64, tids[2])[1:] == (tids[1], tids[2])
    else:
        assert [entry['tid'] for entry in entries] == [tids[-1]]
        assert not db.undoLog(0, 2)
    with pytest.raises(POSKeyError):
        storage.loadBefore(p64(77), tids[0])
    db.close()


def test_undo(serve, database):
    db = open_db(serve(storages=database.section()))
    for number in range(3):
        with db.transaction() as connection:
            connection.root()['n'] = number
    if not database.keep_history:
        assert not db.supportsUndo()
        db.close()
        return
    newest, before = [entry['id'] for entry in db.undoLog(0, 2)]
    with pytest.raises(UndoError):
        db.undo(before)
        transaction.commit()
    transaction.abort()
    db.undo(newest)
    transaction.commit()
    with db.transaction() as connection:
        assert connection.root()['n'] == 1
    db.close()


def test_deletion_and_new_oids(serve, database):
    server = serve(storages=database.section())
    storage, other = ClientStorage(server.address), database.open()
    oids = [storage.new_oid() for _ in range(200)] + [other.new_oid() for _ in range(50)]
    oids += [storage.new_oid() for _ in range(200)]
    assert len(set(oids)) == len(oids)
    other.close()
    db = DB(storage)
    with db.transaction() as connection:
        connection.root()['x'] = added = PersistentMapping()
    oid, serial = added._p_oid, added._p_serial
    txn = transaction.get()
    storage.tpc_begin(txn)
    storage.deleteObject(oid, serial, txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn)
    other = ClientStorage(server.address)
    with pytest.raises(POSKeyError):
        other.loadBefore(oid, b'\x7f' * 8)
    other.close()
    db.close()


def test_the_tables_are_those_of_relstorage(serve, cluster, database):
    made = type(database)(cluster, database.keep_history)
    DB(made.open()).close()
    server = serve(storages=database.section())
    assert cluster.schema(database.name) == cluster.schema(made.name)
    server.stop()
    # Each opens what the other has made.
    DB(database.open()).close()
    for one in database, made:
        db = open_db(serve(storages=one.section()))
        with db.transaction() as connection:
            connection.root()['x'] = 1
        db.close()


def test_a_database_of_another_kind_is_refused(serve, cluster, database):
    serve(storages=database.section()).stop()
    database.keep_history = not database.keep_history
    server = serve(storages=database.section(), ready=False)
    assert server.wait() == 1
    assert 'set keep-history' in server.log()
    empty = type(database)(cluster, True)
    server = serve(storages=empty.section('create-schema false'), ready=False)
    assert server.wait() == 1 and 'has no tables' in server.log()
    empty.sql('CREATE TABLE transaction (x integer)')
    server = serve(storages=empty.section(), ready=False)
    assert server.wait() == 1 and 'a database of its own' in server.log()
    with pytest.raises(ServerFailed):
        serve(storages=database.section().replace('port=', 'portal='))


def test_several_servers_and_python_lose_no_update(serve, database):
    """Writers of two servers and of RelStorage on the same few objects."""
    servers = [serve(storages=database.section()) for _ in range(2)]
    dbs = [open_db(server) for server in servers]
    add_counters(dbs[0])
    dbs.append(DB(database.open()))
    failed = []

    def work(db, first):
        try:
            for number in range(ROUNDS):
                increment(db, first + number)
        except BaseException as e:
            failed.append(e)
            raise

    threads = [threading.Thread(target=work, args=(db, n)) for n, db in enumerate(dbs * 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert [total(db) for db in dbs] == [len(threads) * ROUNDS] * len(dbs)
    for db in dbs:
        db.close()
    if database.keep_history:
        broken = database.sql('''
            SELECT zoid, tid FROM (
                SELECT zoid, tid, prev_tid, lag(tid, 1, 0::bigint) OVER (PARTITION BY zoid ORDER BY tid) AS before
                FROM object_state) s WHERE prev_tid <> before''')
        assert broken == []


def test_a_ping_tells_of_what_other_servers_committed_before(serve, database):
    one, other = (open_db(serve(storages=database.section())) for _ in range(2))
    add_counters(one)
    for number in range(20):
        increment(one, number)
        assert total(other) == number + 1
    one.close()
    other.close()


def test_a_client_that_registers_knows_what_others_have_committed(serve, database):
    """It need not ask for it first, and finds no revision that is gone."""
    servers = [serve(storages=database.section()) for _ in range(2)]
    python = DB(database.open())
    for number in range(5):
        with python.transaction() as connection:
            connection.root()['n'] = number
        for server in servers:
            db = DB(ClientStorage(server.address))
            with db.transaction() as connection:
                assert connection.root()['n'] == number
            db.close()
    python.close()


def test_connections_that_break_lose_no_commit(serve, database):
    """PostgreSQL ends all of the server's connections again and again."""
    db = open_db(serve(storages=database.section()))
    add_counters(db)
    over = threading.Event()
    done = unknown = 0

    def breaks():
        last = None
        while not over.wait(0.05):
            # On a busy machine, there is time for a commit between two of them.
            if done + unknown != last:
                last = done + unknown
                database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                             "WHERE application_name LIKE 'rzeo:%' AND datname = current_database() "
                             "AND random() < 0.5")

    breaker = threading.Thread(target=breaks)
    breaker.start()
    try:
        for number in range(60):
            try:
                increment(db, number)
                done += 1
            except Exception as e:
                # Nobody was told; it may be there.
                assert isinstance(e, (ClientDisconnected, ReadConflictError)), repr(e)
                unknown += 1
    finally:
        over.set()
        breaker.join()
    assert done <= total(db) <= done + unknown
    assert done > 30
    db.close()


def test_the_database_away_and_back(serve, cluster, database):
    server = serve(storages=database.section())
    db = open_db(server)
    add_counters(db)
    cluster.stop()
    try:
        with pytest.raises(ReadConflictError):
            with db.transaction() as connection:
                connection.root()['counters'][0]['n'] += 1
        # Many come at once, as behind a failover: they are served from memory, too.
        newcomers = [ClientStorage(server.address) for _ in range(10)]
        for storage in newcomers:
            assert storage.loadBefore(z64, b'\x7f' * 8)[0]
    finally:
        cluster.start()

    def works():
        try:
            increment(db, 0)
            return True
        except ConflictError:
            return False

    wait_until(works)
    assert total(db) >= 1
    for storage in newcomers:
        wait_until(lambda: storage.lastTransaction() == db.storage.lastTransaction())
        storage.close()
    db.close()


@pytest.mark.parametrize('database', [True], indirect=True)
def test_what_is_packed_is_not_undone_although_nothing_goes(serve, database):
    db = open_db(serve(storages=database.section()))
    with db.transaction() as connection:
        connection.root()['x'] = PersistentMapping()
    time.sleep(0.1)
    packed = time.time()
    time.sleep(0.1)
    with db.transaction() as connection:
        connection.root()['x']['y'] = 1
    rows = 'SELECT zoid, tid FROM object_state WHERE zoid <> 0 ORDER BY zoid, tid'
    before = database.sql(rows)
    db.storage.pack(packed, wait=True)
    assert database.sql(rows) == before
    assert len(db.storage.undoLog(0, 10)) == 1
    db.close()


def test_the_sample_configuration(cluster, tmp_path, monkeypatch):
    """etc/zeo-postgres.conf, as the README starts it; the database is found by libpq's variables."""
    cluster.create('zodb')
    for name, value in ('HOST', cluster.directory), ('PORT', cluster.port), ('USER', 'zodb'):
        monkeypatch.setenv(f'PG{name}', str(value))
    with open(f'{REPOSITORY}/etc/zeo-postgres.conf') as f:
        config = f.read().replace('127.0.0.1:8100', '127.0.0.1:0')
    with Server(config, tmp_path) as server:
        db = open_db(server)
        with db.transaction() as connection:
            connection.root()['x'] = 1
        db.close()
