"""Conflicts of real objects, as clients and operators see them."""
import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

import BTrees
import pytest
import transaction

import ZODB
from BTrees.Length import Length
from support import fstool
from support.configuration import demostorage, filestorage, mappingstorage, zlibstorage
from support.server import is_python
from support.wire import Wire
from zc.zlibstorage import ZlibStorage
from ZEO.ClientStorage import ClientStorage
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, UndoError
from ZODB.tests.MinPO import MinPO
from ZODB.utils import p64

SHAPES = {
    'OOBucket': (BTrees.OOBTree.OOBucket, 'items'), 'IISet': (BTrees.IIBTree.IISet, 'keys'),
    'LOBTree': (BTrees.LOBTree.LOBTree, 'items'), 'QQBTree': (BTrees.QQBTree.QQBTree, 'items'),
    'OLTreeSet': (BTrees.OLBTree.OLTreeSet, 'keys'), 'UFBucket': (BTrees.UFBTree.UFBucket, 'items'),
    'fsBTree': (BTrees.fsBTree.fsBTree, 'items'), 'Length': (Length, None),
}
LONG = 'x' * 500  # what is worth compressing

ours_only = pytest.mark.ours_only('Python counts no classes')


class Clients:
    """Two connections with transactions of their own, and an object `root.x` in both."""

    def __init__(self, address, wrap=lambda storage: storage, **options):
        self.db = ZODB.DB(wrap(ClientStorage(address, **options)))
        self.managers = [transaction.TransactionManager(explicit=False) for _ in range(2)]
        self.connections = [self.db.open(manager) for manager in self.managers]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for manager, connection in zip(self.managers, self.connections):
            manager.abort()
            connection.close()
        self.db.close()

    def make(self, thing):
        self.connections[0].root.x = thing
        self.managers[0].commit()
        self.sync()
        return [connection.root.x for connection in self.connections]

    def commit_both(self):
        self.managers[0].commit()
        self.managers[1].commit()
        self.sync()

    def sync(self):
        for manager in self.managers:
            manager.begin()


def status(server):
    with Wire(server.address) as wire:
        return wire.call('server_status')


def change(thing, name, number):
    """One of two changes that don't meet."""
    if name == 'Length':
        thing.change(number)
    else:
        key = {'O': str(number), 'f': b'%02d' % number}.get(name[0], number)
        value = {'O': LONG, 's': b'%06d' % number, 'F': float(number)}.get(name[1], number)
        if hasattr(thing, 'items'):
            thing[key] = value
        else:
            thing.add(key)


def content(thing, name):
    method = SHAPES[name][1]
    return list(getattr(thing, method)()) if method else thing()


@pytest.mark.parametrize('compressed', [False, True])
@pytest.mark.parametrize('name', SHAPES)
def test_shapes(name, compressed, serve, encoding):
    """Two clients change an object of every shape at once, plain and compressed by the client."""
    section = zlibstorage(filestorage(), 'serverzlibstorage') if compressed else filestorage()
    server = serve(storages=section, encoding=encoding)
    with Clients(server.address, ZlibStorage if compressed else lambda s: s) as clients:
        expected = SHAPES[name][0]()
        for number in 10, 20, 30:
            change(expected, name, number)
        first, second = clients.make(SHAPES[name][0]())
        change(first, name, 10)
        clients.managers[0].commit()
        clients.sync()
        change(first, name, 20)
        change(second, name, 30)
        clients.commit_both()
        assert content(first, name) == content(second, name) == content(expected, name)
    if not is_python():
        known = status(server)
        module = name[:2] + 'BTree.' if name != 'Length' else 'Length.'
        assert known['conflict_classes'][f'BTrees.{module}{name}'] == {
            'resolved': 1, 'unresolved': 0, 'left-to-client': 0}
        assert known['conflicts_resolved'] == 1 and known['conflicts'] == 0
        server.wait_for_log(f'{name} so far: 1 resolved')


