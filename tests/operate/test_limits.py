"""Limits: who is over one is refused clearly, and nobody else notices."""
import os
import resource
import socket
import tempfile
import time

import pytest
from exchange.writer import Writer, pickle_of
from support.configuration import filestorage, zeo
from support.server import PATIENCE, Server, is_python, wait_until
from support.wire import Disconnected, Wire, WireError
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import StorageTransactionError
from ZODB.utils import p64

pytestmark = pytest.mark.skipif(is_python(), reason='it has no limits')

MB = 1 << 20
FULL = "can't accept connections: there are as many as may be"
ROOM_AGAIN = 'accepting connections again'


def commit(wire, number, data, serial=bytes(8)):
    wire.call('tpc_begin', number, b'', b'', {}, None, ' ')
    for oid, record in data.items():
        wire.send_async('storea', p64(oid), serial, record, number)
    wire.call('vote', number)
    return wire.call('tpc_finish', number)


def test_number_of_clients(serve, caplog):
    """A refused client of Python's logs why, and does not come back at once."""
    server = serve(args=['--max-clients', '2'])
    first, second = Wire(server.address), Wire(server.address)
    with pytest.raises(WireError) as error:
        Wire(server.address)
    assert 'the server has 2 clients' in str(error.value.payload)
    client = ClientStorage(server.address, wait=False)
    wait_until(lambda: 'the server has 2 clients' in caplog.text)
    commit(first, 1, {1: pickle_of(1)})
    # Monitors still get their answer.
    with Wire(server.address, register=None) as probe:
        probe.send(b'ruok')
        assert b'"connections":2' in probe.receive()
    server.wait_for_log('clients are refused, as there are 2 already')
    assert server.log().count('clients are refused, as there are 2 already') == 1
    second.close()
    wait_until(client.is_connected)
    assert client.load(p64(1))[0] == pickle_of(1)
    client.close()


def test_data_of_one_transaction(serve, encoding):
    server = serve(encoding=encoding, args=['--max-transaction-size', '1mb'])
    with Wire(server.address) as wire, Wire(server.address) as other:
        wire.call('tpc_begin', 1, b'', b'', {}, None, ' ')
        for number in range(30):
            wire.send_async('storea', p64(number), bytes(8), pickle_of('x' * 100_000), 1)
        with pytest.raises(WireError) as error:
            wire.call('vote', 1)
        assert 'max-transaction-size' in str(error.value.payload)
        wire.call('tpc_abort', 1)
        server.wait_for_log('the vote will fail')
        commit(wire, 2, {1: pickle_of(1)})
        commit(other, 3, {2: pickle_of(2)})
        assert server.log().count('the vote will fail') == 1


def test_what_python_is_told(serve):
    """The application gets an error that is not retried, with the reason."""
    server = serve(args=['--max-transaction-size', '1mb'])
    client = ClientStorage(server.address)
    with pytest.raises(StorageTransactionError, match='max-transaction-size'):
        Writer(client, explicit_tids=False).commit((1, pickle_of('x' * 2 * MB)))
    assert client.is_connected()
    client.close()


def test_uncommitted_data_of_all(serve):
    """Who is over the limit of all fails; when the others have finished, there is room again."""
    server = serve(args=['--max-uncommitted-size', '3mb'])
    one, other = Wire(server.address), Wire(server.address)
    one.call('tpc_begin', 1, b'', b'', {}, None, ' ')
    one.send_async('storea', p64(1), bytes(8), pickle_of('x' * 2 * MB), 1)
    one.call('ping')
    with pytest.raises(WireError) as error:
        commit(other, 2, {2: pickle_of('y' * 2 * MB)})
    assert 'max-uncommitted-size' in str(error.value.payload)
    other.call('tpc_abort', 2)
    one.call('vote', 1)
    one.call('tpc_finish', 1)
    commit(other, 3, {2: pickle_of('y' * 2 * MB)})


def test_memory_for_messages(serve):
    """Half of a large message does not fit: that client goes. Usual ones always fit, and
    transactions go to the disk."""
    server = serve(args=['--max-buffer-memory', '8mb'])
    with Wire(server.address) as bystander:
        hogs = [Wire(server.address) for _ in range(8)]
        for hog in hogs:
            try:
                hog.socket.sendall((1 << 28).to_bytes(4, 'big') + bytes(4 * MB))
            except ConnectionError:
                pass
        wait_until(lambda: server.log().count('max-buffer-memory') >= 6, server.log)
        commit(bystander, 1, {n: pickle_of('x' * 900_000) for n in range(8)})
        for hog in hogs:
            hog.close()
        wait_until(lambda: server.log().count(' disconnected') >= len(hogs), server.log)
        with Wire(server.address) as wire:
            commit(wire, 2, {9: pickle_of('x' * 3 * MB)})


