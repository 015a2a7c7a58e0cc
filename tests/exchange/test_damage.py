"""Damaged files: the server says what it can't read, and serves the rest."""
import os
import pathlib
import random
import time

import pytest
from support.configuration import eventlog, filestorage
from support.server import run
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ServerException
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import load_current, p64, z64

from .files import write
from .test_blobs import BlobWriter
from .writer import Reference, Writer, pickle_of

pytestmark = pytest.mark.ours_only('serves what is damaged, or fails otherwise')
OBJECTS = range(1, 60)
PAGE = 4096


def history(w):
    """A root and what it refers to, each over several pages of the file."""
    references = [Reference(number) for number in OBJECTS]
    w.commit((0, pickle_of('root', references)))
    for number in OBJECTS:
        w.commit((number, pickle_of(f'{number} ' * 400)))


def written():
    """Has Python write Data.fs and its index."""
    return write('Data.fs', history)


def positions(writer):
    """Where the records stand, by the oid."""
    with open('Data.fs', 'rb') as f:
        content = f.read()
    return {oid: content.index(oid + writer.serials[oid]) for oid in writer.current}


def overwrite(at, data):
    with open('Data.fs', 'r+b') as f:
        f.seek(at)
        f.write(data)


def answers(client, writer):
    """The objects that are served as they should be, and the errors of the others."""
    good, errors = set(), {}
    for oid, data in writer.current.items():
        try:
            if client.loadBefore(oid, p64(1 << 62))[:2] == (data, writer.serials[oid]):
                good.add(oid)
        except (ServerException, POSKeyError) as error:
            errors[oid] = error
    return good, errors


def test_a_page_goes_bad_while_it_is_served(serve, encoding):
    """Its objects fail, each with the position; all others are served, and commits go on."""
    writer = written()
    server = serve(encoding=encoding)
    client = ClientStorage(server.address)
    where = positions(writer)
    page = where[p64(30)] // PAGE * PAGE
    overwrite(page, b'\0' * PAGE)
    good, errors = answers(client, writer)
    lost = {oid for oid, at in where.items() if page <= at < page + PAGE}
    # Of this one, some of the data is there.
    cut = {oid for oid, at in where.items() if at < page < at + 42 + len(writer.current[oid])}
    assert p64(30) in lost and len(lost) + len(cut) < 6
    assert good == set(where) - lost - cut
    for oid in lost:
        assert f'Data.fs is damaged at position {where[oid]}: ' in str(errors[oid])
    other = Writer(client, explicit_tids=False)
    other.commit((1000, pickle_of('new')))
    assert load_current(client, p64(1000))[0] == pickle_of('new')


@pytest.mark.parametrize('how', ['zeros', 'swapped'])
def test_a_pack_of_a_damaged_file_stops(how, serve, encoding):
    """It says where, and leaves all as it was."""
    writer = written()
    server = serve(encoding=encoding)
    client = ClientStorage(server.address)
    other = Writer(client, explicit_tids=False)
    other.commit((1000, pickle_of('with a checksum' * 500)))
    content = pathlib.Path('Data.fs').read_bytes()
    at = content.index(b'with a checksum') + 5000
    assert len(content) > at + 200
    if how == 'zeros':
        overwrite(at, b'\0' * 100)
    else:
        overwrite(at, content[at + 100:at + 200] + content[at:at + 101])
    content, names = pathlib.Path('Data.fs').read_bytes(), sorted(os.listdir())
    with pytest.raises(ServerException, match='Data.fs is damaged at position [0-9]+: '):
        client.pack(time.time(), wait=True)
    assert pathlib.Path('Data.fs').read_bytes() == content
    assert sorted(os.listdir()) == names
    good, errors = answers(client, writer)
    assert good == set(writer.current) and not errors
    other.commit((1001, pickle_of('goes on')))


def test_a_damaged_file_is_refused(serve):
    """Without an index to start from, it is read: and does not open."""
    writer = written()
    os.remove('Data.fs.index')
    where = positions(writer)
    overwrite(where[p64(20)] + 24, b'\xff' * 8)
    content = pathlib.Path('Data.fs').read_bytes()
    code, output = run('-f', 'Data.fs', '-a', '127.0.0.1:0')
    assert code == 1
    assert f'Data.fs is damaged at position {where[p64(20)]}' in output
    assert pathlib.Path('Data.fs').read_bytes() == content


