"""`zeo`: with this server and Python's, and with what is none."""
import contextlib
import http.server
import json
import os
import pty
import re
import select
import signal
import socket
import socketserver
import subprocess
import threading
import time

import pytest
import ZEO
from exchange.writer import Writer, pickle_of
from support.configuration import filestorage, mappingstorage
from support.ports import free_port
from support.pretenders import GREETING, pretender
from support.programs import ours, run
from support.server import PATIENCE, is_python, wait_until
from ZODB.FileStorage import FileStorage

ZEO_TOOL = ours('zeo')


def zeo(*args, code=0, **options):
    result = run(ZEO_TOOL, *args, **options)
    assert result.code == code, (args, result)
    return result


def text(address):
    return address if isinstance(address, str) else '%s:%s' % address


def test_status(serve, encoding):
    server = serve(filestorage() + mappingstorage('other'), encoding=encoding)
    address = text(server.address)
    result = zeo('status', address)
    assert result.out.startswith(f'{address}: answers ({encoding}5)\n'), result
    assert re.search(r'^Storage 1\n  storage +\S*Data.fs\n', result.out, re.MULTILINE), result
    assert re.search(r'last transaction +none yet', result.out), result
    db = ZEO.DB(server.address)
    found = json.loads(zeo('status', '--json', address).out)
    assert (found['address'], found['greeting']) == (address, f'{encoding}5')
    assert sorted(found['storages']) == ['1', 'other']
    one = found['storages']['1']
    assert one['connections'] == one['commits'] == one['storage']['objects'] == 1
    assert one['storage']['last_tid'] == db.storage.lastTransaction().hex()
    assert abs(one['storage']['last_tid_time'] - time.time()) < PATIENCE
    assert one['storage']['bytes'] == os.path.getsize('Data.fs')
    db.close()


def test_ping(serve):
    server = serve(filestorage() + mappingstorage('other'))
    address = text(server.address)
    ZEO.DB(server.address).close()
    result = zeo('ping', address)
    assert 'storage 1: root object of ' in result.out and 'storage other: empty' in result.out
    assert zeo('ping', '-q', address, '--storage', 'other').out == ''
    result = zeo('ping', address, '--storage', 'third', code=1)
    assert 'unknown storage' in result.err or 'KeyError' in result.err, result
    server.stop()
    assert zeo('ping', address, code=1).err == (
        f"Error: can't connect to {address}: Connection refused\n")


@pytest.mark.parametrize('address', ['./zeo.sock', '[::1]:0'])
def test_unix_and_ipv6(serve, address):
    try:
        server = serve(address=address)
    except AssertionError as e:
        pytest.skip(f'no IPv6: {e}')
    if address.startswith('['):
        address = '[::1]:%s' % server.address[1]
    for command in 'status', 'ping', 'pack':
        zeo(command, address)


def test_pack(serve):
    server = serve()
    address = text(server.address)
    db = ZEO.DB(server.address)
    for length in 100_000, 0:
        with db.transaction() as connection:
            connection.root()['text'] = 'x' * length
    db.close()
    zeo('pack', address, '--days', '1')
    assert os.path.getsize('Data.fs') > 100_000
    assert zeo('pack', address).out.startswith(f'{address}: storage 1 is packed, after ')
    assert os.path.getsize('Data.fs') < 10_000
    assert 'the server packs storage 1' in zeo('pack', '--no-wait', address).out


@pytest.mark.parametrize('args', [
    [], ['status'], ['status', 'no-port'], ['pack', '1', '--days', '-1'], ['nonsense'],
    ['ping', '1', '--timeout', '0'], ['watch', '--interval', 'x'], ['kick'],
], ids=str)
def test_wrong_usage(args):
    assert zeo(*args, code=2).err


@pytest.mark.parametrize('command', ['status', 'ping', 'pack'])
@pytest.mark.parametrize('answer', [
    b'', b'HTTP/1.1 400 Bad Request\r\n\r\n', GREETING, GREETING + b'\0\0\0\x07garbage',
    b'\0\0\0\x04Z310', b'\x15\x03\x03\0\x02\x02\x28'])
def test_hostile_servers(command, answer):
    for hold in False, True:
        with pretender(answer, hold) as address:
            result = zeo(command, '--timeout', '0.3', address, code=1)
        assert result.err.count('\n') == 1 and address in result.err, result


