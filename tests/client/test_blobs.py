"""One directory of blobs for clients of Python and in Rust at the same time."""
import os
import random
import subprocess
import sys

import pytest
import ZODB.blob
from support.configuration import filestorage, zeo
from support.contest import python_server
from support.server import Server, wait_until
from ZEO.ClientStorage import ClientStorage
from ZODB.utils import u64

from client.console import Client

COUNT = 40
SIZE = 20_000

# Reads blobs in an order of its own: a line `OID SERIAL SHA1` each.
PYTHON = '''
import hashlib, random, sys
from ZEO.ClientStorage import ClientStorage
host, port, directory, size, seed = sys.argv[1:]
storage = ClientStorage((host, int(port)), blob_dir=directory, blob_cache_size=int(size) or None)
random.seed(seed)
blobs = [line.split() for line in sys.stdin]
for oid, serial in random.sample(blobs, len(blobs)):
    with storage.openCommittedBlobFile(bytes.fromhex(oid), bytes.fromhex(serial)) as f:
        print(oid, serial, hashlib.sha1(f.read()).hexdigest())
storage.close()
'''


@pytest.fixture(params=['ours', 'python'])
def server(request, monkeypatch, tmp_path):
    """A server of either kind, with blobs."""
    monkeypatch.chdir(tmp_path)
    config = zeo() + filestorage(blob_dir='blobs')
    server = python_server(monkeypatch, config) if request.param == 'python' else Server(config)
    yield server
    server.kill()


def write_config(address, **options):
    lines = ''.join(f'  {key.replace("_", "-")} {value}\n' for key, value in options.items())
    with open('zodb.conf', 'w') as f:
        server = '%s:%s' % address
        f.write(f'%import ZEO\n<clientstorage>\n  server {server}\n{lines}</clientstorage>\n')


def commit(address, blob_dir, contents, **options):
    """Blobs that Python commits: {oid: serial}."""
    db = ZODB.DB(ClientStorage(address, blob_dir=blob_dir, **options))
    with db.transaction() as connection:
        blobs = connection.root()['blobs'] = list(map(ZODB.blob.Blob, contents))
    serial = db.lastTransaction()
    db.close()
    return {blob._p_oid: serial for blob in blobs}


def files(directory):
    """All that is there below, but locks and marks: {path: content}."""
    found = {}
    for parent, _directories, names in os.walk(directory):
        for name in names:
            if parent != directory and name != '.lock':
                path = os.path.join(parent, name)
                with open(path, 'rb') as f:
                    found[os.path.relpath(path, directory)] = f.read()
    return found


def place(oid, serial):
    number = u64(oid)
    return f'{number % 997}/{number // 997}.{serial.hex()}.blob'


