"""Trees of BTrees, changed by Python and by the Rust client: the same operations, the same records.

Two trees are in one database, `root['python']` and `root['rust']`. Each transaction is made on both;
then the records of both are compared, node by node, oids aside.
"""
import argparse
import json
import random
import re
import sys

import BTrees
import BTrees.fsBTree
import pytest
import transaction
import ZEO
from BTrees.check import check
from client.programs import Program
from support.server import wait_until
from ZODB.POSException import ConflictError
from ZODB.serialize import referencesf
from ZODB.utils import p64

import ZODB

PREFIXES = ('OO', 'OI', 'OU', 'OL', 'OQ', 'IO', 'LO', 'UO', 'QO', 'II', 'IF', 'IU', 'LL', 'LF', 'LQ',
            'UU', 'UF', 'UI', 'QQ', 'QF', 'QL', 'fs')
FLAVOURS = [prefix + shape for prefix in PREFIXES for shape in ('BTree', 'TreeSet')]


def class_of(flavour):
    prefix = flavour[:2]
    module = BTrees.fsBTree if prefix == 'fs' else getattr(BTrees, prefix + 'BTree')
    return getattr(module, flavour)


class Both:
    """A database with a tree that Python changes and one that Rust does."""

    def __init__(self, address, flavour):
        self.is_set = not flavour.endswith('BTree')
        self.db = ZEO.DB(address, server_sync=True)
        self.manager = transaction.TransactionManager(explicit=False)
        self.connection = self.db.open(self.manager)
        self.root = self.connection.root()
        self.root['python'] = class_of(flavour)()
        self.root.pop('rust', None)
        self.manager.commit()
        self.rust = Program('trees', address, 'rust', flavour)
        self.rust.do('commit')
        self.manager.begin()
        self.shapes = {key: Shape(self.connection, self.root[key]) for key in ('python', 'rust')}

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.rust.__exit__()
        self.manager.abort()
        self.connection.close()
        self.db.close()

    def transact(self, operations):
        """Makes a transaction on both trees, and compares the answers and what was written."""
        before = self.db.storage.lastTransaction()
        answers = [perform(self.root['python'], *operation) for operation in operations]
        self.manager.commit()
        written = self.db.storage.lastTransaction()
        given = self.rust.do_all([[name, *map(to_json, args)] for name, *args in operations])
        assert given == [to_json(answer) for answer in answers]
        committed = self.rust.do('commit')
        if committed:
            self.see(committed)
        self.manager.begin()
        self.compare()
        if written == before:
            assert committed is None
        else:
            tids = {'python': written, 'rust': bytes.fromhex(committed)}
            python, rust = (self.shapes[key].written(tid) for key, tid in tids.items())
            assert rust == python

    def see(self, tid):
        """Waits until this client has heard of a transaction: some servers tell the other one first."""
        wait_until(lambda: self.db.storage.lastTransaction() >= bytes.fromhex(tid), lambda: tid)

    def compare(self):
        """All nodes of both."""
        python, rust = (self.shapes[key].look() for key in ('python', 'rust'))
        assert rust == python
        for key in 'python', 'rust':
            self.root[key]._check()
            check(self.root[key])
        assert list(self.root['rust'].keys()) == list(self.root['python'].keys())


class Shape:
    """The records of a tree. Nodes have numbers for oids, in the order in which they are found."""

    def __init__(self, connection, tree):
        self.connection, self.oid = connection, tree._p_oid
        self.numbers = {}

    def look(self):
        """The tree's nodes, from the top."""
        waiting, seen, nodes = [self.oid], {self.oid}, []
        for oid in waiting:
            self.number(oid)
            record, _tid = self.connection._storage.load(oid)
            found = [o for o in dict.fromkeys(referencesf(record)) if o not in seen]
            seen.update(found)
            waiting += found
            nodes.append(self.normal(record))
        return nodes

    def written(self, tid):
        """The records of a transaction, in any order."""
        written = next(iter(self.connection.db().storage.iterator(tid, tid)))
        return sorted((self.number(record.oid), self.normal(record.data)) for record in written)

    def number(self, oid):
        return self.numbers.setdefault(oid, len(self.numbers))

    def normal(self, record):
        """The bytes of a record with other oids."""
        others = {oid: p64(self.number(oid)) for oid in referencesf(record)}
        # Where one of them stands: numbers may have the bytes before it, too.
        known = b'|'.join(map(re.escape, others)) or rb'(?!)'
        return re.sub(b'C\x08(' + known + b')', lambda found: b'C\x08' + others[found[1]], record)


