"""Messages made to harm whoever decodes them: pickles and msgpack."""
import os
import struct

import pytest
from support.server import is_python

from hostile.clients import call_msgpack, call_pickle

MB = 1 << 20
MARKER = 'marker-of-an-attack'
TOUCH = f'touch {MARKER}'.encode()


def text(s):
    return b'X' + struct.pack('<I', len(s)) + s


def sized(opcode, size, form='<I'):
    """A length that lies."""
    return b'\x80\x03' + opcode + struct.pack(form, size) + b'x'


def bomb(levels):
    """Ten times ten times ten...: small as a pickle, huge as a tree."""
    body = b'(K\x01t'
    for level in range(levels):
        body += b'q' + bytes([level]) + b'0(' + (b'h' + bytes([level])) * 10 + b't'
    return body


RUN = {
    'os.system': b'cos\nsystem\n' + text(TOUCH) + b'\x85R',
    'posix.system': b'cposix\nsystem\n' + text(TOUCH) + b'\x85R',
    'subprocess': b'csubprocess\ncall\n(]' + text(b'touch') + b'a' + text(MARKER.encode())
                  + b'at\x85R',
    'stack global': b'\x8c\x02os\x8c\x06system\x93' + text(TOUCH) + b'\x85R',
    'inst': b'(' + text(TOUCH) + b'ios\nsystem\n',
    'obj': b'(cos\nsystem\n' + text(TOUCH) + b'o',
    'newobj': b'csubprocess\nPopen\n' + text(TOUCH) + b'\x85\x81',
    'newobj_ex': b'\x80\x04csubprocess\nPopen\n' + text(TOUCH) + b'\x85}\x92',
    'build': b'cos\nsystem\n' + text(TOUCH) + b'b',
    'extension code': b'\x82\x01' + text(TOUCH) + b'\x85R',
}

LIES = {
    'short bytes': b'\x80\x03C\xffx',
    'bytes': sized(b'B', 0xffffffff),
    'bytes of 2**63': b'\x80\x04' + sized(b'\x8e', 1 << 63, '<Q')[2:],
    'bytearray': b'\x80\x05' + sized(b'\x96', 1 << 62, '<Q')[2:],
    'text': sized(b'X', 0xfffffff0),
    'text of 2**63': b'\x80\x04' + sized(b'\x8d', (1 << 63) - 1, '<Q')[2:],
    'old string': sized(b'T', -1, '<i'),
    'long': sized(b'\x8b', 0x7fffffff, '<i'),
    'negative long': sized(b'\x8b', -5, '<i'),
    'frame': b'\x80\x04' + sized(b'\x95', 1 << 62, '<Q')[2:],
    'line without end': b'\x80\x03I' + b'9' * 100,
    'global without end': b'\x80\x03cbuiltins\n' + b'x' * 100,
    'quotes': b"\x80\x03S'never closed\n.",
    'a number of many digits': b'\x80\x03I' + b'9' * 5000 + b'\n.',
}

BROKEN = {
    'no stop': b'\x80\x03N',
    'only a stop': b'.',
    'pop of nothing': b'\x80\x030.',
    'get of nothing': b'\x80\x03h\x05.',
    'tuple of nothing': b'\x80\x03\x87.',
    'mark left': b'\x80\x03(.',
    'two values left': b'\x80\x03NN.',
    'append to a number': b'\x80\x03K\x01Na.',
    'setitem on a list': b'\x80\x03]NNs.',
    'odd setitems': b'\x80\x03}(NNNu.',
    'unhashable key': b'\x80\x03}]Ns.',
    'unknown opcode': b'\x80\x03\xfe.',
    'protocol 200': b'\x80\xc8N.',
    'a buffer from outside': b'\x80\x05\x97.',
    'memo index of many digits': b'\x80\x03Np' + b'9' * 50 + b'\n.',
    'negative memo index': b'\x80\x03Np-1\n.',
    'persistent id': b'\x80\x03Psomething\n.',
    'binary persistent id': b'\x80\x03NQ.',
    'not utf-8': b'\x80\x03X\x02\x00\x00\x00\xff\xfe.',
}

