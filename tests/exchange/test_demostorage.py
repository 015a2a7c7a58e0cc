"""Changes over a base: Python's DemoStorage and the server's, over the same files."""
import contextlib
import os
import time

import pytest
from support.configuration import demostorage, filestorage, mappingstorage, zlibstorage
from support.server import is_python
from support.wire import Wire
from ZEO.ClientStorage import ClientStorage
from ZODB.Connection import TransactionMetaData
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, POSKeyError, ReadConflictError
from ZODB.serialize import referencesf
from ZODB.utils import load_current, maxtid, p64, u64, z64

from . import files, histories
from .reading import WireStorage, differences, everything, undo_log
from .seals import unsealed
from .writer import Reference, Writer, pickle_of

BASE = filestorage('base.fs', read_only=True)
CHANGES = filestorage('changes.fs', 'changes')

ours_only = pytest.mark.ours_only('the changes can\'t be undone, changed again, or packed in Python')


def changes(w):
    """Old objects and new ones change, one of them several times; some is undone."""
    w.commit((1, pickle_of('changed')), (7, pickle_of('new', [Reference(0)])), user='demo')
    w.commit((1, pickle_of('and again')), (0, pickle_of('other root')), description='second')
    tid = w.commit((1, pickle_of('once more')), (7, pickle_of('newer')))
    w.undo(tid, description='undone')
    w.abort((1, pickle_of('never')), (8, pickle_of('nor this')))
    w.commit((9, pickle_of('last')), (7, pickle_of('newest')))


@pytest.mark.parametrize('name', ['plain', 'several_undos', 'undo_of_creation', 'deleted', 'oids'])
def test_same_changes(name, serve, encoding):
    """The same calls make the same file of changes, which both read the same way over the base."""
    written = files.write('base.fs', histories.HISTORIES[name])
    before = contents()
    with python_demo('python.fs') as demo:
        changes(writer_on(demo, written))
        answers = everything(demo), undo_log(demo)
    server = serve(storages=demostorage(BASE, CHANGES), encoding=encoding)
    client = ClientStorage(server.address)
    changes(writer_on(client, written))
    ours = everything(client, load_before_of(server)), undo_log(client)
    client.close()
    server.stop()
    assert {name: data for name, data in contents().items() if name in before} == before
    with open('changes.fs', 'rb') as sealed, open('python.fs', 'rb') as plain:
        assert unsealed(sealed.read()) == plain.read()
    # The file of each is read by the other.
    with python_demo('changes.fs') as demo:
        compare(ours, (everything(demo), undo_log(demo)))
    os.replace('python.fs', 'changes.fs')
    os.replace('python.fs.index', 'changes.fs.index')
    server = serve(storages=demostorage(BASE, CHANGES, name='other'), encoding=encoding)
    with Wire(server.address, register='other') as wire:
        storage = WireStorage(wire)
        compare((everything(storage), undo_log(storage)), answers)


def test_name_and_abilities(serve, encoding):
    """What get_info tells, for changes of several kinds."""
    files.write('base.fs', histories.plain)
    for section, make in [
            (demostorage(BASE, CHANGES), lambda: python_demo('python.fs')),
            (demostorage(BASE), lambda: python_demo(None)),
            (demostorage(BASE, CHANGES, name='1'), lambda: python_demo('python.fs'))]:
        server = serve(storages=section, encoding=encoding)
        with make() as demo, Wire(server.address) as wire:
            info = wire.call('get_info')
            theirs = demo.getName().replace('python.fs', 'changes.fs')
            assert info['name'] == theirs
            assert (info['length'], info['size']) == (len(demo), demo.getSize())
            assert bool(info['supportsUndo']) == hasattr(demo, 'supportsUndo')
            assert not info['supports_record_iternext']
            assert wire.call('lastTransaction') == demo.lastTransaction()
            assert wire.call('server_status')['last-transaction'] == demo.lastTransaction().hex()
        server.stop()


@pytest.mark.parametrize('kind', ['memory', 'named', 'file', 'zlib', 'demo'])
def test_sections(kind, serve, encoding):
    """Bases and changes of every kind take a commit, and the base stays as it is."""
    files.write('base.fs', histories.plain)
    before = contents()
    section = {
        'memory': demostorage(BASE),
        'named': demostorage(BASE, mappingstorage('changes'), name='1'),
        'file': demostorage(filestorage('base.fs', 'base', read_only=True), CHANGES),
        'zlib': demostorage(zlibstorage(BASE), zlibstorage(filestorage('changes.fs'),
                                                           name='changes')),
        'demo': demostorage(demostorage(BASE), CHANGES),
    }[kind]
    server = serve(storages=section.replace('<demo', '%import zc.zlibstorage\n<demo', 1)
                   .replace('%import zc.zlibstorage\n<zlib', '<zlib'), encoding=encoding)
    client = ClientStorage(server.address)
    serial = load_current(client, p64(1))[1]
    w = Writer(client, explicit_tids=False)
    w.serials[p64(1)] = serial
    tid = w.commit((1, pickle_of('x' * 1000)), (5, pickle_of('new')))
    assert load_current(client, p64(1)) == (pickle_of('x' * 1000), tid)
    assert load_current(client, p64(2))[0] == pickle_of('two')
    assert client.loadBefore(p64(1), tid) == (pickle_of('one again'), serial, tid)
    assert client.loadBefore(p64(5), tid) is None
    assert [entry['tid'] for entry in client.history(p64(1), 3)][:2] == [tid, serial]
    refused(client, ConflictError,
            lambda txn: client.store(p64(1), z64, pickle_of('late'), '', txn))
    refused(client, ReadConflictError,
            lambda txn: client.checkCurrentSerialInTransaction(p64(2), tid, txn))
    client.close()
    server.stop()
    assert {name: data for name, data in contents().items() if name in before} == before


