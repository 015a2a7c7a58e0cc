"""A disk that fills up: votes and packs fail, nothing is lost, and with room it goes on.

Needs a small file system of its own, which only root may mount. And a disk that fails: reads go on,
commits don't, and whoever watches the server is told.
"""
import os
import subprocess
import time

import pytest
from support.configuration import filestorage
from support.monitor import Monitor
from support.server import wait_until
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ServerException
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import load_current, p64, z64

from exchange.writer import Reference, pickle_of

RECORD = pickle_of('x' * 500_000)


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', str(disk)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip('mounting a small file system is not allowed here')
    yield disk
    subprocess.run(['umount', '-l', str(disk)], check=True)


def commit(client, number, serial=z64, record=RECORD):
    """Commits one object; returns its serial."""
    txn = TransactionMetaData()
    client.tpc_begin(txn)
    client.store(p64(number), serial, record, '', txn)
    return finish(client, txn)


def finish(client, txn):
    """Votes and finishes, or aborts; returns the tid."""
    try:
        client.tpc_vote(txn)
    except ServerException:
        client.tpc_abort(txn)
        raise
    return client.tpc_finish(txn)


@pytest.mark.ours_only('Python closes its storage when a commit meets a full disk')
def test_full_disk(serve, small_disk):
    (small_disk / 'ballast').write_bytes(bytes(2 << 20))
    server = serve(storages=filestorage(path=str(small_disk / 'Data.fs')))
    client = ClientStorage(server.address)
    committed = 0
    with pytest.raises(ServerException, match='No space left'):
        for committed in range(40):
            commit(client, committed)
    assert 0 < committed < 20
    assert client.loadBefore(bytes(8), b'\x7f' + bytes(7))[0] == RECORD, 'reading goes on'
    os.remove(small_disk / 'ballast')
    commit(client, committed)
    client.close()
    server.stop()
    storage = FileStorage(str(small_disk / 'Data.fs'), read_only=True)
    assert len(storage) == committed + 1
    storage.close()


@pytest.mark.ours_only('Python leaves its storage locked or unusable after a pack that fails')
@pytest.mark.parametrize('pack_gc', [True, False])
def test_pack_on_a_full_disk(pack_gc, serve, small_disk):
    """With garbage collection the pack knows beforehand that there is no room; without, it
    meets the end of the disk while it writes."""
    path = str(small_disk / 'Data.fs')
    server = serve(storages=filestorage(path=path, pack_gc=pack_gc, pack_keep_old=False))
    client = ClientStorage(server.address)
    root = pickle_of('x' * 500_000, [Reference(number) for number in range(1, 5)])
    serial = z64
    for number in range(1, 5):
        commit(client, number)
    for _ in range(4):
        serial = commit(client, 0, serial, root)
    content = read(path)
    (small_disk / 'ballast').write_bytes(bytes(2 << 20))
    with pytest.raises(ServerException, match='are free' if pack_gc else 'No space left'):
        client.pack(time.time() + 1, wait=True)
    assert read(path) == content
    assert not os.path.exists(path + '.pack')
    serial = commit(client, 0, serial, root)
    os.remove(small_disk / 'ballast')
    client.pack(time.time() + 1, wait=True)
    assert len(client) == 5
    assert client.lastTransaction() == serial
    client.close()
    server.stop()
    assert os.path.getsize(path) < len(content)
    storage = FileStorage(path, read_only=True)
    assert load_current(storage, z64) == (root, serial)
    storage.close()


@pytest.fixture
def failing_sync(tmp_path):
    """The environment of a server whose syncs fail as soon as the file `broken` is there."""
    library = str(tmp_path / 'failing_disk.so')
    source = os.path.join(os.path.dirname(__file__), os.pardir, 'tools', 'failing_disk.c')
    subprocess.run(['cc', '-shared', '-fPIC', '-O1', '-o', library, source, '-ldl'], check=True)
    return {'LD_PRELOAD': library, 'FAILING_SYNC': str(tmp_path / 'broken')}


@pytest.mark.ours_only('Python\'s server has no monitor')
def test_a_failed_sync_is_told(serve, failing_sync):
    """The server lives, but is not ready until it is started again."""
    server = serve(args=['--monitor', '0'], env=failing_sync)
    monitor = Monitor(server)
    client = ClientStorage(server.address)
    serial = commit(client, 1)
    assert monitor.ask('/readyz') == (200, 'ok\n')
    with open('broken', 'w'):
        pass
    with pytest.raises(ServerException):
        commit(client, 1, serial)
    os.remove('broken')
    code, text = monitor.ask('/readyz')
    assert code == 503 and "storage '1' accepts no more commits" in text
    assert monitor.ask('/healthz') == (200, 'ok\n')
    status, metrics = monitor.status(), monitor.metrics()
    assert status['storages'][0]['failure'] and not status['server']['ready']
    assert status['server']['alive'] and status['server']['faults'] == text.splitlines()
    assert metrics['zeo_server_storage_failed', (('storage', '1'),)] == 1
    assert metrics['zeo_server_ready', ()] == 0
    server.wait_for_log('no more commits are accepted')
    # A finish that fails makes the client connect anew.
    wait_until(client.is_connected)
    with pytest.raises(ServerException, match='stopped writing'):
        commit(client, 2)
    assert client.loadBefore(p64(1), b'\x7f' + bytes(7))[0] == RECORD, 'reading goes on'
    client.close()
    server.stop()
    server = serve()
    client = ClientStorage(server.address)
    assert client.loadBefore(p64(1), b'\x7f' + bytes(7))[0] == RECORD
    commit(client, 2)
    client.close()


def read(path):
    with open(path, 'rb') as f:
        return f.read()