@pytest.mark.parametrize('seed', range(6))
def test_a_damaged_index_is_left_aside(seed, serve, encoding):
    """The index that the server itself has saved has a checksum."""
    server = serve(encoding=encoding)
    client = ClientStorage(server.address)
    writer = Writer(client, explicit_tids=False)
    history(writer)
    client.close()
    server.stop()
    index = bytearray(pathlib.Path('Data.fs.index').read_bytes())
    rng = random.Random(seed)
    if seed % 3 == 0:
        index[rng.randrange(len(index))] ^= 1 << rng.randrange(8)
    elif seed % 3 == 1:
        at, other = rng.sample(range(0, len(index) - 16, 16), 2)
        index[at:at + 16], index[other:other + 16] = index[other:other + 16], index[at:at + 16]
    else:
        del index[rng.randrange(len(index) - 13):]
    pathlib.Path('Data.fs.index').write_bytes(index)
    server = serve(encoding=encoding, extra=eventlog())
    server.wait_for_log('ignoring the index')
    client = ClientStorage(server.address)
    assert answers(client, writer) == (set(writer.current), {})
    client.close()
    server.stop()
    python = FileStorage('Data.fs', read_only=True)
    assert len(python) == len(writer.current)


def blob_path(tid):
    (path,) = pathlib.Path('blobs').rglob(f'0x{tid.hex()}.blob')
    return path


def test_damaged_blobs_fail_by_themselves(serve, encoding):
    """Missing, a directory, cut: the others are served; commits go on."""
    server = serve(filestorage(blob_dir='blobs'), encoding)
    client = ClientStorage(server.address, blob_dir='cache')
    writer = BlobWriter(client)
    contents = {number: bytes([number]) * 100_000 for number in range(1, 6)}
    tids = {number: writer.store((number, content)) for number, content in contents.items()}
    client.close()
    missing, directory, cut = (blob_path(tids[number]) for number in (1, 2, 3))
    missing.unlink()
    directory.unlink()
    directory.mkdir()
    os.truncate(cut, 10)
    client = ClientStorage(server.address, blob_dir='cache2')
    for number in 1, 2:
        with pytest.raises(Exception) as failure:
            client.loadBlob(p64(number), tids[number])
        assert 'blob' in str(failure.value).lower() or failure.type is POSKeyError
    for number, length in (3, 10), (4, 100_000), (5, 100_000):
        with open(client.loadBlob(p64(number), tids[number]), 'rb') as f:
            assert f.read() == contents[number][:length]
    writer = BlobWriter(client)
    writer.tids = [tids[5]]
    new = writer.store((6, b'new'))
    with open(client.loadBlob(p64(6), new), 'rb') as f:
        assert f.read() == b'new'


def test_a_file_in_the_way_of_a_blob(serve, encoding):
    """The commit fails and says where; the next one does not."""
    server = serve(filestorage(blob_dir='blobs'), encoding)
    client = ClientStorage(server.address, blob_dir='cache')
    writer = BlobWriter(client)
    writer.store((1, b'first'), root=[1])
    tree = pathlib.Path('blobs')
    for part in '0x00 0x00 0x00 0x00 0x00 0x00 0x01'.split():
        tree /= part
    tree.mkdir(parents=True, exist_ok=True)
    (tree / '0x00').write_text('in the way')
    with pytest.raises(Exception):
        writer.store((0x100, b'second'))
    client.close()
    client = ClientStorage(server.address, blob_dir='cache')
    with pytest.raises(POSKeyError):
        load_current(client, p64(0x100))
    again = BlobWriter(client)
    again.tids, again.serials = writer.tids, writer.serials
    again.store((2, b'third'))
    assert load_current(client, z64)


def test_an_unknown_layout_is_refused(serve):
    os.mkdir('blobs')
    pathlib.Path('blobs/.layout').write_bytes(b'\0\xffbushes')
    pathlib.Path('zeo.conf').write_text(
        '<zeo>\n  address 127.0.0.1:0\n</zeo>\n' + filestorage(blob_dir='blobs'))
    code, output = run('-C', 'zeo.conf')
    assert code in (1, 2)
    assert 'blobs' in output and 'layout' in output
