"""Ctrl-C, other signals and a full disk: no half file has the final name, and nothing is left."""
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from importlib.metadata import version

import pytest
from exchange import files
from exchange.writer import Writer
from support import fstool
from ZODB.FileStorage import FileStorage

RECOVER = ['recover', '-f', 'Data.fs', 'out.fs']
BACK_UP = ['repozo', '-B', '-z', '-r', 'R', '-f', 'Data.fs']
RESTORE = ['repozo', '-R', '-r', 'R', '-o', 'out.fs']
# What each makes first.
BEGUN = {'recover': 'out.fs.part', '-R': 'out.fs.part', '-B': 'R/tmp.tmp', 'copy': 'out.fs'}

pytestmark = pytest.mark.skipif(version('ZODB').startswith('5'),
                                reason='what Python does here does not depend on its version')


@pytest.fixture(scope='module')
def large(tmp_path_factory):
    """A file that takes a moment."""
    path = str(tmp_path_factory.mktemp('large') / 'Data.fs')
    storage = FileStorage(path)
    writer, noise = Writer(storage), random.Random(1).randbytes(3_000_000)
    for number in range(20):
        writer.commit((number, noise))
    storage.close()
    return path


@pytest.fixture(autouse=True)
def directory(large, tmp_path, monkeypatch):
    """Data.fs, a repository R, and an older out.fs."""
    monkeypatch.chdir(tmp_path)
    os.symlink(large, 'Data.fs')
    os.mkdir('R')
    fstool.check('repozo', '-B', '-r', 'R', '-f', 'Data.fs')
    files.write('out.fs', files.base)
    yield
    shutil.rmtree(tmp_path)


def state():
    found = {}
    for where, _dirs, names in os.walk('.'):
        for name in names:
            path = os.path.join(where, name)
            found[path] = os.stat(path).st_mtime_ns, os.path.getsize(path)
    return found


def heed_signals():
    """Also where whoever runs the tests ignores some, as nohup does."""
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, signal.SIG_DFL)


def has(path, size):
    return os.path.exists(path) and os.path.getsize(path) >= size


def begin(command, prepare=heed_signals, size=0):
    """Starts it, and waits until it has a file of that size to leave behind."""
    process = subprocess.Popen([fstool.path(), *command], stdin=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               preexec_fn=prepare)
    begun = next(path for word, path in BEGUN.items() if word in command)
    while not has(begun, size) and process.poll() is None:
        time.sleep(.0005)
    return process


@pytest.mark.parametrize('command', [RECOVER, [*BACK_UP, '-F'], RESTORE],
                         ids=['recover', 'backup', 'restore'])
@pytest.mark.parametrize('how', ['SIGINT', 'SIGTERM', 'SIGHUP'])
def test_signals(command, how):
    for _ in range(30):
        before = state()
        process = begin(command)
        process.send_signal(getattr(signal, how))
        if process.wait() == 0:
            continue   # it was faster
        assert process.returncode == -getattr(signal, how)
        # An index is made before its data file; the next backup removes it.
        assert {path: found for path, found in state().items()
                if path in before or not path.endswith('.index')} == before
        break
    else:
        raise AssertionError('it was always faster')


def test_nohup():
    """Signals that are ignored stay so."""
    process = begin(RECOVER, lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 0
    assert not os.path.exists('out.fs.part')
    fstool.check('test', 'out.fs')


def test_a_second_signal_ends_it_at_once():
    """Also where the first one can't: nobody reads what it writes."""
    storage = FileStorage('many.fs')
    writer = Writer(storage)
    for number in range(4000):
        writer.commit((number % 10, b'some data'))
    storage.close()
    command = [fstool.path(), 'copy', '-v', 'many.fs', 'copy.fs']
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, preexec_fn=heed_signals) as process:
        # By then it catches them.
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(fstool.PATIENCE) in (-signal.SIGINT, -signal.SIGTERM)
    fstool.check('copy', '--continue', 'many.fs', 'copy.fs')
    assert b' 4000 transactions' in fstool.check('test', 'copy.fs')


