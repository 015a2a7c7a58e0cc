"""The steps of a commit with wrong arguments. Their calls have no replies: Python's server closes
the connection for what it looks at when they come, and keeps the rest for the vote.

The tables hold for both servers. Where ours refuses what Python's takes, as it would write a record
that nobody could read, a case has two outcomes: Python's, and ours."""
import base64
import os

import pytest
from support.configuration import filestorage
from support.server import is_python
from support.wire import Disconnected
from ZODB.utils import p64, z64

from hostile.clients import TXN, record
from hostile.target import POSTGRES
from hostile.test_blobs import DATA, DIRECTORY, share, shared_only

OLD, NEW = p64(1), p64(100)  # the bystander has committed the first
CLOSED, FINE = 'closed', 'fine'
ASSERTION, TYPE, VALUE = 'builtins.AssertionError', 'builtins.TypeError', 'builtins.ValueError'
STRUCT, BASE64 = 'struct.error', 'binascii.Error'
MISSING = 'builtins.FileNotFoundError'
POS = 'ZODB.POSException.'
CONFLICT, READ_CONFLICT = POS + 'ConflictError', POS + 'ReadConflictError'
NO_KEY, UNDO = POS + 'POSKeyError', POS + 'UndoError'

NO_BYTES = [None, 5, 1.5, True, 'text', '', (), (1,), {'a': 1}, 'x' * 8]
SHORT = [b'', b'short', b'nine byte']


def cases(values, outcome):
    return [(value, outcome) for value in values]


NEW_OID = cases(NO_BYTES, TYPE) + cases(SHORT, (FINE, TYPE))
OLD_OID = cases(NO_BYTES, ASSERTION) + cases(SHORT, NO_KEY)
BLOB_OID = cases(NO_BYTES, TYPE) + cases(SHORT, ASSERTION)
# The path of the file is made from the oid at once.
SHARED_OID = cases([5, True, 'x' * 8], TYPE) + cases(
    [None, 1.5, 'text', '', (), (1,), {'a': 1}, *SHORT], CLOSED)
ANY_SERIAL = cases(NO_BYTES + SHORT, FINE)
OTHER_SERIAL = cases(NO_BYTES + SHORT, CONFLICT)
OTHER_READ = cases(NO_BYTES + SHORT, READ_CONFLICT)
OWN_SERIAL = cases(NO_BYTES, STRUCT) + cases(SHORT, (FINE, VALUE))
RECORD = cases(NO_BYTES, TYPE)
RECORD_OR_NONE = [(None, FINE), *cases(NO_BYTES[1:], TYPE)]
HINT = [(None, FINE), *cases([*NO_BYTES[1:], *SHORT], UNDO)]
UNDO_ID = cases(NO_BYTES, TYPE) + [
    (b'', ASSERTION), (b'short', BASE64), (b'!!!!', ASSERTION),
    (base64.encodebytes(b'short'), ASSERTION), (base64.encodebytes(p64(5)), UNDO)]
NAME = cases([*NO_BYTES, *SHORT, b'x.tmp', '../x.tmp', '/x.tmp', './x.tmp', 'x.blob', 'x.tmpxx'],
             CLOSED) + [('missing.tmp', MISSING), ('missing.tmp1', MISSING), ('x.tmp', FINE),
                        ('x.tmp1', FINE), ('.tmp', FINE)]

# Of each call: right arguments without the transaction's id, and what may stand in their places.
STEPS = {
    'storea': ((NEW, z64, record()), [NEW_OID, ANY_SERIAL, RECORD]),
    'storea over': ((OLD, None, record()), [NEW_OID, OTHER_SERIAL, RECORD]),
    'checkCurrentSerialInTransaction': ((OLD, None), [OLD_OID, OTHER_READ]),
    'deleteObject': ((OLD, None), [OLD_OID, OTHER_SERIAL]),
    'restorea': ((NEW, p64(7), record(), None), [NEW_OID, OWN_SERIAL, RECORD_OR_NONE, HINT]),
    'undoa': ((None,), [UNDO_ID]),
    'storeBlobEnd': ((NEW, z64, DATA), [BLOB_OID, ANY_SERIAL, RECORD]),
    'storeBlobShared': ((NEW, z64, DATA, 'x.tmp'), [SHARED_OID, ANY_SERIAL, RECORD, NAME]),
}

