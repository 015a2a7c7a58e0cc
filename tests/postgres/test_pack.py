"""Packs of a PostgreSQL database by a server, beside commits by others and packs by RelStorage."""
import collections
import contextlib
import random
import threading
import time

import psycopg2
import pytest
import transaction
from persistent.mapping import PersistentMapping
from relstorage.adapters.interfaces import UnableToAcquirePackUndoLockError
from support.monitor import Monitor
from support.server import PATIENCE, is_python, wait_until
from support.wire import Wire
from ZEO.ClientStorage import ClientStorage
from ZODB import DB
from ZODB.blob import Blob
from ZODB.POSException import POSKeyError, StorageError
from ZODB.serialize import referencesf
from ZODB.utils import p64, u64, z64

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

FAR = b'\x7f' + b'\xff' * 7


def open_db(server):
    return DB(ClientStorage(server.address, server_sync=True))


def reachable(storage, before=FAR):
    """All that could be reached from the root then, each of which must load: oids with their serials."""
    found, next_ones = {}, [z64]
    while next_ones:
        oid = next_ones.pop()
        if oid not in found:
            record, found[oid], _ = storage.loadBefore(oid, before)
            next_ones.extend(referencesf(record))
    return found


def stored(database):
    """The objects that have a row."""
    return {p64(int(line)) for line in database.sql('SELECT DISTINCT zoid FROM object_state')}


def check(database):
    """RelStorage can load all that can be reached, and nothing refers to what is not there."""
    storage = database.open()
    try:
        found = reachable(storage.new_instance())
    finally:
        storage.close()
    if database.keep_history:
        assert database.sql('''
            SELECT s.zoid, s.tid, s.prev_tid FROM object_state s WHERE s.prev_tid > 0 AND NOT EXISTS
                (SELECT FROM object_state p WHERE p.zoid = s.zoid AND p.tid = s.prev_tid)''') == []
        assert database.sql('''
            SELECT zoid FROM object_state s
            WHERE tid = (SELECT max(tid) FROM object_state m WHERE m.zoid = s.zoid)
                AND NOT EXISTS (SELECT FROM current_object c WHERE c.zoid = s.zoid AND c.tid = s.tid)''') == []
    return found


def grow(db, folders=6, items=8):
    """A tree, changed twice, and half of it unlinked: the oids of what was."""
    unlinked = []
    with db.transaction() as connection:
        root = connection.root()
        root['tree'] = PersistentMapping()
        for folder in range(folders):
            root['tree'][folder] = PersistentMapping((n, PersistentMapping()) for n in range(items))
    for value in range(2):
        with db.transaction() as connection:
            for folder in connection.root()['tree'].values():
                for item in folder.values():
                    item['value'] = value
    with db.transaction() as connection:
        tree = connection.root()['tree']
        for folder in range(folders // 2):
            unlinked.append(tree[folder]._p_oid)
            unlinked.extend(item._p_oid for item in tree[folder].values())
            del tree[folder]
    return set(unlinked)


def pack(server):
    with contextlib.closing(ClientStorage(server.address)) as client:
        client.pack(time.time(), wait=True)


def pack_by_python(database):
    storage = database.open()
    try:
        storage.pack(None, referencesf)
    finally:
        storage.close()


@contextlib.contextmanager
def transaction_of(database):
    """A transaction of somebody else in the database, given up at the end if it is still there."""
    connection = psycopg2.connect(database.dsn)
    try:
        yield connection, connection.cursor()
    finally:
        connection.close()


def is_waiting(database):
    """Whether the pack waits until somebody has committed."""
    return database.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'rzeo: pack' "
                        "AND datname = current_database() AND wait_event_type = 'Lock'") != []


def start_pack(server, past=None):
    """A pack on its way, and what becomes of it."""
    wire = Wire(server.address)
    return wire, wire.request('pack', past or time.time(), True)


def end_of(wire, number):
    """Whether it has failed, and the answer."""
    with wire:
        while True:
            answered, flag, _, answer = wire.receive_message()
            if answered == number:
                return flag == 2, answer


@contextlib.contextmanager
def pack_held(server, database, past=None):
    """A pack that has found garbage and waits for somebody who is about to commit: his cursor."""
    with transaction_of(database) as (connection, cursor):
        cursor.execute('SELECT pg_advisory_xact_lock(-1)')
        packing = start_pack(server, past)
        wait_until(lambda: is_waiting(database))
        yield packing, connection, cursor


