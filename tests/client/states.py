"""Random objects, and the records that ZODB writes of them.

Run as a program it prints records in hexadecimal, one a line: `states.py COUNT SEED`.
"""
import collections
import datetime
import decimal
import fractions
import io
import pickletools
import random
import sys
import uuid

import persistent
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping
from persistent.wref import WeakRef
from ZODB.serialize import ObjectWriter


class Page(persistent.Persistent):
    """Whose references tell its class."""


class Named(persistent.Persistent):
    """Whose references do not, as it has arguments."""

    def __new__(cls, *args):
        self = super().__new__(cls)
        self.args = args
        return self

    def __getnewargs__(self):
        return self.args


class Slotted(persistent.Persistent):
    """Whose state is a tuple: the attributes and the slots."""
    __slots__ = 'left', 'right', '__dict__'


class Part:
    """A part of an object."""


class SlottedPart:
    __slots__ = 'left', 'right'


class Reduced:
    """Made again by a call of its own."""

    def __init__(self, *args):
        self.args = args

    def __reduce__(self):
        return Reduced, self.args


class Stateful:
    """Whose state is not a dict."""

    def __init__(self, value):
        self.value = value

    def __getstate__(self):
        return self.value

    def __setstate__(self, value):
        self.value = value


class Items(list):
    """With items, and attributes."""


class Pairs(dict):
    """With pairs, and attributes."""


def function():
    """Known by its name."""


class Jar:
    """What a connection is to a writer of records."""
    xrefs = True

    def __init__(self, name, databases):
        self.database_name, self.databases, self.last = name, databases, 0
        self.connections = {}
        databases[name] = self

    def new_oid(self):
        self.last += 1
        return self.last.to_bytes(8, 'big')

    def db(self):
        return self

    def get_connection(self, name):
        return self.databases[name]

    def _implicitlyAdding(self, oid):
        return False

    def register(self, obj):
        """An object has changed."""


