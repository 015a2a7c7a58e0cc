"""Runs fstool, and Python's own tools beside it."""
import contextlib
import io
import json
import os
import subprocess

from support.server import REPOSITORY

TIMEOUT = 60


def binary():
    """The path of fstool: $FSTOOL, or what was built here."""
    default = os.path.join(REPOSITORY, os.environ.get('CARGO_TARGET_DIR', 'target'),
                           'release', 'fstool')
    return os.environ.get('FSTOOL') or default


class Result:
    """How a run of fstool ended."""

    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def __repr__(self):
        return f'exit code {self.code}\n{self.out}\n--- standard error:\n{self.err}'

    @property
    def json(self):
        return json.loads(self.out)


def fstool(*arguments, code=0):
    """Runs fstool, which must end with one of these exit codes and say nothing of a panic."""
    done = subprocess.run([binary(), *map(str, arguments)], timeout=TIMEOUT, text=True,
                          errors='backslashreplace', stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    result = Result(done)
    codes = code if isinstance(code, tuple) else (code,)
    assert result.code in codes and 'panicked' not in result.err, (arguments, result)
    return result


def printed(function, *arguments, **options):
    """What a function of Python's scripts prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        function(*arguments, **options)
    return out.getvalue()
