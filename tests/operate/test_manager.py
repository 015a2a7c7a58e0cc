"""Under systemd: what it is told, and sockets that it hands over."""
import os
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest
from support.configuration import filestorage, zeo
from support.ports import free_port
from support.server import PATIENCE, REPOSITORY, binary, is_python
from support.wire import Wire

pytestmark = pytest.mark.skipif(is_python(), reason='it knows nothing of systemd')


class Manager:
    """Receives notifications."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(PATIENCE)
        self.told = []

    def wait_for(self, line):
        while line not in self.told:
            self.told += self.socket.recv(4096).decode().splitlines()


def test_notifications(tmp_path, serve):
    """Ready only when clients can connect; a beat as long as commits are possible; the stop."""
    manager = Manager(tmp_path / 'notify')
    env = {'NOTIFY_SOCKET': str(tmp_path / 'notify'), 'WATCHDOG_USEC': '300000'}
    server = serve(env=env, ready=False)
    manager.wait_for('READY=1')
    before = manager.told[:manager.told.index('READY=1')]
    assert 'STATUS=opening the storages' in before
    assert any(line.startswith('EXTEND_TIMEOUT_USEC=') for line in before)
    Wire(server._wait_for_address()).close()
    for _ in range(3):
        manager.told = []
        manager.wait_for('WATCHDOG=1')
    server.process.send_signal(signal.SIGTERM)
    manager.wait_for('STOPPING=1')
    assert server.wait() == 0


@pytest.mark.skipif(not shutil.which('systemd-socket-activate'), reason='needs systemd')
@pytest.mark.parametrize('kind', ['tcp', 'unix'])
def test_sockets_that_are_handed_over(kind, tmp_path, monkeypatch):
    """They are used in place of the configured address, and stay when the server has ended."""
    monkeypatch.chdir(tmp_path)
    port = free_port()
    address = ('127.0.0.1', port) if kind == 'tcp' else str(tmp_path / 'given')
    shown = f'127.0.0.1:{port}' if kind == 'tcp' else address
    with open('zeo.conf', 'w') as f:
        f.write(zeo('./configured') + filestorage())
    with open('log', 'w') as log:
        process = subprocess.Popen(
            ['systemd-socket-activate', '-l', shown, binary(), '-C', 'zeo.conf',
             '--address-file', 'address'], stderr=log)
    try:
        wire = connect(address)
        assert wire.call('get_info')['length'] == 0
        with open('address') as f:
            assert f.read() == shown + '\n'
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
    with open('log') as f:
        text = f.read()
    assert f'handed over a socket for {shown}, which is used in place of the address' in text, text
    assert not os.path.exists('configured') and not os.path.exists('address')
    assert kind == 'tcp' or os.path.exists('given')


def connect(address):
    """To the program that waits for the first connection, when it listens."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return Wire(address)
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.mark.skipif(not shutil.which('systemd-analyze'), reason='needs systemd')
def test_units(tmp_path):
    """systemd finds nothing wrong with the units in etc/."""
    for name in 'zeo.service', 'zeo.socket':
        with open(os.path.join(REPOSITORY, 'etc', name)) as f:
            text = f.read()
        (tmp_path / name).write_text(text.replace('/usr/local/bin/runzeo', binary()))
    done = subprocess.run(['systemd-analyze', 'verify', 'zeo.service', 'zeo.socket'], cwd=tmp_path,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    ours = [line for line in done.stdout.splitlines() if re.search(r'zeo\.(service|socket)', line)]
    assert ours == [], done.stdout
