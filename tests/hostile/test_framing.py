"""Bytes that are no messages: before the greeting is answered, and after."""
import os
import struct
import time

import pytest
from support.server import is_python

MB = 1 << 20
HUGE = struct.pack('>I', 0xffffffff)


@pytest.mark.parametrize('answer', [
    b'Z4', b'M4', b'Z', b'5', b'GET / HTTP/1.1', b'Z5\n', b'\0' * 4000,
    b'Z5\n2026-01-01 CRITICAL a forged line'])
def test_garbage_greeting(target, answer):
    """Closed, with a line that shows what was sent but can't forge another.

    Python's does the same."""
    client = target.stranger()
    client.send(answer)
    assert client.is_closed()
    target.one_line(client, 'handshake')
    assert not [line for line in target.server.log().splitlines() if line.startswith('2026-01-01')]


@pytest.mark.parametrize('answer', [b'X5', b'\xff5'])
def test_unknown_encoding(target, answer):
    """Closed. Python's logs a traceback and leaves the connection open, and useless."""
    client = target.stranger()
    client.send(answer)
    if not is_python():
        assert client.is_closed()
        target.one_line(client, 'bad handshake')


@pytest.mark.ours_only('it logs a traceback and goes on waiting')
def test_empty_greeting(target):
    """Closed, like an empty frame at any time."""
    client = target.stranger()
    client.send(b'')
    assert client.is_closed()
    target.one_line(client, 'empty message')


@pytest.mark.ours_only('it waits for the rest of any length that is named')
@pytest.mark.parametrize('sent, words', [
    (HUGE, 'over the limit of 4096'),
    (b'GET / HTTP/1.0\r\n\r\n', 'over the limit of 4096'),
    (b'\x16\x03\x01\x02\x00\x01\x00', 'a TLS ClientHello'),
    (struct.pack('>I', 4097), 'over the limit of 4096')])
def test_huge_length_from_a_stranger(target, sent, words):
    """Closed as soon as the length is there: HTTP and TLS look like huge lengths.

    Python's server takes memory for whatever a stranger sends, up to 4 GiB."""
    client = target.stranger()
    client.send_bytes(sent)
    assert client.is_closed()
    target.one_line(client, words)


@pytest.mark.ours_only('it has no limit')
def test_long_register(target):
    """Answering the greeting gives no right to long messages."""
    client = target.stranger().hello()
    client.send_value((1, False, 'register', ('x' * 5000, False)))
    assert client.is_closed()
    target.one_line(client, 'over the limit of 4096')


@pytest.mark.ours_only('it has no limit')
@pytest.mark.arguments('--max-message-size', '1MB')
def test_huge_length_from_a_client(target):
    """Closed as soon as the length is there, with the limit in the log."""
    client = target.hostile()
    client.send_bytes(HUGE)
    assert client.is_closed()
    target.one_line(client, 'over the limit of 1048576')


def test_length_that_is_never_filled(target):
    """A hundred clients name 60 MB each and send a little: memory stays flat."""
    clients = [target.hostile() for _ in range(100)]
    for client in clients:
        client.send_bytes(struct.pack('>I', 60 * MB) + b'x' * 1000)
    target.serves_as_before()
    time.sleep(0.2)
    assert target.memory() < 12 * MB + 100 * target.client_memory
    assert not clients[0].is_closed(0.1)


def test_memory_of_a_frame_comes_back(target):
    """What long frames that are cut off have taken is given back."""
    clients = [target.hostile() for _ in range(4)]
    for client in clients:
        client.send_bytes(struct.pack('>I', 60 * MB) + b'x' * 20 * MB)
    target.serves_as_before()


def test_empty_frame(target):
    """Closed, as Python's server does it (to which it is an undecodable message)."""
    client = target.hostile()
    client.send(b'')
    assert client.is_closed()
    target.one_line(client, 'empty message')


def test_truncated_message(target):
    """A message that ends too early closes the connection."""
    good = target.hostile()._encode((1, False, 'ping', ()))
    for length in range(1, len(good)):
        client = target.hostile()
        client.send(good[:length])
        assert client.is_closed(), length
        target.one_line(client, "Can't deserialize message")


def test_frame_cut_off_by_the_end(target):
    """A client that ends inside of a frame is simply gone: no line of trouble."""
    for end in 'close', 'reset', 'finish_sending':
        client = target.hostile()
        client.send_bytes(struct.pack('>I', 1000) + b'x' * 10)
        getattr(client, end)()
        target.serves_as_before()
        if not is_python():
            assert not target.offences(client)


def test_trailing_bytes(target):
    """Bytes behind the message, within its frame.

    msgpack: closed by both servers. Pickle: Python's unpickler stops at the STOP and never
    looks further; ours closes, since no client has a reason to send them."""
    client = target.hostile()
    client.send(client._encode((1, False, 'ping', ())) + b'trailing')
    if is_python() and client.pickles:
        assert client.receive_message()[0] == 1
    else:
        assert client.is_closed()
        target.one_line(client, "Can't deserialize message")


def test_one_byte_at_a_time(target):
    """A slow client is served like any other, from the greeting on."""
    client = target.stranger()
    frames = [client.greeting, client._encode((1, False, 'register', ('1', False))),
              client._encode((2, False, 'ping', ()))]
    for byte in b''.join(struct.pack('>I', len(frame)) + frame for frame in frames):
        client.send_bytes(bytes([byte]))
        time.sleep(0.0005)
    assert client.receive_message()[0] == 1
    assert client.receive_message()[0] == 2
    client._last_id = 2
    assert client.is_alive()


def test_slow_loris(target):
    """Two hundred clients in the middle of a frame, each sending a byte now and then."""
    clients = [target.stranger() for _ in range(100)] + [target.hostile() for _ in range(100)]
    for client in clients:
        client.send_bytes(struct.pack('>I', 4000))
    for _ in range(20):
        for client in clients:
            client.send_bytes(b'x')
        target.serves_as_before()
    assert target.memory() < 24 * MB


def test_silent_connections(target):
    """Five hundred that never say anything; nobody else notices, and all is given back."""
    clients = [target.stranger() for _ in range(500)]
    target.serves_as_before()
    assert target.memory() < 500 * (64 * 1024 + target.client_memory)
    assert not clients[-1].is_closed(0.05)
    for client in clients[:250]:
        client.reset()


def test_noise(target):
    """Random bytes, framed and not, from strangers and from clients."""
    for number in range(40):
        stranger, client = target.stranger(), target.hostile()
        noise = os.urandom(1 + number * 97)
        if number % 2:
            stranger.send(noise)
            client.send(noise)
        else:
            stranger.send_bytes(noise)
            client.send_bytes(noise)
        stranger.close()
        client.close()


def test_handshake_and_calls_at_once(target):
    """A client need not wait for the greeting, nor for a reply."""
    client = target.stranger()
    frames = [client.greeting, client._encode((1, False, 'register', ('1', False)))]
    frames += [client._encode((number, False, 'ping', ())) for number in range(2, 500)]
    client.send_bytes(b''.join(struct.pack('>I', len(frame)) + frame for frame in frames))
    assert [client.receive_message()[0] for _ in range(1, 500)] == list(range(1, 500))
