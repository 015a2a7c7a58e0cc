"""Servers to be measured, each a process of its own, and runs of zeo-load."""
import contextlib
import json
import os
import pickle
import shutil
import signal
import socket
import ssl
import subprocess
import time

START_TIMEOUT = 300
STOP_TIMEOUT = 60
REGISTER = {b'M': b'\x94\x01\xc2\xa8register\x92\xa11\xc2',
            b'Z': pickle.dumps((1, False, 'register', ('1', False)), 3)}

CONFIGURATION = """\
<zeo>
  address 127.0.0.1:{port}
  msgpack {msgpack}
{ssl}</zeo>
<filestorage 1>
  path {directory}/Data.fs
{blobs}</filestorage>
<eventlog>
  level info
  <logfile>
    path {directory}/server.log
  </logfile>
</eventlog>
"""


class Failed(Exception):
    """A server or zeo-load has not done what it was started for."""


class Server:
    """A server on a data file in a directory of its own. The configuration is
    the same for every implementation."""

    def __init__(self, program, directory, msgpack, blobs=False, tls=None):
        self.program, self.directory, self.tls = program, directory, tls
        self.process = None
        with socket.socket() as s:
            s.bind(('127.0.0.1', 0))
            self.port = s.getsockname()[1]
        os.makedirs(directory, exist_ok=True)
        self.configuration = os.path.join(directory, 'zeo.conf')
        with open(self.configuration, 'w') as f:
            f.write(CONFIGURATION.format(port=self.port, directory=directory,
                                         ssl=tls.section() if tls else '',
                                         msgpack=str(msgpack).lower(),
                                         blobs=f'  blob-dir {directory}/blobs\n' if blobs else ''))

    @property
    def data(self):
        """The path of its FileStorage."""
        return os.path.join(self.directory, 'Data.fs')

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        """Starts it; returns the seconds until a client is registered."""
        out = open(os.path.join(self.directory, 'output'), 'wb')
        began = time.monotonic()
        with out:
            self.process = subprocess.Popen(
                [self.program, '-C', self.configuration], cwd=self.directory,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        while not self._register():
            if self.process.poll() is not None:
                raise Failed(f'{self.program} ended at its start:\n{self._log()}')
            if time.monotonic() > began + START_TIMEOUT:
                raise Failed(f'{self.program} does not answer')
            time.sleep(0.001)
        return time.monotonic() - began

    def memory(self):
        """Resident bytes."""
        return self._status('VmRSS')

    def peak(self):
        """The most resident bytes since `reset_peak`."""
        return self._status('VmHWM')

    def reset_peak(self):
        """Begins to look for the peak anew (Linux: `man 5 proc`)."""
        with open(f'/proc/{self.pid}/clear_refs', 'w') as f:
            f.write('5')

    def _status(self, name):
        with open(f'/proc/{self.pid}/status') as f:
            line = next(line for line in f if line.startswith(name + ':'))
        return int(line.split()[1]) * 1024

    def stop(self):
        """Ends it as an operator would, and by force if it does not end."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def _register(self):
        """Registers a client; false while the server is not there."""
        try:
            with socket.create_connection(('127.0.0.1', self.port), START_TIMEOUT) as plain:
                s = self.tls.wrap(plain) if self.tls else plain
                greeting = _frame(s)
                for message in greeting, REGISTER[greeting[:1]]:
                    s.sendall(len(message).to_bytes(4, 'big') + message)
                return b'.reply' in _frame(s)
        except OSError:
            return False

    def _log(self):
        text = ''
        for name in 'output', 'server.log':
            path = os.path.join(self.directory, name)
            if os.path.exists(path):
                with open(path, errors='replace') as f:
                    text += f.read()[-2000:]
        return text


def _frame(connection):
    size = int.from_bytes(_exactly(connection, 4), 'big')
    return _exactly(connection, size)


def _exactly(connection, size):
    data = b''
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise OSError('closed')
        data += more
    return data


class Load:
    """Runs of zeo-load."""

    def __init__(self, program):
        self.program = program

    def run(self, *args, server=None, timeout=600):
        """Runs it to its end; returns its report."""
        command = [str(self.program), '--json', *map(str, args), *self._target(server)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout)
        if done.returncode:
            raise Failed(f'{" ".join(command)}:\n{done.stderr.strip()}')
        return json.loads(done.stdout)

    def memory_for_client(self, server, clients):
        """Bytes that a server takes for each idle client."""
        self._with_idle(server, 20)  # whatever the first ones need
        before = server.memory()
        return (self._with_idle(server, clients) - before) / clients

    def _with_idle(self, server, clients):
        with self.idle(server, clients):
            # Until what they needed to register is given back.
            time.sleep(3)
            return server.memory()

    @contextlib.contextmanager
    def idle(self, server, clients):
        """So many clients that do nothing, meanwhile."""
        command = [self.program, 'idle', '--clients', str(clients), *self._target(server)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as idle:
            if b'ready' not in idle.stdout.readline():
                raise Failed(f'{clients} idle clients can\'t connect')
            yield
            idle.stdin.close()
            idle.stdout.read()

    @contextlib.contextmanager
    def syncing(self, path):
        """A process that appends 64 kB to a file and syncs them, a hundred times a second, meanwhile."""
        try:
            with self._meanwhile('sync', '--path', path, '--max-objects', '1', '--size', '64000', '--pace', '100'):
                yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)

    def echoing(self, clients):
        """So many clients of an echo, meanwhile."""
        return self._meanwhile('echo', '--clients', str(clients))

    @contextlib.contextmanager
    def relaying(self, path):
        """The port of a process that passes connections on to a Unix socket, meanwhile."""
        command = [self.program, 'relay', '--path', path]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield int(process.stdout.readline().rpartition(':')[2])
            finally:
                process.terminate()

    @contextlib.contextmanager
    def _meanwhile(self, *args):
        command = [self.program, *args, '--seconds', '3600']
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                time.sleep(0.2)
                yield
                if process.poll() is not None:
                    raise Failed(f'{" ".join(map(str, command))}: it has ended')
            finally:
                process.terminate()

    @staticmethod
    def _target(server):
        if server is None:
            return []
        tls = server.tls.options() if server.tls else []
        return ['--address', f'127.0.0.1:{server.port}', '--pid', str(server.pid), *tls]


class Tls:
    """Certificates for a server and its clients: one that signs itself serves both."""

    def __init__(self, directory):
        self.certificate, self.key = (os.path.join(directory, f'tls.{kind}') for kind in ('pem', 'key'))
        subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj',
             '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', self.key,
             '-out', self.certificate], check=True, capture_output=True)

    def section(self):
        """The server's section."""
        return (f'  <ssl>\n    certificate {self.certificate}\n    key {self.key}\n'
                f'    authenticate {self.certificate}\n  </ssl>\n')

    def options(self):
        """Those of zeo-load."""
        return ['--tls-certificate', self.certificate, '--tls-key', self.key,
                '--tls-trust', self.certificate]

    def wrap(self, plain):
        """A socket with TLS over a plain one."""
        context = ssl.create_default_context(cafile=self.certificate)
        context.load_cert_chain(self.certificate, self.key)
        return context.wrap_socket(plain, server_hostname='localhost')


def copy_data(source, server):
    """Gives a server a copy of a data file, with its index if it has one. The
    copy is on the disk: no server is to wait for pages that are not its own."""
    for suffix in '', '.index':
        target = server.data + suffix
        if os.path.exists(source + suffix):
            shutil.copy(source + suffix, target)
            with open(target, 'rb') as f:
                os.fsync(f.fileno())
        elif os.path.exists(target):
            os.remove(target)
