"""The examples of the client, each against a live server."""
import json
import subprocess

import transaction
import ZEO
from BTrees.check import check
from BTrees.OOBTree import OOBTree
from client.programs import program, run
from support.configuration import filestorage
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage
from ZODB.tests.MinPO import MinPO

import ZODB


def text(address):
    host, port = address
    return f'{host}:{port}'


def make(server, **things):
    """Commits objects under these keys of the root, each in a transaction of its own."""
    db = ZEO.DB(server.address)
    for key, thing in things.items():
        with db.transaction(f'{key} made') as connection:
            connection.root()[key] = thing
    db.close()


def test_census(serve):
    server = serve()
    make(server, tree=OOBTree({f'{n:02}': n for n in range(100)}),
         **{f'object{n}': MinPO(n) for n in range(5)})
    lines = [line.split() for line in run('census', text(server.address)).splitlines()]
    counts = {class_name: int(count) for count, _bytes, class_name in lines[1:]}
    assert lines[0] == ['objects', 'bytes', 'class']
    assert counts == {'BTrees.OOBTree.OOBTree': 1, 'BTrees.OOBTree.OOBucket': 6,
                      'ZODB.tests.MinPO.MinPO': 5, 'persistent.mapping.PersistentMapping': 1}


def test_export_and_import(serve):
    server = serve()
    items = [(f'{n:05}', n if n % 3 else f'text {n}') for n in range(5000)]
    make(server, people=OOBTree(dict(items)))
    exported = run('export_tree', text(server.address), 'people')
    assert [tuple(json.loads(line)) for line in exported.splitlines()] == items
    # Into another tree, which is new; then once more, which changes nothing but values.
    for _ in range(2):
        said = run('import_rows', text(server.address), 'copy', input=exported)
        assert said == '5000 rows imported\n'
    db = ZEO.DB(server.address)
    with db.transaction() as connection:
        tree = connection.root()['copy']
        tree._check()
        check(tree)
        assert list(tree.items()) == items
    db.close()
    # A line that is none.
    done = subprocess.run([program('import_rows'), text(server.address), 'copy'], text=True,
                          capture_output=True, input='["a", 1]\n{}\n', check=False)
    assert done.returncode == 1 and 'line 2' in done.stderr


def test_change_field(serve):
    server = serve()
    make(server, tree=OOBTree({f'{n:03}': MinPO(n % 2) for n in range(250)}))
    address = text(server.address)
    change = 'change_field', address, 'ZODB.tests.MinPO.MinPO', 'value', '1'
    assert run(*change) == '125 objects changed\n'
    assert run(*change) == '0 objects changed\n'
    db = ZEO.DB(server.address)
    with db.transaction() as connection:
        assert {thing.value for thing in connection.root()['tree'].values()} == {1}
    assert db.undoInfo(0, 1)[0]['description'] == 'ZODB.tests.MinPO.MinPO.value changed'
    db.close()


def test_copy_database(serve):
    server = serve(filestorage(blob_dir='blobs'))
    db = ZEO.DB(server.address, blob_dir='cache')
    for number in range(4):
        with db.transaction(f'blob {number}') as connection:
            connection.root()['blob'] = Blob(b'data %d' % number)
            connection.root()['number'] = number
    db.undo(db.undoInfo(0, 1)[0]['id'])
    transaction.commit()
    db.close()
    said = run('copy_database', text(server.address), 'copy.fs', 'copied')
    server.stop()
    original = FileStorage('Data.fs', blob_dir='blobs', read_only=True)
    copy = FileStorage('copy.fs', blob_dir='copied', read_only=True)
    count = 0
    for one, other in zip(original.iterator(), copy.iterator(), strict=True):
        count += 1
        assert (one.tid, one.status, one.user, one.description, one.extension) == (
            other.tid, other.status, other.user, other.description, other.extension)
        for a, b in zip(one, other, strict=True):
            assert (a.oid, a.tid, a.data) == (b.oid, b.tid, b.data)
    assert said == f'{count} transactions copied\n'
    original.close()
    copy.close()
    db = ZODB.DB(FileStorage('copy.fs', blob_dir='copied'))
    with db.transaction() as connection:
        root = connection.root()
        assert root['number'] == 2
        assert root['blob'].open().read() == b'data 2'
    db.close()
