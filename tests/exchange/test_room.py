"""Room prepared behind the end of the file (`--prepare-room`): what Python and the tools make of it."""
import itertools
import logging
import os
import shutil
import subprocess
import sys
import threading

import pytest
from support import fstool
from support.configuration import filestorage
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileIterator, FileStorage
from ZODB.scripts import fstest, repozo
from ZODB.utils import load_current, p64

from .writer import Writer, pickle_of

pytestmark = pytest.mark.ours_only('there is no such option')

ROOM = 1 << 16


@pytest.fixture
def commit(serve):
    """A server that prepares room, and a client: a Writer with `server` and `model` besides."""
    server = serve(storages=filestorage(pack_gc=False), args=['--prepare-room', '64kb'])
    client = ClientStorage(server.address)
    writer = Writer(client, explicit_tids=False)
    writer.server = server
    for number in range(5):
        writer.commit((number, pickle_of(number)), (7, pickle_of('x' * 1000 * number)))
    yield writer
    client.close()


def check(storage, writer):
    """All that was committed is there, and nothing else."""
    for oid, data in writer.current.items():
        assert load_current(storage, oid) == (data, writer.serials[oid])
    assert len(storage) == len(writer.current)
    assert storage.lastTransaction() == writer.tids[-1]
    assert [txn.tid for txn in storage.iterator()] == writer.tids


def read_by_python(path, writer, **options):
    storage = FileStorage(path, **options)
    check(storage, writer)
    size = storage.getSize()
    storage.close()
    return size


def test_beside_the_server(commit):
    size = read_by_python('Data.fs', commit, read_only=True)
    assert size < os.path.getsize('Data.fs') <= size + ROOM + 100
    assert [txn.tid for txn in FileIterator('Data.fs')] == commit.tids
    assert commit.storage.getSize() == size
    with pytest.raises(fstest.FormatError, match='time-stamp reduction'):
        fstest.check('Data.fs')
    with pytest.raises(ValueError):
        FileIterator('Data.fs', commit.tids[1])
    assert b'no errors detected in 5 transactions' in fstool.check('test', 'Data.fs')
    assert fstool.check('tail', 'Data.fs').count(b'hash=') == 5
    os.remove('Data.fs.index')  # as far as it came
    assert read_by_python('Data.fs', commit, read_only=True) == size


def test_backups_beside_the_server(commit, monkeypatch):
    """By repozo, full and incremental, and with nothing new; the same by fstool."""
    # It can't make two in one second.
    dates = ((2026, 1, 2, 3, 4, second) for second in itertools.count())
    os.mkdir('python')
    os.mkdir('ours')
    with monkeypatch.context() as patched:
        patched.setattr(repozo, 'gen_filedate', lambda _options: next(dates))
        for number in range(6):
            if number % 2:
                commit.commit((1, pickle_of(number)), (8, pickle_of('y' * 5000)))
            repozo.main(['-B', '-r', 'python', '-f', 'Data.fs'])
            fstool.check('repozo', '-B', '-r', 'ours', '-f', 'Data.fs')
    repozo.main(['-V', '-r', 'python'])
    for made in 'python', 'ours':
        repozo.main(['-R', '-r', made, '-o', f'{made}.fs'])
        assert read_by_python(f'{made}.fs', commit) == commit.storage.getSize()


@pytest.mark.parametrize('keep_index', [True, False])
def test_after_a_kill(keep_index, commit, serve, caplog):
    commit.server.kill()
    if not keep_index:
        os.remove('Data.fs.index')
    os.mkdir('python')
    for name in os.listdir():
        if name.startswith('Data.fs') and not name.endswith('.lock'):
            shutil.copy(name, 'python')
    assert b'no errors detected in 5 transactions' in fstool.check('test', 'Data.fs')
    with caplog.at_level(logging.WARNING):
        size = read_by_python('python/Data.fs', commit)
    assert os.path.getsize('python/Data.fs') == size
    assert os.path.exists('python/Data.fs.tr0'), 'Python saves what it cuts off'
    fstest.check('python/Data.fs')
    server = serve()
    assert os.path.getsize('Data.fs') == size
    assert not os.path.exists('Data.fs.tr0')
    assert 'cut off' not in server.log()
    client = ClientStorage(server.address)
    check(client, commit)
    client.close()


def test_a_clean_stop_leaves_no_room(commit, serve):
    commit.storage.close()
    commit.server.stop()
    fstest.check('Data.fs')
    size = read_by_python('Data.fs', commit)
    assert os.path.getsize('Data.fs') == size
    assert not os.path.exists('Data.fs.tr0')
    server = serve(storages=filestorage(read_only=True), args=['--prepare-room', '1mb'])
    client = ClientStorage(server.address, read_only=True)
    check(client, commit)
    client.close()
    assert os.path.getsize('Data.fs') == size


def test_after_a_pack(commit):
    commit.storage.pack(wait=True)
    size = commit.storage.getSize()
    assert os.path.getsize('Data.fs') == size
    fstest.check('Data.fs.old')
    commit.commit((1, pickle_of('after it')))
    storage = FileStorage('Data.fs', read_only=True)
    assert load_current(storage, p64(1))[0] == pickle_of('after it')
    assert storage.getSize() == commit.storage.getSize() < os.path.getsize('Data.fs')
    storage.close()


READER = '''
import sys
from ZODB.FileStorage import FileIterator, FileStorage
seen = 0
while sys.stdin.readline().strip():
    storage = FileStorage('Data.fs', read_only=True)
    last = storage.lastTransaction()
    storage.close()
    tids = [(txn.tid, [record.data for record in txn]) for txn in FileIterator('Data.fs')]
    assert len(tids) >= seen and all(b'whole' in data for _tid, all in tids for data in all)
    seen = len(tids)
    print(last.hex(), tids[-1][0].hex(), flush=True)
'''


def test_python_reads_while_others_commit(serve):
    """Whatever moment Python opens the file at, it sees whole transactions."""
    server = serve(args=['--prepare-room', '64kb'])
    stop = threading.Event()
    ready = threading.Barrier(3)
    counts = [0, 0]

    def work(number):
        client = ClientStorage(server.address)
        writer = Writer(client, explicit_tids=False)
        while not stop.is_set():
            data = pickle_of('whole' * (50 + 731 * counts[number] % 4000) + 'whole')
            writer.commit((10 * number, data), (10 * number + 1, data))
            counts[number] += 1
            if counts[number] == 1:
                ready.wait()
        client.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    ready.wait()
    reader = subprocess.Popen([sys.executable, '-c', READER], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True)
    told = set()
    try:
        for _round in range(60):
            reader.stdin.write('on\n')
            reader.stdin.flush()
            told.update(reader.stdout.readline().split())
        reader.stdin.close()
        assert reader.wait() == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    # Looked at only now: FileStorage's last one may be one that was getting its status just then.
    tids = {txn.tid.hex() for txn in FileIterator('Data.fs')}
    assert len(told) > 1 and told <= tids, sorted(told - tids)
