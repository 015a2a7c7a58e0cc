"""What clients of several kinds see: probes, read-only, timeouts, caches, the log."""
import json
import re
import socket
import struct
import time

import pytest
from support.configuration import filestorage, mappingstorage
from support.server import PATIENCE, is_python, wait_until
from support.wire import Disconnected, Wire, WireError
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZODB.POSException import ReadOnlyError
from ZODB.utils import p64, u64, z64

from exchange import files, histories
from exchange.writer import Writer, pickle_of


def test_ruok(serve, encoding):
    """The probe gets the greeting and the status of every storage as JSON."""
    server = serve(encoding=encoding, storages=filestorage() + mappingstorage('other'))
    client = ClientStorage(server.address)
    tid = Writer(client).commit((0, pickle_of('x')))
    with Wire(server.address, register=None) as wire:
        assert wire.greeting[:1] == encoding.encode()
        wire.send(b'ruok')
        status = json.loads(wire.receive())
    assert sorted(status) == ['1', 'other']
    assert status['1']['last-transaction'] == tid.hex()
    assert (status['1']['connections'], status['1']['commits'], status['1']['stores']) == (1, 1, 1)
    client.close()


def test_probes_make_no_noise(serve):
    """Health checks that only connect, and `ruok`, leave no warning in the log."""
    server = serve()
    for close_at_once in range(3):
        with socket.create_connection(server.address) as s:
            if not close_at_once:
                s.recv(100)
    if not is_python():
        with socket.create_connection(server.address) as s:  # a reset instead of an end
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    with Wire(server.address, register=None) as wire:
        wire.send(b'ruok')
        wire.receive()
    ClientStorage(server.address).close()
    time.sleep(0.2)
    for word in 'WARN', 'ERROR', 'CRITICAL', 'Traceback':
        assert word not in server.log()


def test_votes_that_wait(serve):
    """The log tells of them when they are many; that few wait is nothing to tell."""
    server = serve()
    wires = [Wire(server.address) for _ in range(12)]
    for number, wire in enumerate(wires):
        wire.call('tpc_begin', 1, b'', b'', {}, None, ' ')
        wire.send_async('storea', p64(1), z64, pickle_of(number), 1)
        if number:
            wire.request('vote', 1)
        else:
            wire.call('vote', 1)
        waits = [line for line in server.log().splitlines() if 'transactions waiting' in line]
        if number == 3:
            assert waits == []
    wait_until(lambda: 'transactions waiting: 11' in server.log())
    waits = [line for line in server.log().splitlines() if 'transactions waiting' in line]
    for line in waits:
        number = int(re.search(r'waiting: (\d+)', line)[1])
        assert ('WARNING' if number < 10 else 'CRITICAL') in line and number > 3
    for wire in wires:
        wire.close()


def test_read_only_server(serve, encoding):
    files.write('Data.fs', histories.plain)
    server = serve(encoding=encoding, read_only=True)
    with Wire(server.address, register=None) as wire:
        wire.send(wire.greeting)
        with pytest.raises(WireError, match='ReadOnlyError'):
            wire.call('register', '1', False)
        wire.call('register', '1', True)  # the same connection may try again
        with pytest.raises(WireError, match='ReadOnlyError'):
            wire.call('tpc_begin', 1, b'', b'', {}, None, ' ')
        assert wire.call('get_info')['length'] == 3
    client = ClientStorage(server.address, read_only_fallback=True)
    assert client.is_read_only()
    with pytest.raises(ReadOnlyError):
        Writer(client).commit((0, b'x'))
    client.close()


def test_read_only_client_of_a_writable_server(serve):
    server = serve()
    client = ClientStorage(server.address, read_only=True)
    with pytest.raises(ReadOnlyError):
        Writer(client).commit((0, b'x'))
    client.close()
    with Wire(server.address, read_only=True) as wire:
        with pytest.raises(WireError, match='ReadOnlyError'):
            wire.call('tpc_begin', 1, b'', b'', {}, None, ' ')


