"""Commits out of order, and clients that die in every state of one."""
import pytest
from support.server import is_python, wait_until
from ZODB.utils import p64

from hostile.clients import TXN, record
from hostile.target import POSTGRES

OID, OTHER = p64(100), p64(101)
WRONG = 'ZODB.POSException.StorageTransactionError'

# With no transaction at all, or with the id of another.
STORE_LIKE = {
    'storea': (OID, p64(0), record()), 'deleteObject': (OID, p64(0)),
    'checkCurrentSerialInTransaction': (OID, p64(0)),
    'restorea': (OID, p64(0), record(), None), 'undoa': (b'AAAAAAAAAAA=',),
}


@pytest.mark.parametrize('begun', [False, True])
@pytest.mark.parametrize('name', STORE_LIKE)
def test_store_without_its_transaction(target, name, begun):
    """StorageTransactionError for a call that waits; an asynchronous one closes. As Python's."""
    client = target.hostile()
    if begun:
        client.begin()
    args = STORE_LIKE[name] + (TXN + 1,)
    assert client.attempt(name, *args) == ('error', WRONG)
    assert client.is_alive()
    client.send_async(name, *args)
    assert client.is_closed()


@pytest.mark.parametrize('begun', [False, True])
def test_vote_finish_and_abort_without_their_transaction(target, begun):
    """Vote: StorageTransactionError. Finish and abort do nothing and answer None. As Python's."""
    client = target.hostile()
    if begun:
        client.begin()
        client.store(OID, record('kept'))
    for wrong in TXN + 1, None, 'text', b'bytes', (1, 2), 1.5, {}:
        assert client.attempt('vote', wrong) == ('error', WRONG)
        assert client.attempt('tpc_finish', wrong) == ('ok', None)
        assert client.attempt('tpc_abort', wrong) == ('ok', None)
    if begun:
        assert list(client.call('vote', TXN)) == []
        assert client.call('tpc_finish', TXN)
        assert client.load(OID)[0] == record('kept')


def test_records_of_text(target):
    """They are taken, and fail at the vote. As Python's."""
    client = target.hostile()
    client.begin()
    client.store(OID, 'text')
    assert client.attempt('vote', TXN)[0] == 'error'
    client.begin()
    client.store(OID, 'text')
    client.call('tpc_abort', TXN)
    assert client.is_alive()


def test_finish_without_vote(target):
    """AssertionError, and the transaction is kept. As Python's."""
    client = target.hostile()
    client.begin()
    client.store(OID, record())
    assert client.attempt('tpc_finish', TXN) == ('error', 'builtins.AssertionError')
    assert list(client.call('vote', TXN)) == []
    assert client.call('tpc_finish', TXN)


def test_finish_and_abort_twice(target):
    """The second one finds no transaction: None. As Python's."""
    client = target.hostile()
    client.begin()
    client.store(OID, record())
    client.call('vote', TXN)
    assert client.call('tpc_finish', TXN)
    assert client.call('tpc_finish', TXN) is None
    assert client.call('tpc_abort', TXN) is None
    assert client.attempt('vote', TXN) == ('error', WRONG)


def test_begin_twice(target):
    """With the same id: nothing. With another: StorageTransactionError. As Python's."""
    client = target.hostile()
    client.begin()
    client.store(OID, record())
    client.begin()
    assert client.attempt('tpc_begin', 9, b'', b'', {}, None, ' ') == ('error', WRONG)
    client.call('vote', TXN)
    client.begin()
    assert client.call('tpc_finish', TXN)


def test_second_vote_while_locked(target):
    """StorageTransactionError, and the transaction goes on. As Python's."""
    client = target.hostile()
    client.begin()
    client.store(OID, record())
    client.call('vote', TXN)
    assert client.attempt('vote', TXN) == ('error', WRONG)
    assert client.call('tpc_finish', TXN)


