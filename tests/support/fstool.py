"""Runs `fstool`, which stands beside the server under test."""
import os
import subprocess

from .server import PATIENCE, binary


def path():
    """The path of fstool."""
    return os.path.join(os.path.dirname(binary()), 'fstool')


def run(*args, **options):
    """Runs it to its end; returns its exit code, standard output (bytes) and errors (a text)."""
    done = subprocess.run([path(), *map(str, args)], timeout=PATIENCE, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    return done.returncode, done.stdout, done.stderr.decode(errors='replace')


def check(*args, **options):
    """The same, and fails unless all was well; returns standard output."""
    code, out, err = run(*args, **options)
    assert code == 0, f'exit code {code} of {args}: {err}'
    return out


def start(*args):
    """Starts it in the background, with its output thrown away."""
    return subprocess.Popen([path(), *map(str, args)], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
