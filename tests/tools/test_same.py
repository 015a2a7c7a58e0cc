"""The same facts as Python's scripts, on files of many shapes."""
import collections
import os
import re
import shutil

import pytest
import transaction
import ZODB
from BTrees.OOBTree import OOBTree
from exchange import files, histories
from persistent.mapping import PersistentMapping
from persistent.wref import WeakRef
from ZEO.ClientStorage import ClientStorage
from ZODB.blob import Blob
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileIterator, FileStorage
from ZODB.FileStorage.fsdump import Dumper, fsdump
from ZODB.FileStorage.fsoids import Tracer
from ZODB.fsIndex import fsIndex
from ZODB.POSException import POSKeyError
from ZODB.scripts import analyze, fsrefs, fstail, fstest
from ZODB.utils import get_pickle_metadata, load_current, p64, u64

from . import random_history
from .program import fstool, printed

SEEDS = range(20)
NOWHERE = 0xdead


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('name', histories.HISTORIES)
def test_history(name):
    files.write('Data.fs', histories.HISTORIES[name])
    compare('Data.fs')


@pytest.mark.parametrize('seed', SEEDS)
def test_random_history(seed):
    random_history.write('Data.fs', seed)
    compare('Data.fs')


def test_application():
    """Objects of an application: trees, blobs, weak references; undone, packed, deleted."""
    storage = FileStorage('Data.fs', blob_dir='blobs')
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        root = connection.root()
        root['tree'] = OOBTree({n: PersistentMapping() for n in range(200)})
        root['blob'] = Blob(b'bytes in a file of their own')
        root['map'] = PersistentMapping()
        connection.add(root['map'])
        root['map']['weak'] = WeakRef(root['tree'])
    for number in range(5):
        with db.transaction() as connection:
            connection.root()['tree'][number]['n'] = number
    db.undo(db.undoLog(0, 1)[0]['id'])
    transaction.commit()
    db.pack()
    with db.transaction() as connection:
        gone = connection.root()['tree'][7]
        gone._p_activate()
        serial, oid = gone._p_serial, gone._p_oid
    meta = TransactionMetaData()
    storage.tpc_begin(meta)
    storage.deleteObject(oid, serial, meta)
    storage.tpc_vote(meta)
    storage.tpc_finish(meta)
    db.close()
    assert 'class=ZODB.blob.Blob' in fstool('dump', 'Data.fs').out
    compare('Data.fs')
    (dangling,) = fstool('refs', '--json', 'Data.fs', code=1).json['dangling']
    assert dangling['path'][1]['class'] == 'BTrees.OOBTree.OOBTree'
    assert dangling['refers_to'][0]['class'] == 'persistent.mapping.PersistentMapping'


@pytest.mark.parametrize('name', ['several_undos', 'odd_metadata', 'restored', 'many_revisions'])
def test_written_by_the_server(name, serve):
    """Seals are not seen, and checked."""
    server = serve()
    storage = ClientStorage(server.address)
    histories.HISTORIES[name](files.Writer(storage))
    storage.close()
    server.stop()
    compare('Data.fs')
    found = fstool('test', '--json', 'Data.fs').json
    assert found['checksums'] >= found['transactions'] - 1 > 0  # one is too long for it


@pytest.mark.parametrize('name', files.FILES)
def test_verdict(name):
    """Files after accidents: what fstest finds, is found."""
    files.write('Data.fs', files.base)
    files.FILES[name]('Data.fs')
    theirs = fstest_fails('Data.fs')
    ours = fstool('test', 'Data.fs', code=(0, 1))
    assert (ours.code == 1) == theirs, ours
    before = contents()
    for command in 'refs', 'dump', 'tail', 'size':
        fstool(command, 'Data.fs', code=(0, 1))
    fstool('index', '--check', 'Data.fs', code=(0, 1))
    fstool('oids', 'Data.fs', 1, code=(0, 1))
    assert contents() == before