def test_without_a_base(serve, encoding):
    """A storage in memory like any other."""
    server = serve(storages=demostorage(), encoding=encoding)
    client = ClientStorage(server.address)
    with Wire(server.address) as wire:
        assert wire.call('get_info')['name'] == "DemoStorage('MappingStorage', 'MappingStorage')"
    histories.plain(Writer(client, explicit_tids=False))
    assert len(client) == 3
    client.pack(client_time(client), None)
    assert load_current(client, p64(1))[0] == pickle_of('one again')
    client.close()


def test_new_oids(serve, encoding):
    """They begin far away at random, and go on one by one."""
    files.write('base.fs', histories.plain)
    starts = set()
    for _ in range(2):
        server = serve(storages=demostorage(BASE), encoding=encoding)
        with Wire(server.address) as wire:
            oids = [int.from_bytes(oid, 'big') for oid in
                    [*wire.call('new_oids'), *wire.call('new_oids')]]
        assert oids == list(range(oids[0], oids[0] + 200)) and oids[0] > 1 << 32
        starts.add(oids[0])
        server.stop()
    assert len(starts) == 2


@ours_only
def test_undo_brings_the_base_back(serve, encoding):
    """The object is what the base has, with its serial, and can be changed again."""
    files.write('base.fs', histories.plain)
    server = serve(storages=demostorage(BASE, CHANGES), encoding=encoding)
    client = ClientStorage(server.address)
    data, serial = load_current(client, p64(1))
    w = Writer(client, explicit_tids=False)
    w.serials[p64(1)] = serial
    first = w.commit((1, pickle_of('changed')))
    undone = w.undo(first)
    load_before = load_before_of(server)
    assert load_before(p64(1), maxtid) == (data, serial, None)
    assert load_before(p64(1), undone) == (pickle_of('changed'), first, undone)
    assert load_before(p64(1), first) == (data, serial, first)
    w.serials[p64(1)] = serial
    again = w.commit((1, pickle_of('changed again')))
    assert load_before(p64(1), maxtid) == (pickle_of('changed again'), again, None)
    client.close()


def test_pythons_undo(tmp_path, monkeypatch):
    """Why the server differs: over Python's changes, the object is in conflict from then on."""
    monkeypatch.chdir(tmp_path)
    files.write('base.fs', histories.plain)
    with python_demo('changes.fs') as demo:
        serial = load_current(demo, p64(1))[1]
        w = Writer(demo, explicit_tids=False)
        w.serials[p64(1)] = serial
        first = w.commit((1, pickle_of('changed')))
        w.undo(first)
        assert load_current(demo, p64(1))[1] == serial
        with pytest.raises(POSKeyError):
            demo.loadBefore(p64(1), first)
        w.serials[p64(1)] = serial
        refused(demo, ConflictError,
                lambda txn: demo.store(p64(1), serial, pickle_of('changed again'), '', txn))


@ours_only
def test_pack(serve, encoding):
    """Old revisions of the changes go, and nothing of the base, nor what only that refers to."""
    written = files.write('base.fs', histories.plain)
    before = contents()
    for section in demostorage(BASE, CHANGES), demostorage(BASE):
        server = serve(storages=section, encoding=encoding)
        client = ClientStorage(server.address)
        w = Writer(client, explicit_tids=False)
        w.serials.update(written.serials)
        w.commit((1, pickle_of('changed')))
        w.commit((1, pickle_of('once more')), (6, pickle_of('garbage, as far as can be told')))
        client.pack(client_time(client), None)
        assert len(list(client.iterator())) == 3
        for number, expected in [(0, histories_root()), (1, 'once more'), (2, 'two')]:
            data = load_current(client, p64(number))[0]
            assert data == expected if isinstance(expected, bytes) else data == pickle_of(expected)
        assert client.loadBefore(p64(6), maxtid)
        client.close()
        server.stop()
    assert {name: data for name, data in contents().items() if name in before} == before


def test_pythons_pack(tmp_path, monkeypatch):
    """Why the server differs: packing changes in memory loses them, if they refer to the base."""
    monkeypatch.chdir(tmp_path)
    files.write('base.fs', histories.plain)
    with python_demo(None) as demo:
        w = Writer(demo, explicit_tids=False)
        w.serials[p64(0)] = load_current(demo, p64(0))[1]
        tid = w.commit((0, histories_root()))
        assert demo.loadSerial(p64(0), tid) == histories_root()
        with pytest.raises(KeyError):
            demo.pack(client_time(demo), referencesf)
        with pytest.raises(KeyError):
            demo.loadSerial(p64(0), tid)


