"""Undos of changes to BTrees that changed since: the same ones work as in Python's FileStorage,
and leave the same behind."""
import random
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import BTrees
import pytest
import transaction
import ZODB
from BTrees.Length import Length
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import UndoError

NAMES = ['OOBTree', 'OOBucket', 'OOTreeSet', 'LOBTree', 'IIBucket', 'QFBTree', 'OISet', 'fsBTree']
KEYS = {
    'O': [UUID(int=n << 125) for n in range(8)],
    'f': [b'%02d' % n for n in range(8)],
}
VALUES = {
    'O': [Decimal('1.50'), Fraction(3, 2), 'a', 'b', datetime(2024, 3, 1, tzinfo=timezone.utc),
          datetime(2024, 3, 1, 1, tzinfo=timezone(timedelta(hours=1))), 2 ** 200, {'a': 1}, None],
    's': [b'%06d' % n for n in range(3)],
}
STEPS = 80


# In 129, a merge comes to the bytes of an earlier record, by which an undo works.
@pytest.mark.parametrize('seed', [*range(5), 129])
def test_as_in_python(seed, serve, encoding):
    server = serve(encoding=encoding)
    ours = run(ClientStorage(server.address), seed)
    theirs = run(FileStorage('Python.fs'), seed)
    assert ours == theirs
    assert 'undone' in ours and 'refused' in ours


def run(storage, seed):
    """What each of these steps came to, and what the objects were after it."""
    rng = random.Random(seed)
    db = ZODB.DB(storage)
    manager = transaction.TransactionManager()
    root = db.open(manager).root()
    found = []
    for name in NAMES:
        root[name] = getattr(getattr(BTrees, f'{name[:2]}BTree'), name)()
    root['length'] = Length()
    manager.get().note('creation')
    manager.commit()
    for step in range(STEPS):
        if step and rng.random() < .5:
            # One that is long gone rarely, and sometimes two at once.
            back = rng.sample([0, 1, 1, 2, 3, 4, 6, 9], rng.choice([1, 1, 1, 2]))
            # Not those that make the root and all that it has.
            log = [entry for entry in db.undoInfo(0, 20)
                   if not entry['description'].endswith('creation')]
            chosen = {entry['id']: None for n in back for entry in log[n:n + 1]}
            try:
                db.undoMultiple([*chosen], manager.get())
                manager.commit()
                found.append('undone')
            except UndoError:
                manager.abort()
                found.append('refused')
        else:
            for name in rng.sample(NAMES, rng.choice([1, 1, 2])):
                change(root[name], name, rng)
            root['length'].change(rng.randint(-3, 3))
            manager.commit()
            found.append('changed')
        manager.begin()
        found.append(content(root))
    db.close()
    return found


def change(tree, name, rng):
    for _ in range(rng.choice([1, 1, 2])):
        key = rng.choice(KEYS.get(name[0], range(8)))
        if rng.random() < .3 and key in tree:
            tree.remove(key) if name.endswith('Set') else tree.pop(key)
        elif name.endswith('Set'):
            tree.add(key)
        else:
            tree[key] = rng.choice(VALUES.get(name[1], range(3)))


def content(root):
    trees = {name: [*map(repr, root[name].keys() if name.endswith('Set') else root[name].items())]
             for name in NAMES}
    return trees, root['length']()
