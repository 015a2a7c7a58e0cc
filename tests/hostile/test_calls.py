"""Calls that are none: unknown, with wrong arguments, before `register`, or twice."""
import pytest
from support.server import is_python
from ZODB.utils import p64, z64

# Methods with the least and the greatest number of their arguments.
METHODS = {
    'checkCurrentSerialInTransaction': (3, 3), 'deleteObject': (3, 3), 'get_info': (0, 0),
    'getInvalidations': (1, 1), 'getTid': (1, 1), 'history': (1, 2), 'iterator_gc': (1, 1),
    'iterator_next': (1, 1), 'iterator_record_next': (1, 1), 'iterator_record_start': (2, 2),
    'iterator_start': (2, 2), 'lastTransaction': (0, 0), 'loadBefore': (2, 2),
    'loadSerial': (2, 2), 'new_oid': (0, 0), 'new_oids': (0, 1), 'pack': (1, 2), 'ping': (0, 0),
    'record_iternext': (0, 1), 'restorea': (5, 5), 'sendBlob': (2, 2), 'server_status': (0, 0),
    'set_client_label': (1, 1), 'storea': (4, 4), 'storeBlobChunk': (1, 1),
    'storeBlobEnd': (4, 4), 'storeBlobShared': (5, 5), 'storeBlobStart': (0, 0),
    'tpc_abort': (1, 1), 'tpc_begin': (4, 6), 'tpc_finish': (1, 1), 'undoa': (2, 2),
    'undoInfo': (3, 3), 'undoLog': (2, 2), 'vote': (1, 1),
}

# Arguments of the right number and a wrong type. (Python's server gives them to the storage,
# and answers whatever that raises.) Those of the steps of a commit are in test_steps.
WRONG_TYPES = {
    'getInvalidations': [(None,), (5,), (b'short',), ('text',), ((),)],
    'getTid': [(None,), (5,), (b'short',), ('text',), ((),), (b'far too long',)],
    'history': [(None,), (5, 1), (z64, 'x'), (z64, None), (z64, 1.5)],
    'iterator_gc': [(None,), (5,), (('x',),), ((None,),)],
    'iterator_next': [(None,), ('x',), (-1,), (1.5,), (2 ** 64 - 1,)],
    'iterator_record_next': [(None,), ('x',), (-1,), ((),)],
    'iterator_record_start': [(None, z64), (0, None), (0, 5), ('x', z64)],
    'iterator_start': [(5, None), (None, 5), (1.5, None), ('text', 'text')],
    'loadBefore': [(None, None), (5, 5), (z64, None), (None, z64), (b'short', z64), ('x', 'y')],
    'loadSerial': [(None, None), (5, 5), (z64, None), (z64, 'x'), ((), ())],
    'new_oids': [('x',), (None,), (b'',), ((),)],
    'pack': [('x',), (None,), ((),)],
    'record_iternext': [(5,), ('x',), (b'short',), ((),)],
    'tpc_begin': [(1, 5, b'', {}), (1, b'', 5, {})],
    'undoInfo': [('x', 5, None), (0, None, None), (0, 5, 7), (0, 5, 'x')],
    'undoLog': [('x', 5), (0, None), (None, None), ((), ())],
}

BEFORE = [('ping', ()), ('get_info', ()), ('loadBefore', (z64, z64)),
          ('tpc_begin', (1, b'', b'', {}, None, ' ')), ('vote', (1,)), ('storea', (z64,) * 4),
          ('no_such_method', ())]


@pytest.mark.parametrize('name', ['no_such_method', '', '__class__', 'close', 'stop', '.reply',
                                  'x' * 3000, 'new\nline', 'notify_disconnected', 'tpc_begin '])
@pytest.mark.parametrize('is_async', [False, True])
def test_unknown_methods(target, name, is_async):
    """Closed, with a line that names the method, though not at any length.

    Python's server closes as well (and calls it nevertheless, on nothing)."""
    client = target.hostile()
    client.send_value((1, is_async, name, ()))
    assert client.is_closed()
    target.one_line(client, 'invalid method')


def wrong_arities():
    for name, (least, most) in METHODS.items():
        for count in range(most + 3):
            if not least <= count <= most:
                yield name, (None,) * count


def test_wrong_arity(target):
    """Too few and too many arguments: TypeError for a call that waits, as with Python's server."""
    client = target.hostile()
    for name, args in wrong_arities():
        if is_python() and name in ('record_iternext', 'getTid', 'loadSerial', 'lastTransaction',
                                    'new_oid'):
            continue  # bound to the storage, whose signatures differ, or not there at all
        assert client.attempt(name, *args) == ('error', 'builtins.TypeError'), (name, args)
    assert client.is_alive()


def test_wrong_arity_of_asynchronous_calls(target):
    """There is no other way to say so: closed, as with Python's server."""
    for name, args in wrong_arities():
        if len(args) not in (0, METHODS[name][1] + 1) or is_python() and name == 'getTid':
            continue
        client = target.hostile()
        client.send_async(name, *args)
        assert client.is_closed(), (name, args)
        target.one_line(client, name)
        client.close()


def wrong_types():
    for name, cases in WRONG_TYPES.items():
        for args in cases:
            yield name, args