def write(database, cursor, oid, record):
    """A commit as RelStorage would make it, under the lock that the transaction has."""
    table = 'transaction' if database.keep_history else 'object_state'
    cursor.execute(f'SELECT max(tid) + 1 FROM {table}')
    tid, = cursor.fetchone()
    row = {'oid': u64(oid), 'tid': tid, 'state': record, 'size': len(record)}
    if database.keep_history:
        cursor.execute("INSERT INTO transaction (tid, username, description) VALUES (%(tid)s, '', '')", row)
        cursor.execute('''INSERT INTO object_state (zoid, tid, prev_tid, md5, state_size, state)
            SELECT zoid, %(tid)s, tid, md5(%(state)s::bytea), %(size)s, %(state)s
            FROM current_object WHERE zoid = %(oid)s''', row)
        cursor.execute('UPDATE current_object SET tid = %(tid)s WHERE zoid = %(oid)s', row)
    else:
        cursor.execute('UPDATE object_state SET tid = %(tid)s, state = %(state)s, state_size = %(size)s '
                       'WHERE zoid = %(oid)s', row)
    assert cursor.rowcount == 1


def test_what_can_be_reached_stays(serve, database, encoding):
    server = serve(storages=database.section(), encoding=encoding)
    db = open_db(server)
    unlinked = grow(db)
    before = check(database)
    assert unlinked <= stored(database)
    db.pack()
    assert check(database) == before
    assert stored(database) == set(before)
    # One without a cache.
    with contextlib.closing(ClientStorage(server.address)) as client:
        for oid in unlinked:
            with pytest.raises(POSKeyError):
                client.loadBefore(oid, FAR)
    if database.keep_history:
        assert database.sql('SELECT zoid FROM object_state GROUP BY zoid HAVING count(*) > 1') == []
        # What is left of the transactions: those with objects.
        assert database.sql('''SELECT tid FROM transaction t WHERE tid > 0
            AND NOT EXISTS (SELECT FROM object_state s WHERE s.tid = t.tid)''') == []
        assert not db.undoLog(0, 9)
    # RelStorage finds nothing more, and all can be changed.
    pack_by_python(database)
    assert check(database) == before and stored(database) == set(before)
    for one in db, DB(database.open()):
        with one.transaction() as connection:
            for folder in connection.root()['tree'].values():
                for item in folder.values():
                    item['value'] += 1
        one.pack()
        assert set(check(database)) == set(before)
        if one is not db:
            one.close()
    db.close()


def test_a_pack_after_one_by_relstorage_and_to_a_time_in_the_past(serve, database):
    server = serve(storages=database.section())
    db = open_db(server)
    grow(db)
    first = db.storage.lastTransaction()
    time.sleep(0.01)
    past = time.time()
    time.sleep(0.01)
    unlinked = grow(db)
    before = check(database)
    db.storage.pack(past)
    assert check(database) == before
    # These were in the tree then.
    assert unlinked & stored(database) == unlinked
    if database.keep_history:
        # And what was current then can be read.
        with contextlib.closing(ClientStorage(server.address)) as client:
            assert set(reachable(client, p64(u64(first) + 1))) > {z64}
        assert db.undoLog(0, 20)
    pack_by_python(database)
    assert check(database) == before
    db.pack()
    assert check(database) == before and stored(database) == set(before)
    db.close()


def test_large_objects_of_blobs_go_with_them(serve, database, tmp_path):
    from relstorage.adapters.postgresql import PostgreSQLAdapter
    from relstorage.options import Options
    from relstorage.storage import RelStorage

    server = serve(storages=database.section())
    options = Options(keep_history=database.keep_history, blob_dir=str(tmp_path / 'blobs'))
    db = DB(RelStorage(PostgreSQLAdapter(database.dsn, options=options), options=options))
    with db.transaction() as connection:
        for name in 'kept', 'changed', 'unlinked':
            connection.root()[name] = Blob(name.encode())
    with db.transaction() as connection:
        connection.root()['changed'].open('w').write(b'anew')
        del connection.root()['unlinked']
    if database.keep_history:
        # Two revisions with one large object.
        with db.transaction() as connection:
            connection.root()['changed'].open('w').write(b'undone')
        db.undo(db.undoLog(0, 1)[0]['id'])
        transaction.commit()
    large = lambda: len(database.sql('SELECT oid FROM pg_largeobject_metadata'))
    assert large() > 2
    pack(server)
    assert large() == 2
    with db.transaction() as connection:
        root = connection.root()
        assert [root[name].open().read() for name in ('kept', 'changed')] == [b'kept', b'anew']
    db.close()
    check(database)