@pytest.mark.parametrize('keys', [
    [Decimal('1.10'), Decimal('1E+3'), Decimal('-Infinity'), Decimal('2.5')],
    [Fraction(1, 3), Decimal('0.50'), 0.1, 2 ** 200],
    [UUID(int=1), UUID(int=2 ** 127), UUID(int=2 ** 128 - 1), UUID(int=5)],
    [IPv6Address('::1'), IPv6Address('fe80::1'), IPv6Address('::'), IPv6Address('2001:db8::')],
    [datetime(2024, 3, 1, hour, tzinfo=timezone(timedelta(hours=zone)))
     for hour, zone in [(1, 2), (1, 0), (23, -12), (0, 0)]],
], ids=lambda keys: type(keys[0]).__name__)
def test_keys_and_values_of_the_standard_library(keys, serve, encoding):
    server = serve(encoding=encoding)
    with Clients(server.address) as clients:
        value = {'key': keys[0], 'of': IPv4Address(1)}
        first, second = clients.make(BTrees.OOBTree.OOBTree({keys[0]: keys[1]}))
        first[keys[1]] = keys[0]
        clients.managers[0].commit()
        clients.sync()
        first[keys[2]] = value
        second[keys[3]] = keys[2]
        clients.commit_both()
        whole = {keys[0]: keys[1], keys[1]: keys[0], keys[2]: value, keys[3]: keys[2]}
        for tree in first, second:
            assert [*tree.items()] == sorted(whole.items(), key=lambda item: item[0])
            assert {*map(type, tree)} == {*map(type, keys)}
        # What was done between goes, what came later stays.
        clients.db.undo(clients.db.undoInfo(0, 10)[2]['id'], clients.managers[0].get())
        clients.managers[0].commit()
        clients.sync()
        assert [*first] == sorted([keys[0], keys[2], keys[3]])


def test_undo_of_what_changed_since(serve, encoding):
    """It takes its own change back, and leaves the later one."""
    server = serve(encoding=encoding)
    with Clients(server.address) as clients:
        tree, _ = clients.make(BTrees.OOBTree.OOBTree({'a': 1}))
        tree['b'] = 2
        clients.managers[0].commit()
        tree['c'] = 3
        clients.managers[0].commit()
        clients.db.undo(clients.db.undoInfo(0, 10)[1]['id'], clients.managers[0].get())
        clients.managers[0].commit()
        clients.sync()
        assert dict(tree) == {'a': 1, 'c': 3}
        # Both changed the same value: there is no way back to 1.
        tree['a'] = 2
        clients.managers[0].commit()
        tree['a'] = 3
        clients.managers[0].commit()
        clients.db.undo(clients.db.undoInfo(0, 10)[1]['id'], clients.managers[0].get())
        with pytest.raises(UndoError):
            clients.managers[0].commit()
        clients.managers[0].abort()
    if not is_python():
        assert status(server)['conflict_classes'] == {'BTrees.OOBTree.OOBTree': {
            'resolved': 1, 'unresolved': 1, 'left-to-client': 0}}


def test_unresolved(serve, encoding):
    """The error names the class, and the log the reason."""
    level = '<eventlog>\n  level DEBUG\n  <logfile>\n    path server.log\n  </logfile>\n</eventlog>\n'
    server = serve(encoding=encoding, extra=level)
    with Clients(server.address) as clients:
        for thing, name in [
                (MinPO(0), 'ZODB.tests.MinPO.MinPO'),
                (BTrees.OOBTree.OOBTree({'value': 0}), 'BTrees.OOBTree.OOBTree')]:
            first, second = clients.make(thing)
            for number, one in enumerate([first, second], 1):
                if isinstance(thing, MinPO):
                    one.value = number
                else:
                    one['value'] = number
            clients.managers[0].commit()
            with pytest.raises(ConflictError) as caught:
                clients.managers[1].commit()
            clients.managers[1].abort()
            assert caught.value.class_name == name
            assert f'class {name}, serial this txn' in str(caught.value)
            committed, read = caught.value.serials
            assert committed > read
    if not is_python():
        known = status(server)
        one = {'resolved': 0, 'unresolved': 1, 'left-to-client': 0}
        assert known['conflict_classes'] == {
            'ZODB.tests.MinPO.MinPO': one, 'BTrees.OOBTree.OOBTree': one}
        assert known['conflicts'] == 2
        server.wait_for_log('conflicts of class BTrees.OOBTree.OOBTree so far: 0 resolved, '
                            '1 unresolved, 0 left to clients; the conflict of object')
        server.wait_for_log('was not resolved: both changed the same value (reason 1')
        server.wait_for_log('the class ZODB.tests.MinPO.MinPO is the application\'s')
        server.wait_for_log('client-conflict-resolution lets clients use it')