@pytest.mark.parametrize('size', [0, COUNT * SIZE // 4], ids=['unlimited', 'limited'])
def test_many_readers_of_one_directory(server, size):
    contents = [random.randbytes(SIZE) for _ in range(COUNT)]
    blobs = commit(server.address, 'other', contents)
    expected = dict(zip(blobs, contents))
    write_config(server.address, blob_dir='cache', blob_cache_size=size or '1GB')
    lines = ''.join(f'{oid.hex()} {serial.hex()}\n' for oid, serial in blobs.items())
    arguments = [*map(str, server.address), 'cache', str(size)]
    pythons = [subprocess.Popen([sys.executable, '-c', PYTHON, *arguments, str(seed)], text=True,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
               for seed in range(2)]
    for process in pythons:
        process.stdin.write(lines)
        process.stdin.close()
    with Client(config='zodb.conf') as one, Client(config='zodb.conf') as two:
        clients = one, two
        orders = [random.sample(list(blobs.items()), len(blobs)) for _ in clients]
        for steps in zip(*orders):
            answers = [client.start('open_blob', oid=oid, serial=serial)
                       for client, (oid, serial) in zip(clients, steps)]
            for answer, (oid, _serial) in zip(answers, steps):
                assert answer() == expected[oid]
    sums = [process.stdout.read() for process in pythons]
    assert [process.wait() for process in pythons] == [0, 0]
    assert sorted(sums[0].split('\n')) == sorted(sums[1].split('\n'))
    assert len(sums[0].split('\n')) == COUNT + 1
    # Nothing is begun and not ended, and what is there is right.
    left = files('cache')
    places = {place(oid, serial): content for (oid, serial), content in zip(blobs.items(), contents)}
    assert left.items() <= places.items()
    assert size or left == places
    # When nobody downloads any more, the limit holds.
    if size:
        with Client(config='zodb.conf'):
            wait_until(lambda: sum(map(len, files('cache').values())) <= size * 9 // 10)


def test_commits_and_aborts(server):
    write_config(server.address, blob_dir='cache')
    with Client(config='zodb.conf') as client:
        for name in 'first', 'second', 'third':
            with open(name, 'w') as f:
                f.write(name)
        oid = client.vote_blob('first')
        tid = client.finish()
        assert not os.path.exists('first')
        assert files('cache') == {place(oid, tid): b'first'}
        assert os.stat(os.path.join('cache', place(oid, tid))).st_mode & 0o222 == 0
        client.vote_blob('second', oid, tid)
        second = client.finish()
        client.vote_blob('third')
        client.abort()
        assert len(files('cache')) == 2
    both = {tid: b'first', second: b'second'}
    for directory in 'cache', 'fresh':
        storage = ClientStorage(server.address, blob_dir=directory)
        for serial, content in both.items():
            with storage.openCommittedBlobFile(oid, serial) as f:
                assert f.read() == content
        storage.close()
    # What Python commits lies where the client in Rust looks for it.
    (other, serial), = commit(server.address, 'cache', [b'from Python']).items()
    assert files('cache')[place(other, serial)] == b'from Python'


def test_a_killed_client_leaves_nothing_for_long(server):
    content = random.randbytes(1 << 20) * 30
    (oid, serial), = commit(server.address, 'other', [content]).items()
    write_config(server.address, blob_dir='cache')
    client = Client(config='zodb.conf')
    client.start('open_blob', oid=oid, serial=serial)
    wait_until(lambda: files('cache'))
    client.kill()
    # Of the process before the end of a commit; and what is Python's.
    for name in 'rzeo-one.tmp', 'BUCpython.tmp':
        with open(os.path.join('cache', 'tmp', name), 'w') as f:
            f.write('some')
    # Whoever comes first has the blob as a whole.
    storage = ClientStorage(server.address, blob_dir='cache')
    with storage.openCommittedBlobFile(oid, serial) as f:
        assert f.read() == content
    storage.close()
    with Client(config='zodb.conf'):
        assert files('cache') == {'tmp/BUCpython.tmp': b'some', place(oid, serial): content}


def test_the_directory_of_the_server(server):
    write_config(server.address, blob_dir='blobs', shared_blob_dir='yes')
    blobs = commit(server.address, 'blobs', [b'from Python'], shared_blob_dir=True)
    with Client(config='zodb.conf') as client:
        (oid, serial), = blobs.items()
        assert client.open_blob(oid=oid, serial=serial) == b'from Python'
        with open('mine', 'w') as f:
            f.write('from Rust')
        mine = client.vote_blob('mine')
        tid = client.finish()
        assert client.open_blob(oid=mine, serial=tid) == b'from Rust'
        before = files('blobs')
        with open('mine', 'w') as f:
            f.write('aborted')
        client.vote_blob('mine')
        client.abort()
        assert files('blobs') == before
    storage = ClientStorage(server.address, blob_dir='blobs', shared_blob_dir=True)
    with open(storage.loadBlob(mine, tid)) as f:
        assert f.read() == 'from Rust'
    storage.close()