def test_what_python_refuses(serve, encoding):
    """Deletion and restoring are not for a DemoStorage; the connection goes on."""
    files.write('base.fs', histories.plain)
    server = serve(storages=demostorage(BASE, CHANGES), encoding=encoding)
    client = ClientStorage(server.address)
    for step in [lambda txn: client.deleteObject(p64(1), z64, txn),
                 lambda txn: client.restore(p64(1), z64, pickle_of('x'), '', None, txn)]:
        error = refused(client, Exception, step)
        assert 'AttributeError' in str(error) if is_python() else 'Unsupported' in str(error)
    assert load_current(client, p64(1))[0] == pickle_of('one again')
    client.close()


def test_read_only_changes(serve):
    """A DemoStorage can be written if its changes can."""
    files.write('base.fs', histories.plain)
    files.write('changes.fs', histories.empty)
    section = demostorage(BASE, filestorage('changes.fs', 'changes', read_only=True))
    server = serve(storages=section, read_only=True)
    client = ClientStorage(server.address, read_only=True)
    assert load_current(client, p64(2))[0] == pickle_of('two')
    client.close()


def test_a_base_that_is_not_there(serve):
    """The server does not start, names the file, and leaves nothing locked."""
    files.write('changes.fs', histories.plain)
    server = serve(storages=demostorage(filestorage('none.fs', read_only=True), CHANGES),
                   ready=False)
    assert server.wait() == 1
    assert 'none.fs' in server.log()
    storage = FileStorage('changes.fs')
    assert len(storage) == 3
    storage.close()


def writer_on(storage, written):
    """A Writer of changes to what another one has written."""
    w = Writer(storage)
    w.tids, w.serials, w.current = list(written.tids), dict(written.serials), dict(written.current)
    return w


def refused(storage, error, step):
    """A transaction of one step whose vote fails; returns the error."""
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    with pytest.raises(error) as caught:
        step(txn)
        storage.tpc_vote(txn)
    storage.tpc_abort(txn)
    return caught.value


class Comparable(DemoStorage):
    """Python's, with a method that its clients ask for in vain."""

    def record_iternext(self, next=None):
        raise NotImplementedError


@contextlib.contextmanager
def python_demo(path):
    """Python's DemoStorage over base.fs, with changes in a file, or in memory."""
    changes = FileStorage(path) if path else None
    demo = Comparable(base=FileStorage('base.fs', read_only=True), changes=changes)
    with contextlib.closing(demo):
        yield demo


def load_before_of(server):
    """loadBefore past every cache."""
    wire = Wire(server.address)
    return lambda oid, tid: wire.call('loadBefore', oid, tid)


def compare(ours, theirs):
    for mine, other in zip(ours, theirs):
        assert not differences(mine, other)


def contents():
    """All files here by name, but for locks and sockets."""
    return {name: open(name, 'rb').read() for name in os.listdir()
            if os.path.isfile(name) and name.endswith(('.fs', '.index'))}


def client_time(storage):
    from ZODB.TimeStamp import TimeStamp
    return TimeStamp(storage.lastTransaction()).timeTime() + 1


def histories_root():
    return pickle_of('root', [Reference(1), Reference(2)])


@ours_only
def test_an_object_that_is_changed_again_after_an_undo(serve, encoding):
    """It is current as the base has it between the two, and not behind them."""
    base = files.write('base.fs', lambda w: w.commit((1, pickle_of('base'))))
    server = serve(storages=demostorage(BASE, CHANGES), encoding=encoding)
    client = ClientStorage(server.address)
    writer = writer_on(client, base)
    first = writer.commit((1, pickle_of('first')))
    undone = writer.undo(first)
    writer.serials = dict(base.serials)
    second = writer.commit((1, pickle_of('second')))
    with Wire(server.address) as wire:
        [serial] = {serial for oid, serial in base.serials.items() if oid == p64(1)}
        assert wire.call('loadBefore', p64(1), p64(u64(undone) + 1)) == (pickle_of('base'), serial, second)
        assert wire.call('loadBefore', p64(1), maxtid) == (pickle_of('second'), second, None)
    client.close()


@ours_only
def test_a_pack_over_a_base_that_says_it_is_empty(serve, encoding):
    """As does one that has no changes of its own."""
    base = files.write('base.fs', lambda w: w.commit((0, pickle_of('root', [Reference(1)])), (1, pickle_of('base'))))
    server = serve(storages=demostorage(demostorage(BASE)), encoding=encoding)
    client = ClientStorage(server.address)
    changed = writer_on(client, base).commit((1, pickle_of('changed')))
    client.pack(time.time() + 1, wait=True)
    client.close()
    with Wire(server.address) as wire:
        assert wire.call('loadBefore', p64(1), maxtid) == (pickle_of('changed'), changed, None)
