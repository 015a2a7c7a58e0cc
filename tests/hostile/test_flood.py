"""Clients that ask for more than they read, or for more than is good for others."""
import resource
import select
import socket
import threading
import time

import pytest
from support.configuration import mappingstorage
from support.server import PATIENCE, is_python, wait_until
from ZODB.utils import p64

from hostile.clients import TXN, record

MB = 1 << 20
NOW = b'\x7f' + b'\xff' * 7
MANY = [p64(number) for number in range(1000, 1500)]


def in_background(target):
    """Runs in a thread and is joined before the test's end."""
    thread = threading.Thread(target=target, daemon=True)
    thread.start()
    return thread


def test_invalidations_that_nobody_reads(target):
    """Clients that never read: what is kept for them is bounded, and nobody waits for them.

    Python's server keeps everything."""
    idle = [target.hostile() for _ in range(20)]
    for number in range(300):
        target.bystander.commit({oid: b'%d' % number for oid in MANY[:100]})
    for client in idle:
        assert client.is_alive()
    assert target.memory() < 64 * MB or is_python()


@pytest.mark.options(storages=mappingstorage())
@pytest.mark.ours_only('it keeps everything, and closes nobody')
def test_a_full_mailbox_closes(target):
    """A client that reads nothing is closed once its mailbox is full, and no earlier event is
    lost to it: what it finds in its socket afterwards are all the tids in order, up to the end."""
    idle = target.hostile()
    writers = [target.hostile() for _ in range(8)]
    stop = threading.Event()
    tids = []

    def write(writer, number):
        while not stop.is_set():
            tids.append(writer.commit({p64(5000 + number): b'x'}))
            writer.notifications.clear()

    threads = [in_background(lambda w=w, n=n: write(w, n)) for n, w in enumerate(writers)]
    # What fills it up quicker: replies that are not read either.
    target.bystander.commit({p64(77): b'x' * MB})
    for _ in range(30):
        idle.request('loadBefore', p64(77), NOW)

    def is_full():
        return target.offences(idle) or 'does not read' in target.server.log()

    try:
        while not is_full():
            done = len(tids)
            wait_until(lambda: is_full() or len(tids) > done + 100)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert idle.is_closed()
    assert target.memory() < 128 * MB


@pytest.mark.ours_only('it keeps all replies')
def test_loads_that_nobody_reads(target):
    """A thousand replies of 1 MB, of which none is read: a few are made, and no more."""
    oid = p64(77)
    target.bystander.commit({oid: b'x' * MB})
    clients = [target.hostile() for _ in range(5)]
    for client in clients:
        for _ in range(1000):
            client.request('loadBefore', oid, NOW)
    time.sleep(0.5)
    target.serves_as_before()
    assert target.memory() < 5 * 12 * MB
    first = clients[0]
    for number in range(1000):  # it was only held: now it reads, and gets them all
        message = first.receive_answer()
        assert (message[0], len(message[3][0])) == (number + 2, MB)
    assert first.is_alive()


def test_pipelined_loads(target):
    """A client that sends many requests at once, and reads their replies, gets all of them."""
    oid = p64(77)
    for size in 1000, 100_000, 700_000:
        target.bystander.commit({oid: b'x' * size})
        client = target.hostile()
        ids = [client.request('loadBefore', oid, NOW) for _ in range(60)]
        assert [client.receive_answer()[0] for _ in ids] == ids


def test_vote_behind_many_loads(target):
    """An answer that comes by way of the mailbox is not left there by a busy client."""
    oid = p64(77)
    target.bystander.commit({oid: b'x' * 300_000})
    client = target.hostile()
    client.begin()
    client.store(p64(78), record())
    vote = client.request('vote', TXN)
    ids = [client.request('loadBefore', oid, NOW) for _ in range(50)]
    assert {client.receive_answer()[0] for _ in range(51)} == {vote, *ids}
    assert client.call('tpc_finish', TXN)


def test_locks_of_a_client_that_reads_nothing(target):
    """It votes, asks for more than it reads, and sends garbage: its locks are released at once."""
    client = target.hostile()
    target.bystander.commit({p64(77): b'x' * MB})
    client.begin()
    client.store(p64(78), record())
    client.call('vote', TXN)
    for _ in range(20):
        client.request('loadBefore', p64(77), NOW)
    time.sleep(0.2)
    client.reset()
    assert target.hostile().commit({p64(78): record('free')})


@pytest.mark.ours_only('it never releases the lock of a client that it has closed')
def test_garbage_behind_replies_that_nobody_reads(target):
    """The same for a client that makes itself be closed, and still reads nothing."""
    client = target.hostile()
    target.bystander.commit({p64(77): b'x' * MB * 2})
    client.begin()
    client.store(p64(78), record())
    client.call('vote', TXN)
    client.request('loadBefore', p64(77), NOW)
    client.request('loadBefore', p64(77), NOW)
    client.request('loadBefore', p64(77), NOW)
    client.send(b'garbage')
    other = target.hostile()
    # Its requests are not even looked at before it reads; the deadline would be 30 seconds.
    while client.socket.recv(1 << 16):
        pass
    assert other.commit({p64(78): record('free')})


