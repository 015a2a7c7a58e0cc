"""Blobs as an operator meets them: large ones, a disk that fills up, a directory that is odd."""
import os
import re

import pytest
from support.configuration import filestorage, zeo
from support.server import is_python, run, wait_until
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ServerException
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import POSKeyError
from ZODB.utils import p64, z64

from exchange.test_blobs import BLOB
from operate.test_disk import finish, small_disk  # noqa: F401

MB = 1 << 20
OID = p64(1)


def commit(client, fill, serial=z64):
    """Commits a blob that `fill` has written."""
    path = os.path.abspath('upload')
    with open(path, 'wb') as f:
        fill(f)
    txn = TransactionMetaData()
    client.tpc_begin(txn)
    client.storeBlob(OID, serial, BLOB, path, '', txn)
    return finish(client, txn)


def test_a_large_blob(serve, encoding):
    """The server's memory does not depend on the size of a blob, up or down."""
    size = 200 * MB

    def fill(f):
        f.truncate(size)
        for number in range(size // MB):  # so that pieces are not mixed up
            os.pwrite(f.fileno(), b'%d' % number, number * MB + number)

    server = serve(filestorage(blob_dir='blobs'), encoding)
    writer = ClientStorage(server.address, blob_dir='written')
    before = peak(server)
    tid = commit(writer, fill)
    writer.close()
    reader = ClientStorage(server.address, blob_dir='read')
    with open(reader.loadBlob(OID, tid), 'rb') as f:
        assert os.fstat(f.fileno()).st_size == size
        for number in range(size // MB):
            f.seek(number * MB)
            assert f.read(MB) == (bytes(number) + b'%d' % number).ljust(MB, b'\0')
    reader.close()
    if not is_python():
        assert peak(server) < before + 16 * MB


def peak(server):
    """The most bytes that the server has had in memory."""
    with open(f'/proc/{server.pid}/status') as f:
        return int(re.search(r'VmHWM:\s+(\d+) kB', f.read())[1]) << 10


@pytest.mark.ours_only('it closes the connection in the middle of the upload')
def test_a_blob_on_a_full_disk(serve, small_disk):  # noqa: F811
    """The vote says so, nothing of the blob is left, and with room it goes on."""
    blobs = small_disk / 'blobs'
    server = serve(filestorage(blob_dir=blobs))
    client = ClientStorage(server.address, blob_dir='cache')
    tid = commit(client, lambda f: f.write(b'small'))
    wait_until(lambda: os.listdir(blobs / 'tmp') == [])
    with pytest.raises(ServerException, match='No space left'):
        commit(client, lambda f: f.truncate(20 * MB), tid)
    assert os.listdir(blobs / 'tmp') == []
    tid = commit(client, lambda f: f.truncate(6 * MB), tid)
    client.close()
    reader = ClientStorage(server.address, blob_dir='read')
    assert os.path.getsize(reader.loadBlob(OID, tid)) == 6 * MB
    reader.close()


def test_uploads_on_another_disk(serve, small_disk):  # noqa: F811
    """Where files can't be renamed from `tmp`, they are copied; nothing is left behind."""
    os.mkdir('blobs')
    with open('blobs/.layout', 'w') as f:
        f.write('bushy')
    os.symlink(small_disk, 'blobs/tmp')
    server = serve(filestorage(blob_dir='blobs'))
    client = ClientStorage(server.address, blob_dir='cache')
    tid = commit(client, lambda f: f.write(b'first'))
    tid = commit(client, lambda f: f.write(b'second'), tid)
    client.close()
    # This one puts its file beside the committed ones.
    client = ClientStorage(server.address, blob_dir='blobs', shared_blob_dir=True)
    tid = commit(client, lambda f: f.write(b'third'), tid)
    with open(client.loadBlob(OID, tid), 'rb') as f:
        assert f.read() == b'third'
    client.close()
    assert os.listdir(small_disk) == []
    names = [name for _directory, _directories, names in os.walk('blobs') for name in names]
    assert len([name for name in names if name.endswith('.blob')]) == 3
    assert not [name for name in names if name.startswith('rzeo-')]


def test_an_upload_that_is_removed(serve):
    """Its transaction fails, and the others go on."""
    server = serve(filestorage(blob_dir='blobs'))
    client = ClientStorage(server.address, blob_dir='cache')
    commit(client, lambda f: f.write(b'first'))
    with open('upload', 'wb') as f:
        f.write(b'lost')
    txn = TransactionMetaData()
    client.tpc_begin(txn)
    client.storeBlob(p64(2), z64, BLOB, os.path.abspath('upload'), '', txn)
    client.tpc_vote(txn)
    for name in os.listdir('blobs/tmp'):
        os.remove(os.path.join('blobs', 'tmp', name))
    if is_python():  # it has left `tmp` at the vote
        client.tpc_finish(txn)
    else:
        with pytest.raises(ServerException, match='No such file'):
            client.tpc_finish(txn)
    client.close()
    client = ClientStorage(server.address, blob_dir='again')
    tid = client.getTid(OID)
    assert commit(client, lambda f: f.write(b'second'), tid) > tid
    client.close()


@pytest.mark.ours_only('it fails with a traceback')
def test_a_mark_that_names_no_layout(tmp_path):
    (tmp_path / 'blobs').mkdir()
    (tmp_path / 'blobs' / '.layout').write_text('fancy')
    (tmp_path / 'zeo.conf').write_text(zeo() + filestorage(blob_dir='blobs'))
    code, output = run('-C', 'zeo.conf', cwd=tmp_path)
    assert code == 1
    assert 'opening the blob directory' in output and 'names the unknown layout fancy' in output


def test_a_blob_whose_file_is_gone(serve, encoding):
    """The client learns it, and goes on."""
    server = serve(filestorage(blob_dir='blobs'), encoding)
    client = ClientStorage(server.address, blob_dir='cache')
    tid = commit(client, lambda f: f.write(b'lost'))
    [path] = [os.path.join(directory, name) for directory, _directories, names in os.walk('blobs')
              for name in names if name.endswith('.blob')]
    os.remove(path)
    reader = ClientStorage(server.address, blob_dir='read')
    with pytest.raises(POSKeyError):
        reader.loadBlob(OID, tid)
    assert reader.loadBefore(OID, b'\x7f' + bytes(7))[0] == BLOB
    reader.close()
    client.close()