pytestmark = pytest.mark.options(storages=filestorage(blob_dir='blobs'))


def outcome_of(client):
    """What has become of the transaction; it is aborted."""
    try:
        client.call('ping')
    except (Disconnected, ConnectionError):
        return CLOSED
    status, result = client.attempt('vote', TXN)
    client.call('tpc_abort', TXN)
    return FINE if status == 'ok' else result


def step(target, method, args):
    """What comes of a transaction with this one step, sent without waiting for an answer."""
    client = target.hostile()
    client.begin()
    if method == 'storeBlobEnd':
        client.send_async('storeBlobStart')
        client.send_async('storeBlobChunk', b'content')
    if method == 'storeBlobShared':
        for name in 'x.tmp', 'x.tmp1', '.tmp':
            share(name)
    client.send_async(method, *args, TXN)
    outcome = outcome_of(client)
    client.close()
    return outcome


def right(target, name):
    """The right arguments, with the serial that the object has got."""
    tid = target.bystander.serials[OLD]
    if name == 'undoa':
        return (base64.encodebytes(tid).rstrip(b'\n'),)
    args, _values = STEPS[name]
    return args if args[1] else (args[0], tid, *args[2:])


undo_only = pytest.mark.skipif(POSTGRES == 'free', reason='a database without history has no undo')
NEEDS = {'undoa': undo_only, 'storeBlobShared': shared_only}


@pytest.mark.parametrize('name', [pytest.param(name, marks=NEEDS.get(name, ())) for name in STEPS])
def test_wrong_arguments(target, name):
    method, right_args = name.split()[0], right(target, name)
    assert step(target, method, right_args) == FINE
    for place, values in enumerate(STEPS[name][1]):
        for value, expected in values:
            if isinstance(expected, tuple):
                expected = expected[not is_python()]
            args = [*right_args[:place], value, *right_args[place + 1:]]
            found = step(target, method, args)
            assert found == expected, f'{method}, argument {place + 1}: {value!r}'
    if is_python():
        target.before = target.resources()  # it keeps the transactions of clients that it closed
    for name in os.listdir(DIRECTORY) if os.path.isdir(DIRECTORY) else ():
        os.remove(os.path.join(DIRECTORY, name))


@pytest.mark.parametrize('name', STEPS)
def test_wrong_transaction_and_arguments(target, name):
    """Which transaction it is for is looked at first: closed."""
    client = target.hostile()
    client.begin()
    count = len(STEPS[name][1])
    client.send_async(name.split()[0], *[5] * count, TXN + 1)
    assert client.is_closed()


@pytest.mark.skipif(bool(POSTGRES), reason='a database has no such status')
@pytest.mark.parametrize('status', 'ucx')
def test_a_status_by_which_the_next_start_loses_it(target, status):
    """What is undone is skipped then, what is unfinished cut off, and at any other the file ends."""
    client = target.hostile()
    client.call('tpc_begin', TXN, b'', b'', {}, None, status)
    client.send_async('storea', NEW, z64, record(), TXN)
    assert outcome_of(client) == (FINE if is_python() else VALUE)
    client.close()


END = b'\xff' * 8
# Steps that can't be made, and those that only some storages refuse.
FAILING = [('storea', 5, z64, record()), ('storea', END, z64, record()), ('restorea', END, z64, record(), None),
           ('deleteObject', END, z64), ('checkCurrentSerialInTransaction', END, z64),
           ('undoa', b''), ('undoa', base64.encodebytes(p64(5)))]


