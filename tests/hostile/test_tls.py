"""Peers that do not keep to TLS, or do not go on with it."""
import os
import random
import resource
import socket
import struct

import pytest
from support.server import PATIENCE
from support.tls import TlsSocket
from support.wire import Wire

pytestmark = [pytest.mark.tls, pytest.mark.ours_only('it logs nothing of TLS'),
              pytest.mark.parametrize('encoding', ['M'], indirect=True)]

NEVER = pytest.mark.arguments('--handshake-timeout', '3600')
# Types of records: those that there are, and two that there are not.
TYPES = 20, 21, 22, 23, 24, 99


def connect(target):
    """A connection on which nothing was sent."""
    raw = socket.create_connection(target.server.address, PATIENCE)
    client = TlsSocket(raw, Wire.context, handshake=False)
    target.clients.append(client)
    return client


def at_state(target, state):
    """A connection that has come so far with its handshake."""
    client = connect(target)
    if state >= 1:
        client.step()
        client.fetch()
    if state >= 2:
        client.do_handshake()
    if state >= 3:
        client.recv(6)
    return client


def record(kind, body, length=None, version=0x0303):
    """A record as it stands on the wire."""
    return struct.pack('>BHH', kind, version, len(body) if length is None else length) + body


def is_closed(client):
    """Waits until the server has closed."""
    try:
        while client.raw.recv(1 << 16):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize('state', range(4))
def test_garbage_at_every_state(target, state):
    """Each piece on a connection of its own; the bystander notices nothing."""
    pieces = [record(kind, os.urandom(100)) for kind in TYPES]
    pieces += [record(kind, b'') * 40 for kind in TYPES]
    pieces += [record(23, b'x', 65535) + os.urandom(1 << 16), record(22, b'x' * 50, version=0),
               record(22, b'\1\xff\xff\xff' + b'x' * 96), record(22, b'\x18\0\0\1\7'),
               record(21, b'\2\0'), b'GET / HTTP/1.1\r\n\r\n', b'\x80\x2e\1\3\1' + b'x' * 60]
    for piece in pieces:
        client = at_state(target, state)
        try:
            client.raw.sendall(piece)
            client.cut()
        except OSError:
            pass  # it was quicker
        assert is_closed(client)
    target.serves_as_before()


def test_a_handshake_that_is_cut_or_changed_anywhere(target):
    """At random places of both messages that a client sends."""
    chance = random.Random(7)
    for _ in range(60):
        client = connect(target)
        client.step(send=False)
        hello = client.pending()
        which = chance.randrange(2)
        if which == 1:
            client.raw.sendall(hello)
            while not client.step(send=False):
                client.fetch()
        message = hello if which == 0 else client.pending()
        at = chance.randrange(len(message))
        if chance.randrange(2):
            client.raw.sendall(message[:at])
        else:
            client.raw.sendall(message[:at] + bytes([message[at] ^ (1 << chance.randrange(8))])
                               + message[at + 1:])
        client.cut()
        assert is_closed(client)
    target.serves_as_before()


def test_a_handshake_byte_by_byte_is_fine(target):
    client = connect(target)
    while not client.step(send=False):
        for byte in client.pending():
            client.raw.sendall(bytes([byte]))
        client.fetch()
    for byte in client.pending():
        client.raw.sendall(bytes([byte]))
    assert client.recv(6) == b'\0\0\0\2M5'


def test_a_record_that_is_cut_in_the_middle(target):
    """What was whole before it is answered."""
    client = target.hostile()
    number = client.request('lastTransaction')
    question = client.socket.encrypted(b'\0\0\0\4' + b'\x94\x07\xc2\xc0')
    client.socket.raw.sendall(question[:len(question) // 2])
    client.socket.cut()
    assert client.receive_answer()[0] == number
    assert client.is_closed()
    target.server.wait_for_log('close_notify')


def test_a_changed_record_ends_the_connection(target):
    client = target.hostile()
    data = bytearray(client.socket.encrypted(b'\0\0\0\4' + b'\x94\x07\xc2\xc0'))
    data[len(data) // 2] ^= 1
    client.socket.raw.sendall(data)
    assert is_closed(client.socket)
    target.server.wait_for_log('TLS: decryption failed or bad record mac')


@pytest.mark.arguments('--handshake-timeout', '1')
def test_stalls_in_the_handshake_end_after_its_time(target):
    """The time counts as a whole: a byte now and then does not prolong it."""
    stalled = [at_state(target, state) for state in (0, 0, 1, 1)]
    slow = connect(target)
    slow.step(send=False)
    with pytest.raises(OSError):
        for byte in slow.pending() + bytes(1 << 20):
            slow.raw.sendall(bytes([byte]))
            slow.raw.settimeout(0.05)
            try:
                if not slow.raw.recv(1):
                    raise ConnectionError
            except TimeoutError:
                pass
    assert all(is_closed(client) for client in stalled)
    target.serves_as_before()
    target.server.wait_for_log('after 1 seconds')


@NEVER
def test_half_open_handshakes_keep_nobody_out(target):
    """More than there are descriptors, and none of them ever times out."""
    limit = 600
    resource.prlimit(target.server.pid, resource.RLIMIT_NOFILE, (limit, limit))
    silent = [connect(target) for _ in range(limit)]
    for number in range(limit):
        client = connect(target)
        client.step()
        if number % 100 == 0:
            target.serves_as_before()
    target.serves_as_before()
    assert is_closed(silent[0])
    assert target.resources()[1] < limit
    target.server.wait_for_log('too many handshakes at once: the oldest is dropped')
    assert target.server.log().count('too many handshakes') < 10


@NEVER
def test_a_stop_waits_for_no_handshake(target):
    clients = [at_state(target, state) for state in (0, 1)]
    target.server.stop()
    assert all(is_closed(client) for client in clients)
    target.check = lambda: None


def test_many_requests_in_one_record_and_one_in_many(target):
    client = target.hostile()
    ping = client._encode((5, False, 'ping', ()))
    frame = struct.pack('>I', len(ping)) + ping
    client.socket.sendall(frame * 200)
    for byte in frame:
        client.socket.sendall(bytes([byte]))
    for _ in range(201):
        assert client.receive_answer()[0] == 5


def test_a_reader_who_is_in_no_hurry(target):
    """Replies of some megabytes, taken a few bytes at a time."""
    client = target.hostile()
    client.commit({b'\0' * 7 + b'\3': b'x' * 3_000_000})
    number = client.request('loadBefore', b'\0' * 7 + b'\3', b'\x7f' + b'\xff' * 7)
    for byte in range(4):
        assert len(client.socket.recv(1)) == 1
    target.serves_as_before()
    size = 3_000_000
    while size > 0:
        size -= len(client.socket.recv(4000))
    assert number


