"""Makes cases of conflict resolution, with what Python makes of them.

    python make_conflict_data.py COUNT SEED          cases to standard output
    python make_conflict_data.py --golden            testdata/conflict.txt
    python make_conflict_data.py --compare           judges answers

(Needs ZODB and BTrees.) A case is a line of tab-separated fields: a name, the
old, the committed and the new record in base64, and the outcome of ZODB's
tryToResolveConflict: "=" and the record in base64, or "!" and the reason of a
BTreesConflictError, or "!" and the name of another exception.

--compare reads lines of two records in base64, and fails unless Python loads
equal states of the same types from both.
"""
import base64
import fractions
import functools
import io
import logging
import os
import pickle
import sys

import BTrees
import zodbpickle
from BTrees.Length import Length
from ZODB import ConflictResolution
from ZODB.POSException import ConflictError

from conflict_values import Ref, Values, nowhere

OUT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                   'conflict.txt')
OID = b'\0\0\0\0\0\0\0\x07'
PREFIXES = [*BTrees._FAMILIES]
SHAPES = ['Bucket', 'Set', 'BTree', 'TreeSet']


class Pickler(pickle.Pickler):

    def persistent_id(self, obj):
        return obj.data if type(obj) is Ref else None


class OldPickler(pickle._Pickler):
    """Writes text and bytes as Python 2 does its str, and fractions as text."""

    persistent_id = Pickler.persistent_id

    def reducer_override(self, obj):
        if type(obj) is fractions.Fraction:
            return fractions.Fraction, (str(obj),)
        return NotImplemented

    def save_str(self, obj):
        if type(obj) is str and not obj.isascii():
            return pickle._Pickler.save_str(self, obj)
        data = obj if type(obj) is bytes else obj.encode()
        self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        self.memoize(obj)

    dispatch = {**pickle._Pickler.dispatch, str: save_str, bytes: save_str}


class Storage(ConflictResolution.ConflictResolvingStorage):
    """Has just the old record."""

    def __init__(self, old):
        self.old = old

    def loadSerial(self, oid, serial):
        return self.old


class Failures(logging.Handler):
    """Keeps the exception that is being logged."""

    last = None

    def emit(self, record):
        self.last = sys.exc_info()[1]


failures = Failures()
logger = logging.getLogger('ZODB.ConflictResolution')
logger.addHandler(failures)
logger.setLevel(logging.DEBUG)
logger.propagate = False


def outcome(old, committed, new):
    try:
        record = Storage(old).tryToResolveConflict(
            OID, b'c' * 8, b'o' * 8, new, committed)
    except ConflictError:
        error = failures.last
        if type(error).__name__ == 'BTreesConflictError':
            return '!%d' % error.args[3]
        return '!' + type(error).__name__
    return '=' + base64.b64encode(record).decode()


def dump(meta, state, protocol=3, pickler=Pickler):
    sys.modules['nowhere'] = nowhere
    try:
        file = io.BytesIO()
        # Sets and empty bytes by the names that Python 3 has for them.
        pickler = pickler(file, protocol, fix_imports=False)
        pickler.dump(meta)
        pickler.dump(state)
        return file.getvalue()
    finally:
        del sys.modules['nowhere']


