"""Compressed records: the sections of zc.zlibstorage, and files that the package has written."""
import zlib

import pytest
import transaction
import ZODB
import ZODB.config
from BTrees.Length import Length
from BTrees.OOBTree import OOBTree
from support.configuration import filestorage, zlibstorage
from support.server import is_python
from support.wire import Wire, WireError
from zc.zlibstorage import ZlibStorage
from ZEO.ClientStorage import ClientStorage
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage
from ZODB.utils import load_current, maxtid, p64

from . import histories
from .reading import WireStorage, differences, everything, undo_log
from .seals import unsealed
from .writer import Reference, Writer, pickle_of

SECTIONS = {
    'zlibstorage': {}, 'zlibstorage without compression': {'compress': False},
    'serverzlibstorage': {'kind': 'serverzlibstorage'},
    'serverzlibstorage without compression': {'kind': 'serverzlibstorage', 'compress': False},
}
REPETITIVE = 'x' * 500


def history(w):
    """Records that get shorter, that don't, and that clients compressed, with undo and more."""
    w.commit((0, pickle_of('root', [Reference(n) for n in (1, 2, 3)])), user='root')
    w.commit((1, pickle_of(REPETITIVE)), (2, pickle_of('')), (3, zipped(pickle_of('3' * 90))))
    tid = w.commit((1, pickle_of('y' * 300)), (3, pickle_of('4' * 90)), description='changes')
    w.undo(tid)
    w.restore((4, pickle_of('r' * 200), None), (2, None, None), (5, b'.', None))
    w.delete(1)
    w.commit((1, pickle_of('w' * 100)))


@pytest.mark.parametrize('name', SECTIONS)
def test_same_file(name, serve, encoding):
    """The same calls keep the same records in the same form, and show the same."""
    python = python_storage('python.fs', **SECTIONS[name])
    history(Writer(python))
    server = serve(storages=zlibstorage(filestorage(), **SECTIONS[name]), encoding=encoding)
    client = ClientStorage(server.address)
    history(Writer(client))
    with Wire(server.address) as wire:
        storage = WireStorage(wire)
        ours = everything(storage), undo_log(storage)
        interfaces = wire.call('get_info')['interfaces']
    assert interfaces[-2:] == (('ZODB.interfaces', 'IStorageWrapper'), ('zope.interface', 'Interface'))
    client.close()
    server.stop()
    # What zlib makes of a record may differ in its bytes; sizes are of what is kept.
    python.close()
    assert kept('Data.fs') == kept('python.fs')
    with open('python.fs', 'rb') as f:
        assert f.read().count(b'.z') == unsealed_data().count(b'.z')
    python = python_storage('Data.fs', **SECTIONS[name])
    assert_same(ours, python)
    python.close()


@pytest.mark.parametrize('name', SECTIONS)
def test_file_of_python(name, serve, encoding):
    """Every answer over a file that the package has written."""
    python = python_storage('Data.fs', **SECTIONS[name])
    history(Writer(python))
    python.close()
    server = serve(storages=zlibstorage(filestorage(), **SECTIONS[name]), encoding=encoding)
    with Wire(server.address) as wire:
        storage = WireStorage(wire)
        ours = everything(storage), undo_log(storage)
    server.stop()
    python = python_storage('Data.fs', **SECTIONS[name])
    assert_same(ours, python)
    python.close()


@pytest.mark.parametrize('name', SECTIONS)
def test_conflicts_and_pack(name, serve, encoding):
    """Both see through the compression, of whomever it is; what a merge makes is kept as set."""
    settings = SECTIONS[name]
    server = serve(storages=zlibstorage(filestorage(), **settings), encoding=encoding)
    by_client = settings.get('kind') == 'serverzlibstorage'
    client = ClientStorage(server.address)
    db = ZODB.DB(ZlibStorage(client) if by_client else client)
    managers = [transaction.TransactionManager() for _ in range(2)]
    first, second = [db.open(manager) for manager in managers]
    first.root.counter = Length()
    first.root.tree = tree = OOBTree({'a': REPETITIVE})
    managers[0].commit()
    managers[1].begin()
    tree['b'], second.root.tree['c'] = REPETITIVE, REPETITIVE
    first.root.counter.change(1)
    second.root.counter.change(2)
    managers[0].commit()
    managers[1].commit()
    managers[0].begin()
    assert list(tree) == ['a', 'b', 'c'] and first.root.counter() == 3
    oid, counted = tree._p_oid, first.root.counter._p_oid
    del first.root.counter
    managers[0].commit()
    db.pack()
    with Wire(server.address) as wire:
        assert wire.call('get_info')['length'] == 2
        assert wire.call('loadBefore', oid, maxtid)
        with pytest.raises(WireError, match='POSKeyError'):
            wire.call('loadBefore', counted, maxtid)
    for manager, connection in zip(managers, (first, second)):
        manager.abort()
        connection.close()
    db.close()
    server.stop()
    storage = FileStorage('Data.fs', read_only=True)
    assert load_current(storage, oid)[0].startswith(b'.z') == settings.get('compress', True)
    storage.close()


def test_damaged_record(serve, encoding):
    """A record that begins as a compressed one and is none: an error that names it, no more."""
    storage = FileStorage('Data.fs')
    Writer(storage).commit((0, pickle_of('root')), (1, b'.znot zipped at all'))
    storage.close()
    server = serve(storages=zlibstorage(filestorage()), encoding=encoding)
    with Wire(server.address) as wire:
        tid = wire.call('lastTransaction')
        with pytest.raises(Exception, match='zlib.error') as caught:
            wire.call('loadSerial', p64(1), tid)
        assert is_python() or '0x01' in str(caught.value)
        assert wire.call('loadSerial', p64(0), tid) == pickle_of('root')
        number = wire.call('iterator_start', None, None)
        assert wire.call('iterator_next', number)
        records = wire.call('iterator_record_start', number, tid)
        with pytest.raises(Exception, match='zlib.error'):
            [wire.call('iterator_record_next', records) for _ in range(2)]


def python_storage(path, kind='zlibstorage', **options):
    text = zlibstorage(filestorage(path), kind, **options)
    return ZODB.config.storageFromString(text)


def zipped(data):
    return b'.z' + zlib.compress(data)


def kept(path):
    """All records as they stand in the file: whether they are compressed, and what they are."""
    storage = FileStorage(path, read_only=True)
    records = [(r.oid, r.data and (r.data[:2] == b'.z', plain(r.data)), r.data_txn)
               for txn in storage.iterator() for r in txn]
    storage.close()
    return records


def plain(data):
    return zlib.decompress(data[2:]) if data[:2] == b'.z' else data


def unsealed_data():
    with open('Data.fs', 'rb') as f:
        return unsealed(f.read())


def assert_same(ours, storage):
    for mine, theirs in zip(ours, (everything(storage), undo_log(storage))):
        assert not differences(mine, theirs)


def test_blobs(serve, encoding):
    """They stand beside the records, as in a storage without compression."""
    server = serve(storages=zlibstorage(filestorage(blob_dir='blobs')), encoding=encoding)
    db = ZODB.DB(ClientStorage(server.address, blob_dir='cache'))
    with db.transaction() as connection:
        connection.root.blob = Blob(b'content')
        connection.root.text = REPETITIVE
    db.close()
    server.stop()
    text = zlibstorage(filestorage('Data.fs', blob_dir='blobs'))
    db = ZODB.DB(ZODB.config.storageFromString(text))
    with db.transaction() as connection, connection.root.blob.open() as f:
        assert (f.read(), connection.root.text) == (b'content', REPETITIVE)
    db.close()
