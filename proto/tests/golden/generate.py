"""Writes the golden cases of the codecs: what Python's own encoders make.

    python proto/tests/golden/generate.py > proto/tests/golden/codecs.txt

Needs ZEO (for zodbpickle and msgpack). Each line is

    KIND <tab> HEX <tab> VALUE

where VALUE is Python's repr, but for instances, which are shown as
`module.name(arguments)` (`module.name.__new__(arguments)` where made by
NEWOBJ) followed by `+[items]`, `+{pairs}` and `/state` as far as they have any, and
persistent references, `@id`.

KINDs: `fast` and `memo` (zodbpickle protocol 3, without memo and as dumps),
`read` (other pickles, decoded only), `msgpack`, and whole frames of a
server, `frame-Z` and `frame-M`.
"""
import decimal
import datetime
import io
import pickle
import random
import struct
import sys
from collections import OrderedDict
from collections import deque

import zodbpickle
import zodbpickle.pickle
from msgpack import packb
from ZEO.asyncio.marshal import encoder
from ZopeUndo.Prefix import Prefix


class Reference:
    """Pickled as a persistent reference."""

    def __init__(self, id):
        self.id = id


def persistent_id(obj):
    if isinstance(obj, Reference):
        return obj.id


def show(value):
    if type(value) is tuple:
        inner = ', '.join(map(show, value))
        return f'({inner},)' if len(value) == 1 else f'({inner})'
    if type(value) is list:
        return '[%s]' % ', '.join(map(show, value))
    if type(value) is dict:
        return '{%s}' % ', '.join(
            f'{show(k)}: {show(v)}' for k, v in value.items())
    if isinstance(value, Reference):
        return '@' + show(value.id)
    if isinstance(value, type):
        return f'{value.__module__}.{value.__name__}'
    if type(value) in (set, frozenset, bytearray):
        inner = bytes(value) if type(value) is bytearray else list(value)
        return f'{show(type(value))}({show(inner)},)'
    if value is None or type(value) in (bool, int, float, bytes, str):
        return repr(value)
    function, args, state, items, pairs = (
        value.__reduce_ex__(3) + (None,) * 3)[:5]
    if function.__name__ == '__newobj__':
        text = show(args[0]) + '.__new__' + show(args[1:])
    else:
        text = show(function) + show(args)
    if items is not None:
        text += '+' + show(list(items))
    if pairs is not None:
        text += '+' + show(dict(pairs))
    if state is not None:
        text += '/' + show(state)
    return text


def put(kind, data, value):
    print(kind, data.hex(), show(value), sep='\t')


def pickled(value, fast):
    out = io.BytesIO()
    pickler = zodbpickle.pickle.Pickler(out, 3)
    pickler.persistent_id = persistent_id
    pickler.fast = fast
    pickler.dump(value)
    return out.getvalue()


def distinct(value):
    """The value with no object in it twice, but for those that Python shares
    whatever one does: as a server has it that unpickled a client's message.
    """
    return zodbpickle.pickle.loads(pickled(value, True))


def both(value):
    put('fast', pickled(value, True), value)
    put('memo', zodbpickle.pickle.dumps(distinct(value), 3), value)


ATOMS = [
    None, True, False,
    0, 1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32, 2**39 - 1, 2**39,
    2**63 - 1, 2**63, 2**64 - 1, 2**64, 2**127 - 1,
    -1, -32, -33, -128, -129, -32768, -32769, -2**31, -2**31 - 1, -2**39,
    -2**39 - 1, -2**63, -2**63 - 1, -2**127,
    0.0, -0.0, 1.5, -2.25,
    b'', b'a', b'\x00', b'\xff', b'12345678', b'x' * 255, b'y' * 256,
    '', 'a', '\xe9', '\u20ac', '\U0001f600', 'name', 'u' * 31, 'v' * 32,
    'w' * 255, 'z' * 256,
]

