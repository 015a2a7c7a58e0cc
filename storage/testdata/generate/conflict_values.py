"""Keys and values of all kinds that are in BTrees, and of some that are not.

For make_conflict_data.py.
"""
import collections
import datetime
import decimal
import fractions
import ipaddress
import random
import string
import types
import uuid

import BTrees
import zodbpickle

nowhere = types.ModuleType('nowhere')
for _name in 'Thing', 'Other':
    setattr(nowhere, _name, type(_name, (), {'__module__': 'nowhere'}))


class Ref:
    """A persistent reference."""

    def __init__(self, data):
        self.data = data


class Values:
    """Makes keys and values of one seed.

    Whoever makes a container sets `prefix` (its letters), `python` (whether
    its class is written in Python), `oddity` (percent of what does not fit),
    and then chooses kinds by `choose`.
    """

    def __init__(self, seed):
        self.random = random.Random(seed)

    def chance(self, percent):
        return self.random.random() * 100 < percent

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
            kind = self.random.choice([bytes, bytearray, zodbpickle.binary])
            return kind(self.bytes())
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

    def choose(self, odd):
        """Chooses the kinds of keys and values of a case."""
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
