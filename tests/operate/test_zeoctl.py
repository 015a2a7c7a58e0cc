"""Under zdaemon: `zeoctl`, with instances as of mkzeoinstance and plone.recipe.zeoserver."""
import os
import subprocess
import sys
import tempfile
from collections import Counter

import pytest
from exchange.writer import Writer, pickle_of
from support.server import REPOSITORY, binary, free_port, is_python, wait_until
from support.wire import Wire
from ZODB.FileStorage import FileStorage

pytestmark = pytest.mark.skipif(is_python(), reason='upstream has tests of its own')

# As those instances have it: zdaemon starts a script, which hands its arguments on.
SCRIPT = '''#!/bin/sh
CONFIG_FILE="{directory}/zeo.conf"
export INSTANCE_HOME="{directory}"
exec {binary} -C "$CONFIG_FILE" ${{1+"$@"}}
'''
CONFIGURATION = '''%define INSTANCE {directory}
<zeo>
  address 127.0.0.1:{port}
  read-only false
  invalidation-queue-size 100
  pid-filename $INSTANCE/zeo.pid
</zeo>
<filestorage 1>
  path $INSTANCE/Data.fs
</filestorage>
<eventlog>
  level info
  <logfile>
    path $INSTANCE/zeo.log
  </logfile>
</eventlog>
<runner>
  program $INSTANCE/runzeo
  socket-name {socket}
  daemon true
  forever false
  backoff-limit 10
  exit-codes 0, 2
  directory $INSTANCE
  default-to-interactive true
  logfile $INSTANCE/zeo.log
</runner>
'''


@pytest.fixture
def zeoctl(tmp_path, monkeypatch):
    """Runs `zeoctl` with its arguments, and returns what it says."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        done = subprocess.run(
            [sys.executable, '-m', 'ZEO.zeoctl', '-C', 'zeo.conf', *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout

    # A socket's path has to be short.
    with tempfile.TemporaryDirectory() as short:
        run.port, run.socket = free_port(), f'{short}/zeo.zdsock'
        yield run
        run('stop')


def write(path, text):
    with open(path, 'w') as f:
        f.write(text)


def pid():
    with open('zeo.pid') as f:
        return int(f.read())


def length(port):
    with Wire(('127.0.0.1', port)) as wire:
        return wire.call('get_info')['length']


def listening(times):
    def check():
        if not os.path.exists('zeo.log'):
            return False
        with open('zeo.log') as f:
            return f.read().count('listening on') == times
    wait_until(check, 60)


def test_start_status_logreopen_restart_stop(zeoctl):
    here = os.getcwd()
    write('zeo.conf', CONFIGURATION.format(directory=here, socket=zeoctl.socket, port=zeoctl.port))
    write('runzeo', SCRIPT.format(directory=here, binary=binary()))
    os.chmod('runzeo', 0o755)
    assert 'daemon process started' in zeoctl('start')
    listening(1)
    first = pid()
    assert f'program running; pid={first}' in zeoctl('status')
    assert length(zeoctl.port) == 0
    zeoctl('restart')
    listening(2)
    assert pid() != first
    os.rename('zeo.log', 'old.log')
    zeoctl('logreopen')
    wait_until(lambda: os.path.exists('zeo.log'))
    assert 'daemon process stopped' in zeoctl('stop')
    assert not os.path.exists('zeo.pid') and 'not running' in zeoctl('status')
    # Stopped, the file is anybody's.
    storage = FileStorage('Data.fs')
    Writer(storage).commit((1, pickle_of(1)))
    storage.close()
    zeoctl('start')
    listening(1)
    assert length(zeoctl.port) == 1


@pytest.mark.parametrize('rotation', ['max-size 10mb', 'when D'])
def test_both_processes_rotate_the_log(rotation, zeoctl):
    """zdaemon's manager, which has the same log file, and behind it the server: no line of
    either is lost."""
    here = os.getcwd()
    configuration = CONFIGURATION.replace(
        'zeo.log\n  </logfile>', f'zeo.log\n    {rotation}\n    old-files 1\n  </logfile>')
    write('zeo.conf', configuration.format(directory=here, socket=zeoctl.socket, port=zeoctl.port))
    write('runzeo', SCRIPT.format(directory=here, binary=binary()))
    os.chmod('runzeo', 0o755)
    zeoctl('start')
    listening(1)

    def lines():
        found = []
        for name in sorted(os.listdir('.')):
            if name.startswith('zeo.log'):
                with open(name) as f:
                    found += f.read().splitlines()
        return found

    before = lines()
    zeoctl('logreopen')
    wait_until(lambda: any('Log files reopened' in line for line in lines()))
    assert not Counter(before) - Counter(lines())
    assert len([name for name in os.listdir('.') if name.startswith('zeo.log')]) == 2


def test_the_sample_configuration(zeoctl):
    """etc/zeo.conf with its <runner>; killed, the server is started again."""
    with open(os.path.join(REPOSITORY, 'etc', 'zeo.conf')) as f:
        sample, runner = f.read().split('#<runner>')
    text = sample + '<runner>' + runner.replace('\n#', '\n')
    for theirs, ours in (('INSTANCE .', f'INSTANCE {os.getcwd()}'),
                         ('1:8100\n', f'1:{zeoctl.port}\n'),
                         ('path STDERR', 'path $INSTANCE/zeo.log'),
                         ('/usr/local/bin/runzeo', binary()), ('/etc/zeo/', f'{os.getcwd()}/'),
                         ('$INSTANCE/zeo.zdsock', zeoctl.socket)):
        assert theirs in text, theirs
        text = text.replace(theirs, ours)
    write('zeo.conf', text)
    assert 'daemon process started' in zeoctl('start')
    listening(1)
    zeoctl('kill', 'KILL')
    listening(2)
    assert length(zeoctl.port) == 0
