"""The same objects, changed by Python and by the Rust client in turn; each reads the other's."""
import random

import pytest
import transaction
import ZEO
from client.programs import Program
from client.states import Named, Page
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping
from support.configuration import filestorage
from ZODB.blob import Blob
from ZODB.utils import u64


def as_json(value):
    """A value of Python in the JSON of the Rust client."""
    if isinstance(value, (Page, Named, PersistentMapping, PersistentList, Blob)):
        kind = type(value)
        reference = {'$ref': '0x' + (lambda digits: digits.zfill(len(digits) + len(digits) % 2))(
            f'{u64(value._p_oid):x}')}
        return reference if kind is Named else {**reference, 'class': f'{kind.__module__}.{kind.__name__}'}
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith('$') for key in value):
            return {key: as_json(item) for key, item in value.items()}
        return {'$dict': [[as_json(key), as_json(item)] for key, item in value.items()]}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    for kind in tuple, set, frozenset:
        if isinstance(value, kind):
            return {f'${kind.__name__}': [as_json(item) for item in value]}
    if isinstance(value, bytes):
        return {'$bytes': repr(value)[2:-1]}
    if isinstance(value, int) and not -1 << 63 <= value < 1 << 63:
        return {'$int': str(value)}
    return value


def record(obj):
    """An object as the Rust client shows it."""
    state = {key: as_json(value) for key, value in obj.__getstate__().items()}
    found = {'class': f'{type(obj).__module__}.{type(obj).__name__}'}
    if isinstance(obj, Named):
        found['args'] = {'$tuple': [as_json(arg) for arg in obj.args]}
    return {**found, 'state': state}


class World:
    """Some objects below the root, and the paths to them."""

    def __init__(self, root, rust, seed):
        self.root, self.rust, self.random = root, rust, random.Random(seed)

    def objects(self):
        """Each object with one path to it."""
        found, waiting, seen = [], [((), self.root)], {self.root._p_oid}
        while waiting:
            path, obj = waiting.pop(0)
            found.append((path, obj))
            items = obj if isinstance(obj, PersistentMapping) else obj.__dict__
            for name in sorted(items):
                child = items[name]
                if isinstance(child, (Page, Named, PersistentMapping)) and child._p_oid not in seen:
                    seen.add(child._p_oid)
                    waiting.append(((*path, name), child))
        return found

    def value(self, depth=2):
        """A value in both forms: it is made of JSON by Rust."""
        pick = self.random.choice
        kinds = [lambda: pick([None, True, 0, -5, 300, 1 << 40, -(1 << 70), 1.5, 'text', 'ü€', b'ab\x00\\'])]
        if depth:
            items = [self.value(depth - 1) for _ in range(self.random.randrange(3))]
            kinds += [lambda: items, lambda: tuple(items), lambda: {'a': items, 'b': 1},
                      lambda: {1: items}, lambda: {1}, lambda: frozenset('x')]
        return pick(kinds)()

    def step(self):
        """One change by either; returns what the Rust client has answered."""
        found = self.objects()
        (path, obj), (other_path, other) = self.random.choice(found), self.random.choice(found)
        name, kind = self.random.choice('abcde'), self.random.choice(['set', 'new', 'link', 'delete'])
        if self.random.random() < 0.5:
            arguments = {'set': [as_json(self.value())], 'link': [list(other_path)], 'delete': [],
                         'new': ['client.states.Page', {'title': name}]}[kind]
            assert self.rust.do(kind, list(path), name, *arguments) is None
            return
        value = {'set': self.value, 'link': lambda: other, 'delete': lambda: None,
                 'new': lambda: Page() if self.random.random() < 0.7 else Named('x', 1)}[kind]()
        if kind == 'new':
            value.title = name
        if isinstance(obj, PersistentMapping):
            obj.pop(name, None) if kind == 'delete' else obj.__setitem__(name, value)
        elif kind == 'delete':
            obj.__dict__.pop(name, None)
            obj._p_changed = True
        else:
            setattr(obj, name, value)
        transaction.commit()


@pytest.mark.parametrize('encoding', ['Z', 'M'], indirect=True)
def test_objects_changed_in_turn(serve, encoding):
    seed = random.randrange(1 << 32)
    print('seed', seed)
    server = serve(storages=filestorage(), encoding=encoding)
    db = ZEO.DB(server.address, server_sync=True)
    try:
        root = db.open().root()
        root['pages'] = PersistentMapping()
        transaction.commit()
        with Program('objects', server.address) as rust:
            world = World(root, rust, seed)
            for _ in range(80):
                world.step()
                transaction.begin()
                path, obj = world.random.choice(world.objects())
                obj._p_activate()
                assert rust.do('get', list(path)) == record(obj)
            for path, obj in world.objects():
                obj._p_activate()
                assert rust.do('get', list(path)) == record(obj)
    finally:
        transaction.abort()
        db.close()


def test_blobs(serve, tmp_path):
    server = serve(storages=filestorage(blob_dir='blobs'))
    db = ZEO.DB(server.address, blob_dir=str(tmp_path / 'python'), server_sync=True)
    try:
        root = db.open().root()
        root['python'] = Blob(b'of Python')
        transaction.commit()
        (tmp_path / 'file').write_text('of Rust')
        with Program('objects', server.address, str(tmp_path / 'rust')) as rust:
            assert rust.do('read', ['python']) == 'of Python'
            assert rust.do('blob', [], 'rust', str(tmp_path / 'file')) is None
            transaction.begin()
            with root['rust'].open() as file:
                assert file.read() == b'of Rust'
            with root['rust'].open('w') as file:
                file.write(b'changed')
            transaction.commit()
            assert rust.do('read', ['rust']) == 'changed'
    finally:
        transaction.abort()
        db.close()