def test_few_descriptors(tmp_path, monkeypatch):
    """1,100 connections at a limit of 1,024 open files: as many as there is room for are served, also
    with large transactions, blobs, packs and indexes; one line says why the others are not, and they
    get in later."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip('this process may not open enough files')
    monkeypatch.chdir(tmp_path)
    resource.setrlimit(resource.RLIMIT_NOFILE, (2000, hard))
    connections = []
    try:
        limit = 1024, 1024
        config = zeo() + filestorage(pack_gc=False, blob_dir='blobs')
        server = Server(config, tmp_path, preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, limit))
        with server:
            assert 'the limit of open files, 1024, is enough for' in server.log()
            clients = fill(server)
            connections += clients
            assert 150 < len(clients) < 300
            while len(connections) < 1100:
                connections.append(socket.create_connection(server.address))
            server.wait_for_log(FULL)
            for number, client in enumerate(clients[:3]):
                commit(client, 1, {number * 10 + n: pickle_of('x' * 3 * MB) for n in range(3)})
            upload_together(clients)
            tid = commit(clients[0], 1, {100: pickle_of(1)})
            commit(clients[0], 1, {100: pickle_of(2)}, tid)
            clients[0].call('pack', time.time() + 1, True)
            wait_until(lambda: 'packing' not in clients[0].call('server_status'))
            assert os.path.exists('Data.fs.old')
            assert server.log().count('clients are refused') == 1
            expected = 10 + len(clients)
            while connections:
                connections.pop().close()
            server.wait_for_log(ROOM_AGAIN)
            with admitted(server) as wire:
                assert wire.call('get_info')['length'] == expected
            wait_until(lambda: server.log().count(FULL) == server.log().count(ROOM_AGAIN), server.log)
            assert 'Too many open files' not in server.log()
    finally:
        for connection in connections:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def upload_together(clients):
    """All clients have an upload open at the same time; then all are committed, and can be had."""
    for number, client in enumerate(clients):
        client.call('tpc_begin', 1, b'', b'', {}, None, ' ')
        client.send_async('storeBlobStart')
        client.send_async('storeBlobChunk', b'blob %d' % number)
    for client in clients:
        client.call('ping')
    for number, client in enumerate(clients):
        client.send_async('storeBlobEnd', p64(1000 + number), bytes(8), pickle_of(number), 1)
        client.call('vote', 1)
    for number, client in enumerate(clients):
        tid = client.call('tpc_finish', 1)
        client.notifications.clear()
        client.call('sendBlob', p64(1000 + number), tid)
        chunks = [args[2] for _, _, name, args in client.notifications if name == 'receiveBlobChunk']
        assert chunks == [b'blob %d' % number]


def test_an_index_is_saved_at_the_limit_of_descriptors(serve):
    """With none left while it serves, the stop saves the index: Python uses it."""
    server = serve()
    with Wire(server.address) as wire:
        commit(wire, 1, {n: pickle_of(n) for n in range(20)})
        in_use = len(os.listdir(f'/proc/{server.pid}/fd'))
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (in_use, in_use))
        commit(wire, 2, {n: pickle_of(n) for n in range(20, 40)})
    server.stop()
    storage = FileStorage('Data.fs')
    assert storage._used_index and len(storage) == 40
    storage.close()


def admitted(server):
    """A client as soon as there is room for one: the server may not have noticed yet who has gone."""
    while True:
        try:
            return Wire(server.address)
        except WireError as error:
            assert 'the most that are allowed' in str(error.payload)


def test_a_place_that_comes_free_now_and_then(serve):
    """At the limit, someone goes and the next one comes in, again and again: that is one time in
    which connections can't be accepted, with a line at its begin and one at its end."""
    server = serve(args=['--max-clients', '1'])
    strangers = [socket.create_connection(server.address, PATIENCE) for _ in range(80)]
    server.wait_for_log(FULL)
    # One client, and a few more that have not registered. The rest waits.
    accepted, rounds = 1 + 32, 20
    for number in range(rounds):
        strangers[number].close()
        # It is greeted when it is accepted. Who has waited longest comes first.
        assert strangers[number + accepted].recv(1)
    # More than one only if the machine was so busy that nothing happened for seconds.
    assert server.log().count(FULL) < rounds / 2, server.log()
    for stranger in strangers:
        stranger.close()
    server.wait_for_log(ROOM_AGAIN)
    with admitted(server) as wire:
        assert wire.call('lastTransaction')


def fill(server):
    """As many clients as are not refused."""
    clients = []
    try:
        while True:
            clients.append(Wire(server.address))
    except WireError as error:
        assert 'the most that are allowed' in str(error.payload)
    return clients


@pytest.mark.skipif(os.getuid() != 0, reason='the limit of threads is that of another user')
def test_no_threads_left():
    """Who is there is served, also with what else has a thread of its own; others come later."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        limit = 40, 40
        server = WithoutFile('', directory, user=54321, group=54321, extra_groups=[],
                             preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, limit))
        with server:
            run_out_of_threads(server)


class WithoutFile(Server):
    """One that need not read its configuration's file."""

    def options(self):
        return ['-a', '127.0.0.1:0', '-f', 'Data.fs']


def run_out_of_threads(server):
    client = Wire(server.address)
    others = []
    try:
        while len(others) < 40:
            others.append(Wire(server.address))
    except (Disconnected, ConnectionError):
        pass
    server.wait_for_log("can't accept connections: ")
    commit(client, 1, {n: pickle_of('x' * 3 * MB) for n in range(3)})
    server.wait_for_log("can't start a helper thread")
    client.call('pack', 0.0, True)
    assert client.call('get_info')['length'] == 3
    for other in others:
        other.close()
    wait_until(lambda: len(os.listdir(f'/proc/{server.pid}/task')) < 30)
    with Wire(server.address) as wire:
        assert wire.call('get_info')['length'] == 3
    server.wait_for_log(ROOM_AGAIN)
    client.close()