class Maker(Values):
    """Makes cases of one seed."""

    def order(self, items):
        """Items sorted as a bucket would, where they can be."""
        def compare(a, b):
            a, b = a[0], b[0]
            if a is None or b is None:
                return (a is not None) - (b is not None)
            return (a > b) - (b > a)
        if self.chance(self.oddity / 2):
            return items
        try:
            items = sorted(items, key=functools.cmp_to_key(compare))
            kept = items[:1]
            for item in items[1:]:
                if compare(kept[-1], item):
                    kept.append(item)
            return kept
        except Exception:
            return items

    def change(self, items, pool):
        items = list(items)
        if self.chance(4):
            return []
        for _ in range(self.random.choice([0, 1, 1, 1, 2, 2, 3, 5])):
            at = self.random.randrange(len(items)) if items else None
            what = self.random.choice(['insert', 'insert', 'delete', 'change'])
            if what == 'insert' or at is None:
                if self.chance(15):
                    items = [*items, (self.key(), self.value())]
                else:
                    items = [*items, (self.random.choice(pool), self.value())]
                # What was inserted last must not replace what was there.
                items = self.order(items)
            elif what == 'delete':
                if at or self.chance(25):
                    del items[at]
            else:
                items[at] = (items[at][0], self.value())
        if len(items) > 1 and self.chance(3):
            items = items[:len(items) // 2]
        return items

    def state(self, items, following):
        if self.is_set:
            data = tuple(key for key, value in items)
        else:
            data = tuple(part for item in items for part in item)
        if self.chance(self.oddity / 3):
            stray = self.key()
            # Where it has no value, C leaves it out. Ours refuses whatever
            # holds what can't be written.
            if stray is not nowhere.Thing and type(stray) is not nowhere.Thing:
                data += (stray,)
        state = (data,) if following is None else (data, following)
        if self.chance(self.oddity / 3):
            state = self.random.choice([
                (), None, state + (None, None), list(state), (list(data),), 7,
                (data, None), {1: data}])
        if not self.is_tree:
            return state
        if not items and not self.chance(self.oddity):
            return None
        if self.chance(4):
            bucket = self.ref(self.bucket)
            return ((bucket, self.key(), self.ref(self.bucket)), bucket)
        if self.chance(self.oddity / 3):
            return self.random.choice([
                (state,), ((state, state),), ((state,), None, 1), ()])
        return ((state,),)

    def meta(self, klass):
        if self.chance(85):
            return klass
        return self.random.choice([
            (klass, None), (klass, ()), (klass, (1, 'a')),
            ((klass.__module__, self.name), None), (klass, None, 5)])

    def case(self, prefix, shape, python, odd=False):
        self.prefix = prefix
        self.python = python
        self.oddity = 12 if odd else 0
        self.is_set = 'Set' in shape
        self.is_tree = shape in ('BTree', 'TreeSet')
        self.choose(odd)
        module = getattr(BTrees, prefix + 'BTree')
        self.name = prefix + shape + ('Py' if python else '')
        klass = getattr(module, self.name)
        self.bucket = getattr(
            module, prefix + ('Set' if self.is_set else 'Bucket'))
        pool = [self.key() for _ in range(self.random.choice([4, 8, 12]))]
        old = self.order([
            (self.random.choice(pool), self.value())
            for _ in range(self.random.choice([0, 1, 2, 3, 4, 6, 10]))])
        following = None
        if self.chance(25):
            following = self.ref(self.bucket)
        other = self.ref(self.bucket) if self.chance(10) else following
        committed = self.change(old, pool)
        new = self.change(old, pool)
        protocol = self.random.choice([3] * 17 + [1, 2, 4])
        pickler = OldPickler if protocol == 2 else Pickler
        records = [
            dump(self.meta(klass), self.state(items, follow), protocol, pickler)
            for items, follow in [(old, following), (committed, following),
                                  (new, other)]]
        return 'BTrees.%sBTree.%s' % (prefix, self.name), records

    def length(self):
        values = [0, 1, 5, -3, 10 ** 12, 10 ** 30, True, 2.5, -0.0,
                  float('inf'), float('nan'), 2 ** 53 + 1, 2 ** 127, -2 ** 127,
                  2 ** 127 - 1, 2 ** 200, -2 ** 200, 10 ** 400]
        if self.chance(10):
            values += [None, 'a', (1,), self.ref()]
        records = [dump(self.meta(Length), self.random.choice(values))
                   for _ in range(3)]
        return 'BTrees.Length.Length', records

    def cases(self, count):
        """So many of each class, and as many again of odd ones by a half."""
        self.name = 'Length'
        for _ in range(count):
            yield self.length()
        for prefix in PREFIXES:
            for shape in SHAPES:
                for python in False, True:
                    for n in range(count if not python else (count + 1) // 2):
                        name, records = self.case(prefix, shape, python, n % 3 == 2)
                        if n % 7 in (3, 4) and not python:
                            # All of them, or only the first.
                            changed = 3 if n % 7 == 3 else 1
                            records[:changed] = [old_names(record, prefix)
                                                 for record in records[:changed]]
                        yield name, records


def old_names(record, prefix):
    """The record as old versions of BTrees wrote it: with the modules in C."""
    module = b'cBTrees.%sBTree\n' % prefix.encode()
    return record.replace(module, module.replace(b'.', b'._'))


def lines(count, seed):
    for name, records in Maker(seed).cases(count):
        fields = [base64.b64encode(record).decode() for record in records]
        yield '\t'.join([name, *fields, outcome(*records)])


def plain(value):
    """A value as text that tells types and what references say."""
    kind = type(value)
    if kind in (tuple, list):
        return '%s(%s)' % (kind.__name__, ', '.join(map(plain, value)))
    if kind in (set, frozenset):
        return '%s(%s)' % (kind.__name__, sorted(map(plain, value)))
    if kind is dict:
        return 'dict(%s)' % ', '.join(
            plain(key) + ': ' + plain(value) for key, value in value.items())
    if kind is Ref:
        return 'Ref(%s)' % plain(value.data).replace(
            "tuple('nowhere', 'Thing')", '<nowhere.Thing>').replace(
            "tuple('nowhere', 'Other')", '<nowhere.Other>')
    if kind is type:
        return '<%s.%s>' % (value.__module__, value.__name__)
    return repr(value)


class Unpickler(zodbpickle.pickle.Unpickler):

    def persistent_load(self, data):
        return Ref(data)


def compare():
    sys.modules['nowhere'] = nowhere
    count = 0
    for line in sys.stdin:
        texts = []
        for field in line.split():
            unpickler = Unpickler(io.BytesIO(base64.b64decode(field)))
            texts.append((plain(unpickler.load()), plain(unpickler.load())))
        if texts[0] != texts[1]:
            sys.exit('%s\n%s' % tuple(texts))
        count += 1
    print(count)


if __name__ == '__main__':
    if sys.argv[1:] == ['--compare']:
        compare()
    elif sys.argv[1:] == ['--golden']:
        with open(OUT, 'w') as file:
            for line in lines(3, 0):
                file.write(line + '\n')
    else:
        for line in lines(int(sys.argv[1]), int(sys.argv[2])):
            print(line)
