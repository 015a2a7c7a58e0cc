"""Blobs of a DemoStorage: those of the base stay there, those of the changes are apart."""
import contextlib
import os

import pytest
import transaction
import ZODB
from support.configuration import demostorage, filestorage
from support.server import is_python
from ZEO.ClientStorage import ClientStorage
from ZODB.blob import Blob
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage

BASE = filestorage('base.fs', blob_dir='base', read_only=True)
CHANGES = filestorage('changes.fs', 'changes', blob_dir='changes')
SECTIONS = {
    'in memory': demostorage(BASE), 'in a file': demostorage(BASE, CHANGES),
    'of a blobstorage': demostorage(
        BASE, '<blobstorage changes>\n  blob-dir changes\n'
        + filestorage('changes.fs') + '</blobstorage>\n'),
    'in a blobstorage around': '<blobstorage>\n  blob-dir changes\n'
    + demostorage(filestorage('base.fs', read_only=True), filestorage('changes.fs', 'changes'))
    + '</blobstorage>\n',
}


@pytest.mark.parametrize('name', SECTIONS)
def test_blobs(name, serve, encoding, tmp_path):
    """Old ones can be read and replaced, new ones made; the base's directory stays as it is."""
    if 'around' in name and is_python():
        pytest.skip('its BlobStorage commits only to storages with a _tid')
    with database(FileStorage('base.fs', blob_dir='base')) as root:
        for key in 'kept', 'replaced':
            root[key] = Blob(f'{key} in the base'.encode())
    before = contents('base')
    around = 'around' in name  # which has its own directory, and nothing of the base's
    temporary = tmp_path / 'temporary'
    temporary.mkdir()
    server = serve(storages=SECTIONS[name], encoding=encoding, env={'TMPDIR': str(temporary)})
    with database(ClientStorage(server.address, blob_dir='cache')) as root:
        if not around:
            assert text(root['kept']) == b'kept in the base'
            assert text(root['replaced']) == b'replaced in the base'
        else:
            root['replaced'] = Blob()
        with root['replaced'].open('w') as f:
            f.write(b'replaced in the changes')
        root['new'] = Blob(b'new' * 100_000)
    expected = {'kept': b'kept in the base', 'replaced': b'replaced in the changes',
                'new': b'new' * 100_000}
    if around:
        del expected['kept']
    with database(ClientStorage(server.address, blob_dir='other cache')) as root:
        assert {key: text(root[key]) for key in expected} == expected
    assert len([path for path in contents(temporary) if path.endswith('.blob')]) == 2 * (name == 'in memory')
    server.stop()
    assert contents('base') == before
    assert os.listdir(temporary) == []
    if not around and name != 'in memory':
        changes = FileStorage('changes.fs', blob_dir='changes')
        demo = DemoStorage(base=FileStorage('base.fs', blob_dir='base', read_only=True),
                           changes=changes)
        with database(demo) as root:
            assert {key: text(root[key]) for key in expected} == expected


def test_changes_of_python(serve, encoding):
    """A directory of changes that Python has written, undo of them, and back to the base."""
    with database(FileStorage('base.fs', blob_dir='base')) as root:
        root['blob'] = Blob(b'in the base')
    demo = DemoStorage(base=FileStorage('base.fs', blob_dir='base', read_only=True),
                       changes=FileStorage('changes.fs', blob_dir='changes'))
    with database(demo) as root:
        with root['blob'].open('w') as f:
            f.write(b'in the changes')
        root['other'] = Blob(b'other')
    server = serve(storages=SECTIONS['in a file'], encoding=encoding)
    with database(ClientStorage(server.address, blob_dir='cache')) as root:
        assert (text(root['blob']), text(root['other'])) == (b'in the changes', b'other')
        db = root._p_jar.db()
        db.undo(db.undoInfo(0, 1)[0]['id'])
        transaction.commit()
        assert 'other' not in root
        assert text(root['blob']) == b'in the base'


@contextlib.contextmanager
def database(storage):
    """The root of a database on a storage; what is done with it is committed."""
    db = ZODB.DB(storage)
    connection = db.open()
    try:
        yield connection.root()
        transaction.commit()
    finally:
        transaction.abort()
        connection.close()
        db.close()


def text(blob):
    with blob.open() as f:
        return f.read()


def contents(directory):
    """All files below a directory."""
    found = {}
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)
            with open(path, 'rb') as f:
                found[path] = f.read()
    return found
