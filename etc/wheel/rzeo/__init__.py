"""The programs of rzeo, the ZEO database server in Rust.

Each function replaces the running Python process by the program of its name, with the same
arguments and process id. `program` is its path, for whoever starts it otherwise.
"""
import os
import sys


def program(name):
    """The path of the program called `name`, such as 'runzeo'."""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), 'bin', name)


def _run(name):
    path = program(name)
    os.execv(path, [path, *sys.argv[1:]])


def runzeo():
    """The server."""
    _run('runzeo')


def fstool():
    """Check, repair, copy and back up a Data.fs."""
    _run('fstool')


def zeo():
    """Look at a running server."""
    _run('zeo')


def zeopack():
    """Pack storages of running servers."""
    _run('zeopack')


def zeo_nagios():
    """Check a server for Nagios."""
    _run('zeo-nagios')