def perform(tree, name, key=None, value=None):
    """What Python does for a command of the program. Equal texts are no one object there either."""
    if isinstance(value, str):
        value = json.loads(json.dumps(value))
    if name == 'insert':
        old = tree.get(key)
        tree[key] = value
        return old
    if name == 'new':
        return bool(tree.insert(key, value))
    if name == 'add':
        return bool(tree.add(key))
    if name == 'remove':
        return tree.pop(key, None)
    if name == 'clear':
        return tree.clear()
    assert name == 'delete'
    try:
        if hasattr(tree, 'items'):
            del tree[key]
        else:
            tree.remove(key)
        return True
    except KeyError:
        return False


def to_json(value):
    return {'bytes': value.hex()} if isinstance(value, bytes) else value


class Things:
    """Keys and values of a flavour, out of a space of so many."""

    LOWEST = {'I': -2 ** 31, 'L': -2 ** 63, 'U': 0, 'Q': 0}
    HIGHEST = {'I': 2 ** 31 - 1, 'L': 2 ** 63 - 1, 'U': 2 ** 32 - 1, 'Q': 2 ** 64 - 1}

    def __init__(self, flavour, space, dice):
        self.kind, self.of_values = flavour[:2]
        self.space, self.dice = space, dice

    def key(self, number):
        if self.kind == 'O':
            return f'{number:05}'
        if self.kind == 'f':
            return number.to_bytes(2, 'big')
        # Both ends of the range too.
        if number == 0:
            return self.LOWEST[self.kind]
        if number == self.space - 1:
            return self.HIGHEST[self.kind]
        return number

    def value(self):
        dice = self.dice
        match self.of_values:
            case 'O':
                number = dice.randrange(1 << 20)
                return dice.choice([None, True, 7, 'text', number, number / 1024, f'text {number}'])
            case 's':
                return dice.randbytes(6)
            case 'F':
                return dice.choice([0.0, 0.5, 1.0, float(dice.randrange(100))])
            case kind:
                return dice.choice([0, 1, self.LOWEST[kind], self.HIGHEST[kind], dice.randrange(100)])