def test_two_at_once():
    """The second one is told so, and does the first one no harm."""
    first = begin(RECOVER)
    first.send_signal(signal.SIGSTOP)
    try:
        code, _out, err = fstool.run(*RECOVER)
    finally:
        first.send_signal(signal.SIGCONT)
    if first.wait() == 0 and code:
        assert code == 2 and 'out.fs.part' in err
    fstool.check('test', 'out.fs')


def full_disk():
    """Files can't become longer than 1 MB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))


@pytest.mark.parametrize('command', [RECOVER, [*BACK_UP, '-F'], RESTORE],
                         ids=['recover', 'backup', 'restore'])
def test_full_disk(command):
    before = state()
    code, _out, err = fstool.run(*command, preexec_fn=full_disk, restore_signals=False)
    assert code == 2 and 'File too large' in err
    assert any(name in err for name in ['out.fs.part', 'tmp.tmp']), err
    after = {path: found for path, found in state().items()
             if path in before or not path.endswith('.index')}
    assert after == before


def test_a_copy_goes_on_when_there_is_room():
    os.remove('out.fs')
    code, _out, err = fstool.run('copy', 'Data.fs', 'out.fs', preexec_fn=full_disk,
                                 restore_signals=False)
    assert code == 2 and 'File too large' in err and 'out.fs' in err
    fstool.check('copy', '--continue', 'Data.fs', 'out.fs')
    assert b' 20 transactions' in fstool.check('test', 'out.fs')


def test_a_copy_goes_on_after_a_signal():
    """What was copied by then is whole."""
    for _ in range(30):
        os.remove('out.fs')
        process = begin(['copy', 'Data.fs', 'out.fs'], size=1_000_000)
        process.send_signal(signal.SIGTERM)
        if process.wait() == 0:
            continue   # it was faster
        assert process.returncode == -signal.SIGTERM
        assert b'no errors' in fstool.check('test', 'out.fs')
        break
    else:
        raise AssertionError('it was always faster')
    fstool.check('copy', '--continue', 'Data.fs', 'out.fs')
    assert b' 20 transactions' in fstool.check('test', 'out.fs')


@pytest.mark.parametrize('command', [['recover', '-f', 'damaged.fs', 'salvaged.fs'],
                                     ['test', 'damaged.fs'], ['test', 'missing.fs']],
                         ids=['recover', 'test', 'missing'])
@pytest.mark.parametrize('closed', [False, True], ids=['full', 'closed'])
def test_nobody_reads_the_errors(command, closed):
    """Standard error is a full disk's, or a pipe whose reader has gone (`2>&1 | head`)."""
    with open('Data.fs', 'rb') as f:
        data = bytearray(f.read())
    data[6_000_000:6_001_000] = bytes(1000)  # where the second transaction ends
    files.write_bytes('damaged.fs', data)
    expected = fstool.run(*command)[0]
    assert expected == (2 if 'missing.fs' in command else 1)
    if closed:
        reader, errors = os.pipe()
        os.close(reader)
    else:
        errors = os.open('/dev/full', os.O_WRONLY)
    try:
        done = subprocess.run([fstool.path(), *command], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=errors)
    finally:
        os.close(errors)
    assert done.returncode == expected
    if 'salvaged.fs' in command:
        assert b' 18 transactions' in fstool.check('test', 'salvaged.fs')


def test_links_stay():
    """Who keeps the file elsewhere, by a link, gets the new one there."""
    os.mkdir('elsewhere')
    for command in RECOVER, RESTORE:
        shutil.move('out.fs', 'elsewhere/real.fs')
        os.symlink('elsewhere/real.fs', 'out.fs')
        fstool.check(*command)
        assert os.readlink('out.fs') == 'elsewhere/real.fs'
        assert b' 20 transactions' in fstool.check('test', 'elsewhere/real.fs')
        os.remove('out.fs')
        files.write('out.fs', files.base)
