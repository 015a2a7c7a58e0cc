"""Conflicts of classes of Zope's packages: the same records as from Python's server.

Not part of scripts/test, since Zope is large: scripts/application-conflicts installs the packages
(requirements.txt) and runs this. `$RUNZEO` is the server to compare with Python's.
"""
import decimal
import sys
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict, deque
from datetime import date
from pathlib import PurePosixPath
from types import SimpleNamespace

import pytest
from appendonly import Accumulator, AppendStack, Archive
from BTrees.IOBTree import IOBTree
from BTrees.LOBTree import LOBTree
from BTrees.OOBTree import OOBTree, OOTreeSet
from nti.zodb.minmax import MergingCounter, NumericMaximum, NumericMinimum
from persistent.mapping import PersistentMapping
from plone.scale.storage import ScalesDict
from Products.Transience.Transience import Increaser, Length2
from Products.Transience.TransientObject import TransientObject
from zc.queue import CompositeQueue, Queue
from zope.minmax import Maximum, Minimum

from support.configuration import eventlog, filestorage, zeo
from support.contest import contest, python_server
from support.server import Server

# Sets of text are pickled in the order of their hashes.
SAME_HASHES = {'PYTHONHASHSEED': '0'}


def call(name, *args):
    return lambda thing: getattr(thing, name)(*args)


def put(key, make):
    def change(thing):
        thing[key] = make()
    return change


def assign(name, value):
    return lambda thing: setattr(thing, name, value)


def session():
    """A session's object, without what depends on the time and on chance."""
    thing = TransientObject('token')
    thing.id, thing._created, thing._last_accessed = 'id', 1.0, 1.0
    return thing


def use(key, when):
    def change(thing):
        thing[key] = PersistentMapping()
        thing._last_modified = when
    return change


def invalidate(thing):
    thing._invalid = None


def queue(kind, *items):
    def make():
        made = kind()
        for item in items:
            made.put(item)
        return made
    return make


def scale(modified):
    return lambda: {'modified': modified, 'data': PersistentMapping(), 'uid': str(modified)}


def scales():
    return ScalesDict({key: scale(1)() for key in 'ab'})


def values(*makers):
    """Cases of values in a BTree that no server knows without importing their classes."""
    for make in makers:
        yield (type(make()).__name__, (OOBTree, put('a', make), put('b', make)))


