"""A disk that fills up: votes fail, nothing is lost, and with room it goes on.

Needs a small file system of its own, which only root may mount.
"""
import os
import subprocess

import pytest
from support.configuration import filestorage
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ServerException
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, z64

from exchange.writer import pickle_of

RECORD = pickle_of('x' * 500_000)


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / 'disk'
    disk.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', str(disk)]
    if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip('mounting a small file system is not allowed here')
    yield disk
    subprocess.run(['umount', str(disk)], check=True)


def commit(client, number):
    txn = TransactionMetaData()
    client.tpc_begin(txn)
    client.store(p64(number), z64, RECORD, '', txn)
    try:
        client.tpc_vote(txn)
    except ServerException:
        client.tpc_abort(txn)
        raise
    client.tpc_finish(txn)


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
