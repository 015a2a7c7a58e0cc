"""Makes cases of conflict resolution, with what Python makes of them.

    python make_conflict_data.py COUNT SEED          cases to standard output
    python make_conflict_data.py --golden            data/conflict.txt
    python make_conflict_data.py --compare           judges answers

(Needs ZODB and BTrees.) A case is a line of tab-separated fields: a name, the
old, the committed and the new record in base64, and the outcome of ZODB's
tryToResolveConflict: "=" and the record in base64, or "!" and the reason of a
BTreesConflictError, or "!" and the name of another exception.

--compare reads lines of two records in base64, and fails unless Python loads
equal states of the same types from both.
"""
import base64
import collections
import datetime
import decimal
import fractions
import functools
import io
import ipaddress
import logging
import os
import pickle
import random
import string
import sys
import types
import uuid

import BTrees
import zodbpickle
from BTrees.Length import Length
from ZODB import ConflictResolution
from ZODB.POSException import ConflictError

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                   'data', 'conflict.txt')
OID = b'\0\0\0\0\0\0\0\x07'
PREFIXES = [*BTrees._FAMILIES]
SHAPES = ['Bucket', 'Set', 'BTree', 'TreeSet']

nowhere = types.ModuleType('nowhere')
for _name in 'Thing', 'Other':
    setattr(nowhere, _name, type(_name, (), {'__module__': 'nowhere'}))


class Ref:
    """A persistent reference."""

    def __init__(self, data):
        self.data = data


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