CASES = {
    'Transience, one later': (session, use('a', 5.0), use('b', 7.0)),
    'Transience, one earlier': (session, use('a', 7.0), use('b', 5.0)),
    'Transience, accessed': (session, assign('_last_accessed', 5.0), assign('_last_accessed', 2.0)),
    'Transience, invalid': (session, invalidate, use('b', 5.0)),
    'Transience, another token': (session, assign('token', 'x'), use('b', 5.0)),
    'Transience, Increaser': (lambda: Increaser(3), call('set', 7), call('set', 5)),
    'Transience, Length2': (lambda: Length2(3), call('increment', 2), call('decrement', 1)),
    'zc.queue, put': (queue(Queue, 1), call('put', 2),
                      lambda queue: queue.put(PersistentMapping())),
    'zc.queue, put and pull': (queue(Queue, 1, 2), call('put', 3), call('pull')),
    'zc.queue, two pulls of one': (queue(Queue, 1, 2), call('pull'), call('pull')),
    'zc.queue, two pulls': (queue(Queue, 1, 2), call('pull'), call('pull', 1)),
    'zc.queue, composite': (queue(CompositeQueue, 1), call('put', 3), call('put', 4)),
    'zope.minmax, maximum': (lambda: Maximum(1), assign('value', 9), assign('value', 5)),
    'zope.minmax, minimum': (lambda: Minimum(9), assign('value', 3), assign('value', 1)),
    'zope.minmax, incomparable': (lambda: Maximum(1), assign('value', 'x'), assign('value', 5)),
    'appendonly, stack': (AppendStack, call('push', 'a'), call('push', 'b')),
    'appendonly, layers': (
        lambda: AppendStack(2, 1), call('push', 'a'), call('push', 'b')),
    'appendonly, accumulator': (Accumulator, call('append', 'a'), call('append', 'b')),
    'appendonly, archive': (
        Archive, call('addLayer', 0, ['a']), call('addLayer', 1, ['b'])),
    'nti.zodb, counter': (MergingCounter, call('increment', 2), call('increment', 3)),
    'nti.zodb, counter to zero': (lambda: MergingCounter(4), call('set', 0), call('set', 0)),
    'nti.zodb, maximum': (NumericMaximum, call('set', 9), call('set', 5)),
    'nti.zodb, minimum': (lambda: NumericMinimum(9), call('set', 3), call('set', 5)),
    'plone.scale, two added': (scales, put('c', scale(2)), put('d', scale(3))),
    'plone.scale, added and deleted': (scales, put('c', scale(2)), call('pop', 'a')),
    'plone.scale, one changed by both': (scales, put('a', scale(2)), put('a', scale(3))),
    'plone.scale, changed and deleted': (scales, put('a', scale(2)), call('pop', 'a')),
    'a value changed by both': (
        lambda: IOBTree({1: Counter('a')}), put(1, lambda: Counter('b')),
        put(1, lambda: Counter('c'))),
    'equal values changed by both': (
        lambda: LOBTree({1: Counter('a')}), put(1, lambda: Counter('b')),
        put(1, lambda: Counter('b'))),
    'paths as keys': (
        lambda: OOBTree({PurePosixPath('/m'): 1}), put(PurePosixPath('/a'), date.today),
        put(PurePosixPath('/z'), lambda: 5)),
    'paths in a set': (
        lambda: OOTreeSet([PurePosixPath('/m')]), call('add', PurePosixPath('/a')),
        call('add', PurePosixPath('/z'))),
    **dict(values(
        lambda: Counter('aab'), lambda: OrderedDict(b=1, a=2), lambda: defaultdict(list, a=[1]),
        lambda: deque([1, 2], 5), lambda: ChainMap({'a': 1}), lambda: UserDict(a=1),
        lambda: SimpleNamespace(a=1), lambda: decimal.Context(prec=3),
        lambda: PurePosixPath('/a/b'), lambda: frozenset('a'), lambda: range(1, 10, 2),
        lambda: slice(1, 2), lambda: bytearray(b'abc'), lambda: complex(1, 2))),
}
NAMES = [f'case{number}' for number in range(len(CASES))]


@pytest.fixture(scope='module')
def servers(tmp_path_factory):
    """Both servers, with a storage for each case."""
    sections = ''.join(filestorage(f'{name}.fs', name) for name in NAMES)
    config = zeo() + sections + eventlog(level='DEBUG')
    ours = Server(config, tmp_path_factory.mktemp('ours'), env=SAME_HASHES,
                  args=['--conflict-resolver', sys.executable])
    with pytest.MonkeyPatch.context() as monkeypatch, ours:
        folder = tmp_path_factory.mktemp('theirs')
        with python_server(monkeypatch, config, cwd=folder, env=SAME_HASHES) as theirs:
            yield ours, theirs


@pytest.mark.parametrize('case', CASES)
def test_results_are_those_of_python_s_server(case, servers):
    name = NAMES[list(CASES).index(case)]
    ours, theirs = [contest(server.address, *CASES[case], storage=name) for server in servers]
    assert ours == theirs, servers[0].log()[-5000:]


def test_classes_of_all_packages_were_merged(servers):
    """Whether the cases above have shown what they are to show."""
    log = servers[0].log()
    for name in ['Products.Transience.TransientObject.TransientObject', 'zc.queue._queue.Queue',
                 'zope.minmax._minmax.Maximum', 'appendonly.AppendStack',
                 'nti.zodb.minmax.MergingCounter', 'plone.scale.storage.ScalesDict',
                 'BTrees.OOBTree.OOBTree']:
        found = [line for line in log.splitlines() if f'conflicts of class {name} so far' in line]
        assert any('by the conflict resolver: 1 resolved' in line or ' resolver: 10 resolved' in line
                   for line in found), f'{name}: {found}'