def test_what_is_referred_to_again_in_the_middle_of_the_pack_stays(serve, database):
    server = serve(storages=database.section())
    db = open_db(server)
    with db.transaction() as connection:
        root = connection.root()
        root['kept'], root['unlinked'] = PersistentMapping(), PersistentMapping()
        root['unlinked']['below'] = PersistentMapping()
        root['lost'] = PersistentMapping()
    connection = db.open()
    oid = connection.root()['unlinked']._p_oid
    below = connection.root()['unlinked']['below']._p_oid
    lost = connection.root()['lost']._p_oid
    record, _, _ = db.storage.loadBefore(z64, FAR)
    connection.close()
    with db.transaction() as connection:
        del connection.root()['unlinked'], connection.root()['lost']
    with db.transaction() as connection:
        connection.root()['x'] = 1
    with pack_held(server, database) as (packing, theirs, cursor):
        # Somebody commits a root that refers to it again (and to another one, whose records he writes, too).
        write(database, cursor, z64, record.replace(b'lost', b'gone'))
        theirs.commit()
    failed, answer = end_of(*packing)
    assert not failed, answer
    assert {oid, below} <= set(check(database))
    with db.transaction() as connection:
        assert list(connection.root()['unlinked']) == ['below']
    with db.transaction() as connection:
        del connection.root()['gone']
    assert lost in stored(database)
    db.pack()
    assert lost not in stored(database) and below in stored(database)
    db.close()


def test_what_is_changed_in_the_middle_of_the_pack_stays(serve, database):
    """RelStorage removes it without history, whatever its tid."""
    server = serve(storages=database.section())
    db = open_db(server)
    unlinked = grow(db)
    oid, other = sorted(unlinked)[:2]
    record, _, _ = db.storage.loadBefore(oid, FAR)
    with pack_held(server, database) as (packing, theirs, cursor):
        write(database, cursor, oid, record)
        # And somebody is between his vote and his end.
        with transaction_of(database) as (_, voter):
            voter.execute('SELECT pg_advisory_xact_lock(%s)', (u64(other),))
            theirs.commit()
            failed, answer = end_of(*packing)
    assert not failed, answer
    check(database)
    assert {oid, other} <= stored(database)
    assert (stored(database) & unlinked) < unlinked
    db.pack()
    if not database.keep_history:
        # The last transaction stays, without data.
        assert database.sql('SELECT zoid, state_size FROM object_state WHERE state IS NULL') == [f'{u64(oid)}|0']
    with db.transaction() as connection:
        connection.root()['x'] = 1
    db.pack()
    assert stored(database) == set(check(database))
    db.close()


def test_a_server_that_is_killed_in_the_middle_of_a_pack(serve, database):
    server = serve(storages=database.section())
    db = open_db(server)
    grow(db)
    before = check(database)
    db.close()
    with pack_held(server, database):
        server.process.kill()
        server.process.wait()
    wait_until(lambda: not database.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'rzeo: pack' "
                                        "AND datname = current_database()"))
    assert check(database) == before
    db = open_db(serve(storages=database.section()))
    if database.keep_history:
        # A part was removed.
        assert database.sql('SELECT zoid FROM object_state GROUP BY zoid HAVING count(*) > 1') == []
        assert not db.undoLog(0, 9)
    assert set(before) < stored(database)
    db.pack()
    assert check(database) == before and stored(database) == set(before)
    db.close()


def test_a_pack_is_cancelled_and_others_are_kept_out(serve, database):
    server = serve(storages=database.section(), args=['--monitor', '0', '--monitor', './monitor.sock'])
    monitor = Monitor(server)
    db = open_db(server)
    grow(db)
    past = time.time()
    time.sleep(0.01)
    with db.transaction() as connection:
        connection.root()['x'] = 1
    before = check(database)
    other = serve(storages=database.section())
    with pack_held(server, database, past) as (packing, *_):
        assert monitor.status()['storages'][0]['pack']['text'].startswith('removing')
        for one in server, other:
            failed, answer = end_of(*start_pack(one))
            assert failed and 'pack' in repr(answer)
        with pytest.raises(UnableToAcquirePackUndoLockError):
            pack_by_python(database)
        if database.keep_history:
            entry, = db.undoLog(0, 9)
            db.undo(entry['id'])
            with pytest.raises(StorageError, match='while a pack of the database runs'):
                transaction.commit()
            transaction.abort()
        assert monitor.control('cancel-pack', storage='1') == (200, {'cancelled': '1'})
        failed, answer = end_of(*packing)
        assert failed and 'cancelled' in repr(answer)
    assert check(database) == before
    assert monitor.status()['storages'][0]['packs']['cancelled'] == 1
    # And a server stops in the middle of one.
    with pack_held(server, database):
        server.stop()
    assert check(database) == before
    with transaction_of(database) as (_, cursor):
        cursor.execute('SELECT pg_advisory_lock(-2)')
        failed, answer = end_of(*start_pack(other))
        assert failed and 'another process packs' in repr(answer)
    pack(other)
    assert check(database) == before and stored(database) == set(before)
    db.close()