def test_compressed_records():
    """Classes and references are found in what zc.zlibstorage compressed."""
    import zlib

    def zipped(record):
        return b'.z' + zlib.compress(record)

    def history(w):
        root = histories.pickle_of('root' * 100, [histories.Reference(1), histories.Reference(2)])
        w.commit((0, zipped(root)), (1, zipped(histories.pickle_of('one' * 100))))
    files.write('Data.fs', history)
    assert ' class=ZODB.tests.MinPO.MinPO' in fstool('dump', 'Data.fs').out
    (found,) = fstool('refs', '--json', 'Data.fs', code=1).json['dangling']
    assert (found['oid'], found['refers_to'][0]['oid']) == ('0x00', '0x02')
    assert 'references 0x01' in fstool('oids', 'Data.fs', 0).out
    (row,) = fstool('size', '--json', 'Data.fs').json['classes']
    assert (row['Class Name'], row['Count']) == ('ZODB.tests.MinPO.MinPO', 2)


def test_extensions():
    """As Python shows them; of what is no plain value, how it would be made."""
    files.write('Data.fs', histories.HISTORIES['odd_metadata'])
    with FileIteratorOf('Data.fs') as transactions:
        expected = [repr(txn.extension) for txn in transactions if txn.extension]
    assert len(expected) == 2
    assert re.findall(r' extension=(.*)', fstool('dump', 'Data.fs').out) == expected
    assert re.findall(r' extension=(.*)', fstool('tail', 'Data.fs').out) == expected[::-1]
    files.write('instances.fs', histories.instances_in_extension)
    shown = fstool('dump', 'instances.fs').out
    assert "datetime.datetime(" in shown and "'price': decimal.Decimal('1.50')" in shown


def test_undone_status():
    """Transactions with status u are shown, and their records don't count."""
    files.write('Data.fs', files.base)
    files.append('Data.fs', 1)
    files.set_status('Data.fs', files.last_transaction('Data.fs'), b'u')
    files.append('Data.fs', 1, first=200)
    os.remove('Data.fs.index')
    assert "Trans #----- " in fstool('dump', 'Data.fs').out
    assert not fstest_fails('Data.fs')
    fstool('test', 'Data.fs')
    # (Python's iterator fails on such a file.)
    files.write('base.fs', files.base)
    counts = [fstool('size', '--json', path).json['transactions'] for path in ('base.fs', 'Data.fs')]
    assert counts[1] == counts[0] + 1
    assert 'not defined' in fstool('oids', 'Data.fs', 100).out


def test_another_magic():
    """A file of Python 2, and none at all."""
    files.write('Data.fs', files.base)
    files.patch('Data.fs', 0, b'FS21')
    for command in 'test', 'refs', 'dump', 'tail', 'size', 'index':
        result = fstool(command, 'Data.fs', code=1)
        assert 'Python 2' in result.out + result.err


def compare(path):
    """Compares all that the tools tell of a file with what Python's do."""
    shutil.copy(path, 'theirs.fs')
    if os.path.exists(path + '.index'):
        shutil.copy(path + '.index', 'theirs.fs.index')
    compare_test(path)
    compare_dump(path)
    compare_tail(path)
    compare_size(path)
    compare_refs(path)
    compare_oids(path)
    compare_index(path)


def compare_test(path):
    fstest.check('theirs.fs')
    found = fstool('test', '--json', path).json
    with FileIteratorOf('theirs.fs') as transactions:
        records = [len(list(transaction)) for transaction in transactions]
    assert (found['transactions'], found['records']) == (len(records), sum(records))
    assert (found['errors'], found['problems']) == (0, [])
    fstest.VERBOSE = 2
    theirs = printed(fstest.check, 'theirs.fs')
    fstest.VERBOSE = 0
    assert fstool('test', '-vv', path).out.startswith(theirs + 'no errors detected')


def compare_dump(path):
    ours = re.sub(r' extension=.*', '', fstool('dump', path).out)
    assert ours == printed(fsdump, 'theirs.fs')
    ours = fstool('dump', '--verbose', path).out
    theirs = printed(Dumper('theirs.fs').dump)
    assert re.sub(r'(?m)^(class|extension): .*\n', '', ours) == theirs


def compare_tail(path):
    if os.path.getsize(path) == 4:
        return  # Python fails
    ours = re.sub(r' extension=.*', '', fstool('tail', '-n', 1000, path).out)
    theirs = printed(fstail.main, 'theirs.fs', 1000)
    assert ours == theirs


