"""Conflicts below a fan-out server: resolved by either server, by the client, or by nobody.

Each of the two servers may leave conflicts to its clients (`client-conflict-resolution`).
"""
import os
import sys

import pytest
from BTrees.OOBTree import OOBTree
from operate import application
from operate.application import Counter, Modest
from support.fan_out import (  # noqa: F401
    Database, FanOut, Upstream, encoding, kind, python, started)
from support.server import is_python, wait_until
from support.wire import Wire
from ZODB.blob import Blob
from ZODB.POSException import ConflictError

pytestmark = pytest.mark.skipif(is_python(), reason='Python\'s server is the upstream one here')

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(application.__file__)))
LEAVE = 'client-conflict-resolution true'


@pytest.fixture(params=['none', 'upstream', 'fan-out', 'both'])
def leaving(request):
    """Which servers leave conflicts to their clients."""
    return {'both': ['upstream', 'fan-out']}.get(request.param, [request.param])


@pytest.fixture
def databases(tmp_path, started, python, encoding, leaving):
    """Two clients of the fan-out server, and one of the upstream server."""
    options = {name: LEAVE if name in leaving else '' for name in ('upstream', 'fan-out')}
    upstream = Upstream(tmp_path, python, encoding, options['upstream'])
    started.append(upstream)
    fan_out = FanOut(tmp_path / 'fan', upstream.address, encoding, 'blob-dir blobs', options['fan-out'])
    started.append(fan_out)
    databases = [Database(server, blob_dir=f'b{number}')
                 for number, server in enumerate([fan_out, fan_out, upstream])]
    yield databases
    for database in databases:
        database.close()


def begin_together(one, other):
    """Begins transactions that see the same."""
    def begun():
        one.begin()
        other.begin()
        return one.storage.lastTransaction() == other.storage.lastTransaction()
    wait_until(begun)


def change_both(one, other, name, first, second):
    """Two changes of an object, the one of `other` first."""
    begin_together(one, other)
    things = one.root[name], other.root[name]
    for change, thing in zip((first, second), things):
        change(thing)
    other.commit()
    one.commit()
    begin_together(one, other)


def add(number):
    def change(counter):
        counter.value += number
        counter.children += (Modest(),)
    return change


def put(key, value):
    def change(tree):
        tree[key] = value
    return change


def test_conflicts(databases, leaving, python):
    one, other, direct = databases
    one.root['tree'], one.root['counter'], one.root['modest'] = OOBTree({0: 0}), Counter(), Modest()
    one.commit()
    keys = [0]
    # Blobs of a transaction with a second vote are lost by Python's server.
    value = str.encode if python and 'upstream' in leaving else lambda text: Blob(text.encode())
    for rival in other, direct:
        # Trees are resolved by whoever has to.
        keys += [len(keys), len(keys) + 1]
        change_both(one, rival, 'tree', put(keys[-1], value('own')), put(keys[-2], value('rival')))
        for database in one, rival:
            tree = database.root['tree']
            assert list(tree) == keys
            assert [content(tree[key]) for key in keys[-2:]] == [b'rival', b'own']

        # The class of an application is known to the client.
        if {'upstream', 'fan-out'} <= set(leaving):
            before = one.root['counter'].value
            change_both(one, rival, 'counter', add(3), add(4))
            assert one.root['counter'].value == rival.root['counter'].value == before + 7
        else:
            unresolved(one, rival, 'counter', lambda thing, number: add(number)(thing))
        unresolved(one, rival, 'modest', lambda thing, number: setattr(thing, 'value', number))


def content(value):
    return value.open().read() if isinstance(value, Blob) else value


def unresolved(one, rival, name, change):
    """Both change an object; the second gets an error that tells enough to try again."""
    with pytest.raises(ConflictError) as caught:
        change_both(one, rival, name, lambda thing: change(thing, 1), lambda thing: change(thing, 2))
    one.begin()
    error, thing = caught.value, one.root[name]
    thing._p_activate()
    assert error.oid == thing._p_oid
    assert error.class_name == f'operate.application.{type(thing).__name__}'
    committed, read = error.serials
    # The client has heard of the other change before.
    assert read < committed == thing._p_serial
    change(thing, 3)
    one.commit()


def test_classes_of_an_application_are_resolved_by_the_fan_out_server(tmp_path, started, monkeypatch):
    """Its resolver has what the upstream server leaves to it."""
    upstream = Upstream(tmp_path, options=LEAVE)
    started.append(upstream)
    monkeypatch.setenv('RZEO_CONFLICT_RESOLVER', sys.executable)
    monkeypatch.setenv('PYTHONPATH', TESTS)
    fan_out = FanOut(tmp_path / 'fan', upstream.address)
    started.append(fan_out)
    one, other = Database(fan_out), Database(fan_out)
    one.root['counter'], one.root['modest'] = Counter(), Modest()
    one.commit()
    change_both(one, other, 'counter', add(3), add(4))
    assert one.root['counter'].value == other.root['counter'].value == 7
    unresolved(one, other, 'modest', lambda thing, number: setattr(thing, 'value', number))
    with Wire(fan_out.address) as wire:
        counts = wire.call('server_status')['conflict_classes']
    assert counts['operate.application.Counter']['resolved-by-program'] == 1
    assert counts['operate.application.Modest']['refused-by-program'] == 1
    one.close()
    other.close()