@pytest.mark.ours_only('it has a thread for every call, and keeps the files of iterators open')
def test_helpers_are_few(target):
    """Calls that run on threads of their own: a client has a few of them at a time."""
    for number in range(50):
        target.bystander.commit({p64(77): b'%d' % number})
    client = target.hostile()
    numbers = []
    for _ in range(300):
        numbers += [client.request('undoLog', 0, 20), client.request('history', p64(77), 1000),
                    client.request('iterator_start', None, None)]
    threads = target.resources()[2]
    assert threads <= target.before[2] + 12
    answered = [client.receive_answer() for _ in numbers]
    assert sorted(message[0] for message in answered) == sorted(numbers)
    assert client.call('ping') is None


@pytest.mark.options(invalidation_age=1000, invalidation_queue_size=2)
def test_questions_about_invalidations(target):
    """Every `getInvalidations` is answered, also those that need a walk through the file."""
    since = target.bystander.commit({p64(77): b'first'})
    for number in range(20):
        target.bystander.commit({p64(78): b'%d' % number})
    client = target.hostile()
    numbers = []
    for _ in range(50):
        numbers += [client.request('undoLog', 0, 20), client.request('getInvalidations', since)]
    answers = dict(client.receive_answer()[::3] for _ in numbers)
    assert sorted(answers) == numbers
    for number in numbers[1::2]:
        assert list(answers[number][1]) == [p64(78)]


def test_labels_without_end(target):
    """A client that renames itself all the time has one name, the last, and costs no memory."""
    client = target.hostile()
    for number in range(100_000):
        client.send_async('set_client_label', f'label-{number}')
    assert client.is_alive()
    assert target.memory() < 16 * MB or is_python()
    client.attempt('no_such_method')
    if not is_python():
        target.one_line(client, r'\(label-99999 ')


def test_iterators_without_end(target):
    """Iterators that are opened and never used are limited to a number, with an error."""
    for number in range(20):
        target.bystander.commit({p64(77): b'%d' % number})
    client = target.hostile()
    last = None
    for start in range(0, 12_000, 500):
        numbers = [client.request('iterator_start', None, None) for _ in range(500)]
        for _ in numbers:
            last = client.receive_message()
    if not is_python():
        assert last[1] == 2 and last[3][0] == 'builtins.ValueError'
        assert target.memory() < 32 * MB
    client.call('iterator_gc', list(range(12_000)))
    assert client.attempt('iterator_start', None, None)[0] == 'ok'


def test_iterators_out_of_order(target):
    """Wrong ids, wrong kinds and wrong transactions are errors; the connection goes on."""
    client = target.hostile()
    iterator = client.call('iterator_start', None, None)
    assert client.attempt('iterator_next', 999)[1] == 'builtins.KeyError'
    assert client.attempt('iterator_record_next', 999)[1] == 'builtins.KeyError'
    assert client.attempt('iterator_record_start', iterator, p64(1))[1] == 'builtins.KeyError'
    tid = client.call('iterator_next', iterator)[0]
    assert client.attempt('iterator_record_start', iterator, p64(1))[1] == 'builtins.Exception'
    records = client.call('iterator_record_start', iterator, tid)
    if not is_python():  # it has one table for both kinds, and mixes them up
        assert client.attempt('iterator_next', records)[1] == 'builtins.TypeError'
        assert client.attempt('iterator_record_next', iterator)[1] == 'builtins.TypeError'
    assert client.call('iterator_record_next', records)[1] == tid


def test_connections_come_and_go(target):
    """Two thousand short connections, ended in every way, from four threads at once."""
    def visit(end):
        for number in range(500):
            client = target.stranger()
            if number % 2:
                client.hello().request('register', '1', False)
            getattr(client, end)()
            client.close()

    threads = [in_background(lambda end=end: visit(end))
               for end in ('close', 'reset', 'finish_sending', 'close')]
    for thread in threads:
        target.serves_as_before()
        thread.join()


@pytest.mark.ours_only('it writes a traceback for each')
def test_no_descriptors_left(target):
    """More connections than the server may open files: those who are there are served, one line
    says why nobody else is, and when some have gone others come in."""
    limit = target.resources()[1] + 30
    resource.prlimit(target.server.pid, resource.RLIMIT_NOFILE, (limit, limit))
    strangers = [socket.create_connection(target.server.address) for _ in range(200)]
    wait_until(lambda: "can't accept connections" in target.server.log())
    for number in range(20):
        time.sleep(0.05)
        target.bystander.commit({p64(77): record(f'number {number}')})
    # Another one only when somebody has gone meanwhile: a client that was here before the test, or
    # a stranger whose minute to register is over.
    log = target.server.log()
    lines = [log.count(line) for line in ("can't accept connections:", 'accepting connections again')]
    assert lines[0] == 1 + lines[1] or lines[0] == lines[1]
    for stranger in strangers:
        stranger.close()
    target.serves_as_before()
    target.server.wait_for_log('accepting connections again')


def test_everybody_at_once(target):
    """Forty clients store to the same object at the same time; their commits take turns."""
    clients = [target.hostile() for _ in range(40)]
    for client in clients:
        client.begin()
        client.store(p64(77), record())
    for client in clients:
        client.request('vote', TXN)
    by_socket = {client.socket: client for client in clients}
    won = 0
    while by_socket:
        ready = [s for s, client in by_socket.items() if client.has_input()]
        ready = ready or select.select(list(by_socket), [], [], PATIENCE)[0]
        assert ready, f'{len(by_socket)} votes without an answer'
        for client in [by_socket.pop(s) for s in ready]:
            message = client.receive_message()
            if message[2] != '.reply':
                by_socket[client.socket] = client
            elif message[1] == 0:
                won += 1
                client.call('tpc_finish', TXN)
    assert won == 1
