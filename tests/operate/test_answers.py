"""What the server answers, to the last bit and the last count as Python's does: times, extensions,
errors, counters, votes that wait for nobody."""
import base64
import os
import random
import socket
import time
from contextlib import closing

import pytest
from persistent.TimeStamp import TimeStamp
from support.configuration import filestorage
from support.server import is_python, wait_until
from support.wire import Disconnected, Wire, WireError
from ZEO.ClientStorage import ClientStorage
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64

from exchange.writer import Writer, pickle_of
from hostile.test_blobs import DATA, OID

FILE_STORAGE_ERROR = 'ZODB.FileStorage.FileStorage.FileStorageError'
NO_KEY = 'ZODB.POSException.POSKeyError'
FIRST, SECOND = 1, 2  # ids of transactions


def write(path, tids, extension=None):
    """A file with a transaction of each of these tids, which store the root."""
    storage = FileStorage(path)
    serial = z64
    for tid in tids:
        meta = TransactionMetaData(extension=extension)
        storage.tpc_begin(meta, p64(tid))
        storage.store(z64, serial, pickle_of(str(tid)), '', meta)
        storage.tpc_vote(meta)
        serial = storage.tpc_finish(meta)
    storage.close()


def test_times(serve, encoding, tmp_path):
    """Those of history, undoLog and undoInfo are TimeStamp(tid).timeTime(), and so `_p_mtime`."""
    chosen = random.Random(1)
    write('Data.fs', sorted({chosen.randrange(0x023c << 48, 0x040d << 48) for _ in range(64)}))
    server = serve(encoding=encoding)
    client = ClientStorage(server.address)
    history = client.history(z64, 100)
    assert len(history) == 64
    for entry in history:
        assert entry['time'] == TimeStamp(entry['tid']).timeTime(), entry['tid'].hex()
    for entries in client.undoLog(0, 100), client.undoInfo(0, 100):
        assert len(entries) == 64
        for entry in entries:
            tid = base64.decodebytes(entry['id'] + b'\n')
            assert entry['time'] == TimeStamp(tid).timeTime(), tid.hex()
    client.close()


ODD = {1: 'int', None: 'none', (1, 'a'): 'tuple', 1.5: 'float', 'in': {True: 'inside'}}


@pytest.mark.ours_only('by msgpack, its client closes the connection over such an answer')
def test_keys_in_the_file(serve, encoding):
    """By pickle they are as they stand there, by msgpack text: its clients read no others."""
    write('Data.fs', [0x040d << 48], extension=ODD)
    server = serve(encoding=encoding)
    expected = ODD if encoding == 'Z' else {
        '1': 'int', 'None': 'none', "(1, 'a')": 'tuple', '1.5': 'float', 'in': {'True': 'inside'}}
    client = ClientStorage(server.address)
    for entry in client.history(z64)[0], client.undoLog(0, 1)[0], client.undoInfo(0, 1)[0]:
        assert {key: entry[key] for key in expected} == expected
    assert next(iter(client.iterator())).extension == expected
    client.close()


@pytest.mark.parametrize('extension', [{1: 2}, {'a': {None: 1}}, {'a': [{(1,): 2}]}])
def test_keys_of_clients(serve, encoding, extension):
    """By pickle there may be any. By msgpack Python's server closes the connection; ours tells."""
    server = serve(encoding=encoding)
    client = ClientStorage(server.address)
    writer = Writer(client)
    if encoding == 'Z':
        writer.commit((0, pickle_of('x')), extension=extension)
        entry = client.history(z64)[0]
        assert {key: entry[key] for key in extension} == extension
    elif not is_python():
        meta = TransactionMetaData(extension=extension)
        client.tpc_begin(meta)
        with pytest.raises(TypeError, match='a key in the extension must be text or bytes'):
            client.tpc_vote(meta)
        client.tpc_abort(meta)
        with Wire(server.address) as wire:
            with pytest.raises(WireError, match='a key in the extension'):
                wire.call('tpc_begin', FIRST, b'', b'', extension, None, ' ')
            assert wire.call('server_status')['active_txns'] == 0
        writer.commit((0, pickle_of('x')), extension={'a': 1, 'b': {b'c': 2}})
    client.close()


@pytest.mark.parametrize('extension', [{'a': '\ud800'}, {'\udfff': 'é€'},
                                       {'a': ['\ud83d\ude00x']}])
def test_lone_surrogates(serve, extension):
    """By pickle they are committed, and come back; msgpack has none."""
    server = serve()
    client = ClientStorage(server.address)
    Writer(client).commit((0, pickle_of('x')), extension=extension)
    for entry in client.history(z64)[0], client.undoLog(0, 1)[0]:
        assert {key: entry[key] for key in extension} == extension
    client.close()
    server.stop()
    with closing(FileStorage('Data.fs', read_only=True)) as storage:
        assert next(iter(storage.iterator())).extension == extension
    server = serve(encoding='M')
    with Wire(server.address) as wire:
        if '\udfff' in extension and not is_python():  # as a key, it is shown
            assert any('xed' in key for key in wire.call('history', z64, 1)[0])
        else:
            with pytest.raises(WireError, match="Couldn't pickle response"):
                wire.call('history', z64, 1)
        assert wire.call('get_info')