def test_wrong_types(target):
    """TypeError for a call that waits, or POSKeyError for what is no oid, naming the argument; the
    connection goes on.

    Python's server gives most of them to the storage, and answers what that raises: AssertionError,
    struct.error, AttributeError, KeyError... or nothing, until the vote."""
    client = target.hostile()
    for name, args in wrong_types():
        if is_python() and name in ('pack', 'undoInfo', 'undoLog'):
            continue  # in a thread, whose failure is answered, or not
        status, error = client.attempt(name, *args)
        assert status != 'closed', (name, args)
        if not is_python():
            wanted = {'builtins.TypeError'}
            if name in ('getTid', 'history', 'loadBefore', 'loadSerial'):  # no such key
                wanted = {'builtins.TypeError', 'ZODB.POSException.POSKeyError'}
            if name == 'iterator_next' and args == (2 ** 64 - 1,):
                wanted = {'builtins.TypeError', 'builtins.KeyError'}
            assert (status, error in wanted) == ('error', True), (name, args, error)
        client.attempt('tpc_abort', 1)
    assert client.is_alive()


def test_wrong_types_in_asynchronous_calls(target):
    """Closed, as with Python's server wherever that notices."""
    if is_python():
        pytest.skip('it notices at the vote, if at all')
    for name, args in wrong_types():
        client = target.hostile()
        client.send_async(name, *args)
        assert client.is_closed(), (name, args)
        client.close()


@pytest.mark.parametrize('oid', [p64(2 ** 63 - 1), p64(2 ** 63), b'\xff' * 8])
def test_oids_at_their_ends(target, oid):
    """They are oids like others, of objects which are not there."""
    client = target.hostile()
    for name, args in [('loadBefore', (b'\xff' * 8,)), ('loadBefore', (p64(1),)), ('loadSerial', (p64(1),)),
                       ('loadSerial', (b'\xff' * 8,)), ('getTid', ()), ('history', ())]:
        assert client.attempt(name, oid, *args) == ('error', 'ZODB.POSException.POSKeyError'), name
    there = p64(1)  # the bystander's
    assert client.attempt('loadSerial', there, b'\xff' * 8) == ('error', 'ZODB.POSException.POSKeyError')
    assert client.call('loadBefore', there, b'\xff' * 8)[1] == target.bystander.serials[there]


def test_odd_values_that_are_fine(target):
    """Numbers beyond every end are no errors, and cost nothing."""
    client = target.hostile()
    for name, args in [
            ('new_oids', (10 ** 9,)), ('new_oids', (-5,)), ('history', (b'\0' * 7 + b'\1', 10 ** 9)),
            ('undoLog', (0, 10 ** 9)), ('undoLog', (0, -10 ** 9)), ('undoLog', (10 ** 9, 10 ** 9)),
            ('iterator_gc', (list(range(10 ** 5, 10 ** 5 + 50)),)), ('iterator_gc', ((),)),
            ('iterator_start', (b'\xff' * 8, b'\xff' * 8)), ('getInvalidations', (b'\xff' * 8,)),
            ('set_client_label', ('label\n\x1b[31m' * 300,)), ('set_client_label', (b'\xff',))]:
        status, result = client.attempt(name, *args)
        assert status == 'ok' or is_python(), (name, args, result)
        if name == 'new_oids':
            assert 1 <= len(result) <= 100
    assert client.is_alive()
    assert '\x1b' not in target.server.log() or is_python()


@pytest.mark.parametrize('name, args', BEFORE)
@pytest.mark.parametrize('is_async', [False, True])
def test_calls_before_register(target, name, args, is_async):
    """Closed, as with Python's server; the line does not show the arguments."""
    client = target.stranger().hello()
    client.send_value((1, is_async, name, args))
    assert client.is_closed()
    target.one_line(client, name)


def test_second_register(target):
    """After one that succeeded: closed, as with Python's server."""
    client = target.hostile()
    assert client.attempt('register', '1', False)[0] == 'closed'
    target.one_line(client, 'register')


def test_second_register_before_the_answer_to_the_first(target):
    """The same, when both come in one packet."""
    client = target.stranger().hello()
    client.request('register', '1', False)
    client.request('register', '1', False)
    assert client.receive_message()[0] == 1
    assert client.is_closed()


def test_register_after_a_failure(target):
    """A storage that does not exist is a ValueError; then the client may choose another.

    So with Python's server."""
    client = target.stranger().hello()
    for name in 'nowhere', '', 'x' * 1000, '1 ':
        assert client.attempt('register', name, False) == ('error', 'builtins.ValueError')
    assert client.attempt('register', None, False)[0] == 'error'
    status, last = client.attempt('register', '1', False)
    assert (status, len(last)) == ('ok', 8)
    assert client.is_alive()


def test_register_over_and_over(target):
    """Failures leave nothing behind."""
    client = target.stranger().hello()
    for _ in range(2000):
        client.attempt('register', 'nowhere', False)
    assert client.attempt('register', '1', True)[0] == 'ok'
    assert client.attempt('tpc_begin', 1, b'', b'', {}) == (
        'error', 'ZODB.POSException.ReadOnlyError')


def test_asynchronous_calls_have_no_answer(target):
    """A call that nobody waits for gets no reply, whatever it asks for; as with Python's server."""
    client = target.hostile()
    for name, args in [('ping', ()), ('get_info', ()), ('lastTransaction', ()), ('new_oids', ()),
                       ('loadBefore', (b'\0' * 7 + b'\1', b'\x7f' + b'\xff' * 7)),
                       ('getInvalidations', (b'\xff' * 8,)), ('history', (b'\0' * 7 + b'\1', 1)),
                       ('iterator_start', (None, None)), ('history', (b'\0' * 7 + b'\1', 100))]:
        client.send_async(name, *args)
    client.call('server_status')
    assert client.call('undoLog', 0, 1) is not None
    client.call('ping')
    assert not client.notifications
