"""Blob directories that Python and the server write in turn.

The same calls are made on Python's FileStorage with the same tids, so the trees of
blob files have to be the same: names, contents and permissions.
"""
import os
import pickle
import shutil
import stat
import time

import pytest
import transaction
import ZODB
from persistent.TimeStamp import TimeStamp
from support.configuration import blobstorage, filestorage, mappingstorage
from support.server import wait_until
from ZEO.ClientStorage import ClientStorage
from ZODB.blob import Blob, BlobStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.scripts import fstest
from ZODB.utils import p64, z64

from .writer import Reference, Writer, pickle_of

BLOB = pickle.dumps(Blob, 3) + pickle.dumps(None, 3)
ROOT, KEPT, DROPPED, SHORT, UNDONE = 0, 1, 0x2a1, 3, 0x1234567890
LARGE = bytes(range(256)) * 1000


class BlobWriter(Writer):
    """Remembers contents as well: `blobs` maps (oid, tid) to them."""

    def __init__(self, storage):
        super().__init__(storage)
        self.blobs = {}

    def store(self, *blobs, root=None, user=''):
        """One transaction of (number, content) pairs, and perhaps of what the root refers to."""
        txn = self.begin(user=user)
        changes = {}
        for number, content in blobs:
            oid = p64(number)
            path = os.path.abspath(f'upload-{number}')
            with open(path, 'wb') as f:
                f.write(content)
            if not isinstance(self.storage, ClientStorage):  # which stores each record twice
                self.storage.store(oid, self.serials.get(oid, z64), BLOB, '', txn)
            self.storage.storeBlob(oid, self.serials.get(oid, z64), BLOB, path, '', txn)
            assert not os.path.exists(path)
            changes[oid] = BLOB
        if root is not None:
            data = pickle_of(len(self.tids), [Reference(number) for number in root])
            self.storage.store(z64, self.serials.get(z64, z64), data, '', txn)
            changes[z64] = data
        tid = self.finish(txn, changes)
        self.blobs.update({(p64(number), tid): content for number, content in blobs})
        return tid

    def undo_blob(self, tid, number, content):
        """Undoes a transaction; the blob has this content then."""
        undone = self.undo(tid)
        self.blobs[p64(number), undone] = content
        return undone


def history(w):
    """Blobs of several revisions, undone and redone, dropped and never referred to."""
    w.store((KEPT, b'first'), (DROPPED, b''), root=[KEPT, DROPPED])
    second = w.store((KEPT, LARGE), (SHORT, b'short'), root=[KEPT, DROPPED, SHORT])
    w.store((KEPT, b'third'))
    undone = w.undo_blob(w.tids[-1], KEPT, LARGE)
    w.undo_blob(undone, KEPT, b'third')
    w.store((DROPPED, b'second of the dropped'))
    w.store(root=[KEPT, SHORT])
    w.undo(w.store((UNDONE, b'created in vain')))
    w.abort((9, pickle_of('aborted')))
    w.store((SHORT, b'longer than it was'), user='last')
    return second


@pytest.fixture(params=['bushy', 'lawn'])
def layout(request, tmp_path, monkeypatch):
    """Directories `blobs` and `python/blobs` of a layout, in the test's own directory."""
    monkeypatch.chdir(tmp_path)
    os.mkdir('python')
    for directory in '.', 'python':
        # Python empties the blob directory of a file that is not there.
        FileStorage(f'{directory}/Data.fs').close()
        if request.param == 'lawn':
            os.mkdir(f'{directory}/blobs')
            with open(f'{directory}/blobs/.layout', 'w') as f:
                f.write('lawn')
    return request.param


@pytest.fixture(params=['sent', 'shared'])
def connect(request):
    """A function that opens a client: with blobs sent, or in a directory it shares."""
    def connect(server, blob_dir='blobs'):
        if request.param == 'shared':
            return ClientStorage(server.address, blob_dir=blob_dir, shared_blob_dir=True)
        return ClientStorage(server.address, blob_dir='cache')
    return connect


def test_written_by_python(layout, connect, serve, encoding):
    writer = write_with_python('.')
    server = serve(filestorage(blob_dir='blobs'), encoding)
    client = connect(server)
    check_contents(client, writer)
    with pytest.raises(POSKeyError):
        client.loadBlob(p64(UNDONE), writer.tids[-1])
    client.close()
    server.stop()


@pytest.mark.parametrize('pack', ['not', 'part', 'all', 'twice', 'all without .old'])
def test_written_through_the_server(pack, layout, connect, serve, encoding):
    """Then packed by both."""
    keep_old = 'without' not in pack
    server = serve(filestorage(blob_dir='blobs', pack_keep_old=keep_old), encoding)
    client = connect(server)
    check_before_a_pack = write(client)
    twin = FileStorage('python/Data.fs', blob_dir='python/blobs', pack_keep_old=keep_old)
    second = history(BlobWriter(twin))
    check_contents(client, check_before_a_pack)
    assert tree('blobs') == tree('python/blobs')
    if pack in ('part', 'twice'):
        pack_both(client, twin, TimeStamp(second).timeTime() + 2.5)
    if pack not in ('not', 'part'):
        pack_both(client, twin, time.time())
    client.close()
    server.stop()
    twin.close()
    assert os.path.exists('python/blobs.old') == os.path.exists('blobs.old')
    assert sorted(os.listdir('blobs')) == sorted(os.listdir('python/blobs'))
    check_python_finds(check_before_a_pack, packed=pack != 'not')
    fstest.check('Data.fs')


