"""Starting: addresses, files, locks, the command line."""
import os
import socket
import subprocess

import pytest
from support.configuration import eventlog, filestorage, mappingstorage
from support.ports import free_port
from support.server import PATIENCE, Server, binary, is_python, run, wait_until
from support.wire import Wire
from zc.lockfile import LockError
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage

from exchange.writer import Writer, pickle_of


def test_pid_file(serve):
    server = serve(pid_filename='zeo.pid')
    with open('zeo.pid') as f:
        assert int(f.read()) == server.pid
    server.stop()
    assert not os.path.exists('zeo.pid')


def test_stale_pid_file(serve):
    with open('zeo.pid', 'w') as f:
        f.write('999999\n')
    server = serve(pid_filename='zeo.pid')
    with open('zeo.pid') as f:
        assert int(f.read()) == server.pid


def test_read_only_server_writes_no_pid_file(serve):
    FileStorage('Data.fs').close()
    serve(pid_filename='zeo.pid', read_only=True)
    assert not os.path.exists('zeo.pid')


def test_stale_unix_socket(serve):
    """A socket file that a killed server left behind is replaced."""
    server = serve(address='./zeo.sock')
    server.kill()
    assert os.path.exists('zeo.sock')
    server = serve(address='./zeo.sock')
    ClientStorage('./zeo.sock').close()


@pytest.mark.parametrize('address', ['./zeo.sock', None])
def test_address_in_use(address, serve):
    server = serve(address=address or f'127.0.0.1:{free_port()}')
    text = address or '%s:%d' % server.address
    code, output = run('-a', text, '-f', 'Other.fs')
    assert code == 2
    assert 'already in use' in output
    ClientStorage(server.address).close()


def test_one_server_a_file(serve):
    """A second server on the same file ends with exit code 1, and Python may not open it."""
    server = serve()
    second = serve(ready=False)
    assert second.wait() == 1
    assert 'lock' in second.log().lower()
    with pytest.raises(LockError):
        FileStorage('Data.fs')
    FileStorage('Data.fs', read_only=True).close()
    ClientStorage(server.address).close()
    server.stop()
    FileStorage('Data.fs').close()


def test_refused_while_python_has_the_file(serve):
    storage = FileStorage('Data.fs')
    second = serve(ready=False)
    assert second.wait() == 1
    storage.close()
    serve().stop()


def test_lock_file_holds_the_pid(serve):
    server = serve()
    with open('Data.fs.lock') as f:
        assert f.read().split()[0] == str(server.pid)


def test_killed_and_restarted_at_once(serve):
    """Same port, same file, with a client that had been connected."""
    port = free_port()
    for n in range(5):
        server = serve(address=f'127.0.0.1:{port}')
        client = ClientStorage(server.address)
        writer = Writer(client, explicit_tids=False)
        writer.commit((100 + n, pickle_of(n)))
        assert len(client) == n + 1
        server.kill()
        client.close()


def test_oids_after_restarts(serve):
    """No client gets the oids that another still holds from the server's last run, nor from the run before it."""
    address = f'127.0.0.1:{free_port()}'
    server = serve(address=address)
    clients = [ClientStorage(server.address, wait_timeout=PATIENCE)]
    Writer(clients[0]).commit((0, pickle_of('root')))
    oids = [clients[0].new_oid()]
    for _ in range(3):
        server.stop()
        server = serve(address=address)
        clients.append(ClientStorage(server.address, wait_timeout=PATIENCE))
        oids.append(clients[-1].new_oid())
    for client in clients:
        wait_until(client.is_connected)
        oids.extend(client.new_oid() for _ in range(99))  # the rest of a hundred
        client.close()
    if not is_python():
        assert len(set(oids)) == 400


def test_client_reconnects_after_a_restart(serve):
    port = free_port()
    server = serve(address=f'127.0.0.1:{port}')
    client = ClientStorage(server.address, wait_timeout=PATIENCE)
    tid = Writer(client).commit((0, pickle_of('x')))
    server.stop()
    wait_until(lambda: not client.is_connected())
    serve(address=f'127.0.0.1:{port}')
    wait_until(client.is_connected)
    assert client.lastTransaction() == tid
    client.close()


@pytest.mark.skipif(not socket.has_ipv6, reason='no IPv6 here')
def test_ipv6(serve):
    server = serve(address=f'[::1]:{free_port()}')
    assert server.address[0] == '::1'
    client = ClientStorage(server.address)
    Writer(client).commit((0, pickle_of('x')))
    client.close()


@pytest.mark.parametrize('host', ['127.0.0.1', '::1'])
def test_port_alone_listens_on_every_address(host, serve):
    port = free_port()
    serve(address=f':{port}')
    client = ClientStorage((host, port))
    assert len(client) == 0
    client.close()


def test_command_line_alone(tmp_path, monkeypatch):
    """-a and -f need no configuration; several -f are named 1, 2..."""
    monkeypatch.chdir(tmp_path)
    port = free_port()
    server = CommandLine('-a', f'127.0.0.1:{port}', '-f', 'a.fs', '-f', 'b.fs',
                         '-t', '5', '--pid-file', 'the.pid')
    server.wait_for_log('listening on')
    for name in '1', '2':
        client = ClientStorage(('127.0.0.1', port), storage=name)
        Writer(client).commit((int(name), pickle_of(name)))
        client.close()
    assert os.path.exists('the.pid')
    server.stop()
    for path, size in ('a.fs', 1), ('b.fs', 1):
        storage = FileStorage(path, read_only=True)
        assert len(storage) == size
        storage.close()


def test_command_line_overrides_the_file(serve):
    port = free_port()
    server = serve(address='127.0.0.1:1', args=['-a', f'127.0.0.1:{port}'])
    assert server.address == ('127.0.0.1', port)
    ClientStorage(('127.0.0.1', port)).close()


def test_help():
    code, output = run('-h')
    assert code == 0
    for option in '-C', '--configure', '-a', '-f', '-t', '--pid-file':
        assert option in output


def test_several_storages_by_name(serve):
    server = serve(storages=filestorage('a.fs', 'a') + filestorage('b.fs', 'b') +
                   mappingstorage('memory') + filestorage('main.fs'))
    for n, name in enumerate(['a', 'b', 'memory', '1']):
        client = ClientStorage(server.address, storage=name)
        Writer(client, explicit_tids=False).commit(*((i, pickle_of(i)) for i in range(n + 1)))
        client.close()
    for n, name in enumerate(['a', 'b', 'memory', '1']):
        with Wire(server.address, register=name) as wire:
            assert wire.call('get_info')['length'] == n + 1
    server.stop()
    assert sorted(f for f in os.listdir() if f.endswith('.fs')) == ['a.fs', 'b.fs', 'main.fs']


def test_log_file_gets_the_log(serve):
    server = serve(extra=eventlog('the.log'))
    with open('the.log') as f:
        assert 'listening on' in f.read()
    server.stop()


@pytest.mark.ours_only('the interpreter has exit codes of its own for that')
@pytest.mark.parametrize('args, code', [(['-h'], 1), (['-C', 'missing.conf'], 2), (['--what'], 2)])
def test_nobody_reads_the_output(args, code, tmp_path):
    with open('/dev/full', 'wb') as full:
        done = subprocess.run([binary(), *args], cwd=tmp_path, stdout=full, stderr=full)
    assert done.returncode == code


class CommandLine(Server):
    """A server started by command-line options alone."""

    def __init__(self, *options):
        self._options = options
        super().__init__('', ready=False)

    def options(self):
        return self._options
