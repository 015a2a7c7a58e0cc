"""Runs fstool with what it must never do checked, and Python's own tools beside it."""
import contextlib
import io
import json

from support.fstool import path as binary
from support.fstool import run

__all__ = ['binary', 'fstool', 'printed']


class Result:
    """How a run of fstool ended."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out.decode(errors='backslashreplace'), err

    def __repr__(self):
        return f'exit code {self.code}\n{self.out}\n--- standard error:\n{self.err}'

    @property
    def json(self):
        return json.loads(self.out)


def fstool(*arguments, code=0):
    """Runs fstool, which must end with one of these exit codes and say nothing of a panic."""
    result = Result(*run(*arguments))
    codes = code if isinstance(code, tuple) else (code,)
    assert result.code in codes and 'panicked' not in result.err, (arguments, result)
    return result


def printed(function, *arguments, **options):
    """What a function of Python's scripts prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        function(*arguments, **options)
    return out.getvalue()
