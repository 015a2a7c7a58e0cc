"""Where the server listens: the Unix socket's rights, the address file, sockets of a manager."""
import contextlib
import glob
import os
import re
import socket
import stat
import subprocess
import sys

import pytest
from support.configuration import filestorage, zeo
from support.server import binary, is_python, run
from support.wire import Wire

pytestmark = pytest.mark.skipif(is_python(), reason='options that it does not have')


def test_rights_of_a_unix_socket(serve):
    """Mode and owner; there is no moment at which somebody else can connect."""
    is_root = os.getuid() == 0
    owner = '1234:2345' if is_root else f'{os.getuid()}:{os.getgid()}'
    server = serve(address='./zeo.sock', args=['--socket-mode', '640', '--socket-owner', owner])
    found = os.stat('zeo.sock')
    assert stat.S_IMODE(found.st_mode) == 0o640
    assert f'{found.st_uid}:{found.st_gid}' == owner
    with Wire('./zeo.sock') as wire:
        assert wire.call('get_info')['length'] == 0
    server.stop()
    assert not os.path.exists('zeo.sock')
    server = serve(address='./zeo.sock', env={'RZEO_SOCKET_OWNER': f':{os.getgid()}',
                                              'RZEO_SOCKET_MODE': '0666'})
    assert stat.S_IMODE(os.stat('zeo.sock').st_mode) == 0o666


def test_rights_that_make_no_sense(tmp_path, monkeypatch):
    """They are found before any file is made."""
    monkeypatch.chdir(tmp_path)
    for option, value, why in [('--socket-mode', '888', 'is not a mode'),
                               ('--socket-owner', 'nobody-by-this-name', 'there is no user'),
                               ('--socket-owner', ':none-of-this-name', 'there is no group')]:
        code, output = run('-a', './zeo.sock', '-f', 'Data.fs', option, value)
        assert code == 2 and why in output, output
    assert os.listdir() == []


@pytest.mark.skipif(os.getuid() != 0, reason='becomes another user')
def test_a_socket_that_the_user_may_not_give_away(tmp_path):
    os.chmod(tmp_path, 0o777)
    done = subprocess.run([binary(), '-a', './zeo.sock', '-f', 'Data.fs', '--socket-owner', 'root'],
                          cwd=tmp_path, user=54321, group=54321, extra_groups=[],
                          capture_output=True, text=True)
    assert done.returncode == 2 and 'only root may give the socket' in done.stderr, done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize('address', ['localhost:0', './zeo.sock'])
def test_address_file(address, serve):
    """It holds what clients are configured with, and goes away at the end."""
    server = serve(address=address, args=['--address-file', 'address'])
    with open('address') as f:
        lines = f.read().splitlines()
    if address == './zeo.sock':
        assert lines == ['./zeo.sock']
    else:
        for line in lines:
            host, _, port = line.rpartition(':')
            Wire((host.strip('[]'), int(port))).close()
    server.stop()
    assert not os.path.exists('address')
    assert [name for name in os.listdir() if name.startswith('address')] == []


def test_address_file_without_a_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, output = run('-a', '127.0.0.1:0', '-f', 'Data.fs', '--address-file', 'none/address')
    assert code == 1 and "can't write the address file none/address" in output
    assert os.listdir() == []


@pytest.mark.parametrize('address', ['no-such-host.invalid:8100', '192.0.2.1:8100'])
def test_an_address_that_cannot_be_had(address, tmp_path, monkeypatch):
    """It is found before any file is made."""
    monkeypatch.chdir(tmp_path)
    code, output = run('-a', address, '-f', 'Data.fs')
    assert code == 1 and f"can't listen at {address}" in output, output
    assert os.listdir() == []


def test_a_resolver_inherits_no_socket(tmp_path):
    """Neither those that a manager has handed over nor others, nor files of the server."""
    with socket.create_server(('127.0.0.1', 0)) as listening:
        address = listening.getsockname()
        activated = ('import os, sys; given = int(sys.argv[1]); os.dup2(given, 3);'
                     'given == 3 or os.close(given);'
                     'os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()));'
                     'os.execv(sys.argv[2], sys.argv[2:])')
        server = subprocess.Popen(
            [sys.executable, '-c', activated, str(listening.fileno()), binary(), '-f', 'Data.fs',
             '-a', '%s:%s' % address, '--conflict-resolver', sys.executable],
            pass_fds=[listening.fileno()], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        said = server.stderr.readline() + server.stderr.readline()
        resolver = re.search(r' is process (\d+)', said)
        with Wire(address) as wire:
            assert wire.call('get_info')['length'] == 0
        files, theirs = open_files(resolver[1]), open_files(server.pid)
        # They share only the pipe of what the resolver prints.
        shared = {file for file in files if file in theirs and not file.startswith('/dev/')}
        assert len(shared) == 1 and shared.pop().startswith('pipe:'), files
    finally:
        server.kill()
        server.communicate()


def open_files(pid):
    """What a process has open, while it goes on opening and closing."""
    files = []
    for entry in glob.glob(f'/proc/{pid}/fd/*'):
        with contextlib.suppress(FileNotFoundError):
            files.append(os.readlink(entry))
    return files


def test_one_blob_directory_for_two_storages(tmp_path, monkeypatch):
    """A pack of one would remove blobs of the other."""
    monkeypatch.chdir(tmp_path)
    os.mkdir('blobs')
    os.symlink('blobs', 'link')
    config = zeo() + filestorage('a.fs', 'a', blob_dir='blobs')
    config += filestorage('b.fs', 'b', blob_dir='link')
    with open('zeo.conf', 'w') as f:
        f.write(config)
    code, output = run('-C', 'zeo.conf')
    assert code == 2 and "'a' and 'b' use the same blob directory" in output, output
    assert not os.path.exists('a.fs')