def test_no_monitor():
    address = f'127.0.0.1:{free_port()}'
    for args in (['clients'], ['watch'], ['kick', '1']):
        assert 'RZEO_MONITOR' in zeo(*args, code=1, env={'RZEO_MONITOR': ''}).err
        for monitor in address, '/no/such/monitor.sock':
            result = zeo(*args, '--monitor', monitor, code=1)
            assert f'was the server started with --monitor {monitor}?' in result.err, result


STATUS = {
    'time': 1000.0,
    'server': {'pid': 7, 'started': 1.0, 'addresses': ['127.0.0.1:8100'], 'faults': []},
    'storages': [{'name': '1', 'loads': 10, 'clients': 2, 'failure': None,
                  'coordinator': {'holding': 0, 'waiting': 0, 'oldest_lock_age': None},
                  'pack': {'text': 'copying: 5 of 10', 'done': 5, 'total': 10}}],
    'clients': [{'id': 3, 'label': 'web\x1b[2J', 'address': '10.0.0.1:5000', 'storage': '1', 'age': 5,
                 'loads': 1, 'stores': 2, 'commits': 3, 'transaction': None},
                {'id': 4, 'label': 'job', 'address': '10.0.0.2:5000', 'storage': 'b', 'age': 5,
                 'transaction': {'phase': 'waiting', 'phase_age': 1, 'waits_for': {'clients': [3]}}}],
}


class Monitor(http.server.BaseHTTPRequestHandler):
    """Answers as the monitor of a server would; notes what it was told to do."""
    orders = []

    def do_GET(self):
        self.answer(200 if self.path == '/status.json' else 404, STATUS)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
        assert self.headers['Content-Type'] == 'application/json'
        self.orders.append((self.path, body))
        if body == {'client': 4}:
            return self.answer(404, {'error': 'no such client'})
        self.answer(200, {})

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return 'unix'

    def log_message(self, *args):
        pass


@pytest.fixture
def monitor(tmp_path, monkeypatch):
    """The path of a monitor's socket."""
    monkeypatch.chdir(tmp_path)
    Monitor.orders = []
    with socketserver.ThreadingUnixStreamServer('./monitor.sock', Monitor) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield './monitor.sock'
        server.shutdown()
        thread.join()


@pytest.fixture
def monitored(serve):
    """A server with monitors at a port and at a Unix socket, which comes last."""
    server = serve(args=['--monitor', '127.0.0.1:0', '--monitor', './monitor.sock'])
    wait_until(lambda: os.path.exists('monitor.sock'))
    return server


@pytest.mark.skipif(is_python(), reason='has no monitor')
def test_a_real_monitor(monitored):
    """Clients are listed, and kicked: they are back at once."""
    db = ZEO.DB(monitored.address, client_label='web')
    found = json.loads(zeo('clients', '--monitor', './monitor.sock', '--json').out)
    assert [client['label'] for client in found] == ['web']
    assert re.search(r'^ *\d+ web ', zeo('clients', '--monitor', './monitor.sock').out, re.MULTILINE)
    zeo('kick', 'web', '--monitor', './monitor.sock')

    def other():
        now = json.loads(zeo('clients', '--monitor', './monitor.sock', '--json').out)
        return [client['id'] for client in now if client['label'] == 'web'] not in ([], [found[0]['id']])

    wait_until(other)
    with db.transaction() as connection:
        connection.root()['x'] = 1
    db.close()
    line = zeo('watch', '--monitor', './monitor.sock', '-n1', '--interval', '0.01').out
    assert re.search(r' 1: [\d.]+ loads/s, .* 0 clients, locks held by 0, 0 waiting$', line, re.MULTILINE)
    port = raw_status('monitor.sock')['server']['monitors']
    tcp = next(address for address in port if '/' not in address)
    zeo('clients', '--monitor', tcp)
    refused = zeo('kick', '1', '--monitor', tcp, code=1).err
    assert 'there is no client' in refused or 'at its Unix socket only' in refused


def raw_status(path):
    """What stands in /status.json at a monitor's socket; waits for the end of the server's start."""
    found = []

    def has_answered():
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)
            s.sendall(b'GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n')
            answer = b''.join(iter(lambda: s.recv(65536), b''))
        found.append(answer.partition(b'\r\n\r\n')[2])
        return found[-1].startswith(b'{')

    wait_until(has_answered)
    return json.loads(found[-1])


