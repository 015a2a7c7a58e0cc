"""A client of ZEO 5, run by its Python: what clients do, through two servers on one database.

usage: zeo5_client.py ADDRESS ADDRESS true|false   (whether the database has history)
"""
import sys
import threading
import time

import transaction
from BTrees.Length import Length
from persistent.mapping import PersistentMapping
from ZEO.ClientStorage import ClientStorage
from ZODB import DB
from ZODB.blob import Blob
from ZODB.POSException import ConflictError, POSKeyError, ReadConflictError, UndoError
from ZODB.utils import z64

ROUNDS = 15


class Watched(ClientStorage):
    """Notes the invalidations in the order in which they come."""

    def __init__(self, *args, **options):
        self.told = []
        super().__init__(*args, **options)

    def invalidateTransaction(self, tid, oids):
        self.told.append(tid)
        return super().invalidateTransaction(tid, oids)


def raises(kind, call, *args):
    try:
        call(*args)
    except kind:
        return
    raise AssertionError(f'no {kind.__name__}')


def write(db, **values):
    with db.transaction() as connection:
        connection.root().update(values)


def read(db, name):
    with db.transaction() as connection:
        return connection.root()[name]


def conflicts(db):
    """One that the server resolves, and ones that it does not."""
    write(db, length=Length(1), map=PersistentMapping(a=1), other=PersistentMapping())
    managers = [transaction.TransactionManager() for _ in range(2)]
    connections = [db.open(manager) for manager in managers]
    for connection, change in zip(connections, (10, 100)):
        connection.root()['length'].change(change)
    for manager in managers:
        manager.commit()
    connections[1].root()['length'].change(1000)
    managers[1].commit()
    managers[0].begin()
    assert connections[0].root()['length']() == 1111
    for connection, value in zip(connections, (2, 3)):
        connection.root()['map']['a'] = value
    managers[0].commit()
    raises(ConflictError, managers[1].commit)
    managers[1].abort()
    # What is only read.
    connections[0].root()['map']['a'] = 4
    read = connections[1].root()['map']
    assert read['a'] == 2
    connections[1].readCurrent(read)
    connections[1].root()['other']['b'] = 1
    managers[0].commit()
    raises(ReadConflictError, managers[1].commit)
    managers[1].abort()
    for connection in connections:
        connection.close()


def increment(db, name, times):
    for _ in range(times):
        while True:
            manager = transaction.TransactionManager()
            connection = db.open(manager)
            try:
                manager.begin()
                connection.root()['counters'][name]['n'] += 1
                manager.commit()
                break
            except ConflictError:
                manager.abort()
            finally:
                connection.close()


def counters(dbs):
    """Writers through both servers: no increment is lost, and tids only rise."""
    write(dbs[0], counters=PersistentMapping(a=PersistentMapping(n=0), b=PersistentMapping(n=0)))
    threads = [threading.Thread(target=increment, args=(db, name, ROUNDS)) for db in dbs for name in 'ab']
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for db in dbs:
        with db.transaction() as connection:
            assert [connection.root()['counters'][name]['n'] for name in 'ab'] == [2 * ROUNDS] * 2
        told = db.storage.told
        assert told == sorted(set(told))
        # Without history, nothing is left of a change that was changed again at once.
        assert len(told) >= 2 * ROUNDS or not db.supportsUndo()


def undo(db):
    write(db, undone=1)
    write(db, undone=2)
    newest, before = [entry['id'] for entry in db.undoLog(0, 2)]
    db.undo(before)
    raises(UndoError, transaction.commit)
    transaction.abort()
    db.undo(newest)
    transaction.commit()
    assert read(db, 'undone') == 1
    assert len(db.history(z64, 100)) > 3


def blobs(dbs):
    data = b'some bytes' * 100_000
    write(dbs[0], blob=Blob(data))
    for db in dbs:
        with db.transaction() as connection, connection.root()['blob'].open() as f:
            assert f.read() == data
    with dbs[1].transaction() as connection, connection.root()['blob'].open('w') as f:
        f.write(b'other')
    with dbs[0].transaction() as connection, connection.root()['blob'].open() as f:
        assert f.read() == b'other'


def pack(db):
    with db.transaction() as connection:
        connection.root()['garbage'] = garbage = PersistentMapping()
    with db.transaction() as connection:
        del connection.root()['garbage']
    write(db, last=1)
    db.storage.pack(time.time(), wait=True)
    other = ClientStorage(db.storage._addr)
    raises(POSKeyError, other.load, garbage._p_oid)
    other.close()
    assert read(db, 'last') == 1


def main(first, second, has_history):
    addresses = [(host, int(port)) for host, port in (address.split(':') for address in (first, second))]
    dbs = [DB(Watched(address, server_sync=True, blob_dir=f'zeo5-{n}')) for n, address in enumerate(addresses)]
    assert dbs[0].supportsUndo() == (has_history == 'true')
    conflicts(dbs[0])
    counters(dbs)
    if has_history == 'true':
        undo(dbs[1])
    blobs(dbs)
    pack(dbs[1])
    assert read(dbs[0], 'last') == 1
    for db in dbs:
        db.close()


main(*sys.argv[1:])
