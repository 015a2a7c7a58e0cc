"""This server and Python's in turn on a database of RelStorage; zodbconvert and fstool on the same ones."""
import contextlib

import pytest
import transaction
from persistent.mapping import PersistentMapping
from relstorage import zodbconvert
from support import fstool
from support.contest import python_server
from support.ports import free_port
from support.server import Server, is_python, wait_until
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZODB import DB
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError
from ZODB.utils import u64

from postgres.test_blobs import open_python
from postgres.test_copy import in_file, read_blobs, rows, transactions
from postgres.test_pack import FAR, reachable

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

OBJECTS = 20


def change(db, number, who):
    """A transaction that changes one of the objects and its blob, and adds another one."""
    with db.transaction(f'{who} {number}') as connection:
        root = connection.root()
        root['objects'][number % OBJECTS]['who'] = f'{who} {number}'
        root[f'{who} {number}'] = PersistentMapping(n=number)
        with root['blob'].open('w') as f:
            f.write(f'{who} {number}'.encode() * 1000)


def conflict(db):
    """Two changes of an object at once."""
    managers = [transaction.TransactionManager() for _ in range(2)]
    connections = [db.open(manager) for manager in managers]
    for manager, connection in zip(managers, connections):
        manager.begin()
        connection.root()['objects'][0]['x'] = id(connection)
    managers[0].commit()
    with pytest.raises(ConflictError):
        managers[1].commit()
    managers[1].abort()
    for connection in connections:
        connection.close()


def everything(storage):
    """What can be reached: the state and serial of each."""
    return {oid: storage.loadBefore(oid, FAR)[:2] for oid in reachable(storage)}


def test_servers_in_turn_with_the_same_caches(database, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    db = open_python(database, 'blobs')
    with db.transaction() as connection:
        root = connection.root()
        root['objects'] = PersistentMapping((n, PersistentMapping(n=n)) for n in range(OBJECTS))
        root['blob'] = Blob(b'first')
    db.close()
    # Both have a file of configuration, a directory of blobs and an address.
    config = f'<zeo>\naddress 127.0.0.1:{free_port()}\n</zeo>\n' + database.section('blob-dir blobs')
    for turn in range(3):
        with python_server(monkeypatch, config) if turn % 2 else Server(config) as server:
            if not turn:
                db = DB(ClientStorage(server.address, cache='stays', blob_dir='client'))
            wait_until(lambda: is_connected(db))
            fresh = ClientStorage(server.address)
            back = ClientStorage(server.address, cache='comes', blob_dir='client2')
            assert everything(back) == everything(fresh) == everything(db.storage)
            for number in range(3):
                change(db, number, f'turn {turn}')
            conflict(db)
            if database.keep_history and not turn % 2:
                # Python's server fails to undo in a RelStorage (a TypeError).
                db.undo(db.undoLog(0, 1)[0]['id'])
                transaction.commit()
            other = DB(back)
            change(other, turn, 'other')
            db.storage.ping()
            assert everything(back) == everything(db.storage)
            with other.transaction() as connection, connection.root()['blob'].open() as f:
                assert f.read() == f'other {turn}'.encode() * 1000
            db.pack()
            other.close()
            fresh.close()
        # What clients don't hear of while no server is there.
        python = open_python(database, 'python')
        change(python, turn, 'between')
        python.close()
    db.close()


def is_connected(db):
    """Whether it is connected again, and knows what has happened."""
    try:
        db.storage.ping()
        return True
    except ClientDisconnected:
        return False


def convert_file(name, source, destination):
    with open(name, 'w') as f:
        f.write(source.replace('<relstorage 1>', '<relstorage source>') + '\n'
                + destination.replace('<relstorage 1>', '<relstorage destination>') + '\n')
    return name


def file_section(name, path):
    return f'<filestorage {name}>\npath {path}\nblob-dir {path}-blobs\n</filestorage>'


def test_zodbconvert_and_fstool_make_the_same(serve, database, tmp_path):
    """From what clients of a server have written, and back."""
    server = serve(storages=database.section('blob-dir server'))
    with contextlib.closing(DB(ClientStorage(server.address, blob_dir='client'))) as db:
        with db.transaction('first') as connection:
            root = connection.root()
            root['objects'] = PersistentMapping((n, PersistentMapping(n=n)) for n in range(OBJECTS))
            root['blob'] = Blob(b'first')
        for number in range(4):
            change(db, number, 'client')
        if database.keep_history:
            db.undo(db.undoLog(0, 1)[0]['id'])
            transaction.commit()
        with db.transaction() as connection:
            gone = connection.root()['objects'].pop(3)
            gone._p_activate()
            oid, serial = gone._p_oid, gone._p_serial
        storage, txn = db.storage, transaction.get()
        storage.tpc_begin(txn)
        storage.deleteObject(oid, serial, txn)
        storage.tpc_vote(txn)
        storage.tpc_finish(txn)
        change(db, 9, 'last')
        if not database.keep_history:
            # zodbconvert finds a deleted object in a file, and ends with a POSKeyError.
            db.pack()
    server.stop()

    made = database.section('blob-dir server')
    zodbconvert_copy(convert_file('to-file.conf', made, file_section('destination', 'theirs.fs')))
    fstool_copy(convert_file('to-file.conf', made, file_section('destination', 'ours.fs')))
    assert in_file('ours.fs') == in_file('theirs.fs')
    assert in_blobs('ours.fs') == in_blobs('theirs.fs')
    databases = [type(database)(database.cluster, database.keep_history) for _ in range(2)]
    for copy, other, program in zip(('theirs', 'ours'), databases, (zodbconvert_copy, fstool_copy)):
        section = other.section(f'blob-dir back-{copy}')
        program(convert_file('back.conf', file_section('source', 'theirs.fs'), section))
    found = [all_of(other) for other in (*databases, database)]
    assert found[0] == found[1]
    if database.keep_history:
        assert found[0]['transaction'] == found[2]['transaction']
    for other in databases:
        # The next oids are behind those that are there.
        with contextlib.closing(ClientStorage(serve(storages=other.section()).address)) as client:
            assert u64(client.new_oid()) > u64(max(reachable(client)))
    for other in databases:
        assert transactions(other.open()) == in_file('theirs.fs')


def zodbconvert_copy(config):
    zodbconvert.main(['zodbconvert', config])


def fstool_copy(config):
    fstool.check('copy', config)


def in_blobs(path):
    return read_blobs(FileStorage(path, blob_dir=f'{path}-blobs'))


def all_of(database):
    if database.keep_history:
        return rows(database)
    return {'object_state': database.sql('SELECT zoid, tid, state_size, state FROM object_state ORDER BY zoid')}