class Maker:
    """Makes cases of one seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, percent):
        return self.random.random() * 100 < percent

    # Keys and values

    def integer(self, bits, signed):
        low = -(1 << bits - 1) if signed else 0
        high = low + (1 << bits) - 1
        if self.chance(90):
            return self.random.randint(-20 if signed else 0, 40)
        return self.random.choice([low, low + 1, high - 1, high])

    def float(self):
        return self.random.choice([
            0.0, -0.0, 1.5, 0.1, 1e30, 3, -7, True, 2 ** 53 + 1,
            self.random.random(), self.random.randint(-5, 5) / 2])

    def text(self):
        letters = string.ascii_lowercase[:4] + '\xe9\u20ac\U0001f600\uffff'
        return ''.join(self.random.choices(letters, k=self.random.randint(0, 3)))

    def bytes(self, length=None):
        if length is None:
            length = self.random.randint(0, 3)
        return bytes(self.random.choices(b'\0ab\xff', k=length))

    def moment(self):
        day = self.random.randint(1, 28)
        return self.random.choice([
            datetime.date(2024, 2, day),
            datetime.datetime(2024, 2, day, fold=self.random.randint(0, 1)),
            datetime.datetime(2024, 2, day, tzinfo=datetime.timezone.utc),
            datetime.time(day % 24, 5),
            datetime.time(day % 24, 5, tzinfo=datetime.timezone.utc),
            datetime.timedelta(day, 5)])

    def zoned(self, kind):
        """A time of one of several zones, some of which are the same time."""
        zone = datetime.timezone(
            datetime.timedelta(minutes=self.random.choice([0, 0, 60, 90, -1439, 1439])),
            *self.random.choice([(), (), ('x',)]))
        hour = self.random.randint(0, 23)
        if kind is datetime.time:
            return kind(hour, self.random.choice([0, 30]), tzinfo=zone)
        day = self.random.choice([(1899, 12, 31), (2024, 2, 29), (2024, 3, 1)])
        return kind(*day, hour, tzinfo=zone)

    def number(self):
        Decimal = decimal.Decimal
        return self.random.choice([
            Decimal('1.5'), Decimal('1.50'), 1.5, fractions.Fraction(3, 2), Decimal('-0'), 0,
            Decimal('1E+3'), 1000, Decimal('Infinity'), float('-inf'), fractions.Fraction(1, 3),
            Decimal('1E+999999999999999'), Decimal('-1E+999999999'), Decimal('1E-999999999'),
            2 ** 127, 2 ** 200, -2 ** 200, 2.0 ** 200, Decimal(2) ** 80, 2 ** 80, Decimal(0.1), 0.1,
            Decimal('0.1'), fractions.Fraction(0.1), fractions.Fraction(-10 ** 30, 7), 10 ** 400,
            Decimal('123456789012345678901234567890.123'), True,
            Decimal(self.random.randint(-99, 99)) / 4, fractions.Fraction(self.random.randint(-9, 9), 5)])

    def uuid(self):
        number = self.random.choice([1, 2, 3, 2 ** 127 - 1, 2 ** 127, 2 ** 128 - 1])
        return uuid.UUID(int=number, is_safe=self.random.choice([*uuid.SafeUUID]))

    def address(self):
        if self.version == 4:
            return ipaddress.IPv4Address(self.random.choice([0, 1, 2, 3, 2 ** 31, 2 ** 32 - 1]))
        return ipaddress.IPv6Address(self.random.choice([0, 1, 2, 2 ** 127 - 1, 2 ** 127, 2 ** 128 - 1]))

    def instance(self):
        """What has no order, or can be changed."""
        return self.random.choice([
            1j, 2 + 0j, collections.OrderedDict([(1, 2), (2, 1)]), {1: 2, 2: 1},
            collections.OrderedDict([(2, 1), (1, 2)]), collections.OrderedDict(),
            collections.defaultdict(list, {1: 2, 2: 1}), collections.defaultdict(None),
            collections.deque([1, 2]), collections.deque([1, 2], 5), collections.deque([1]),
            bytearray(b'ab'), bytearray(b'\xff'), bytearray(), b'ab', int, datetime.date, uuid.UUID,
            datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=-3)),
            self.uuid(), ipaddress.IPv4Address(1), ipaddress.IPv6Address(1), 2, 2 ** 130])

    def ref(self, klass=None):
        oid = bytes(7) + bytes([self.random.randint(1, 3)])
        return Ref(self.random.choice([
            oid, (oid, klass), (oid, klass), (oid, klass), (oid, None),
            (oid, ('nowhere', 'Thing')), (oid, nowhere.Thing), ['w', (oid,)],
            ['w', (oid, 'db')], ['n', ('db', oid)], ['m', ('db', oid, klass)],
            ['m', ('db', oid, nowhere.Thing)], [oid], oid.decode(),
        ]))

    def object_key(self, family):
        if family == 'int':
            return self.random.choice([
                self.random.randint(-9, 9), 10 ** 25, -10 ** 25])
        if family == 'text':
            return self.text()
        if family == 'bytes':
            return self.bytes()
        if family == 'number':
            return self.random.choice([
                True, False, 0, 1, 1.0, 0.5, -0.0, 2, 2.0, 10 ** 20, 1e20,
                float('inf'), 2 ** 53 + 1, 2.0 ** 53])
        if family == 'tuple':
            return (self.random.randint(0, 2), self.text())[
                :self.random.randint(0, 2)]
        if family == 'none':
            return self.random.choice([None, 1, 2, 3, 4, 5])
        if family == 'moment':
            kind = type(self.moment_example)
            while True:
                moment = self.moment()
                if type(moment) is kind and (
                        getattr(moment, 'tzinfo', None)
                        == getattr(self.moment_example, 'tzinfo', None)):
                    return moment
        if family == 'decimal':
            return self.number()
        if family == 'zoned':
            return self.zoned(self.zoned_kind)
        if family == 'uuid':
            return self.uuid()
        if family == 'address':
            return self.address()
        if family == 'pair':
            return (self.random.choice([self.number, self.uuid])(), self.random.randint(0, 1))
        if family == 'buffer':
            return self.random.choice([bytes, bytearray])(self.bytes())
        if family == 'nested':
            return self.random.choice([
                (None, 1), (None, 2), (1, (2, b'a')), (1, (2, b'b')), (None,),
                (frozenset([1]),), (frozenset([1, 2]),), ((), ())])
        assert family == 'odd'
        key = self.random.choice([
            1, 'a', b'a', None, (), (1,), float('nan'), 2.5, [1], {1: 2},
            self.ref(BTrees.OOBTree.OOBTree), nowhere.Thing, nowhere.Thing(),
            {1, 2}, self.moment(), (1, self.ref()), ('a', float('nan')),
            decimal.Decimal('NaN'), decimal.Decimal('sNaN'), self.number(),
            self.instance(), self.instance(), self.zoned(datetime.datetime), self.address()])
        if self.python and repr(key) == "('a', nan)":
            # It is equal to itself and not to its copy: the classes in Python
            # then look up what they have merged so far, and may find another.
            return ('a', 0.5)
        return key

    def object_value(self, family):
        if family == 'simple':
            return self.random.choice([
                None, 1, 2, 'a', 'b', b'a', True, 1.0, 2.5])
        if family == 'int':
            return self.random.randint(0, 4)
        if family == 'ref':
            return self.ref(BTrees.IIBTree.IISet)
        if family == 'nested':
            return self.random.choice([
                [1, 'a'], [1, 'b'], [2], [2.0], {1: 2}, {1: 2, 3: 4}, (1, 2),
                (1, {2: 3}), (), [], [[{1: [2]}]], {3: 4, 1: 2}, [{'a': 1}],
                [None, 1], [None, 2], [{'b': 2, 'a': 1}], [{'a': 1, 'b': 2}],
                [1, self.ref()], [2, self.ref()], {1: self.ref()}])
        if family == 'set':
            return self.random.choice([
                {1, 2}, {2, 1}, {1}, set(), {'a', 'b'}, frozenset([1, 2]),
                {(1, 2), None}, [{1}], {frozenset([3])}, {1, 9, 17}])
        if family == 'moment':
            return self.moment()
        if family == 'number':
            return self.number()
        if family == 'instance':
            return self.instance()
        assert family == 'odd'
        Decimal = decimal.Decimal
        return self.random.choice([
            Decimal('NaN'), Decimal('sNaN1'), (Decimal('-NaN5'), 1), {Decimal('NaN')}, [self.number()],
            {self.number(): self.number()}, {self.uuid(), self.address()}, self.zoned(datetime.time),
            {1: self.instance()}, [self.instance()],
            float('nan'), nowhere.Thing, nowhere.Thing(), [nowhere.Thing()],
            1, self.ref(), (1, 'a'), ('a', 1), 10 ** 30, {}, [float('nan')],
            {'a': nowhere.Thing}, self.ref(nowhere.Other)])

    def native(self, kind, role):
        if kind in 'IULQ':
            bits = 32 if kind in 'IU' else 64
            return self.integer(bits, kind in 'IL')
        if kind == 'F':
            return self.float()
        return self.bytes(2 if role == 'key' else 6)

    def key(self):
        if self.prefix[0] == 'O':
            return self.object_key(self.key_family)
        if self.chance(self.oddity):
            return self.random.choice([
                True, 2 ** 31, -1, 2 ** 63, -2 ** 31 - 1, 2 ** 64, 'a', 1.0,
                None, b'abc', b'ab'])
        return self.native(self.prefix[0], 'key')

    def value(self):
        if self.prefix[1] == 'O':
            return self.object_value(self.value_family)
        if self.chance(self.oddity):
            return self.random.choice([
                True, 2 ** 32, -1, 2 ** 63, 2 ** 64, 'a', 1.0, None,
                b'abcdef', b'a', float('nan'), 1e300, float('inf')])
        return self.native(self.prefix[1], 'value')

    # Containers

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
        self.moment_example = self.moment()
        self.zoned_kind = self.random.choice([datetime.datetime, datetime.time])
        self.version = self.random.choice([4, 6])
        self.key_family = 'odd' if odd and self.chance(30) else (
            self.random.choice(['int', 'text', 'bytes', 'number', 'tuple',
                                'none', 'moment', 'nested', 'decimal', 'zoned',
                                'uuid', 'address', 'pair', 'buffer']))
        self.value_family = 'odd' if odd and self.chance(30) else (
            self.random.choice(['simple', 'simple', 'int', 'int', 'int',
                                'ref', 'nested', 'set', 'moment', 'number',
                                'instance']))
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