def test_second_vote_while_waiting(target):
    """StorageTransactionError at once; the first vote is answered in its turn. As Python's."""
    holder, client = target.hostile(), target.hostile()
    for each in holder, client:
        each.begin()
        each.store(OID, record())
    holder.call('vote', TXN)
    first = client.request('vote', TXN)
    second = client.request('vote', TXN)
    answer = client.receive_message()
    assert (answer[0], answer[3][0]) == (second, WRONG)
    holder.call('tpc_abort', TXN)
    assert client.receive_message() == (first, 0, '.reply', [] if client.pickles else ())
    assert client.call('tpc_finish', TXN)


def test_store_after_vote(target):
    """Not in time: what was voted is what is committed.

    Python's server takes it, and forgets it without a word; ours says so by closing, so that
    nobody believes that it was stored."""
    client = target.hostile()
    client.begin()
    client.store(OID, record('in time'))
    client.call('vote', TXN)
    client.store(OTHER, record('too late'))
    if not is_python():
        assert client.is_closed()
        return
    assert client.call('tpc_finish', TXN)
    assert client.load(OID)[0] == record('in time')
    assert client.attempt('loadBefore', OTHER, b'\x7f' * 8)[0] == 'error'


def test_failed_vote_ends_the_transaction(target):
    """A conflict aborts; a finish then finds nothing, and the locks are free. As Python's."""
    client = target.hostile()
    client.commit({OID: record('first')})
    client.begin()
    client.store(OID, record('conflict'))
    assert client.attempt('vote', TXN) == ('error', 'ZODB.POSException.ConflictError')
    assert client.call('tpc_finish', TXN) is None
    assert target.hostile().commit({OID: record('second')})


# In PostgreSQL, tids have 63 bits.
TIDS = [p64(0), p64(1), b'\xff' * 8] + [b'\x7f' + b'\xff' * 7] * bool(POSTGRES)


@pytest.mark.parametrize('tid', TIDS)
def test_explicit_tids(target, tid):
    """A tid in the past is refused; the end of all time is not given away.

    Python's server takes whatever tid it is told, and no later one is possible then."""
    if is_python():
        pytest.skip('it takes any tid')
    client = target.hostile()
    status, _ = client.attempt('tpc_begin', TXN, b'', b'', {}, tid, ' ')
    if status == 'ok':
        client.send_async('restorea', OID, tid, record(), None, TXN)
        status, _ = client.attempt('vote', TXN)
    if status == 'ok':
        status, _ = client.attempt('tpc_finish', TXN)
    assert status == 'error'
    target.serves_as_before()


@pytest.mark.parametrize('user, description, extension', [
    (b'x' * 65536, b'', {}), (b'', b'x' * 65536, {}), (b'', b'', {'x': b'x' * 70_000}),
    (b'x' * 5_000_000, b'', {})])
def test_metadata_that_no_header_can_hold(target, user, description, extension):
    """An error at the begin or the vote, and no more. As Python's. A database has no headers, and holds
    any texts; so does RelStorage's."""
    client = target.hostile()
    begun = client.attempt('tpc_begin', TXN, user, description, extension, None, ' ')
    if begun[0] == 'ok':
        client.store(OID, record())
        assert client.attempt('vote', TXN)[0] == ('ok' if POSTGRES else 'error')
        assert bool(client.call('tpc_finish', TXN)) == bool(POSTGRES)
    assert client.is_alive()
    if POSTGRES == 'history' and len(user) < 1 << 20:  # what is read takes memory in connections, which stay
        entry = client.call('undoLog', 0, 1)[0]
        assert (len(entry['user_name']), len(entry['description'])) == (len(user), len(description))
    assert client.commit({OID: record()})


def begun(client):
    client.begin()


def stored(client):
    client.begin()
    client.store(OID, record('of the dead'))
    client.store(OTHER, record('of the dead'))
    client.call('ping')


def voted(client):
    stored(client)
    client.call('vote', TXN)


def voted_unread(client):
    stored(client)
    client.request('vote', TXN)


def finishing(client):
    voted(client)
    client.request('tpc_finish', TXN)


def large(client):
    client.begin()
    for number in range(100, 500):
        client.store(p64(number), b'x' * 50_000)
    client.request('vote', TXN)


