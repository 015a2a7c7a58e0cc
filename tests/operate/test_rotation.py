"""Log files that are rotated while many lines are written: none is lost or torn."""
import gzip
import os
import pathlib
import re
import resource
import signal
import subprocess
import threading

import pytest
from support.configuration import eventlog
from support.installed import require
from support.server import wait_until
from support.wire import Wire

pytestmark = pytest.mark.ours_only('Python loses lines, or ends')

LOGROTATE = pathlib.Path(__file__).parents[2] / 'etc' / 'logrotate.conf'
LINE = re.compile(r'20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d [A-Z]+ ZEO')


class Load:
    """Clients that have lines written, one a call, until the `with` block ends."""

    def __init__(self, server):
        self.server, self.stopped, self.calls = server, False, 0
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(3)]

    def run(self):
        calls = 0
        with Wire(self.server.address) as wire:
            while not self.stopped:
                wire.call('getInvalidations', b'\x7f' * 8)
                calls += 1
        self.calls += calls

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.stopped = True
        for thread in self.threads:
            thread.join()
        self.server.stop()

    def check(self, text):
        """All lines are in `text`, each whole; those that the disk is too slow for are counted."""
        torn = [line for line in text.splitlines() if line != '------' and not LINE.match(line)]
        assert not torn
        dropped = sum(map(int, re.findall(r'(\d+) log lines were dropped', text)))
        assert text.count('invalidations up to') + dropped == self.calls


def rotating(*lines):
    """An <eventlog> whose file has these lines in its section."""
    path = 'path logs/x.log'
    return eventlog('logs/x.log').replace(path, '\n'.join([path, *lines]))


@pytest.fixture(autouse=True)
def directory(serve):
    os.mkdir('logs')


def files():
    return sorted(os.listdir('logs'))


def test_by_time(serve):
    """And at signals in between, which come in the same second."""
    with Load(serve(extra=rotating('when S', 'old-files 1000'))) as load:
        for number in range(2, 5):
            for _ in range(3):
                load.server.process.send_signal(signal.SIGUSR2)
            wait_until(lambda: len(files()) > number)
    load.check(''.join(read(f'logs/{name}') for name in files()))


def test_by_size(serve):
    with Load(serve(extra=rotating('max-size 20kb', 'old-files 1000'))) as load:
        for number in 5, 10, 15:
            load.server.process.send_signal(signal.SIGUSR2)
            wait_until(lambda: len(files()) > number)
    load.check(''.join(read(f'logs/{name}') for name in files()))


def test_logrotate(serve):
    """With the file in etc/: it renames, sends SIGUSR2, and compresses a turn later."""
    require('logrotate')
    with Load(serve(extra=rotating())) as load:
        with open('zeo.pid', 'w') as f:
            f.write(str(load.server.pid))
        text = LOGROTATE.read_text().replace('/var/log/zeo', os.path.abspath('logs'))
        with open('logrotate.conf', 'w') as f:
            f.write(text.replace('/var/lib/zeo', os.getcwd()))
        os.chmod('logrotate.conf', 0o644)
        for number in range(1, 6):
            wait_until(lambda: os.path.exists('logs/x.log') and os.path.getsize('logs/x.log') > 10_000)
            subprocess.run(['logrotate', '--force', '--state', os.path.abspath('state'),
                            'logrotate.conf'], check=True)
            wait_until(lambda: len(files()) > number)
    assert 'x.log.5.gz' in files()
    load.check(''.join(read(f'logs/{name}') for name in files()))
    # The server has stopped, and taken its pid file with it.
    os.remove('zeo.pid')
    subprocess.run(['logrotate', '--force', '--state', os.path.abspath('state'), 'logrotate.conf'],
                   check=True)


@pytest.mark.parametrize('lines', [[], ['max-size 1gb', 'old-files 3']])
def test_copied_and_truncated(serve, lines):
    """As logrotate's copytruncate does it, but while nothing is written: it loses lines else."""
    kept = ''
    with Load(serve(extra=rotating(*lines))) as load:
        for _ in range(10):
            size = os.path.getsize('logs/x.log')
            wait_until(lambda: os.path.getsize('logs/x.log') > size + 10_000)
            load.server.process.send_signal(signal.SIGSTOP)
            wait_until(lambda: is_stopped(load.server.pid))
            kept += read('logs/x.log')
            os.truncate('logs/x.log', 0)
            load.server.process.send_signal(signal.SIGCONT)
    load.check(kept + read('logs/x.log'))
    assert files() == ['x.log']


def test_a_file_that_is_full_for_a_while(serve):
    """A line of which only a part fits stands whole on standard error; what comes next begins anew."""
    with Load(serve(extra=rotating())) as load:
        pid, (soft, hard) = load.server.pid, resource.getrlimit(resource.RLIMIT_FSIZE)
        for _ in range(10):
            size = os.path.getsize('logs/x.log') + 20_001
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
            wait_until(lambda size=size: os.path.getsize('logs/x.log') >= size)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
            wait_until(lambda size=size: os.path.getsize('logs/x.log') > size + 1000)
    text = read('logs/x.log')
    assert not [line for line in text.splitlines() if '---' in line.lstrip('-')]
    load.server._log = None
    assert 'log lines go to standard error' in load.server.log()


@pytest.mark.parametrize('lines', [[], ['when S', 'old-files 10'], ['max-size 1mb', 'old-files 3']])
def test_a_directory_that_is_gone(serve, lines):
    """Until it is back, lines go to standard error."""
    with Load(serve(extra=rotating(*lines))) as load:
        wait_until(lambda: os.path.getsize('logs/x.log') > 10_000)
        os.rename('logs', 'moved')
        load.server.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: 'invalidations up to' in load.server.log())
        os.mkdir('logs')
        wait_until(lambda: os.path.exists('logs/x.log') and os.path.getsize('logs/x.log') > 10_000)
    load.server._log = None
    text = load.server.log()
    told = 'can\'t open log file logs/x.log: No such file or directory (os error 2); ' \
           'log lines go to standard error\n'
    assert text.count(told) == 1
    for place in 'moved', 'logs':
        for name in os.listdir(place):
            text += read(f'{place}/{name}')
    load.check(text.replace(told, ''))


def is_stopped(pid):
    """Whether all threads of a process are."""
    threads = os.listdir(f'/proc/{pid}/task')
    return all(read(f'/proc/{pid}/task/{thread}/stat').rpartition(')')[2].split()[0] == 'T'
               for thread in threads)


def read(path):
    with gzip.open(path, 'rt') if path.endswith('.gz') else open(path) as f:
        return f.read()