CONTAINERS = [
    (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((), ((),)),
    [], [1], [1, 2], [[], [[]]],
    {}, {'a': 1}, {'a': 1, 'b': [2], b'c': {}}, {(1, 2): {3: None}},
    # What Python has only once, twice.
    [b'', b'', b'a', b'a', '', '', 'b', 'b', '\xe9', '\xe9', 'xy', (), ()],
    list(map(str, range(300))),
]

LONG = [
    [None] * 1000, [None] * 1001, dict.fromkeys(range(1000)),
    dict.fromkeys(range(1001)), (None,) * 15, (None,) * 16,
]

OBJECTS = [
    {1}, set(), frozenset([1]), set, [set, frozenset, set],
    [{1}, {2}], bytearray(b'abc'), Prefix('/a/b'),
    OrderedDict(a=1), OrderedDict(a=1, b=2), deque([1, 2], 5),
    decimal.Decimal('1.5'), datetime.timedelta(1, 2),
]

REFERENCES = [Reference(b'12345678'), [Reference((b'12345678', None))]]


def random_value(rng, depth=0):
    kind = rng.randrange(10 if depth < 4 else 6)
    if kind < 6:
        return rng.choice([
            None, True, rng.randrange(-2**rng.randrange(1, 64), 2**rng.randrange(1, 64)),
            rng.randrange(300), rng.randrange(1024) / 8.0,
            rng.randbytes(rng.randrange(12)), rng.choice(['', 'a', '\xfc', 'key', '\u20ac\u20ac']),
        ])
    size = rng.randrange(6)
    if kind < 7:
        return [random_value(rng, depth + 1) for i in range(size)]
    if kind < 9:
        return tuple(random_value(rng, depth + 1) for i in range(size))
    return {rng.randrange(1000): random_value(rng, depth + 1) for i in range(size)}


def as_msgpack(value):
    """The value as it comes out of msgpack: lists are tuples."""
    if isinstance(value, (list, tuple)):
        return tuple(map(as_msgpack, value))
    if isinstance(value, dict):
        return {as_msgpack(k): as_msgpack(v) for k, v in value.items()}
    return value


def put_msgpack(value):
    put('msgpack', packb(value, use_bin_type=True), as_msgpack(value))


def put_reads():
    shared = [1]
    filled_later = [[]]
    filled_later[0].append(filled_later[0][:])
    text = 'a\n\\\xe9\u20ac\\u0041'
    values = [
        None, True, False, 7, -7, 2**40, -2**100, 1.5, 'text', text, b'',
        b'a\x00\xff', (), (1, 2), [1, 2], {'a': 1, 'b': 2}, [shared, shared],
        (shared, {'x': shared}), filled_later, {1}, set(), frozenset([1]),
        [{1}, {1}], Prefix('/a'), OrderedDict(a=1),
    ]
    for protocol in range(6):
        for value in values:
            if protocol < 2 and type(value) in (Prefix, OrderedDict):
                continue  # made by copy_reg._reconstructor
            put('read', pickle.dumps(value, protocol, fix_imports=False), value)
    put('read', pickle.dumps(bytearray(b'abc'), 5), bytearray(b'abc'))
    # Longer than a byte's length, of whatever protocol.
    for protocol in (1, 3, 4):
        put('read', pickle.dumps(['l' * 300] * 2, protocol), ['l' * 300] * 2)
    put('read', pickle.dumps([str(i) for i in range(300)] * 2, 4),
        [str(i) for i in range(300)] * 2)
    # As Python 2 writes them.
    for data, value in [
        (b"S'plain'\np1\n.", 'plain'),
        (b"S'\\xe9\\n\\''\n.", b"\xe9\n'"),
        (b'U\x03abc.', 'abc'),
        (b'U\x02\xff\x00.', b'\xff\x00'),
        (b'T\x03\x00\x00\x00abcq\x01.', 'abc'),
        (b'I12\n.', 12), (b'I01\n.', True), (b'L12345678901234567890L\n.', 12345678901234567890),
        (b'F1.5\n.', 1.5), (b'V\\u20ac\n.', '\u20ac'),
        (b'(I1\nI2\nl.', [1, 2]), (b"(S'a'\nI1\nd.", {'a': 1}),
        (b'\x80\x02czodbpickle\nbinary\nU\x0812345678\x85R.', b'12345678'),
        (b'\x80\x02czodbpickle\nbinary\nU\x08\xff2345678\x85\x81.', b'\xff2345678'),
        (b'K\x01K\x020.', 1), (b'K\x01(K\x02K\x031.', 1), (b'K\x012\x86.', (1, 1)),
        (b'Pabc\n.', Reference('abc')),
    ]:
        put('read', data, value)


def put_frames():
    for letter in 'ZM':
        encode = encoder(letter.encode(), server=True)
        for message in [
            (-1, 0, '.reply', None),
            (1, 0, '.reply', b'12345678'),
            (2**40, 0, '.reply', (b'data' * 100, b'12345678', None)),
            ((b'oid45678', b'tid45678'), 0, '.reply', None),
            (5, 2, '.reply', ('ZODB.POSException.POSKeyError', (b'12345678',))),
            (0, True, 'invalidateTransaction', (b'12345678', (b'oid45678',) * 2)),
            (0, True, 'info', ({'length': 1, 'size': 4},)),
            (3, False, 'loadBefore', (b'oid45678', b'tid45678')),
        ]:
            data = encode(*message)
            put('frame-' + letter, struct.pack('>I', len(data)) + data, message)


def main():
    sys.stdout.reconfigure(encoding='utf-8')
    rng = random.Random(20240229)
    values = ATOMS + CONTAINERS + [random_value(rng) for i in range(60)]
    for value in values + LONG + OBJECTS:
        both(value)
    for value in REFERENCES:
        put('fast', pickled(value, True), value)
        put('memo', pickled(value, False), value)
    for value in values + LONG:
        try:
            put_msgpack(value)
        except OverflowError:
            pass  # more than 64 bits
    put_reads()
    put_frames()


if __name__ == '__main__':
    main()
