"""Servers that serve what another server has: the upstream server, and those between it and clients.

The fixtures start either. With RZEO_FAN_OUT_ALL, each kind of upstream server is met with both
encodings.
"""
import os
import sys
import textwrap

import pytest
import transaction
from transaction.interfaces import TransientError
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZODB import DB

from .ports import free_port
from .server import PATIENCE, Server

# Python's server of the environment that the tests run in.
PYTHON_RUNZEO = os.path.join(os.path.dirname(sys.executable), 'runzeo')


class Upstream:
    """The upstream server, which may be Python's. It has one address, also when it is started again."""

    def __init__(self, directory, python=False, encoding='Z', options='', port=None):
        os.makedirs(directory, exist_ok=True)
        self.directory, self.python, self.encoding = str(directory), python, encoding
        self.port = port or free_port()
        self.options = options
        self.start()

    @property
    def address(self):
        return ('127.0.0.1', self.port)

    def start(self):
        config = f'''
            <zeo>
              address 127.0.0.1:{self.port}
              {self.options}
            </zeo>
            <filestorage 1>
              path up.fs
              blob-dir up-blobs
            </filestorage>
            '''
        env = {'ZEO_MSGPACK': '1' if self.encoding == 'M' else ''}
        program = PYTHON_RUNZEO if self.python else None
        self.server = _started(config, self.directory, env, program)

    def stop(self):
        if self.server.process.poll() is None:
            self.server.stop()

    def kill(self):
        self.server.kill()


class FanOut:
    """A server of ours whose storage is that of the upstream server."""

    def __init__(self, directory, address, encoding='Z', settings='', zeo='', section='clientstorage'):
        os.makedirs(directory, exist_ok=True)
        self.directory, self.encoding = str(directory), encoding
        self.port = free_port()
        host, port = address
        self.config = f'''
            <zeo>
              address 127.0.0.1:{self.port}
              {zeo}
            </zeo>
            <{section} 1>
              server {host}:{port}
              {settings}
            </{section}>
            '''
        self.start()

    @property
    def address(self):
        return ('127.0.0.1', self.port)

    def start(self):
        env = {'ZEO_MSGPACK': '1' if self.encoding == 'M' else ''}
        self.server = _started(self.config, self.directory, env)

    def stop(self):
        if self.server.process.poll() is None:
            self.server.stop()

    def kill(self):
        self.server.kill()




def _started(config, directory, env, program=None):
    if program is None:
        return Server(textwrap.dedent(config), directory, env=env)
    before = os.environ.get('RUNZEO')
    os.environ['RUNZEO'] = program
    try:
        return Server(textwrap.dedent(config), directory, env=env)
    finally:
        if before is None:
            del os.environ['RUNZEO']
        else:
            os.environ['RUNZEO'] = before


KINDS = ['ours-Z', 'python-M'] + (['ours-M', 'python-Z'] if os.environ.get('RZEO_FAN_OUT_ALL') else [])


@pytest.fixture(params=KINDS)
def kind(request):
    """The kind of the upstream server, and the encoding."""
    return request.param.split('-')


@pytest.fixture
def python(kind):
    return kind[0] == 'python'


@pytest.fixture
def encoding(kind):
    return kind[1]


@pytest.fixture
def started(tmp_path, monkeypatch):
    """What is put into this list is stopped, the last one first."""
    monkeypatch.chdir(tmp_path)
    started = []
    yield started
    for one in reversed(started):
        one.stop()


@pytest.fixture
def upstream(tmp_path, started, python, encoding):
    started.append(Upstream(tmp_path, python, encoding))
    return started[0]


@pytest.fixture
def fan_out(tmp_path, upstream, started, encoding):
    started.append(FanOut(tmp_path / 'fan', upstream.address, encoding,
                          'blob-dir blobs\nwait-timeout 1'))
    return started[-1]


def client(server, **options):
    return ClientStorage(server.address, wait_timeout=PATIENCE, **options)


class Database:
    """A client's database, with one connection."""

    def __init__(self, server, **options):
        self.storage = client(server, **options)
        self.db = DB(self.storage)
        self.manager = transaction.TransactionManager(explicit=True)
        self.manager.begin()
        self.connection = self.db.open(self.manager)
        self.root = self.connection.root()

    def commit(self):
        self.manager.commit()
        self.manager.begin()

    def begin(self):
        self.manager.abort()
        self.manager.begin()

    def close(self):
        self.manager.abort()
        self.connection.close()
        self.db.close()


def loaded(storage, oid):
    try:
        return storage.load(oid)[1]
    except (TransientError, ClientDisconnected):
        return None