@ours_only
@pytest.mark.parametrize('section', [
    filestorage(), mappingstorage(), zlibstorage(filestorage()), demostorage(filestorage())])
def test_left_to_clients(section, serve, encoding):
    server = serve(encoding=encoding, client_conflict_resolution=True, storages=section)
    with Clients(server.address) as clients:
        first, second = clients.make(BTrees.OOBTree.OOBTree({'a': LONG}))
        first['b'], second['c'] = LONG, LONG
        clients.commit_both()
        assert list(first) == list(second) == ['a', 'b', 'c']
    assert status(server)['conflict_classes'] == {'BTrees.OOBTree.OOBTree': {
        'resolved': 0, 'unresolved': 0, 'left-to-client': 1}}


@ours_only
@pytest.mark.parametrize('shared', [False, True])
def test_blobs_beside_conflicts_left_to_clients(shared, serve, encoding):
    """The second vote keeps the blobs of the first (with ZEO 6.2's server, they are lost)."""
    server = serve(encoding=encoding, client_conflict_resolution=True,
                   storages=filestorage(blob_dir='blobs'))
    options = {'blob_dir': 'blobs' if shared else 'cache', 'shared_blob_dir': shared}
    with Clients(server.address, **options) as clients:
        first, second = clients.make(BTrees.OOBTree.OOBTree({'a': 1}))
        first['b'], second['c'] = Blob(b'first'), Blob(b'second')
        clients.commit_both()
    assert status(server)['conflict_classes']['BTrees.OOBTree.OOBTree']['left-to-client'] == 1
    server.stop()
    db = ZODB.DB(FileStorage('Data.fs', blob_dir='blobs'))
    with db.transaction() as connection:
        tree = connection.root.x
        assert [tree[key].open().read() for key in 'bc'] == [b'first', b'second']
    db.close()
    fstool.check('blobs', 'Data.fs', 'blobs')


@ours_only
def test_invented_classes(serve, encoding):
    """A client that makes names up costs some room, and disturbs neither log nor probe."""
    server = serve(encoding=encoding)
    with Wire(server.address) as wire:
        def commit(data, serial, *tid):
            wire.call('tpc_begin', 1, b'', b'', {}, None, ' ')
            wire.send_async('storea', p64(1), serial, data, 1)
            wire.call('vote', 1)
            return wire.call('tpc_finish', 1)

        first = commit(b'\x80\x03ca\nb\n.N.', p64(0))
        commit(b'\x80\x03ca\nb\n.N.', first)
        for number in range(80):
            name = f'{number}\u20ac\r' + 'x' * 5000
            with pytest.raises(Exception, match='ConflictError'):
                commit(b'\x80\x03capp\n' + name.encode() + b'\n.N.', first)
        classes = wire.call('server_status')['conflict_classes']
    assert len(classes) == 51 and max(map(len, classes)) == 120
    assert classes['(others)']['unresolved'] == 30
    with Wire(server.address, register=None) as probe:
        probe.send(b'ruok')
        frame = probe.receive()
    assert frame.isascii() and json.loads(frame)['1']['conflict_classes'] == classes
    server.wait_for_log('xxxx')
    assert '\r' not in server.log()
    lines = [line for line in server.log().splitlines() if 'xxxx' in line]
    assert 0 < len(lines) < 60 and max(map(len, lines)) < 1000