def test_packs_without_garbage_collection_and_ones_that_only_look(serve, database):
    server = serve(storages=database.section('pack-prepack-only true'))
    db = open_db(server)
    unlinked = grow(db)
    rows = database.sql('SELECT zoid, tid FROM object_state')
    db.pack()
    assert sorted(database.sql('SELECT zoid, tid FROM object_state')) == sorted(rows)
    server.wait_for_log(f'would remove (pack-prepack-only) {len(unlinked)} objects')
    db.close()
    server.stop()
    db = open_db(serve(storages=database.section('pack-gc false')))
    storage = db.storage
    oid = min(unlinked)
    txn = transaction.get()
    storage.tpc_begin(txn)
    storage.deleteObject(oid, storage.loadBefore(oid, FAR)[1], txn)
    storage.tpc_vote(txn)
    storage.tpc_finish(txn)
    with db.transaction() as connection:
        connection.root()['x'] = 1
    db.pack()
    assert unlinked & stored(database) == unlinked - {oid}
    if database.keep_history:
        assert database.sql('SELECT zoid FROM object_state GROUP BY zoid HAVING count(*) > 1') == []
    check(database)
    db.close()


def test_clients_of_other_servers_hear_of_deletions(serve, database):
    one, other = (open_db(serve(storages=database.section())) for _ in range(2))
    with one.transaction() as connection:
        connection.root()['x'] = added = PersistentMapping()
    oid, storage = added._p_oid, one.storage
    with other.transaction() as connection:
        assert not connection.root()['x']
    txn = transaction.get()
    storage.tpc_begin(txn)
    storage.deleteObject(oid, storage.loadBefore(oid, FAR)[1], txn)
    storage.tpc_vote(txn)
    tid = storage.tpc_finish(txn)
    other.storage.sync()
    assert other.storage.lastTransaction() == tid
    python = database.open()
    for reader in other.storage, python.new_instance():
        with pytest.raises(POSKeyError):
            reader.load(oid)
    python.close()
    one.close()
    other.close()


def test_packs_beside_writers_lose_nothing(serve, database):
    """Objects are moved about, made and dropped by clients of two servers and of RelStorage."""
    servers = [serve(storages=database.section()) for _ in range(2)]
    dbs = [*map(open_db, servers), DB(database.open())]
    with dbs[0].transaction() as connection:
        root = connection.root()
        for n in range(4):
            root[n] = PersistentMapping((f'{n}-{i}', PersistentMapping(n=0)) for i in range(10))
    over, failed, counts = threading.Event(), [], collections.Counter()

    def work(db, number):
        chance = random.Random(number)
        while not over.is_set():
            manager = transaction.TransactionManager()
            connection = db.open(manager)
            manager.begin()
            try:
                source, target = chance.sample(range(4), 2)
                root = connection.root()
                name = chance.choice(sorted(root[source]))
                moved = root[source].pop(name)
                moved['n'] += chance.randrange(2)
                root[target][name] = moved
                root[target][f'new-{number}'] = PersistentMapping(PersistentMapping(), n=0)
                manager.commit()
                counts[number] += 1
            except (transaction.interfaces.TransientError, IndexError):
                manager.abort()
            except BaseException as e:
                failed.append(e)
                over.set()
                raise
            finally:
                connection.close()

    threads = [threading.Thread(target=work, args=(db, n)) for n, db in enumerate(dbs)]
    for thread in threads:
        thread.start()
    try:
        packs, until = 0, time.monotonic() + PATIENCE
        # Who has only conflicts on a slow machine is waited for.
        while packs < 6 or not (failed or all(counts[n] for n in range(3))):
            random.choice(dbs[:2]).storage.pack(time.time(), wait=True)
            packs += 1
            assert time.monotonic() < until, counts
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not failed
    found = check(database)
    for db in dbs:
        with db.transaction() as connection:
            names = [name for n in range(4) for name in connection.root()[n]]
            assert len([name for name in names if not name.startswith('new')]) == 40
            assert all(item['n'] >= 0 for n in range(4) for item in connection.root()[n].values())
    # The last transaction stays, also if it has written what it has dropped.
    with dbs[0].transaction() as connection:
        connection.root()['over'] = True
    dbs[0].pack()
    assert set(check(database)) == set(found) == stored(database)
    for db in dbs:
        db.close()
