"""Runs the server under test (`$RUNZEO`) as a process of its own.

The binary may be any `runzeo`: this project's or Python's. Python's does not
say which port it got when it was asked for port 0, so for it a free port is
chosen beforehand; everybody else has to log `listening on ('127.0.0.1', N)`.
"""
import ast
import atexit
import os
import re
import signal
import subprocess
import tempfile
import time

from .ports import free_port

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# How long to wait, in seconds, for what comes at once on a machine with nothing else to do. It is
# long, so that a test fails when something does not come, and not when it comes late.
PATIENCE = 120

_LISTENING = re.compile(r'listening on (\(.*\)|\S+)\s*$', re.MULTILINE)
_LOG_PATH = re.compile(r'<logfile>\s*path\s+(\S+)')
_PORT_0 = re.compile(r'^(\s*address\s+\S*:)0\s*$', re.MULTILINE)
_running = set()


def binary():
    """The path of the server under test."""
    default = os.path.join(REPOSITORY, 'target', 'release', 'runzeo')
    return os.path.abspath(os.environ.get('RUNZEO') or default)


def is_python():
    """Whether the server under test is a Python script: upstream's own server."""
    with open(binary(), 'rb') as f:
        return f.read(2) == b'#!'


def with_port(config):
    """A configuration with a free port in place of port 0."""
    return _PORT_0.sub(lambda m: f'{m[1]}{free_port()}', config)


class ServerFailed(AssertionError):
    """The server did not start, or did not stop as it should; shows its log."""


class Server:
    """One running server process.

    `config` is the text of its configuration. It is written to a file in
    `cwd`, which is also the server's working directory. Unless `ready` is false,
    the constructor waits until the server listens, and fails if it does not. `process` are more
    arguments of Popen.
    """

    def __init__(self, config, cwd='.', args=(), env=None, ready=True, **process):
        if is_python():
            config = with_port(config)
        self.cwd = os.path.abspath(cwd)
        self.config = config
        self._stderr = tempfile.TemporaryFile()
        logs = [p for p in _LOG_PATH.findall(config) if not p.startswith('STD')]
        self._log = os.path.join(self.cwd, logs[0]) if logs else None
        self._log_start = _size(self._log) if self._log else 0
        fd, self.config_path = tempfile.mkstemp('.conf', 'server-', self.cwd)
        with os.fdopen(fd, 'w') as f:
            f.write(config)
        self.process = subprocess.Popen(
            [binary(), *self.options(), *args], cwd=self.cwd,
            stdin=subprocess.DEVNULL, stdout=self._stderr, stderr=self._stderr,
            env={**os.environ, **(env or {})}, **process)
        _running.add(self.process)
        self.pid = self.process.pid
        self.address = None
        if ready:
            try:
                self.address = self._wait_for_address()
            finally:
                os.remove(self.config_path)

    def options(self):
        """The first options on the command line."""
        return ['-C', self.config_path]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.stop()

    def log(self):
        """All that this server has logged: standard error, then its log file."""
        text = os.pread(self._stderr.fileno(), 1 << 26, 0).decode(errors='replace')
        if self._log and os.path.exists(self._log):
            with open(self._log, 'rb') as f:
                f.seek(self._log_start)
                text += f.read().decode(errors='replace')
        return text

    def wait_for_log(self, words):
        """Waits until `words` stand in the log."""
        wait_until(lambda: words in self.log(), lambda: f'{words!r} in:\n{self.log()}')

    def signal(self, number):
        """Sends a signal, waits for the end of the process, returns its exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        """Waits for the end of the process and returns its exit code."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise ServerFailed(f'the server did not stop; its log:\n{self.log()}') from None
        finally:
            _running.discard(self.process)

    def stop(self):
        """Ends the server by SIGTERM and checks that it ends with exit code 0."""
        code = self.signal(signal.SIGTERM)
        if code != 0:
            raise ServerFailed(f'exit code {code} after SIGTERM; the log:\n{self.log()}')

    def kill(self):
        """Ends the server by SIGKILL, as a crash would."""
        self.signal(signal.SIGKILL)

    def _wait_for_address(self):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            ended = self.process.poll() is not None
            found = _LISTENING.search(self.log())
            if found:
                return _address(found[1])
            if ended:
                _running.discard(self.process)
                raise ServerFailed(f'exit code {self.process.returncode} at start; '
                                   f'the log:\n{self.log()}\nthe configuration:\n{self.config}')
            time.sleep(0.01)
        self.kill()
        raise ServerFailed(f'not listening after {PATIENCE} s; the log:\n{self.log()}')


def run(*args, cwd='.', env=None):
    """Runs the server to its end; returns its exit code and all that it wrote."""
    done = subprocess.run(
        [binary(), *args], cwd=cwd, env={**os.environ, **(env or {})}, timeout=PATIENCE,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode(errors='replace')


def wait_until(condition, message=lambda: 'condition not met'):
    """Polls `condition` until it is true; fails with `message()` when that takes too long."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f'timed out after {PATIENCE} s: {message()}')
        time.sleep(0.01)


def _address(text):
    """The address that a log line shows, or the first: a (host, port) tuple or a socket's path."""
    if text.startswith('('):
        shown = ast.literal_eval(text)
        return (shown[0] if isinstance(shown[0], tuple) else shown)[:2]
    return text.strip('\'"')


def _size(path):
    return os.path.getsize(path) if os.path.exists(path) else 0


@atexit.register
def _end_all():
    """Leaves no server behind when a test run is broken off."""
    for process in list(_running):
        if process.poll() is None:
            process.kill()
            process.wait()
