"""Runs the programs that stand beside the server under test, and Python's of the same name."""
import os
import subprocess
import sys

from .server import PATIENCE, REPOSITORY, binary, is_python


def ours(name):
    """The path of one of our programs. Beside Python's server, they are those of a debug build."""
    directory = os.path.join(REPOSITORY, 'target', 'debug') if is_python() \
        else os.path.dirname(binary())
    return os.path.join(directory, name)


def pythons(name):
    """The path of the script of ZEO."""
    return os.path.join(os.path.dirname(sys.executable), name)


class Result:
    """How a run has ended: exit code, standard output, standard error."""

    def __init__(self, done):
        self.code = done.returncode
        self.out, self.err = (text.decode(errors='replace') for text in (done.stdout, done.stderr))

    def __repr__(self):
        return f'exit code {self.code}\n{self.out}\n--- standard error:\n{self.err}'

    def __eq__(self, other):
        return (self.code, self.out, self.err) == (other.code, other.out, other.err)


def run(path, *args, env=None, **options):
    """Runs a program to its end."""
    result = Result(subprocess.run(
        [path, *map(str, args)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, timeout=PATIENCE, env={**os.environ, **(env or {})}, **options))
    assert 'panicked' not in result.err, result
    return result