def test_fallback_prefers_the_writable_server(serve):
    files.write('Data.fs', histories.plain)
    read_only = serve(read_only=True, storages=filestorage(read_only=True))
    writable = serve()
    client = ClientStorage([read_only.address, writable.address], read_only_fallback=True,
                           wait_timeout=PATIENCE)
    wait_until(lambda: client.is_connected() and not client.is_read_only())
    Writer(client, explicit_tids=False).commit((9, pickle_of('x')))
    client.close()


def test_unknown_storage(serve):
    server = serve()
    with pytest.raises((WireError, Disconnected)):
        Wire(server.address, register='nowhere')
    with pytest.raises(ClientDisconnected):
        ClientStorage(server.address, storage='nowhere', wait_timeout=1)
    ClientStorage(server.address).close()


def test_transaction_timeout(serve, encoding):
    """A client that votes and does not finish is closed, and its transaction is gone."""
    server = serve(encoding=encoding, transaction_timeout=1)
    with Wire(server.address) as slow:
        vote(slow)
        assert_closed(slow)
    with Wire(server.address) as wire:
        assert wire.call('get_info')['length'] == 0


@pytest.mark.ours_only('it never releases the lock of a client that it closed for its timeout')
def test_transaction_timeout_frees_the_lock(serve, encoding):
    """Whoever waits behind a client that is timed out gets its turn."""
    server = serve(encoding=encoding, transaction_timeout=3)
    with Wire(server.address) as slow, Wire(server.address) as next_one:
        vote(slow)
        vote(next_one)
        tid = next_one.call('tpc_finish', 1)
        assert_closed(slow)
        assert next_one.call('lastTransaction') == tid


def test_no_timeout_before_the_vote(serve):
    """Only a transaction that holds up others runs against the clock."""
    server = serve(transaction_timeout=3)
    with Wire(server.address) as wire:
        wire.call('tpc_begin', 1, b'', b'', {}, None, ' ')
        time.sleep(3.5)
        wire.send_async('storea', z64, z64, pickle_of('x'), 1)
        assert not wire.call('vote', 1)
        assert wire.call('tpc_finish', 1)


def test_client_label(serve):
    server = serve()
    client = ClientStorage(server.address, client_label='the-label')
    client.close()
    server.wait_for_log('the-label')


def test_invalidation_queue(serve, encoding):
    """getInvalidations reaches back as far as the queue, by its setting, and no further."""
    server = serve(encoding=encoding, invalidation_queue_size=5)
    tids = commit_numbers(server, 10)
    with Wire(server.address) as wire:
        assert invalidations(wire, tids[-1]) == (tids[-1], set())
        assert invalidations(wire, tids[-4]) == (tids[-1], {7, 8, 9})
        assert invalidations(wire, tids[2]) is None


def test_invalidations_after_a_restart(serve, encoding):
    """The queue is filled from the end of the file, so a restart costs no client its cache."""
    server = serve(encoding=encoding)
    tids = commit_numbers(server, 20)
    server.stop()
    server = serve(encoding=encoding)
    with Wire(server.address) as wire:
        assert invalidations(wire, tids[-1]) == (tids[-1], set())
        assert invalidations(wire, tids[9]) == (tids[-1], set(range(10, 20)))


def test_invalidation_age(serve, encoding):
    """What the queue has forgotten is read from the file, if it is young enough."""
    files.write('Data.fs', histories.many_revisions)  # of some years ago
    server = serve(encoding=encoding, invalidation_queue_size=2, invalidation_age=1000)
    with Wire(server.address) as wire:
        old = wire.call('lastTransaction')
    tids = commit_numbers(server, 10, first=100)
    with Wire(server.address) as wire:
        assert invalidations(wire, tids[-1]) == (tids[-1], set())
        assert invalidations(wire, tids[5]) == (tids[-1], {106, 107, 108, 109})
        assert invalidations(wire, tids[0]) == (tids[-1], set(range(101, 110)))
        assert invalidations(wire, old) is None


@pytest.mark.ours_only('it reads the file only with an invalidation-age')
def test_clients_that_were_away_for_longer(serve, encoding, tmp_path):
    """What neither the queue nor the one of the next start holds is read from the end of the file."""
    server = serve(encoding=encoding)
    tids = commit_numbers(server, 1500)
    for restart in True, False:
        with Wire(server.address) as wire:
            assert invalidations(wire, tids[-300]) == (tids[-1], set(range(1201, 1500)))
            assert invalidations(wire, tids[0]) == (tids[-1], set(range(1, 1500)))
            assert invalidations(wire, p64(1)) is None
        if restart:
            server.stop()
            server = serve(encoding=encoding)


