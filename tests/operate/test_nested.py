"""Storages within storages: what goes through several of them."""
import time

import pytest
import transaction
import ZODB
from BTrees.OOBTree import OOBTree
from support.configuration import blobstorage, demostorage, filestorage, zlibstorage
from ZEO.ClientStorage import ClientStorage
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage

pytestmark = pytest.mark.ours_only('packing a DemoStorage fails in Python')


def with_blobs(name, section=''):
    return filestorage(f'{name}.fs', section, blob_dir=f'{name}.blobs')


SECTIONS = {
    'demo over zlib': demostorage(zlibstorage(with_blobs('base')), with_blobs('new', 'changes')),
    'demo over zlib, in memory': demostorage(zlibstorage(with_blobs('base'))),
    'zlib over demo': zlibstorage(demostorage(with_blobs('base'), with_blobs('new', 'changes'))),
    'demo over demo': demostorage(demostorage(with_blobs('base'), with_blobs('mid', 'changes')),
                                  with_blobs('new', 'changes')),
    'blobs around zlib': demostorage(
        with_blobs('base'),
        blobstorage(zlibstorage(filestorage('new.fs')), 'changes', blob_dir='new.blobs')),
}


@pytest.mark.parametrize('name', SECTIONS)
def test_commits_blobs_conflicts_undo_pack(name, serve, encoding):
    db = ZODB.DB(FileStorage('base.fs', blob_dir='base.blobs'))
    with db.transaction() as connection:
        root = connection.root()
        root['old'], root['tree'] = Blob(b'of the base'), OOBTree({'first': 'x' * 500})
    db.close()
    server = serve(storages=SECTIONS[name], encoding=encoding)
    dbs = [ZODB.DB(ClientStorage(server.address, blob_dir=f'cache{n}')) for n in range(2)]
    managers = [transaction.TransactionManager() for _ in dbs]
    one, two = (db.open(manager).root() for db, manager in zip(dbs, managers, strict=True))
    assert one['old'].open().read() == b'of the base'

    one['new'] = Blob(b'another')
    with one['old'].open('w') as file:
        file.write(b'changed')
    managers[0].commit()
    # Both change the tree as they see it.
    one['tree']['one'], two['tree']['two'] = 'y' * 500, 'z' * 500
    for manager in managers:
        manager.commit()

    # Changes in memory can't be undone.
    assert dbs[0].supportsUndo() == (name != 'demo over zlib, in memory')
    if dbs[0].supportsUndo():
        one['undone'] = 1
        managers[0].commit()
        dbs[0].undo(dbs[0].undoInfo(0, 1)[0]['id'], managers[0].get())
        managers[0].commit()
    dbs[0].storage.pack(time.time(), wait=True)
    for db in dbs:
        db.close()

    db = ZODB.DB(ClientStorage(server.address, blob_dir='cache2'))
    root = db.open().root()
    assert sorted(root) == ['new', 'old', 'tree']
    assert sorted(root['tree']) == ['first', 'one', 'two']
    assert [root[name].open().read() for name in ['old', 'new']] == [b'changed', b'another']
    db.close()