@pytest.mark.skipif(is_python(), reason='has no monitor')
def test_a_real_pack_is_cancelled(serve):
    """By Ctrl-C, while the server packs; the data stay as they were."""
    storage = FileStorage('Data.fs')
    writer = Writer(storage)
    for _ in range(2):
        writer.commit(*((oid, pickle_of(oid)) for oid in range(60_000)))
    storage.close()
    size = os.path.getsize('Data.fs')
    server = serve(args=['--monitor', './monitor.sock'])
    process = subprocess.Popen(
        [ZEO_TOOL, 'pack', text(server.address), '--monitor', './monitor.sock'],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: raw_status('monitor.sock')['storages'][0]['pack'])
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1 and 'the pack was cancelled' in err, (out, err)
    assert os.path.getsize('Data.fs') == size


def test_clients(monitor):
    result = zeo('clients', env={'RZEO_MONITOR': f'127.0.0.1:1 {monitor}'})
    assert re.search(r'^ *3 web\\u\{1b\}\[2J 10.0.0.1:5000 +1 +5.00 s +1 +2 +3$', result.out, re.MULTILINE)
    assert '\x1b' not in result.out
    assert 'waiting for 1.00 s, behind client 3' in result.out
    found = json.loads(zeo('clients', '--monitor', monitor, '--json', '--storage', 'b').out)
    assert found == STATUS['clients'][1:]


def test_kick(monitor):
    assert 'ended the connection of client 3' in zeo('kick', '3', '--monitor', monitor).out
    zeo('kick', '10.0.0.1:5000', '--monitor', monitor)
    assert Monitor.orders == [('/control/kick', {'client': 3})] * 2
    assert 'refuses: no such client' in zeo('kick', 'job', '--monitor', monitor, code=1).err
    assert 'there is no client' in zeo('kick', 'nobody', '--monitor', monitor, code=1).err


def test_watch(monitor):
    result = zeo('watch', '--monitor', monitor, '-n2', '--interval', '0.01')
    assert len(result.out.splitlines()) == 2 and 'pack: copying: 5 of 10' in result.out, result


def test_watch_on_a_terminal(monitor):
    """It draws the picture over what was there, and Ctrl-C ends it."""
    pid, terminal = pty.fork()
    if not pid:
        os.environ['TERM'] = 'xterm'
        # It is ignored where the tests themselves run in the background of a script.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.execv(ZEO_TOOL, [ZEO_TOOL, 'watch', '--monitor', monitor, '--interval', '0.05'])
    shown = b''
    while shown.count(b'behind client 3') < 3:
        assert select.select([terminal], [], [], PATIENCE)[0], shown
        shown += os.read(terminal, 65536)
    os.write(terminal, b'\x03')
    # Until it has gone: then reading fails.
    with contextlib.suppress(OSError):
        while os.read(terminal, 65536):
            pass
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT
    # From the top left, line by line, and none of what clients call themselves moves the cursor.
    assert shown.startswith(b'\x1b[1;1H') and b'\x1b[2J' not in shown
    assert b'4 job 10.0.0.2:5000: waiting for 1.00 s, behind client 3' in shown


def interrupted_pack(*args):
    """A pack that a silent server never ends, interrupted; its exit code and error."""
    begin = b''.join(len(frame).to_bytes(4, 'big') + frame for frame in (
        b'Z5', b'\x80\x03(K\x01K\x00X\x06\x00\x00\x00.replyC\x08\0\0\0\0\0\0\0\1t.'))
    with pretender(begin, hold=True) as address:
        process = subprocess.Popen([ZEO_TOOL, 'pack', *args, address], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # Once it asks the monitor, or has had the time to wait for the pack.
        wait_until(lambda: 'SigCgt' in status(process) and caught(process, signal.SIGINT))
        process.send_signal(signal.SIGINT)
        said = ''
        if args:
            while 'cancelling' not in said and process.poll() is None:
                said += process.stderr.readline()
            process.send_signal(signal.SIGINT)
        return said + process.communicate(timeout=PATIENCE)[1], process.returncode


def status(process):
    with open(f'/proc/{process.pid}/status') as f:
        return f.read()


def caught(process, number):
    mask = int(re.search(r'SigCgt:\s*(\w+)', status(process))[1], 16)
    return mask >> (number - 1) & 1


def test_ctrl_c_without_a_monitor():
    error, code = interrupted_pack()
    assert code == 1 and 'the server goes on packing' in error, error


def test_ctrl_c_cancels_the_pack(monitor):
    error, code = interrupted_pack('--monitor', monitor)
    assert Monitor.orders == [('/control/cancel-pack', {'storage': '1'})]
    assert code == -signal.SIGINT and 'cancelling' in error, error
