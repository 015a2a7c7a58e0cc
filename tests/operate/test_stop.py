"""The graceful stop, and what clients notice of a restart."""
import signal
import threading

import pytest
import transaction
import ZEO
from exchange.writer import Writer, pickle_of
from support.ports import free_port
from support.server import PATIENCE, is_python, wait_until
from support.wire import Disconnected, Wire
from ZEO.ClientStorage import ClientStorage
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64

pytestmark = pytest.mark.skipif(is_python(), reason='it closes all at once')


def vote(wire, number=1):
    """A transaction on the object of this number, up to its vote."""
    wire.call('tpc_begin', number, b'', b'', {}, None, ' ')
    wire.send_async('storea', p64(number), bytes(8), pickle_of(number), number)
    wire.call('vote', number)


def is_closed(wire):
    with pytest.raises((Disconnected, ConnectionError)):
        while True:
            wire.receive()
    return True


def test_who_has_voted_finishes(serve):
    """Others read and are told of it meanwhile; nobody comes, and nobody else votes."""
    server = serve(args=['--stop-timeout', str(PATIENCE)])
    voted, reader, late = (Wire(server.address) for _ in range(3))
    waiting = Wire(server.address)
    vote(voted)
    waiting.call('tpc_begin', 1, b'', b'', {}, None, ' ')
    waiting.send_async('storea', p64(1), bytes(8), pickle_of(1), 1)
    waiting.request('vote', 1)
    late.call('tpc_begin', 3, b'', b'', {}, None, ' ')
    late.send_async('storea', p64(3), bytes(8), pickle_of(3), 3)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for_log('waiting for 1 transactions that have voted')
    assert is_closed(waiting)
    with pytest.raises(ConnectionError):
        Wire(server.address)
    assert reader.call('lastTransaction') == bytes(8)
    late.request('vote', 3)
    assert is_closed(late)
    tid = voted.call('tpc_finish', 1)
    assert server.wait() == 0
    while True:
        message = reader.receive_message()
        if message[2] == 'invalidateTransaction':
            break
    assert message[3] == (tid, [p64(1)])
    assert is_closed(reader) and is_closed(voted)
    storage = FileStorage('Data.fs')
    assert storage._used_index and storage.lastTransaction() == tid and len(storage) == 1
    storage.close()


@pytest.mark.parametrize('hurry', [False, True])
def test_who_does_not_finish_is_waited_for_a_while(hurry, serve):
    """As long as configured, or until a second signal."""
    server = serve(args=['--stop-timeout', str(PATIENCE * 10) if hurry else '0.2'])
    voted = Wire(server.address)
    vote(voted)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for_log('waiting for 1 transactions that have voted')
    if hurry:
        server.process.send_signal(signal.SIGINT)
    assert server.wait() == 0
    assert '1 transactions that have voted did not finish in time' in server.log()
    assert is_closed(voted)
    storage = FileStorage('Data.fs')
    assert len(storage) == 0
    storage.close()


def test_restart_under_load(serve, tmp_path):
    """Python's clients go on over restarts: what they were told is committed is there, and their
    caches are verified quickly."""
    port = free_port()
    options = dict(address=f'127.0.0.1:{port}')
    server = serve(**options)
    acknowledged, stop, failures = {}, threading.Event(), []

    def work(number):
        storage = ClientStorage(server_address, wait_timeout=PATIENCE, client=f'cache{number}',
                                cache_size=1 << 20, var=str(tmp_path))
        db = DB(storage)
        manager = transaction.TransactionManager()
        root = db.open(manager).root()
        count = 0
        try:
            while not stop.is_set():
                try:
                    with manager:
                        root[number] = count + 1
                except transaction.interfaces.TransientError:
                    continue
                count += 1
                acknowledged[number] = count
            outcomes.append(storage._server.client.verify_result)
        except Exception as error:
            failures.append(error)
        db.close()

    server_address, outcomes = ('127.0.0.1', port), []
    ZEO.DB(server_address).close()
    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for number in signal.SIGTERM, signal.SIGHUP:
        seen = sum(acknowledged.values())
        wait_until(lambda: sum(acknowledged.values()) > seen + 20)
        server.signal(number)
        server = serve(**options)
    seen = dict(acknowledged)
    wait_until(lambda: all(acknowledged[n] > seen[n] for n in seen))
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures
    db = ZEO.DB(server_address)
    with db.transaction() as connection:
        found = dict(connection.root())
    # One whose answer got lost may be there besides.
    assert all(count <= found[n] <= count + 1 for n, count in acknowledged.items())
    db.close()
    assert set(outcomes) <= {'quick verification', 'Cache up to date'}, outcomes