def operations(things, is_set, count, grows):
    """Random operations; runs of neighbours fill and empty whole buckets."""
    dice = things.dice
    made = []
    while len(made) < count:
        first = dice.randrange(things.space)
        run = dice.choice([1, 1, 1, 1, things.space // 6])
        inserts = dice.random() < (0.7 if grows else 0.3)
        for number in range(first, min(first + run, things.space)):
            key = things.key(number)
            if inserts:
                made.append(('add', key) if is_set else
                            (dice.choice(['insert', 'insert', 'new']), key, things.value()))
            else:
                made.append((dice.choice(['delete'] if is_set else ['delete', 'remove']), key))
    if dice.random() < 0.03:
        made.append(('clear',))
    return made


def random_history(address, flavour, seed, transactions):
    dice = random.Random(seed)
    print('seed', seed, flavour)
    with Both(address, flavour) as both:
        things = Things(flavour, dice.choice([50, 400, 1500]), dice)
        for number in range(transactions):
            grows = (number * 4 // transactions) % 2 == 0
            both.transact(operations(things, both.is_set, dice.choice([1, 5, 40, 300]), grows))


@pytest.mark.parametrize('flavour', FLAVOURS)
def test_the_same_records(flavour, serve):
    server = serve()
    random_history(server.address, flavour, random.randrange(1 << 32), 8)


def test_large_trees(serve):
    """A tree gets another level at 7501 keys, ascending; and loses them all again."""
    server = serve()
    with Both(server.address, 'OOBTree') as both:
        keys = [f'{number:05}' for number in range(9000)]
        for first in range(0, 7500, 2500):
            both.transact([('insert', key, 1) for key in keys[first:first + 2500]])
        both.transact([('insert', keys[7500], 1)])
        assert len(both.root['python'].__getstate__()[0]) == 3
        both.transact([('insert', key, 1) for key in keys[7501:]])
        dice = random.Random(1)
        dice.shuffle(keys)
        for first in range(0, 9000, 1500):
            both.transact([('delete', key) for key in keys[first:first + 1500]])
        assert both.root['python'].__getstate__() is None


@pytest.mark.parametrize('flavour', ['OOBTree', 'IITreeSet', 'IOBTree'])
def test_trees_change_hands(flavour, serve):
    """One tree is changed by Python and by Rust, by turns; another one by Python alone."""
    server = serve()
    dice = random.Random(7)
    things = Things(flavour, 400, dice)
    with Both(server.address, flavour) as both:
        for number in range(12):
            made = operations(things, both.is_set, 100, number % 6 < 3)
            for operation in made:
                perform(both.root['python'], *operation)
                if number % 2:
                    perform(both.root['rust'], *operation)
            both.manager.commit()
            both.rust.do('abort')
            if number % 2 == 0:
                both.rust.do_all([[name, *map(to_json, args)] for name, *args in made])
                both.see(commit_of(both.rust))
            both.manager.begin()
            both.compare()


def test_ranges(serve):
    server = serve()
    with Both(server.address, 'OOBTree') as both:
        both.transact([('insert', f'{number:03}', number) for number in range(0, 500, 2)])
        for low, high in [('001', '010'), ('100', '101'), ('498', '999'), ('5', '6'), ('300', '200')]:
            items = [list(item) for item in both.root['python'].items(low, high, excludemax=True)]
            assert both.rust.do('range', low, high) == items
            assert both.rust.do('back', low, high) == items[::-1]
        assert both.rust.do('first') == ['000', 0]
        assert both.rust.do('last') == ['498', 498]
        assert both.rust.do('len') == 250
        assert both.rust.do('get', '123') is None


def commit_of(rust):
    """The tid of a commit that must not fail."""
    answer = rust.do('commit')
    assert isinstance(answer, str), answer
    return answer


def test_conflicts_are_resolved(serve, encoding):
    """A Python and a Rust client change one bucket, in both orders."""
    server = serve(encoding=encoding)
    with Both(server.address, 'OOBTree') as both:
        both.transact([('insert', str(number), number) for number in range(10)])
        tree = both.root['rust']
        both.rust.do('insert', 'a', 1)
        tree['b'] = 2
        both.manager.commit()
        both.see(commit_of(both.rust))
        both.manager.begin()
        assert tree['a'] == 1 and tree['b'] == 2
        tree['c'] = 3
        both.rust.do('insert', 'd', 4)
        commit_of(both.rust)
        both.manager.commit()
        both.manager.begin()
        assert tree['c'] == 3 and tree['d'] == 4
        # The same key: no.
        tree['e'] = 5
        both.rust.do('insert', 'e', 6)
        both.manager.commit()
        error = both.rust.do('commit')
        assert error['retryable'] and 'conflict' in error['error'].lower()
        check(tree)


def test_a_split_against_a_change_is_a_read_conflict(serve):
    """Inner nodes on the way are checked, also if the transaction changes only a bucket."""
    server = serve()
    with Both(server.address, 'OOBTree') as both:
        both.transact([('insert', f'{number:03}', number) for number in range(46)])
        tree = both.root['rust']
        # Rust changes a value in the first bucket, Python splits the last one.
        both.rust.do('insert', '000', 'x')
        for number in range(46, 70):
            tree[f'{number:03}'] = number
        both.manager.commit()
        error = both.rust.do('commit')
        assert error['retryable'], error
        # And the other way round.
        both.manager.begin()
        both.rust.do('abort')
        tree['001'] = 'y'
        for number in range(70, 100):
            both.rust.do('insert', f'{number:03}', number)
        assert isinstance(both.rust.do('commit'), str)
        with pytest.raises(ConflictError):
            both.manager.commit()
        both.manager.abort()
        # Reading alone is no conflict.
        both.rust.do('get', '000')
        tree['000'] = 'z'
        both.manager.commit()
        assert both.rust.do('commit') is None


def test_errors_change_nothing(serve):
    server = serve()
    with Both(server.address, 'IIBTree') as both:
        both.transact([('insert', number, number) for number in range(5)])
        for command in (['insert', 2 ** 31, 1], ['insert', 'a', 1], ['insert', 1, 1.5], ['add', 1]):
            assert 'error' in both.rust.do(*command)
        assert both.rust.do('commit') is None
        both.compare()


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description='Random histories of trees, as many as you like.')
    parser.add_argument('address', help='host:port of a server with a database of its own')
    parser.add_argument('--histories', type=int, default=100)
    parser.add_argument('--transactions', type=int, default=60)
    parser.add_argument('--seed', type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    host, port = options.address.split(':')
    for offset in range(options.histories):
        seed = options.seed + offset
        random_history((host, int(port)), FLAVOURS[seed % len(FLAVOURS)], seed, options.transactions)
    sys.exit()