@pytest.mark.parametrize('field, words', [(1, 'user name too long'), (2, 'description too long'),
                                          (3, 'too much extension data')])
def test_texts_that_are_too_long(serve, encoding, field, words):
    server = serve(encoding=encoding)
    args = [FIRST, b'', b'', {}, None, ' ']
    args[field] = {'a': 'x' * 65536} if field == 3 else b'x' * 65536
    with Wire(server.address) as wire:
        wire.send_async('tpc_begin', *args)
        with pytest.raises(WireError) as refused:
            wire.call('vote', FIRST)
        assert (refused.value.name, refused.value.payload) == (FILE_STORAGE_ERROR, (words,))


def test_blobs_without_a_file(serve, encoding):
    """The error names the file that is not there, and the revision."""
    server = serve(encoding=encoding, storages=filestorage(blob_dir='blobs'))
    with Wire(server.address) as wire:
        wire.call('tpc_begin', FIRST, b'', b'', {}, None, ' ')
        wire.call('storeBlobStart')
        wire.call('storeBlobEnd', OID, z64, DATA, FIRST)
        wire.call('vote', FIRST)
        tid = wire.call('tpc_finish', FIRST)
        path, = [os.path.join(directory, name) for directory, _, names in os.walk('blobs')
                 for name in names if name.endswith('.blob')]
        os.remove(path)
        with pytest.raises(WireError) as missing:
            wire.call('sendBlob', OID, tid)
        text, *revision = missing.value.payload
        assert (missing.value.name, revision) == (NO_KEY, [OID, tid])
        assert text.startswith('No blob file at /') and text.endswith(path)


def test_a_blob_that_is_elsewhere(serve, encoding):
    """A client with another directory than the server: its transaction fails, and the connection,
    which other threads use as well, goes on."""
    server = serve(encoding=encoding, storages=filestorage(blob_dir='blobs'))
    client = ClientStorage(server.address, blob_dir='elsewhere', shared_blob_dir=True)
    Writer(client).commit((0, pickle_of('x')))
    iterator = client.iterator()
    next(iterator)
    with open('upload', 'wb') as f:
        f.write(b'content')
    meta = TransactionMetaData()
    client.tpc_begin(meta)
    client.storeBlob(OID, z64, DATA, os.path.abspath('upload'), '', meta)
    with pytest.raises(Exception) as failed:
        client.tpc_vote(meta)
    assert 'FileNotFoundError' in str(failed.value)
    client.tpc_abort(meta)
    assert list(iterator) == []
    client.close()


# Where an iterator begins and ends: whatever bytes, compared as bytes.
RANGES = [(b'', None, 3), (None, b'', 0), (b'\x02', None, 3), (b'\x05', None, 0),
          (None, b'\x05', 3), (None, b'\x02', 0), (b'\x03' + b'\xff' * 8, None, 3)]


@pytest.mark.parametrize('start, stop, count', RANGES)
def test_iterators_with_odd_ends(serve, encoding, start, stop, count):
    write('Data.fs', [0x0400 << 48, 0x0401 << 48, 0x0402 << 48])
    server = serve(encoding=encoding)
    with Wire(server.address) as wire:
        number = wire.call('iterator_start', start, stop)
        found = 0
        while wire.call('iterator_next', number):
            found += 1
        assert found == count


def begin(wire, txn=FIRST):
    wire.call('tpc_begin', txn, b'', b'', {}, None, ' ')


def store(wire, number, serial=z64, txn=FIRST):
    wire.send_async('storea', p64(number), serial, pickle_of('x'), txn)


def test_counters(serve, encoding):
    """What moves each of them."""
    server = serve(encoding=encoding, storages=filestorage(blob_dir='blobs'),
                   transaction_timeout=60)
    watch = Wire(server.address)
    counters = ['connections', 'loads', 'stores', 'commits', 'aborts', 'active_txns', 'conflicts',
                'waiting']
    before = watch.call('server_status')
    assert before['timeout-thread-is-alive'] is True

    def moved():
        status = watch.call('server_status')
        return {name: status[name] - before[name] for name in counters
                if status[name] != before[name]}

    def settles(**expected):
        wait_until(lambda: moved() == expected, lambda: f'{expected}, not {moved()}')
        before.update(watch.call('server_status'))

    client = Wire(server.address)
    settles(connections=1)
    begin(client)
    settles(active_txns=1)
    for number in 1, 2:
        store(client, number)
    client.call('ping')
    settles(stores=2)
    client.call('vote', FIRST)
    tid = client.call('tpc_finish', FIRST)
    settles(commits=1, active_txns=-1)
    client.call('loadBefore', p64(1), b'\x7f' * 8)
    client.call('loadSerial', p64(1), tid)
    with pytest.raises(WireError):
        client.call('loadBefore', p64(77), b'\x7f' * 8)
    settles(loads=2)
    with pytest.raises(WireError):
        client.call('storea', p64(1), z64, b'', SECOND)  # no such transaction
    settles()
    begin(client)
    client.send_async('deleteObject', p64(1), tid, FIRST)
    client.send_async('restorea', p64(2), tid, pickle_of('y'), None, FIRST)
    client.send_async('checkCurrentSerialInTransaction', p64(1), tid, FIRST)
    client.send_async('undoa', base64.encodebytes(tid).strip(), FIRST)
    client.send_async('storeBlobStart')
    client.send_async('storeBlobEnd', OID, z64, DATA, FIRST)
    client.call('tpc_abort', FIRST)
    settles(stores=2, aborts=1)
    begin(client)
    store(client, 1)
    with pytest.raises(WireError):
        client.call('vote', FIRST)
    settles(stores=1, conflicts=1)
    begin(client)
    client.send_async('storea', 5, z64, b'', FIRST)
    with pytest.raises(WireError):
        client.call('vote', FIRST)
    settles(stores=1)
    begin(client)
    client.call('ping')
    client.close()
    settles(connections=-1, aborts=1)
    client = Wire(server.address)
    begin(client)
    store(client, 3)
    client.call('vote', FIRST)
    client.close()
    settles(stores=1, aborts=1)
    watch.close()


