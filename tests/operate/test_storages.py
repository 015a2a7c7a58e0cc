"""What the keys of a storage's section do."""
import os

import pytest
from support.configuration import filestorage, mappingstorage
from support.wire import Wire
from ZEO.ClientStorage import ClientStorage
from ZODB.POSException import ReadOnlyError
from ZODB.utils import p64

from exchange import files, histories
from exchange.writer import Writer, pickle_of


def test_create(serve):
    """`create` begins with an empty file, whatever was there."""
    files.write('Data.fs', histories.plain)
    server = serve(storages=filestorage(create=True))
    with Wire(server.address) as wire:
        assert wire.call('get_info')['length'] == 0
    server.stop()
    assert os.path.getsize('Data.fs') == 4


def test_no_create(serve):
    files.write('Data.fs', histories.plain)
    server = serve(storages=filestorage(create=False))
    with Wire(server.address) as wire:
        assert wire.call('get_info')['length'] == 3


def test_quota(serve, encoding):
    """What would go beyond it fails, at the latest by its vote; what fits goes on."""
    server = serve(storages=filestorage(quota='20KB'), encoding=encoding)
    client = ClientStorage(server.address)
    writer = Writer(client, explicit_tids=False)
    writer.commit((0, pickle_of('fits')))
    txn = writer.begin()
    with pytest.raises(Exception, match='[Qq]uota'):
        client.store(p64(1), p64(0), pickle_of('x' * 30000), '', txn)
        client.store(p64(2), p64(0), pickle_of('y'), '', txn)
        client.tpc_vote(txn)
    client.tpc_abort(txn)
    writer.commit((0, pickle_of('fits again')))
    assert len(client) == 1
    client.close()


def test_read_only_storage_in_a_writable_server(serve):
    files.write('Data.fs', histories.plain)
    server = serve(storages=filestorage(read_only=True) + mappingstorage('memory'))
    client = ClientStorage(server.address, read_only=True)
    assert len(client) == 3
    with pytest.raises(ReadOnlyError):
        Writer(client).commit((0, b'x'))
    client.close()
    client = ClientStorage(server.address, storage='memory')
    Writer(client, explicit_tids=False).commit((0, pickle_of('x')))
    client.close()


def test_read_only_storage_takes_no_lock(serve):
    """Two servers may serve one file, if all but one only read it."""
    writable = serve()
    client = ClientStorage(writable.address)
    writer = Writer(client, explicit_tids=False)
    writer.commit((0, pickle_of('x')))
    reader = serve(storages=filestorage(read_only=True), read_only=True)
    second = ClientStorage(reader.address, read_only=True)
    assert second.load(p64(0))[0] == pickle_of('x')
    second.close()
    client.close()


def test_mapping_storage_forgets(serve, encoding):
    """Objects in memory: there while the server runs, with their old revisions."""
    server = serve(storages=mappingstorage(), encoding=encoding)
    client = ClientStorage(server.address)
    writer = Writer(client, explicit_tids=False)
    first = writer.commit((0, pickle_of('first')))
    second = writer.commit((0, pickle_of('second')))
    assert client.loadBefore(p64(0), second) == (pickle_of('first'), first, second)
    assert client.load(p64(0)) == (pickle_of('second'), second)
    assert not client.supportsUndo()
    client.close()
    server.stop()
    server = serve(storages=mappingstorage(), encoding=encoding)
    with Wire(server.address) as wire:
        assert wire.call('get_info')['length'] == 0


def test_history_of_a_mapping_storage(serve, encoding):
    """It has other fields than that of a FileStorage: the extension stands apart."""
    server = serve(storages=mappingstorage(), encoding=encoding)
    with Wire(server.address) as wire:
        wire.call('tpc_begin', 1, b'jim', b'why', {'size': 'large'})
        wire.call('storea', p64(0), p64(0), b'data', 1)
        wire.call('vote', 1)
        tid = wire.call('tpc_finish', 1)
        entry, = wire.call('history', p64(0), 5)
    assert entry.pop('time') > 0
    assert entry == {'tid': tid, 'serial': tid, 'user_name': b'jim', 'description': b'why',
                     'extension': {'size': 'large'}, 'size': 4}