def test_in_turns(layout, connect, serve, encoding):
    """Python, the server, Python, the server: each revises, undoes and packs."""
    writer = write_with_python('.')
    shutil.rmtree('python')
    os.mkdir('python')
    shutil.copytree('blobs', 'python/blobs', symlinks=True)
    shutil.copy('Data.fs', 'python')
    for turn in range(4):
        server = None
        if turn % 2:
            server = serve(filestorage(blob_dir='blobs'), encoding)
            storage = connect(server)
        else:
            storage = FileStorage('Data.fs', blob_dir='blobs')
        twin = FileStorage('python/Data.fs', blob_dir='python/blobs')
        before = writer.blobs
        for each in storage, twin:
            copy = BlobWriter(each)
            copy.tids, copy.serials = list(writer.tids), dict(writer.serials)
            copy.blobs = dict(before)
            kept = copy.serials[p64(KEPT)]
            revised = copy.store((KEPT, b'turn %d' % turn), (100 + turn, b'garbage'))
            copy.undo_blob(revised, KEPT, before[p64(KEPT), kept])
        pack_both(storage, twin, time.time())
        writer.tids, writer.serials, writer.blobs = copy.tids, copy.serials, copy.blobs
        storage.close()
        twin.close()
        if server:
            server.stop()
    check_python_finds(writer, packed=True)


@pytest.mark.parametrize('base', ['filestorage', 'mappingstorage'])
def test_blobstorage(base, connect, serve, encoding):
    """`<blobstorage>` around a storage that has no blobs of its own."""
    inner = filestorage() if base == 'filestorage' else mappingstorage()
    server = serve(blobstorage(inner, blob_dir='blobs'), encoding)
    storage = connect(server)
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        connection.root().update(kept=Blob(b'kept'), dropped=Blob(b'dropped'))
    with db.transaction() as connection:
        del connection.root()['dropped']
        with connection.root()['kept'].open('w') as f:
            f.write(b'revised')
    db.pack(time.time())
    assert [content for _name, _mode, content in tree('blobs')] == [b'revised']
    if base == 'filestorage':
        with db.transaction() as connection:
            with connection.root()['kept'].open('w') as f:
                f.write(b'revised in vain')
        db.undo(db.undoLog(0, 1)[0]['id'])
        transaction.commit()
    assert read_blob(db, 'kept') == b'revised'
    db.close()
    server.stop()
    if base == 'filestorage':
        db = ZODB.DB(BlobStorage('blobs', FileStorage('Data.fs')))
        assert read_blob(db, 'kept') == b'revised'
        db.close()


def write_with_python(directory):
    storage = FileStorage(f'{directory}/Data.fs', blob_dir=f'{directory}/blobs')
    writer = BlobWriter(storage)
    history(writer)
    storage.close()
    return writer


def write(client):
    writer = BlobWriter(client)
    history(writer)
    return writer


def check_contents(storage, writer):
    for (oid, tid), content in writer.blobs.items():
        assert read_file(storage.loadBlob(oid, tid)) == content


def check_python_finds(writer, packed):
    """Python's storage has the current revision of each object with its blob, and the trees
    are those of Python."""
    storage = FileStorage('Data.fs', blob_dir='blobs')
    for (oid, tid), content in writer.blobs.items():
        try:
            is_current = storage.getTid(oid) == tid
        except POSKeyError:
            assert packed or oid == p64(UNDONE)
            continue
        if is_current or not packed:
            assert read_file(storage.loadBlob(oid, tid)) == content
    storage.close()
    check_same_blobs()


def pack_both(client, twin, when):
    from ZODB.serialize import referencesf
    if isinstance(client, ClientStorage):
        client.pack(when, wait=True)
    else:
        client.pack(when, referencesf)
    twin.pack(when, referencesf)
    check_same_blobs()


def check_same_blobs():
    """Clients store a blob's record twice. When a pack takes one of the two, and the other one stays
    for an undo that leads to it, Python takes its file away; ours keeps it for the next undo."""
    for directory, path in ('blobs', 'Data.fs'), ('blobs.old', 'Data.fs.old'):
        ours, pythons = tree(directory), tree(f'python/{directory}')
        more = [entry for entry in ours if entry not in pythons]
        assert [entry for entry in ours if entry not in more] == pythons
        if more:
            assert {name for name, *_ in more} <= revisions(path, directory)


def revisions(path, directory):
    """The names of the files of all records, be they of blobs or not."""
    storage = FileStorage(path, read_only=True, blob_dir=directory)
    names = {os.path.relpath(storage.fshelper.getBlobFilename(record.oid, record.tid), directory)
             for txn in storage.iterator() for record in txn}
    storage.close()
    return names


def tree(directory):
    """All files but the lock files of clients, with permissions and contents; and the
    directories."""
    found = []
    for path, directories, files in os.walk(directory):
        directories.sort()
        below = os.path.relpath(path, directory)
        if not below.startswith('tmp'):
            found += [(os.path.join(below, name), os.stat(os.path.join(path, name)).st_mode,
                       read_file(os.path.join(path, name)))
                      for name in sorted(files) if name.endswith('.blob')]
        else:  # the server keeps a second name for a moment
            wait_until(lambda: not os.listdir(path), lambda: f'left behind: {os.listdir(path)}')
    return found


def read_blob(db, name):
    with db.transaction() as connection:
        with connection.root()[name].open() as f:
            return f.read()


def read_file(path):
    assert stat.S_ISREG(os.stat(path).st_mode)
    with open(path, 'rb') as f:
        return f.read()
