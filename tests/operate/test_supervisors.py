"""The server under a supervisor, as etc/ has it."""
import fnmatch
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile

import pytest
from exchange.writer import Writer, pickle_of
from support.configuration import eventlog, filestorage
from support.ports import free_port
from support.server import REPOSITORY, binary, is_python, wait_until
from support.wire import Wire
from ZODB.FileStorage import FileStorage

pytest.importorskip('supervisor', reason='one version of ZEO is enough')
pytestmark = pytest.mark.skipif(is_python(), reason='exit codes differ')


class Supervisor:
    """supervisord with etc/supervisord.conf, all of whose paths lead into the current directory."""

    def __init__(self, configuration):
        self.address = '127.0.0.1', free_port()
        with open('zeo.conf', 'w') as f:
            f.write(configuration.format(address='%s:%s' % self.address))
        with open(os.path.join(REPOSITORY, 'etc', 'supervisord.conf')) as f:
            text = f.read()
        # A socket's path has to be short.
        self.run = tempfile.TemporaryDirectory()
        for theirs, ours in (('/usr/local/bin/runzeo', binary()), ('/etc/zeo/', ''),
                             ('/var/lib/zeo', os.getcwd()), ('/var/log/zeo/', ''), ('/var/log/', ''),
                             ('/run/', f'{self.run.name}/'), ('user=zeo\n', ''),
                             ('minfds=65536', 'minfds=256')):
            assert theirs in text, theirs
            text = text.replace(theirs, ours)
        with open('supervisord.conf', 'w') as f:
            f.write(text)
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'supervisor.supervisord', '-n', '-c', 'supervisord.conf'],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def control(self, *args):
        done = subprocess.run(
            [sys.executable, '-m', 'supervisor.supervisorctl', '-c', 'supervisord.conf', *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout

    def wait_for(self, state):
        wait_until(lambda: state in self.control('status'), lambda: self.control('status'))

    def pid(self):
        """Of the server; 0 if it does not run."""
        return int(self.control('pid', 'zeo'))

    def connect(self):
        """To the server, which runs for supervisord before it listens."""
        wait_until(lambda: not socket.socket().connect_ex(self.address))
        return Wire(self.address)

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.run.cleanup()


@pytest.fixture
def supervise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started = []

    def start(configuration):
        started.append(Supervisor(configuration))
        return started[-1]

    yield start
    for supervisor in started:
        supervisor.end()


SERVER = '<zeo>\n  address {address}\n</zeo>\n' + filestorage() + eventlog('zeo.log')


def test_under_supervisord(supervise):
    """It is started again after a kill and after SIGHUP, and stops with all that it should save."""
    supervisor = supervise(SERVER)
    supervisor.wait_for('RUNNING')
    for number in signal.SIGKILL, signal.SIGHUP:
        pid = supervisor.pid()
        os.kill(pid, number)
        wait_until(lambda: supervisor.pid() not in (0, pid))
        supervisor.wait_for('RUNNING')
    with supervisor.connect() as wire:
        assert wire.call('get_info')['length'] == 0
    os.rename('zeo.log', 'old.log')
    supervisor.control('signal', 'USR2', 'zeo')
    wait_until(lambda: os.path.exists('zeo.log'))
    supervisor.control('stop', 'zeo')
    assert 'STOPPED' in supervisor.control('status')
    storage = FileStorage('Data.fs')
    Writer(storage).commit((1, pickle_of(1)))
    storage.close()
    supervisor.control('start', 'zeo')
    supervisor.wait_for('RUNNING')
    with supervisor.connect() as wire:
        assert wire.call('get_info')['length'] == 1


def test_a_wrong_configuration_is_not_tried_for_ever(supervise):
    supervisor = supervise(SERVER.replace('address {address}', 'colour red'))
    supervisor.wait_for('FATAL')
    with open('zeo.out') as f:
        assert '"colour" is not a known key of <zeo>; expected address, ' in f.read()


def test_logrotate_leaves_alone_what_supervisord_writes():
    """supervisord goes on writing to a file that was renamed."""
    with open(os.path.join(REPOSITORY, 'etc', 'logrotate.conf')) as f:
        rotated = re.findall(r'^(/\S+) \{', f.read(), re.MULTILINE)
    with open(os.path.join(REPOSITORY, 'etc', 'supervisord.conf')) as f:
        written = re.findall(r'logfile=(\S+)', f.read())
    assert rotated and len(written) == 2
    assert not [path for path in written for pattern in rotated if fnmatch.fnmatch(path, pattern)]
