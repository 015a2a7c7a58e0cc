"""What an operator is told: by the log, and when the server does not start."""
import os
import socket
import ssl

import pytest
from support.configuration import demostorage, eventlog, filestorage, mappingstorage, zeo
from support.ports import free_port
from support.server import run
from support.wire import Wire, WireError
from ZEO.ClientStorage import ClientStorage

pytestmark = pytest.mark.ours_only('its messages are others')


def run_with(config, tmp_path):
    """Runs the server, which must not start; returns its exit code and what it wrote."""
    with open(tmp_path / 'zeo.conf', 'w') as f:
        f.write(config)
    return run('-C', 'zeo.conf', cwd=tmp_path)


def test_storages_are_logged_with_their_files(serve, tmp_path):
    filestorage_path = str(tmp_path / 'Data.fs')
    server = serve(filestorage(filestorage_path, '1') + mappingstorage('other'))
    server.wait_for_log(
        f'StorageServer created RW with storages: 1:RW:{filestorage_path},other:RW:')
    server.stop()
    server = serve(filestorage(filestorage_path, '1', read_only=True), read_only=True)
    server.wait_for_log(f'StorageServer created RO with storages: 1:RO:{filestorage_path}')


def test_calls_that_fail_are_named(serve):
    server = serve()
    with Wire(server.address) as wire, pytest.raises(WireError):
        wire.call('loadBefore', 'not an oid', b'', 1)
    server.wait_for_log('loadBefore failed: ')


def test_unknown_storage(serve):
    server = serve(mappingstorage('first') + mappingstorage('second'))
    with pytest.raises(WireError, match='unknown storage: third; there are: first, second'):
        Wire(server.address, register='third')
    server.wait_for_log('register failed: ')


def test_tls_at_a_plain_port(serve):
    server = serve()
    with socket.create_connection(server.address) as plain, pytest.raises(OSError):
        ssl.create_default_context().wrap_socket(plain, server_hostname='localhost')
    server.wait_for_log('a TLS ClientHello, but this server does not speak TLS')
    ClientStorage(server.address).close()


def test_clients_at_a_unix_socket_are_told_apart(serve):
    server = serve(address='./zeo.sock')
    with Wire('./zeo.sock'):
        server.wait_for_log(f'zeo.sock pid {os.getpid()} user {os.getuid()}) ')


@pytest.mark.parametrize('host', ['127.0.0.1', '::1'])
def test_star_is_every_address(host, serve):
    port = free_port()
    serve(address=f'*:{port}')
    client = ClientStorage((host, port))
    client.close()
    # Not of this machine only: so others of its addresses are taken as well.
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    with socket.socket(family) as other, pytest.raises(OSError):
        if family == socket.AF_INET6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)
        other.bind(('::' if family == socket.AF_INET6 else '0.0.0.0', port))
    code, output = run('-a', f'*:{port}', '-f', 'Other.fs')
    assert code == 2 and 'already in use' in output


@pytest.mark.parametrize('storages, names', [
    (filestorage('Data.fs', 'a') + filestorage('Data.fs', 'b'), "'a' and 'b'"),
    (filestorage('Data.fs', 'a') + filestorage('link', 'b'), "'a' and 'b'"),
    (filestorage('Data.fs', 'a') + demostorage(filestorage('./Data.fs'), name='b'), "'a' and 'b'"),
])
def test_two_storages_on_one_file(storages, names, tmp_path):
    os.symlink('Data.fs', tmp_path / 'link')
    code, output = run_with(zeo() + storages, tmp_path)
    assert code == 2
    assert f'the storages {names} use the same file' in output, output
    assert sorted(os.listdir(tmp_path)) == ['link', 'zeo.conf']


def test_two_storages_that_read_one_file(serve):
    serve().stop()
    server = serve(filestorage('Data.fs', 'a', read_only=True) +
                   filestorage('Data.fs', 'b', read_only=True))
    for name in 'a', 'b':
        ClientStorage(server.address, storage=name, read_only=True).close()


def test_missing_log_directory(tmp_path):
    code, output = run_with(zeo() + mappingstorage() + eventlog('no/such/zeo.log'), tmp_path)
    assert code == 2
    assert output == ('Error: bad value for path: the directory in the path "no/such/zeo.log" '
                      'does not exist (line 9, in zeo.conf)\n')


def test_missing_socket_directory(tmp_path):
    code, output = run_with(zeo('./no/such/zeo.sock') + filestorage(), tmp_path)
    assert code == 2
    assert output == ("Error: can't listen at ./no/such/zeo.sock: there is no directory "
                      './no/such\n')
    assert os.listdir(tmp_path) == ['zeo.conf']


def test_log_of_latin_1(serve):
    """In the file's encoding, also what that has no bytes for."""
    name = 'gr\xfc\xdfe.\u20ac.fs'
    log = eventlog('server.log\n    encoding latin-1')
    serve(filestorage(name), extra=log).stop()
    with open('server.log', 'rb') as f:
        assert b':RW:gr\xfc\xdfe.\\u20ac.fs' in f.read()


@pytest.mark.parametrize('log', ['', eventlog('STDERR'), eventlog('server.log')])
def test_fatal_errors_stand_once_on_standard_error(log, tmp_path):
    with open(tmp_path / 'Data.fs', 'w') as f:
        f.write('This is no database.')
    code, output = run_with(zeo() + filestorage() + log, tmp_path)
    assert code == 1
    assert output.count('this is not a FileStorage') == 1, output
    if 'server.log' in log:
        with open(tmp_path / 'server.log') as f:
            assert f.read().count('this is not a FileStorage') == 1