class States:
    """Random values, of which some stand in several places."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        databases = {}
        self.jar, self.other = Jar('main', databases), Jar('other', databases)
        self.made = []

    def record(self):
        """The record of an object."""
        self.made = []
        kind = self.random.choice([Page, Page, Page, Named, Slotted, PersistentMapping, PersistentList])
        if kind is Named:
            obj = Named(*[self.value(2) for _ in range(self.random.randrange(4))])
        else:
            obj = kind()
        self.join(obj, self.jar)
        if kind is Slotted:
            obj.left = self.value(3)
            obj.right = self.value(3)
        if kind is PersistentMapping:
            obj.data.update(self.pairs(3))
        elif kind is PersistentList:
            obj.data.extend(self.items(3))
        else:
            for name in self.random.sample(NAMES, self.random.randrange(5)):
                setattr(obj, name, self.value(4))
        return ObjectWriter(obj).serialize(obj)

    def join(self, obj, jar):
        obj._p_jar, obj._p_oid = jar, jar.new_oid()
        return obj

    def value(self, depth):
        """A new value, or one that is there."""
        if self.made and self.random.random() < 0.2:
            return self.random.choice(self.made)
        make = self.random.choice(LEAVES if depth <= 0 or self.random.random() < 0.5 else NODES)
        value = make(self, depth - 1)
        self.made.append(value)
        return value

    def items(self, depth):
        count = self.random.choice([0, 1, 1, 2, 3, 4, 5])
        if self.random.random() < 0.003:
            return [self.random.randrange(9) for _ in range(self.random.choice([999, 1000, 1001, 2000, 2001]))]
        return [self.value(depth) for _ in range(count)]

    def keys(self, depth):
        """Values that can be hashed."""
        for _ in range(self.random.choice([0, 1, 1, 2, 3, 5])):
            value = self.value(0)
            try:
                hash(value)
            except TypeError:
                continue
            if isinstance(value, WeakRef):
                continue
            yield value
        if self.random.random() < 0.003:
            yield from range(self.random.choice([999, 1000, 1001, 2000, 2001]))

    def pairs(self, depth):
        return {key: self.value(depth) for key in self.keys(depth)}

    def number(self, _depth):
        size = self.random.choice([1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 700, 2100])
        return self.random.choice([-1, 1]) * (1 << size) + self.random.choice([-1, 0, 1])

    def text(self, _depth):
        return self.random.choice([
            '', 'a', 'é', '€', 'data', 'some text', 'ü' * 200, 'x' * 300, '\udc80 alone', '😀', 'new\nline',
            str(self.random.random()), self.random.choice(NAMES)])

    def bytes(self, _depth):
        return self.random.choice([b'', b'a', b'\xff', b'abc', bytes(300), self.random.randbytes(8)])

    def reference(self, _depth):
        kind, jar = self.random.choice([Page, Page, Named]), self.jar
        if self.random.random() < 0.2:
            jar = self.other
        return self.join(kind(), jar)

    def weak(self, depth):
        return WeakRef(self.reference(depth))

    def moment(self, _depth):
        utc = datetime.timezone.utc
        hour = datetime.timezone(datetime.timedelta(hours=1), self.random.choice(['CET', 'x']))
        return self.random.choice([
            datetime.datetime(2020, 2, 3, 4, 5, 6, 789), datetime.datetime(2020, 2, 3, tzinfo=utc),
            datetime.datetime(1, 1, 1, tzinfo=hour, fold=1), datetime.date(1999, 12, 31),
            datetime.time(1, 2), datetime.timedelta(1, 2, 3), utc, hour])

    def other_type(self, _depth):
        return self.random.choice([
            decimal.Decimal('1.50'), fractions.Fraction(1, 3), complex(1, -2), uuid.UUID(int=77),
            bytearray(b'abc'), range(3), slice(1, 2), Page, int, len, function, persistent.Persistent,
            Ellipsis, NotImplemented])

    def part(self, depth):
        part = Part()
        self.made.append(part)
        for name in self.random.sample(NAMES, self.random.randrange(4)):
            setattr(part, name, self.value(depth))
        return part

    def slotted_part(self, depth):
        part = SlottedPart()
        self.made.append(part)
        part.left = self.value(depth)
        return part

    def list(self, depth):
        items = []
        self.made.append(items)
        items.extend(self.items(depth))
        return items

    def dict(self, depth):
        pairs = {}
        self.made.append(pairs)
        pairs.update(self.pairs(depth))
        return pairs

    def filled(self, depth):
        """Instances with items or pairs."""
        items = self.random.choice([
            lambda: Items(self.items(depth)), lambda: Pairs(self.pairs(depth)),
            lambda: collections.OrderedDict(self.pairs(depth)),
            lambda: collections.defaultdict(self.random.choice([None, list]), self.pairs(depth)),
            lambda: collections.deque(self.items(depth), self.random.choice([None, 3]))])()
        if self.random.random() < 0.3 and isinstance(items, (Items, Pairs)):
            items.attribute = self.value(depth)
        return items


NAMES = ['title', 'data', 'created', 'x', 'parent', '__name__', 'tags', 'größe']
CONSTANT = ('Manager', 'Owner')
LEAVES = [
    lambda states, depth: None, lambda states, depth: states.random.choice([True, False]),
    lambda states, depth: states.random.randrange(300), States.number,
    lambda states, depth: states.random.choice([0.0, -0.0, 1.5, 1e300, float('inf'), float('nan')]),
    States.text, States.text, States.text, States.bytes, States.reference, States.reference, States.weak,
    States.moment, States.other_type, lambda states, depth: (), lambda states, depth: CONSTANT,
]
NODES = [
    lambda states, depth: tuple(states.items(depth)), States.list, States.list, States.dict, States.dict,
    lambda states, depth: set(states.keys(depth)), lambda states, depth: frozenset(states.keys(depth)),
    States.part, States.part, States.slotted_part, States.filled,
    lambda states, depth: Reduced(*states.items(depth)), lambda states, depth: Stateful(states.value(depth)),
]


def records(count, seed):
    """So many records. Objects that Python can't write, or not rightly, are left out."""
    states, found = States(seed), 0
    while found < count:
        try:
            record = states.record()
        except (RecursionError, TypeError):
            continue
        if not is_confused(record):
            found += 1
            yield record


def is_confused(record):
    """Whether zodbpickle has given a memo number to two values that it could refer to: it does
    after it has met an object again within the arguments of that object's own call."""
    file, made_by, before = io.BytesIO(record), {}, None
    for _pickle in range(2):
        for opcode, argument, _at in pickletools.genops(file):
            if opcode.name in ('BINPUT', 'LONG_BINPUT'):
                if made_by.get(argument) == 'REDUCE':
                    return True
                made_by[argument] = before
            before = opcode.name
    return False


if __name__ == '__main__':
    # By the name that it is imported by, which stands in the records.
    from client import states as module
    for record in module.records(int(sys.argv[1]), int(sys.argv[2])):
        print(record.hex())