@pytest.mark.ours_only('it never ends the transaction of a client that it closed for its timeout')
def test_a_timeout_counts_as_an_abort(serve, encoding):
    server = serve(encoding=encoding, transaction_timeout=1)
    with Wire(server.address) as watch, Wire(server.address) as slow:
        begin(slow)
        store(slow, 1)
        slow.call('vote', FIRST)
        with pytest.raises((Disconnected, ConnectionError)):
            slow.receive()
        wait_until(lambda: watch.call('server_status')['active_txns'] == 0)
        assert watch.call('server_status')['aborts'] == 1


def test_no_timeout(serve, encoding):
    server = serve(encoding=encoding, transaction_timeout=None if is_python() else 0)
    with Wire(server.address) as wire:
        assert wire.call('server_status')['timeout-thread-is-alive'] == 'stub'


def test_lock_time(serve, encoding):
    """Since when whoever has the locks now has had them, not since somebody had."""
    server = serve(encoding=encoding)
    first, second, watch = (Wire(server.address) for _ in range(3))

    def lock_time():
        return watch.call('server_status')['lock_time']

    assert lock_time() is None
    for wire in first, second:
        begin(wire)
        store(wire, 1)
    started = time.time()
    first.call('vote', FIRST)
    since = lock_time()
    assert started <= since <= time.time()
    second.request('vote', FIRST)
    wait_until(lambda: watch.call('server_status')['waiting'] == 1)
    assert lock_time() == since
    handed_over = time.time()
    first.call('tpc_abort', FIRST)
    second.receive_message()
    wait_until(lambda: lock_time() >= handed_over)
    second.call('tpc_abort', FIRST)
    wait_until(lambda: lock_time() is None)
    for wire in first, second, watch:
        wire.close()


@pytest.mark.ours_only('it has one lock for all')
def test_lock_time_of_several(serve, encoding):
    """That of who has had its locks longest, and is still there."""
    server = serve(encoding=encoding)
    wires = [Wire(server.address) for _ in range(3)]
    times = []
    for number, wire in enumerate(wires):
        times.append(time.time())
        begin(wire)
        store(wire, number + 1)
        wire.call('vote', FIRST)
    with Wire(server.address) as watch:
        times.append(time.time())
        for number, wire in enumerate(wires):
            wait_until(lambda: times[number] <= watch.call('server_status')['lock_time']
                       <= times[number + 1])
            wire.call('tpc_abort', FIRST)
    for wire in wires:
        wire.close()


def test_a_vote_that_waits_for_nobody(serve, encoding):
    """A client that has ended while its vote waits holds up nobody on what only it would change.
    It has not gone by RST: to the server it might only have ended its sending half."""
    server = serve(encoding=encoding)
    holder, gone, other, watch = (Wire(server.address) for _ in range(4))
    for wire, numbers in (holder, [1]), (gone, [1, 2]), (other, [2]):
        begin(wire)
        for number in numbers:
            store(wire, number)
    holder.call('vote', FIRST)
    gone.request('vote', FIRST)
    wait_until(lambda: watch.call('server_status')['waiting'] == 1)
    number = other.request('vote', FIRST)
    wait_until(lambda: watch.call('server_status')['waiting'] == 2)
    gone.socket.shutdown(socket.SHUT_WR)
    if is_python():
        holder.call('tpc_abort', FIRST)  # one lock for all
    assert other.receive_message()[:2] == (number, 0)
    assert other.call('tpc_finish', FIRST)
    wait_until(lambda: watch.call('server_status')['waiting'] == 0)
    if not is_python():
        # What it has called is answered: the vote, and then the connection ends.
        _number, flag, _name, error = gone.receive_message()
        assert (flag, error[0]) == (2, 'ZODB.POSException.StorageTransactionError')
        assert watch.call('server_status')['lock_time'], 'the holder was not waited for'
    with pytest.raises((Disconnected, ConnectionError)):
        gone.receive()
    for wire in holder, gone, other, watch:
        wire.close()