BOMBS = {
    'lists': b'\x80\x03' + b']' * 300_000 + b'a' * 299_999 + b'.',
    'tuples': b'\x80\x03N' + b'\x85' * 300_000 + b'.',
    'dicts': b'\x80\x03' + b'}N' * 100_000 + b's' * 100_000 + b'.',
    'marks': b'\x80\x03' + b'(' * 500_000 + b'.',
    'shared tuples': call_pickle(bomb(12)),
    'memo': b'\x80\x03N' + b''.join(b'r' + struct.pack('<I', n) for n in range(200_000)) + b'.',
    'itself': b'\x80\x03]q\x00h\x00a.',
    'itself within itself': b'\x80\x03]q\x00' + b'h\x00a' * 100_000 + b'.',
    'duplicates': b'\x80\x03N' + b'2' * 1_000_000 + b't.',
}

# It would die, or take memory for the whole of a lie.
ONLY_OURS = pytest.mark.ours_only('this brings it down, or is run by it')


def refused(target, payload):
    """The client is closed, with one line in the log, and the server takes no harm."""
    client = target.hostile()
    client.send(payload)
    assert client.is_closed()
    target.one_line(client, "Can't deserialize message")
    assert target.memory() < 40 * MB


PICKLES = pytest.mark.parametrize('encoding', ['Z'], indirect=True)
PACKS = pytest.mark.parametrize('encoding', ['M'], indirect=True)


@PICKLES
@pytest.mark.parametrize('name', RUN)
def test_pickles_that_run_things(target, name):
    """Closed; nothing is run. Python's server closes too (its list of modules is as short)."""
    args = RUN[name]
    refused(target, call_pickle(b'(' + args + b't'))
    assert not os.path.exists(MARKER)


@PICKLES
@ONLY_OURS
@pytest.mark.parametrize('code', [b'eval', b'exec', b'__import__'])
def test_builtins(target, code):
    """Python's server runs any builtin that a client names, with any argument. Ours runs
    nothing: such a value is only a value, and no argument of any call."""
    source = f"__import__('os').system('touch {MARKER}')".encode()
    assert_only_a_value(target, b'cbuiltins\n' + code + b'\n' + text(source) + b'\x85R')


@PICKLES
@ONLY_OURS
def test_dotted_names(target):
    """A path through a module that is allowed leads nowhere. Python's server closes."""
    assert_only_a_value(target, b'czodbpickle\nos.system\n' + text(TOUCH) + b'\x85R')


def assert_only_a_value(target, value):
    """The value is decoded and refused as an argument, wherever one is expected."""
    client = target.hostile()
    for method in 'getTid', 'history', 'set_client_label', 'iterator_gc', 'new_oids', 'vote':
        client.send(call_pickle(b'(' + value + b't', method=method))
        assert client.receive_message()[1] == (0 if method == 'set_client_label' else 2), method
    assert not os.path.exists(MARKER)
    assert client.is_alive()


@PICKLES
@pytest.mark.parametrize('name', LIES)
def test_pickles_that_lie_about_sizes(target, name):
    """Closed, without memory for what is not there; as with Python's server."""
    refused(target, LIES[name])


@PICKLES
@pytest.mark.parametrize('name', BROKEN)
def test_broken_pickles(target, name):
    """Closed, as with Python's server."""
    refused(target, BROKEN[name])


@PICKLES
@ONLY_OURS
@pytest.mark.parametrize('name', BOMBS)
def test_pickle_bombs(target, name):
    """Closed in time and memory that the length of the message bounds. Python's server recurses,
    or builds the tree."""
    refused(target, BOMBS[name])


@PICKLES
@ONLY_OURS
@pytest.mark.parametrize('index', [1 << 24, 0x7fffffff, 0xffffffff])
def test_memo_indexes(target, index):
    """A memo entry far away takes no memory for all those before it. Python's unpickler takes 16
    bytes for each, twice."""
    client = target.hostile()
    client.send(call_pickle(b'(Nr' + struct.pack('<I', index) + b'0t'))
    client.is_closed(0.3)
    assert target.memory() < 40 * MB


HOSTILE_PACKS = {
    'array of 2**32': b'\xdd\xff\xff\xff\xff\x01',
    'map of 2**32': b'\xdf\xff\xff\xff\xff\x01\x01',
    'text of 2**32': b'\xdb\xff\xff\xff\xffx',
    'bytes of 2**32': b'\xc6\xff\xff\xff\xffx',
    'extension of 2**32': b'\xc9\xff\xff\xff\xff\x01x',
    'arrays within': b'\x91' * 500_000 + b'\xc0',
    'maps within': b'\x81\xc0' * 300_000 + b'\xc0',
    'unused code': b'\x94\x01\xc2\xc1\x90',
    'unfinished': b'\x94\x01\xc2\xa4ping',
    'not utf-8': call_msgpack(b'\x91\xa2\xff\xfe'),
    'array of nothing but sizes': b'\xdd\x00\xff\xff\xff' * 1000,
}


