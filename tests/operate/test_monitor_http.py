"""The monitor's HTTP: what is no request, or comes slowly, gets an answer or an end, and hurts nobody."""
import contextlib
import re
import socket

import pytest
from support.monitor import Monitor, Unix
from support.server import PATIENCE
from support.wire import Wire

pytestmark = pytest.mark.ours_only('Python\'s server has no monitor')

# As many connections as the monitor serves at a time.
PLACES = 16


def answer(address, request):
    """All that is answered to these bytes."""
    with connected(address) as raw:
        with contextlib.suppress(OSError):
            raw.sendall(request)
            raw.shutdown(socket.SHUT_WR)
        return read_all(raw)


def connected(address):
    host, port = address.rsplit(':', 1)
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def read_all(raw):
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := raw.recv(1 << 16):
            parts.append(part)
    return b''.join(parts)


@pytest.fixture
def monitored(serve):
    server = serve(args=('--monitor', '0', '--monitor', './monitor.sock'))
    monitor = Monitor(server)
    yield server, monitor, monitor.addresses[0]
    # Whatever came, clients and the monitor go on.
    with Wire(server.address) as wire:
        assert wire.call('lastTransaction')
        assert len(monitor.status()['clients']) == 1
    assert 'panicked' not in server.log()


@pytest.mark.parametrize('request_, status', [
    (b'\0\0\0\x04ruok', None), (b'', None), (b'GET', None), (b'GET / HTTP/1.1\r\nHost: ', None),
    (b'\r\n' * 10_000, 431), (b'\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03' + bytes(500), 400),
    (b'GET / HTTP/9.9\r\n\r\n', 400), (b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400),
    (b'GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n', 421),
    (b'GET /../../etc/passwd HTTP/1.0\r\n\r\n', 404), (b'GET /nothing HTTP/1.0\r\n\r\n', 404),
    (b'DELETE /status.json HTTP/1.0\r\n\r\n', 405), (b'POST / HTTP/1.0\r\n\r\n', 405),
    (b'POST /control/kick HTTP/1.0\r\nContent-Length: 5000\r\n\r\n' + bytes(5000), 413),
    (b'POST /control/kick HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 411),
    (b'GET / HTTP/1.1\r\nX: ' + b'x' * 100_000 + b'\r\n\r\n', 431),
    (b'GET / HTTP/1.1\r\n' + b'A: b\r\n' * 1000 + b'\r\n', 431),
    (b'GET /healthz HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\n\r\n', 200),
])
def test_what_is_no_good_request(monitored, request_, status):
    _, _, address = monitored
    got = answer(address, request_)
    if status is None:
        assert got == b'' or got.startswith(b'HTTP/1.1 400 ')
    else:
        assert got.startswith(b'HTTP/1.1 %d ' % status), got
        assert b'\r\nConnection: close\r\n' in got and got.count(b'HTTP/1.1') == 1


def test_a_head_has_no_body_and_the_page_may_run_only_itself(monitored):
    _, monitor, address = monitored
    head = answer(address, b'HEAD /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n')
    assert head.startswith(b'HTTP/1.1 200 ') and head.endswith(b'\r\n\r\n')
    page = answer(address, b'GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n')
    policy = page.split(b'Content-Security-Policy: ')[1].split(b'\r\n')[0]
    assert policy.startswith(b"default-src 'none'; script-src '") and b'unsafe' not in policy
    connection = Unix('./monitor.sock')
    connection.request('GET', '/metrics', headers={'Host': 'anything.example'})
    got = connection.getresponse()
    assert got.status == 200
    assert got.headers['Content-Type'] == 'text/plain; version=0.0.4; charset=utf-8'
    connection.close()


def test_clients_that_say_nothing_do_not_keep_others_waiting(monitored):
    server, monitor, address = monitored
    with contextlib.ExitStack() as silent:
        raws = [silent.enter_context(connected(address)) for _ in range(2 * PLACES)]
        raws[0].sendall(b'GET /status.json HT')
        with Wire(server.address) as wire:
            wire.call('tpc_begin', 1, b'', b'', {}, None, ' ')
            wire.call('vote', 1)
            wire.call('tpc_finish', 1)
        # One that accepts, and those that wait for a request.
        with open(f'/proc/{server.pid}/status') as f:
            threads = int(re.search(r'Threads:\s+(\d+)', f.read())[1])
        assert threads < 3 * PLACES
        # Those who ask take the places of those who do not.
        for _ in range(5):
            assert monitor.ask('/healthz') == (200, 'ok\n')
        assert raws[1].recv(1) == b''
        # They are too few to have lost theirs.
        raws[-1].sendall(b'GET /healthz HTTP/1.0\r\n\r\n')
        assert raws[-1].recv(15) == b'HTTP/1.1 200 OK'
    # All have gone: there is room again.
    assert monitor.ask('/healthz') == (200, 'ok\n')
