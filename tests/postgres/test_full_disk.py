"""PostgreSQL on a disk without room: for its tables, and for its log, where it ends all its processes; and on a broken
one."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest
from support.server import is_python, wait_until
from ZEO.Exceptions import ClientDisconnected, ServerException
from ZODB.POSException import ConflictError, StorageError
from ZODB.utils import u64

from postgres.cluster import Cluster
from postgres.conftest import Database
from postgres.test_rows import FAR, at_last, open_db, read, vote, write

pytestmark = [pytest.mark.skipif(is_python(), reason='the storage is one of ours'),
              pytest.mark.skipif(sys.platform != 'linux', reason='needs /proc and LD_PRELOAD')]


@pytest.fixture
def disk(monkeypatch):
    """A cluster, and the directory of the signs that its disk is full."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix='rzeo-disk-'))
    # PostgreSQL may run as somebody else.
    directory.chmod(0o777)
    library, source = f'{directory}/full_disk.so', os.path.join(os.path.dirname(__file__), 'full_disk.c')
    subprocess.run(['cc', '-shared', '-fPIC', '-O1', '-o', library, source, '-ldl'], check=True)
    with monkeypatch.context() as patch:
        patch.setenv('LD_PRELOAD', library)
        patch.setenv('FULL_DISK', str(directory))
        # With segments of the log of 1 MB, its end is soon there.
        cluster = Cluster('max_wal_size = 4MB', 'min_wal_size = 2MB', initdb=('--wal-segsize=1',))
    yield cluster, directory
    cluster.remove()
    shutil.rmtree(directory)


def try_to_write(db, number):
    """Whether it is committed; None if nobody knows."""
    try:
        write(db, **{'n': number, f'k{number % 3}': os.urandom(300_000)})
    except ClientDisconnected:
        return None
    except (ConflictError, StorageError):
        return False
    return True


def test_a_full_disk(serve, disk, monkeypatch):
    cluster, directory = disk
    database = Database(cluster, True)
    server = serve(storages=database.section('cache-local-mb 0'))
    db = open_db(server)
    write(db, n=0)

    (directory / 'full').touch()
    with pytest.raises(StorageError, match='No space left on device .53100.; .*free disk space') as raised:
        for number in range(100):
            write(db, n=number, kept=os.urandom(300_000))
    assert not isinstance(raised.value, ConflictError)
    db.cacheMinimize()
    assert read(db, 'n') == max(number - 1, 0)
    (directory / 'full').unlink()
    write(db, n=-1)
    assert read(db, 'n') == -1

    # Without room for its log, PostgreSQL ends all connections, and perhaps itself.
    (directory / 'full_log').touch()
    committed, possible = -1, set()
    for number in range(30):
        done = try_to_write(db, number)
        if done:
            committed, possible = number, set()
        elif done is None:
            possible.add(number)
    log = f'{cluster.directory}/log'
    with open(log) as f:
        assert 'PANIC:  could not write' in f.read()
    (directory / 'full_log').unlink()

    def is_back():
        # It may have been about to end.
        if not cluster.is_running():
            cluster.start()
        return is_read(db)

    wait_until(is_back)
    assert read(db, 'n') in {committed, *possible}
    wait_until(lambda: try_to_write(db, 1000))
    assert read(db, 'n') == 1000
    db.close()


@pytest.mark.parametrize('keep_history', [True, False], ids=['history', 'free'])
def test_a_sync_of_the_log_fails(serve, disk, keep_history):
    """What is written by then is there when PostgreSQL has ended all its processes: that is not told as a failure."""
    cluster, directory = disk
    database = Database(cluster, keep_history)
    db = open_db(serve(storages=database.section('poll-interval 60')))
    write(db, n=0)
    with db.transaction() as connection:
        txn = vote(db.storage, [], [(oid, *db.storage.loadBefore(oid, FAR)[:2])
                                    for oid in [connection.root()._p_oid]])
    before = u64(db.storage.lastTransaction())
    (directory / 'broken_log').touch()
    try:
        db.storage.tpc_finish(txn)
        told = True
    except ClientDisconnected:
        told = None
    except (StorageError, ServerException):
        told = False
    assert not (directory / 'broken_log').exists()
    with open(f'{cluster.directory}/log') as f:
        assert 'PANIC:  could not fdatasync' in f.read()
    wait_until(lambda: is_read(db))
    last = 'SELECT max(tid) FROM ' + ('transaction' if keep_history else 'object_state')
    assert told in (None, int(database.sql(last)[0]) > before)
    at_last(lambda: write(db, n=1))
    db.close()


def is_read(db):
    try:
        read(db, 'n')
    except (ConflictError, ClientDisconnected):
        return False
    return True
