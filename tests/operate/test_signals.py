"""How the server ends, and reopens its log, at a signal."""
import os
import signal
import socket
import time

import pytest
from support.configuration import eventlog, filestorage
from support.ports import free_port
from support.server import wait_until
from support.wire import Disconnected, Wire
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage

from exchange.writer import Writer, pickle_of

ENDINGS = [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGHUP, 1)]


@pytest.mark.parametrize('number, code', ENDINGS)
def test_ends_cleanly(number, code, serve):
    """Exit code, no pid file, no socket, no held lock, an index that Python uses."""
    server = serve(address='./zeo.sock', pid_filename='zeo.pid')
    client = ClientStorage(server.address)
    Writer(client).commit(*((n, pickle_of(n)) for n in range(10)))
    assert os.path.exists('zeo.sock') and os.path.exists('zeo.pid')
    assert server.signal(number) == code
    client.close()
    assert not os.path.exists('zeo.sock')
    assert not os.path.exists('zeo.pid')
    storage = FileStorage('Data.fs')
    assert storage._used_index and len(storage) == 10
    storage.close()


@pytest.mark.parametrize('number, code', ENDINGS)
def test_ends_while_clients_are_busy(number, code, serve):
    """One client holds the commit lock, one waits for it, one is idle, one says nothing."""
    server = serve()
    with Wire(server.address) as holder, Wire(server.address) as waiter, \
            Wire(server.address) as idle, Wire(server.address, register=None) as silent:
        for n, wire in enumerate([holder, waiter]):
            wire.call('tpc_begin', n, b'', b'', {}, None, ' ')
            wire.send_async('storea', bytes(8), bytes(8), pickle_of(n), n)
        holder.call('vote', 0)
        waiter.request('vote', 1)
        assert server.signal(number) == code
        for wire in holder, waiter, idle, silent:
            with pytest.raises((Disconnected, ConnectionError)):
                while True:
                    wire.receive()
    storage = FileStorage('Data.fs')
    assert len(storage) == 0
    storage.close()


def test_reopens_the_log(serve):
    server = serve(extra=eventlog('server.log'))
    os.rename('server.log', 'old.log')
    old = os.path.getsize('old.log')
    server.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: os.path.exists('server.log') and 'Log files' in read('server.log'))
    ClientStorage(server.address, client_label='after').close()
    wait_until(lambda: 'after' in read('server.log'))
    assert os.path.getsize('old.log') == old
    server.stop()


def test_old_log_gets_nothing_after_the_signal(serve):
    """However the server's threads come to run: whoever moves a log away may compress it."""
    server = serve(extra=eventlog('server.log'))
    for n in range(30):
        old = f'old.{n}'
        os.rename('server.log', old)
        server.process.send_signal(signal.SIGSTOP)
        size = os.path.getsize(old)
        server.process.send_signal(signal.SIGUSR2)
        with socket.socket() as ready:
            ready.connect(server.address)
            server.process.send_signal(signal.SIGCONT)
            with Wire(server.address):
                pass
        # Until all is written: a line that is on its way into a file can't be called back.
        wait_until(lambda: os.path.exists('server.log') and all(
            words in read('server.log') for words in ['Log files', 'disconnected']))
        assert os.path.getsize(old) == size, read(old)[size:]
    server.stop()


@pytest.mark.ours_only('Python ends at a signal while it opens')
def test_reopens_the_log_while_it_opens(serve, tmp_path):
    """Logs may be rotated while a large file is scanned."""
    os.mkfifo(tmp_path / 'Data.fs')  # opening waits for a writer, for ever
    server = serve(storages=filestorage(read_only=True), extra=eventlog('server.log'), ready=False)
    server.wait_for_log('opening storage')
    os.rename('server.log', 'old.log')
    server.process.send_signal(signal.SIGUSR2)
    wait_until(lambda: os.path.exists('server.log') and 'Log files' in read('server.log'))
    server.stop()


def test_the_line_of_the_address_is_the_last_of_the_start(serve):
    """Scripts wait for it, and for all addresses of a host there is one."""
    port = free_port()
    server = serve(address=f'localhost:{port}', extra=eventlog('server.log'))
    time.sleep(0.3)
    *before, last = read('server.log').splitlines()
    assert 'listening on' in last and str(port) in last
    assert not any('listening on' in line for line in before)
    server.stop()


def test_reopening_without_a_log_file_is_no_end(serve):
    server = serve()
    server.process.send_signal(signal.SIGUSR2)
    time.sleep(0.3)
    ClientStorage(server.address).close()
    server.stop()


@pytest.mark.ours_only('a second signal may hit the interpreter while it ends')
def test_second_signal_does_not_spoil_the_end(serve):
    """A supervisor may be impatient: SIGTERM twice still ends with an index."""
    server = serve(storages=filestorage())
    client = ClientStorage(server.address)
    Writer(client).commit(*((n, pickle_of(n)) for n in range(2000)))
    server.process.send_signal(signal.SIGTERM)
    assert server.signal(signal.SIGTERM) == 0
    client.close()
    storage = FileStorage('Data.fs')
    assert len(storage) == 2000
    storage.close()


def read(path):
    with open(path) as f:
        return f.read()


@pytest.mark.ours_only('Python ends without removing its pid file')
def test_ends_while_it_opens(serve, tmp_path):
    """A file without an index takes long to scan; nobody is to wait for that."""
    os.mkfifo(tmp_path / 'Data.fs')  # opening waits for a writer, for ever
    server = serve(storages=filestorage(read_only=True), pid_filename='zeo.pid',
                   extra=eventlog('server.log'), ready=False)
    server.wait_for_log('opening storage')
    assert os.path.exists('zeo.pid')
    assert server.signal(signal.SIGTERM) == 0
    assert not os.path.exists('zeo.pid')
