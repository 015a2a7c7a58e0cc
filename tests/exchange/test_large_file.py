"""A file in which records of neighbours stand on both sides of 4 GiB, and the index of it.

The file has a hole, so it takes next to nothing on the disk.
"""
import os

import pytest
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, u64

from .files import append
from .writer import SECOND, Writer, pickle_of

HOLE = 5 << 30
BIG = 10_000  # the object whose data is the hole


@pytest.fixture
def file(serve):
    """Written by Python, but for the hole; returns the Writer. (`serve` is in a new directory.)"""
    storage = FileStorage('Data.fs')
    writer = Writer(storage)
    writer.commit(*((number, pickle_of(f'first {number}')) for number in range(1000)))
    storage.close()
    add_hole(p64(u64(writer.tids[-1]) + SECOND))
    storage = FileStorage('Data.fs')
    writer.storage = storage
    writer.tids.append(storage.lastTransaction())
    writer.commit(*((number, pickle_of(f'again {number}')) for number in range(0, 1000, 3)))
    storage.close()
    return writer


def add_hole(tid):
    """A transaction with one record, which Python would write so."""
    position = os.path.getsize('Data.fs')
    length = (23 + 42 + HOLE).to_bytes(8, 'big')
    with open('Data.fs', 'r+b') as f:
        f.seek(position)
        f.write(tid + length + b' ' + bytes(6))
        f.write(p64(BIG) + tid + bytes(8) + position.to_bytes(8, 'big') + bytes(2) + p64(HOLE))
        f.seek(HOLE, os.SEEK_CUR)
        f.write(length)


@pytest.mark.parametrize('index', ['with', 'without'])
def test_both_directions(file, serve, index):
    if index == 'without':
        os.remove('Data.fs.index')
    server = serve()
    assert 'ignoring' not in server.log()
    client = ClientStorage(server.address)
    check(client, file)
    file.storage = client
    file.commit(*((number, pickle_of(f'once more {number}')) for number in range(0, 1000, 7)))
    check(client, file)
    client.close()
    server.stop()

    storage = FileStorage('Data.fs', read_only=True)
    assert storage._used_index
    check(storage, file)
    saved = dict(storage._index.items())
    storage.close()
    os.remove('Data.fs.index')
    storage = FileStorage('Data.fs', read_only=True)
    assert saved == dict(storage._index.items())
    storage.close()
    append('Data.fs', 1, first=20_000)
    server = serve()
    client = ClientStorage(server.address)
    check(client, file)
    client.close()


def check(storage, writer):
    for oid, data in writer.current.items():
        assert storage.load(oid) == (data, writer.serials[oid])
