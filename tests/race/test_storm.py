"""The server is killed and started again under load, and so are clients; they keep their caches.

The clients (`zeo-load storm`) check what they read; behind them `zeo-load check` watches the server.
At the end Python's client reads with their caches what it reads without.
"""
import os
import subprocess

import pytest
from support.configuration import zeo
from support.ports import free_port
from support.server import Server
from ZEO.ClientStorage import ClientStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import p64

from .test_order import LOAD

ROUNDS = 3 * int(os.environ.get('RZEO_RACE_ROUNDS') or 1)
OBJECTS = 48


class Storm:
    """A process with a storage that is used by several threads."""

    def __init__(self, address, cache):
        self.process = subprocess.Popen([LOAD, 'storm', address, cache], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, encoding='ascii')

    def wait_for_commits(self):
        """Returns when it has committed some more."""
        line = self.process.stdout.readline()
        assert line and not line.startswith('wrong'), line

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def end(self):
        said, _ = self.process.communicate()
        assert self.process.returncode == 0, said
        assert 'commits' in said and 'wrong' not in said


@pytest.mark.skipif(os.environ.get('RZEO_RACE_POSTGRES') == 'free',
                    reason='without history, a server that is started again has no old revisions')
@pytest.mark.timeout(1200)
@pytest.mark.parametrize('queue', [100, 2])
def test_nothing_is_stale(queue, tmp_path, encoding, objects):
    """With a short invalidation queue, caches are dropped at some restarts, and verified at others."""
    port = free_port()
    config = zeo(f'127.0.0.1:{port}', invalidation_queue_size=queue,
                 msgpack=encoding == 'M' or None) + objects.section
    server = Server(config, tmp_path)
    caches = [str(tmp_path / f'{name}.zec') for name in 'ab']
    storms = [Storm(f'127.0.0.1:{port}', cache) for cache in caches]
    for number in range(ROUNDS):
        for storm in storms:
            storm.wait_for_commits()
        server.kill()
        if number % 2:
            storms[0].kill()
        server = Server(config, tmp_path)
        if number % 2:
            storms[0] = Storm(f'127.0.0.1:{port}', caches[0])
    for storm in storms:
        storm.wait_for_commits()
    for storm in storms:
        storm.end()
    # Nobody else may commit meanwhile.
    check = subprocess.run([LOAD, '--address', f'127.0.0.1:{port}', '--clients', '4', '--seconds', '1',
                            'check'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert check.returncode == 0, check.stdout.decode()
    without = everything(port, None)
    assert sum(map(bool, without)) > OBJECTS / 2
    for cache in caches:
        assert everything(port, cache) == without
        assert not os.path.exists(f'{cache}.bad')
    server.stop()


def everything(port, cache):
    """What Python's client reads of all objects."""
    storage = ClientStorage(('127.0.0.1', port), cache=cache, cache_size=24000)
    try:
        return [revision(storage, p64(number)) for number in range(1, OBJECTS + 1)]
    finally:
        storage.close()


def revision(storage, oid):
    try:
        return storage.loadBefore(oid, b'\x7f' + b'\xff' * 7)
    except POSKeyError:
        return None