def compare_size(path):
    found = fstool('size', '--json', path).json
    theirs = analyze.analyze('theirs.fs')
    ours = {row['Class Name']: (row['Count'], row['TBytes']) for row in found['classes']}
    assert ours == sizes_by_class()
    assert found['transactions'] == theirs.TIDS
    assert found['records'] == theirs.OIDS
    assert found['bytes'] == theirs.DBYTES
    # analyze goes on to count objects that are gone.
    current = collections.Counter()
    for data in current_records().values():
        current['count'] += 1
        current['bytes'] += len(data)
    assert found['current'] == {'count': current['count'], 'bytes': current['bytes']}
    assert sum(row['CBytes'] for row in found['classes']) == current['bytes']


def sizes_by_class():
    """Like analyze, which does not know all forms of class pickles."""
    sizes = {}
    for transaction in iterated('theirs.fs'):
        for record in transaction:
            if record.data is not None:
                name = '.'.join(get_pickle_metadata(record.data))
                count, size = sizes.get(name, (0, 0))
                sizes[name] = count + 1, size + len(record.data)
    return sizes


def compare_refs(path):
    text = printed(fsrefs.main, 'theirs.fs')
    theirs = {}
    for block in text.split('\n\n'):
        if block:
            oid = int(re.match(r'oid (0x[0-9a-f]+)', block)[1], 16)
            theirs[oid] = set(re.findall(r'\toid (\S+) ([a-z ]+):', block))
    found = fstool('refs', '--json', path, code=1 if theirs else 0).json
    ours = {int(o['oid'], 16): {(to['oid'], to['why']) for to in o['refers_to']}
            for o in found['dangling']}
    assert ours == theirs
    assert found['unreadable'] == []
    records = current_records()
    for dangling in found['dangling']:
        check_path(records, dangling)


def check_path(records, dangling):
    """The path leads from the root to the object, by references."""
    from ZODB.serialize import referencesf
    path = [p64(int(place['oid'], 16)) for place in dangling['path'] or []]
    if path:
        assert path[0] == p64(0)
        assert path[-1] == p64(int(dangling['oid'], 16))
        for before, after in zip(path, path[1:]):
            assert after in referencesf(records[before])
    else:
        reached, left = set(), [p64(0)]
        while left:
            oid = left.pop()
            if oid in records and oid not in reached:
                reached.add(oid)
                left += referencesf(records[oid])
        assert p64(int(dangling['oid'], 16)) not in reached
    classes = [place['class'] for place in dangling['path'] or []]
    assert classes == ['.'.join(get_pickle_metadata(records[oid])) for oid in path]


def compare_oids(path):
    oids = sorted({r.oid for t in iterated('theirs.fs') for r in t})[:12]
    numbers = [u64(oid) for oid in oids] + [NOWHERE]
    tracer = Tracer('theirs.fs')
    tracer.register_oids(*numbers)
    tracer.run()
    theirs = printed(tracer.report)
    # Python does not see the classes of most references.
    ours, theirs = (re.sub(r'( references \S+) .* at', r'\1 at', text)
                    for text in (fstool('oids', path, *numbers).out, theirs))
    assert sorted(ours.splitlines()) == sorted(theirs.splitlines())
    assert [line for line in ours.splitlines() if line.startswith('oid')] == [
        line for line in theirs.splitlines() if line.startswith('oid')]


def compare_index(path):
    if os.path.exists(path + '.index'):
        checked = fstool('index', '--check', '--json', path, code=(0, 1)).json
        assert checked['index'] in ('good', 'useless') and not checked['wrong']
    fstool('index', path)
    storage = FileStorage('theirs.fs', read_only=True)
    expected = dict(storage._index.items())
    storage.close()
    assert dict(fsIndex.load(path + '.index')['index'].items()) == expected
    if len(expected) and os.path.getsize(path) > 100:
        fstool('index', '--check', path)


def current_records():
    storage = FileStorage('theirs.fs', read_only=True)
    records = {}
    for oid in list(storage._index):
        try:
            records[oid] = load_current(storage, oid)[0]
        except POSKeyError:
            pass
    storage.close()
    return records


class FileIteratorOf:
    """Python's iterator over a file, closed at the end."""

    def __init__(self, path):
        self.iterator = FileIterator(path)

    def __enter__(self):
        return self.iterator

    def __exit__(self, *exc):
        self.iterator.close()


def iterated(path):
    with FileIteratorOf(path) as transactions:
        yield from transactions


def fstest_fails(path):
    try:
        fstest.check(path)
    except fstest.FormatError:
        return True
    return False


def contents():
    return {name: open(name, 'rb').read() for name in os.listdir()}
