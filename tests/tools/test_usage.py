"""The program as a command: help, exit codes, pipes."""
import os
import pty
import subprocess

import pytest
from exchange import files, histories

from .program import binary, fstool

SUBCOMMANDS = ['test', 'refs', 'dump', 'tail', 'oids', 'size', 'index']


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('command', SUBCOMMANDS)
def test_help(command):
    assert 'Exit codes: 0' in fstool('--help').out
    assert f'\n  {command} ' in fstool('-h').out
    help = fstool(command, '--help').out
    assert 'Usage: fstool' in help and 'Data.fs' in help


@pytest.mark.parametrize('arguments', [
    [], ['unknown'], ['test'], ['tail', '-n', 'many', 'Data.fs'], ['oids', 'Data.fs', 'x'],
    ['oids', 'Data.fs'], ['dump', '--json', 'Data.fs'], ['index', '--json', 'Data.fs']])
def test_wrong_usage(arguments):
    files.write('Data.fs', histories.plain)
    result = fstool(*arguments, code=2)
    assert result.err and not result.out


@pytest.mark.parametrize('command', SUBCOMMANDS)
def test_what_can_not_be_read(command):
    arguments = ['1'] if command == 'oids' else []
    for name, words in [('missing.fs', 'No such file'), ('.', 'directory'), ('text', 'FS30')]:
        files.write_bytes('text', b'This is no FileStorage.')
        result = fstool(command, name, *arguments, code=1 if name == 'text' else 2)
        assert words in result.err + result.out, result
    assert sorted(os.listdir()) == ['text']


def test_oids_from_a_file():
    files.write('Data.fs', histories.plain)
    files.write_bytes('oids', b'0x1\n2\n')
    result = fstool('oids', '-f', 'oids', 'Data.fs')
    assert result.out == fstool('oids', 'Data.fs', '0x2', '1').out
    files.write_bytes('oids', b'0x1\ntwo\n')
    assert "'two'" in fstool('oids', '-f', 'oids', 'Data.fs', code=2).err.replace('"', "'")


def test_a_pipe_that_nobody_reads():
    """`fstool dump | head` ends silently."""
    files.write('Data.fs', histories.many_objects)
    for command in ['dump', 'Data.fs'], ['test', '-vv', 'Data.fs']:
        process = subprocess.Popen([binary(), *command], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b''
        process.stderr.close()
        assert process.wait() == 141


def test_full_disk():
    files.write('Data.fs', histories.many_objects)
    with open('/dev/full', 'w') as full:
        done = subprocess.run([binary(), 'dump', 'Data.fs'], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert b'writing to standard output' in done.stderr


def test_progress_on_a_terminal():
    """A bar on standard error, that is gone at the end; nothing of it in the output."""
    files.write('Data.fs', histories.large)
    plain = fstool('test', 'Data.fs').out
    for quiet in [], ['--quiet']:
        ours, theirs = pty.openpty()
        done = subprocess.run([binary(), 'test', 'Data.fs', *quiet], stdout=subprocess.PIPE,
                              stderr=theirs, env={**os.environ, 'TERM': 'xterm'})
        os.close(theirs)
        shown = read_all(ours)
        assert (done.returncode, done.stdout.decode()) == (0, plain)
        assert (b'testing' in shown) == (not quiet), shown


def read_all(descriptor):
    pieces = []
    try:
        while piece := os.read(descriptor, 1 << 16):
            pieces.append(piece)
    except OSError:  # the other end is closed
        pass
    os.close(descriptor)
    return b''.join(pieces)