@pytest.mark.parametrize('failing', FAILING, ids=[f'{step[0]}-{step[1]}' for step in FAILING])
def test_the_first_failure_counts(target, failing):
    """What comes before a step that can't be made is looked at before it."""
    client = target.hostile()
    client.begin()
    client.send_async('storea', OLD, z64, record(), TXN)
    client.send_async(*failing, TXN)
    client.send_async('undoa', b'', TXN)
    assert outcome_of(client) == CONFLICT
    client.begin()
    client.send_async('storea', 5, z64, record(), TXN)
    client.send_async(*failing, TXN)
    client.send_async('storea', OLD, z64, record(), TXN)
    assert outcome_of(client) == TYPE
    assert client.commit({NEW: record('after all')})


@pytest.mark.options(client_conflict_resolution=True)
@pytest.mark.parametrize('failing, outcome', [
    (('storea', 5, z64, record()), TYPE), (('undoa', b''), ASSERTION), (('deleteObject', END, z64), NO_KEY),
    (('checkCurrentSerialInTransaction', OLD, END), READ_CONFLICT)])
def test_a_failure_counts_more_than_conflicts_that_are_left_to_the_client(target, failing, outcome):
    """As Python's."""
    client = target.hostile()
    client.begin()
    client.send_async('storea', OLD, z64, record(), TXN)
    assert [conflict['oid'] for conflict in client.call('vote', TXN)] == [OLD]
    client.begin()
    client.send_async('storea', OLD, z64, record(), TXN)
    client.send_async(*failing, TXN)
    assert outcome_of(client) == outcome
    assert client.commit({NEW: record('after all')})


@pytest.mark.parametrize('step, outcome', [
    (('storea', OLD, END, record()), CONFLICT), (('deleteObject', OLD, END), CONFLICT),
    (('checkCurrentSerialInTransaction', OLD, END), READ_CONFLICT), (('deleteObject', END, z64), NO_KEY),
    (('checkCurrentSerialInTransaction', END, z64), NO_KEY),
    (('storea', b'\x7f' + b'\xff' * 7, z64, record()), FINE)])
def test_ids_at_their_ends(target, step, outcome):
    """They are ids like others, which are not there."""
    client = target.hostile()
    client.begin()
    client.send_async(*step, TXN)
    assert outcome_of(client) == outcome


def test_a_blob_that_is_ended_wrongly(target):
    """The upload has ended: another may begin."""
    client = target.hostile()
    client.begin()
    client.send_async('storeBlobStart')
    client.send_async('storeBlobEnd', NEW, z64, 7, TXN)
    client.send_async('storeBlobStart')
    client.send_async('storeBlobEnd', NEW, z64, DATA, TXN)
    assert outcome_of(client) == TYPE
    client.begin()
    client.send_async('storeBlobEnd', NEW, z64, 7, TXN)  # there was no start
    assert client.is_closed()


# Of `tpc_begin`: user, description, tid, status.
BEGIN = {
    1: cases([None, 5, 1.5, True, (), {'a': 1}], CLOSED) + cases(['text', 'é', b'\xff'], FINE),
    2: cases([None, 5, 1.5, True, (), {'a': 1}], CLOSED) + cases(['text', 'é', b'\xff'], FINE),
    4: cases([5, 1.5, True, 'text', '', (), {'a': 1}], TYPE) + cases(SHORT, VALUE),
    # Python's server would fail when it is too late for an answer, and write any status.
    5: [(None, (FINE, FINE))] + cases([5, 1.5, (), 'long', '', b''], (FINE, TYPE)),
}


@pytest.mark.parametrize('place', BEGIN)
def test_begin(target, place):
    for value, expected in BEGIN[place]:
        if isinstance(expected, tuple):
            expected = expected[not is_python()]
        args = [TXN, b'user', b'description', {}, None, ' ']
        args[place] = value
        client = target.hostile()
        client.send_async('tpc_begin', *args)
        client.send_async('storea', NEW, z64, record(), TXN)
        assert outcome_of(client) == expected, value
        client.close()