@PACKS
@pytest.mark.parametrize('name', HOSTILE_PACKS)
def test_hostile_msgpack(target, name):
    """Closed, without memory for what is not there; as with Python's server."""
    refused(target, HOSTILE_PACKS[name])


@PACKS
@ONLY_OURS
@pytest.mark.parametrize('value', [b'\xc7\x0c\xff' + b'\xff' * 12, b'\xd4\x05x', b'\xd6\xffabcd'])
def test_msgpack_extensions(target, value):
    """Timestamps and other extensions mean nothing here: closed. Python makes objects of them
    and gives them to the call."""
    refused(target, call_msgpack(b'\x91' + value))


@PACKS
def test_msgpack_dict_as_a_key(target):
    """Python's can't make such a dict: closed. Ours refuses it as an argument."""
    client = target.hostile()
    client.send(call_msgpack(b'\x91\x81\x81\x01\x01\x01', 'new_oids'))
    if is_python():
        assert client.is_closed()
    else:
        assert client.receive_message()[3][0] == 'builtins.TypeError'


SHAPES = {
    'None': None, 'number': 5, 'text': 'ping', 'empty': (), 'three': (1, False, 'ping'),
    'five': (1, False, 'ping', (), ()), 'dict': {1: 2},
    'name is bytes': (1, False, b'ping', ()), 'name is None': (1, False, None, ()),
    'name is a tuple': (1, False, ('ping',), ()), 'flag is None': (1, None, None, ()),
    'arguments are a number': (1, True, 'ping', 5), 'arguments are None': (1, True, 'ping', None),
}


@pytest.mark.parametrize('name', SHAPES)
def test_values_that_are_no_messages(target, name):
    """Closed, as with Python's server."""
    client = target.hostile()
    client.send_value(SHAPES[name])
    assert client.is_closed()
    target.one_line(client, "Can't deserialize message|invalid method|nvalid")


@pytest.mark.parametrize('number', [5, 0, 2 ** 62, 'text', b'bytes', (b'a' * 8, b'b' * 8), None,
                                    1.5, True, -2])
def test_any_id_comes_back(target, number):
    """A message's id is its sender's business, as with Python's server."""
    client = target.hostile()
    client.send_value((number, False, 'ping', ()))
    assert client.receive_message() == (number, 0, '.reply', None)
    client.send_value((number, False, 'getTid', ()))
    answer = client.receive_message()
    assert (answer[0], answer[1], answer[3][0]) == (number, 2, 'builtins.TypeError')


LARGE_IDS = {
    'bytes': b'x' * 1025, 'text': 'x' * 70_000, 'tuple': (None,) * 100, 'list': [b'', 1] * 50,
    'dict': {number: None for number in range(100)}, 'nested': ((((b'x' * 500,),), b'x' * 500),),
}


@pytest.mark.ours_only('it takes any')
@pytest.mark.parametrize('is_async', [False, True])
@pytest.mark.parametrize('name', LARGE_IDS)
def test_large_ids(target, name, is_async):
    """Closed, with a line: an id is kept until its call is answered."""
    client = target.hostile()
    client.send_value((LARGE_IDS[name], is_async, 'ping', ()))
    assert client.is_closed()
    target.one_line(client, 'the id of a call takes [0-9]+ bytes, over the limit of 1024')


def test_keep_alive_floods(target):
    """Any number of keep-alives makes no answer and no line."""
    client = target.hostile()
    for _ in range(10_000):
        client.send_value((-1, 0, '.reply', None))
    assert client.is_alive()
    assert not target.offences(client)


def test_replies_nobody_asked_for(target):
    """A client that answers calls that were never made is closed, as with Python's server."""
    client = target.hostile()
    client.send_value((5, 0, '.reply', 'surprise'))
    assert client.is_closed()
    target.one_line(client, 'method|reply|not a tuple')


@PICKLES
def test_extensions_that_are_bombs(target):
    """What a transaction says of itself goes through the same machine."""
    for extension in bomb(12), b'cos\nsystem\n' + text(TOUCH) + b'\x85R':
        client = target.hostile()
        client.send(call_pickle(b'(K\x07C\x00C\x00}' + text(b'key') + extension + b'st',
                                method='tpc_begin'))
        client.is_closed(2)
    assert not os.path.exists(MARKER)