def half_a_store(client):
    stored(client)
    client.send_bytes(b'\0\0\x10\0' + b'x' * 1000)


STATES = [begun, stored, voted, voted_unread, finishing, large, half_a_store]
ENDS = ['close', 'reset', 'finish_sending']


@pytest.mark.parametrize('end', ENDS)
@pytest.mark.parametrize('state', STATES)
def test_killed(target, state, end):
    """Whatever a client was doing when it died, another one commits the same objects.

    What it had not finished is not there; what it was finishing is there whole, or not at all."""
    client = target.hostile()
    state(client)
    getattr(client, end)()
    survivor = target.hostile()
    wait_until(lambda: survivor.call('server_status')['active_txns'] == 0)
    if state is finishing:  # under the same locks, so that what was begun is done
        survivor.begin()
        survivor.store(OID, record(), p64(1))
        assert survivor.attempt('vote', TXN)[0] == 'error'
    found = [survivor.attempt('loadBefore', oid, b'\x7f' + b'\xff' * 7) for oid in (OID, OTHER)]
    if state is finishing:
        assert len({status for status, _ in found}) == 1, found
    else:
        assert [status for status, _ in found] == ['error', 'error']
    assert survivor.commit({OID: record('of the living'), OTHER: record('too')})
    assert survivor.load(OID)[0] == record('of the living')


@pytest.mark.parametrize('end', ENDS)
def test_killed_while_waiting(target, end):
    """One that dies in the queue for locks is passed over, and the next gets its turn."""
    holder, dead, next_one = (target.hostile() for _ in range(3))
    for client in holder, dead, next_one:
        client.begin()
        client.store(OID, record())
    holder.call('vote', TXN)
    dead.request('vote', TXN)
    wait_until(lambda: target.bystander.call('server_status')['waiting'] == 1)
    first = next_one.request('vote', TXN)
    wait_until(lambda: target.bystander.call('server_status')['waiting'] == 2)
    getattr(dead, end)()
    wait_until(lambda: target.bystander.call('server_status')['waiting'] == 1)
    holder.call('tpc_abort', TXN)
    assert next_one.receive_message()[:2] == (first, 0)
    assert next_one.call('tpc_finish', TXN)


def test_killed_with_others_waiting(target):
    """A dead holder's locks go to those who wait, in the order of their votes."""
    holder, *queue = (target.hostile() for _ in range(6))
    for number, client in enumerate([holder, *queue]):
        client.begin()
        client.store(p64(200 + number), record())
        client.store(OID, record())
        if client is holder:
            client.call('vote', TXN)
        else:
            client.request('vote', TXN)
            wait_until(lambda: target.bystander.call('server_status')['waiting'] == number)
    holder.reset()
    for client in queue:
        assert client.receive_message()[1] == 0
        client.reset()
    survivor = target.hostile()
    assert survivor.commit({OID: record('last')})


def test_transactions_that_are_begun_and_left(target):
    """A thousand clients' worth of half transactions leave nothing, in memory or on disk."""
    for number in range(200):
        client = target.hostile()
        client.begin()
        for _ in range(5):
            client.store(OID, b'x' * 100_000)
        if number % 2:
            client.call('tpc_abort', TXN)
        client.close()
    wait_until(lambda: target.bystander.call('server_status')['active_txns'] == 0)
    assert target.hostile().commit({OID: record()})


def test_a_transaction_too_large_for_memory(target):
    """120 MB stored and aborted: a temporary file holds it, and is gone."""
    client = target.hostile()
    client.begin()
    for number in range(120):
        client.store(p64(1000 + number), b'x' * 1_000_000)
    client.call('ping')
    assert target.memory() < 32 << 20 or is_python()
    client.call('tpc_abort', TXN)


@pytest.mark.ours_only('it never releases the lock of a client that it closed for its timeout')
@pytest.mark.options(transaction_timeout=1)
def test_held_locks(target):
    """A client that votes and then only pings is closed at its deadline; its locks are free."""
    client = target.hostile()
    voted(client)
    for _ in range(5):
        client.request('ping')
    assert client.is_closed()
    assert target.hostile().commit({OID: record()})