@pytest.mark.parametrize('missed, options, verdict, logged', [
    (0, {}, 'Cache up to date', ''),
    (3, {}, 'quick verification', 'Return 3 invalidations up to tid'),
    (12, {'invalidation_queue_size': 5}, 'cache too old, clearing', 'must drop its cache'),
    (12, {'invalidation_queue_size': 5, 'invalidation_age': 1000}, 'quick verification',
     'from the end of the storage'),
])
def test_cache_verification(missed, options, verdict, logged, serve, encoding):
    """A client with a persistent cache comes back after having missed some transactions."""
    server = serve(encoding=encoding, **options)
    commit_numbers(server, 15)
    client = ClientStorage(server.address, client='cache')
    for number in range(15):
        client.load(p64(number))
    client.close()
    other = ClientStorage(server.address)
    writer = Writer(other, explicit_tids=False)
    writer.serials = {p64(n): other.load(p64(n))[1] for n in range(missed)}
    for number in range(missed):
        writer.commit((number, pickle_of('new')))
    other.close()
    client = ClientStorage(server.address, client='cache')
    assert client._server.client.verify_result.lower() == verdict.lower()
    if not is_python():
        server.wait_for_log(logged)
    for number in range(15):
        expected = pickle_of('new') if number < missed else pickle_of(number)
        assert client.load(p64(number))[0] == expected
    client.close()


def test_invalidations_reach_other_clients(serve, encoding):
    """In order of tid, and the committing client gets none of its own."""
    server = serve(encoding=encoding)
    with Wire(server.address) as listener:
        tids = commit_numbers(server, 20)
        listener.call('ping')
        seen = [args for _id, _flag, name, args in listener.notifications
                if name == 'invalidateTransaction']
    assert [args[0] for args in seen] == tids
    assert [list(args[1]) for args in seen] == [[p64(n)] for n in range(20)]


def test_an_answer_comes_behind_what_was_committed_before(serve, encoding):
    """Who hears from another client that it has committed, and then asks the server for anything,
    knows of the change when the answer is there. The option `server_sync` rests on that."""
    server = serve(mappingstorage(), encoding)
    with Wire(server.address) as writer, Wire(server.address) as listener:
        serial = z64
        for number in range(1000):
            writer.call('tpc_begin', 1, b'', b'', {}, None, ' ')
            writer.send_async('storea', z64, serial, pickle_of(number), 1)
            writer.call('vote', 1)
            serial = writer.call('tpc_finish', 1)
            listener.call('ping')
            told = [args[0] for _id, _flag, name, args in listener.notifications
                    if name == 'invalidateTransaction']
            assert told == [serial], number
            listener.notifications.clear()


def test_sessions_end_without_a_trace(serve):
    """A hundred clients that come and go leave no connection behind."""
    server = serve()
    for _ in range(100):
        Wire(server.address).close()
    with Wire(server.address) as wire:
        wait_until(lambda: wire.call('server_status')['connections'] == 1)


def vote(wire):
    """Brings a transaction with one new object as far as its vote."""
    wire.call('tpc_begin', 1, b'', b'', {}, None, ' ')
    wire.send_async('storea', z64, z64, pickle_of('x'), 1)
    assert not wire.call('vote', 1)


def assert_closed(wire):
    """The server has closed, or soon closes, the connection."""
    with pytest.raises((Disconnected, ConnectionError)):
        while True:
            wire.receive()


def commit_numbers(server, count, first=0):
    """Transactions that each create an object, numbered from `first` on; returns their tids."""
    client = ClientStorage(server.address)
    writer = Writer(client, explicit_tids=False)
    for number in range(first, first + count):
        writer.commit((number, pickle_of(number)))
    client.close()
    return writer.tids


def invalidations(wire, tid):
    answer = wire.call('getInvalidations', tid)
    return answer and (answer[0], {u64(oid) for oid in answer[1]})
