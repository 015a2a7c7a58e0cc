"""A storage that others change, too: two servers on one database, and a third writer.

What holds for the clients of one server holds for those of both: tids only grow on a connection,
nobody misses a change, no cache is stale, and no update is lost.
"""
import threading

import pytest
import transaction
from persistent.mapping import PersistentMapping
from support.server import PATIENCE, is_python, wait_until
from support.shared import Shared
from support.steps import begin, commit, told
from support.wire import Disconnected, Wire, WireError
from transaction.interfaces import TransientError
from ZEO.ClientStorage import ClientStorage
from ZEO.interfaces import StaleCache
from ZODB import DB
from ZODB.tests.MinPO import MinPO
from ZODB.utils import p64, z64

from exchange.writer import pickle_of

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

LATEST = b'\x7f' + b'\xff' * 7
ROUNDS = 25


@pytest.fixture
def shared(encoding, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    running = Shared(encoding)
    yield running
    running.stop()


def test_a_ping_tells_of_all_that_was_committed_before(shared):
    one, other = map(Wire, shared.addresses)
    tids = []
    for number in range(1, 10):
        tids.append(shared.store(p64(number), pickle_of(number)))
        tids.append(commit(one, (p64(10), tids[-2] if number > 1 else z64, number)))
        other.call('ping')
        assert told(other) == tids
        assert other.call('lastTransaction') == tids[-1]
        assert other.call('loadBefore', p64(10), LATEST)[1:] == (tids[-1], None)
    one.call('ping')
    assert told(one) == tids[::2]


def test_changes_arrive_without_a_ping(shared):
    one, other = map(Wire, shared.addresses)
    tids = [shared.store(p64(1), pickle_of(1)), commit(one, (p64(2), z64, 2))]
    while told(other) != tids:
        other.notifications.append(other.receive_message())


def test_a_conflict_at_the_vote_comes_behind_its_invalidation(shared):
    wire = Wire(shared.addresses[0])
    serial = commit(wire, (p64(1), z64, 0))
    for number in range(1, 10):
        tid = shared.store(p64(1), pickle_of(number))
        with pytest.raises(WireError) as error:
            begin(wire, (p64(1), serial, -number))
        assert error.value.name == 'ZODB.POSException.ConflictError'
        assert told(wire)[-1] == tid
        serial = tid


def test_who_comes_between_vote_and_finish_wins(shared):
    wire, other = map(Wire, shared.addresses)
    serial = commit(wire, (p64(1), z64, 0))
    begin(wire, (p64(1), serial, 1), (p64(2), z64, 1))
    tid = shared.store(p64(1), pickle_of(2))
    with pytest.raises(WireError) as error:
        wire.call('tpc_finish', 1)
    assert error.value.name == 'ZODB.POSException.ConflictError'
    assert told(wire) == [tid]
    # Nothing of it is there, and its locks are free.
    with pytest.raises(WireError, match='POSKeyError'):
        wire.call('loadBefore', p64(2), LATEST)
    last = commit(wire, (p64(1), tid, 1), (p64(2), z64, 1))
    other.call('ping')
    assert told(other)[-2:] == [tid, last]


def test_what_nobody_knows_empties_the_caches(shared, monkeypatch):
    tids = [shared.store(p64(1), pickle_of(number)) for number in range(3)]
    wires = [Wire(address) for address in shared.addresses]
    for wire in wires:
        wire.call('ping')
        last, oids = wire.call('getInvalidations', tids[0])
        assert (last, list(oids)) == (tids[-1], [p64(1)])
    stale = []
    monkeypatch.setattr('ZODB.event.notify', stale.append)
    clients = [ClientStorage(address, wait_timeout=PATIENCE) for address in shared.addresses]
    try:
        for client in clients:
            client.load(p64(1))
        lost = shared.lose()
        for wire in wires:
            with pytest.raises(Disconnected):
                while True:
                    wire.receive_message()
        for address in shared.addresses:
            with Wire(address) as wire:
                assert wire.call('lastTransaction') == lost
                # Not from the history either.
                assert wire.call('getInvalidations', tids[-1]) is None
                assert wire.call('getInvalidations', lost)[0] == lost
        wait_until(lambda: all(client.lastTransaction() == lost for client in clients))
        emptied = [event.storage for event in stale if isinstance(event, StaleCache)]
        assert len(emptied) == 2
        tid = shared.store(p64(1), pickle_of(9))
        for client in clients:
            wait_until(lambda: client.lastTransaction() == tid)
            assert client.load(p64(1)) == (pickle_of(9), tid)
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize('when', ['before', 'after'])
def test_an_outcome_that_nobody_knows_is_not_answered(shared, when):
    wire, other = map(Wire, shared.addresses)
    listener = Wire(shared.addresses[0])
    serial = commit(wire, (p64(1), z64, 0))
    begin(wire, (p64(1), serial, 1))
    shared.order('break', when)
    with pytest.raises(Disconnected):
        wire.call('tpc_finish', 1)
    tid = shared.last()
    assert (tid > serial) == (when == 'after')
    expected = [serial, tid] if when == 'after' else [serial]
    for connection in listener, other:
        connection.call('ping')
        assert told(connection) == expected
    # Nothing is locked.
    with Wire(shared.addresses[0]) as again:
        commit(again, (p64(1), tid, 2))


def test_a_database_that_can_not_be_reached(shared):
    wire = Wire(shared.addresses[0])
    serial = commit(wire, (p64(1), z64, 0))
    begin(wire, (p64(1), serial, 1))
    shared.order('away')
    for call in ('tpc_finish', 1), ('ping',):
        with pytest.raises(WireError) as error:
            wire.call(*call)
        assert error.value.name == 'ZODB.POSException.ReadConflictError'
    with pytest.raises(WireError) as error:
        begin(wire, (p64(1), serial, 1))
    assert error.value.name == 'ZODB.POSException.ReadConflictError'
    tid = shared.store(p64(2), pickle_of(2))
    assert wire.call('loadBefore', p64(1), LATEST)[1] == serial
    shared.order('back')
    wire.call('ping')
    assert told(wire) == [tid]
    commit(wire, (p64(1), serial, 1))


class Worker(threading.Thread):
    """Adds to a counter of its own and to one that all share, and checks what it sees."""

    def __init__(self, address, name):
        super().__init__(daemon=True)
        self.storage = ClientStorage(address, wait_timeout=PATIENCE, server_sync=True)
        self.name, self.tids, self.retries, self.error = name, [], 0, None

    def run(self):
        try:
            self.db = DB(self.storage)
            for number in range(ROUNDS):
                while not self.add(number):
                    self.retries += 1
        except BaseException as error:
            self.error = error

    def add(self, number):
        """One transaction; False when it has to be tried again."""
        manager = transaction.TransactionManager()
        connection = None
        try:
            connection = self.db.open(manager)
            root = connection.root()
            assert root[self.name]['count'] == number
            root[self.name]['count'] += 1
            root['all']['count'] += 1
            manager.commit()
            self.tids.append(root[self.name]._p_serial)
            return True
        except TransientError:
            manager.abort()
            return False
        finally:
            if connection is not None:
                manager.abort()
                connection.close()


@pytest.mark.timeout(600)
def test_clients_of_two_servers_and_a_third_writer(shared):
    names = ['a', 'b', 'c', 'd']
    with_root = ClientStorage(shared.addresses[0], wait_timeout=PATIENCE)
    db = DB(with_root)
    with db.transaction() as connection:
        for name in [*names, 'all']:
            connection.root()[name] = PersistentMapping(count=0)
        connection.root()['outside'] = MinPO(0)
    with db.transaction() as connection:
        outside = connection.root()['outside']._p_oid
    db.close()
    listeners = [Wire(address) for address in shared.addresses]
    for listener in listeners:
        listener.call('ping')
        listener.notifications.clear()
    since = shared.last()

    workers = [Worker(shared.addresses[i % 2], name) for i, name in enumerate(names)]
    for worker in workers:
        # The root is there, also for a server that was not asked to make it.
        worker.storage.sync()
        worker.start()
    stored = []
    while any(worker.is_alive() for worker in workers):
        stored.append(shared.store(outside, pickle_of(len(stored))))
        for listener in listeners:
            listener.call('ping')
            assert told(listener)[-1] >= stored[-1]
    for worker in workers:
        worker.join()
        if worker.error is not None:
            raise worker.error

    committed = [tid for worker in workers for tid in worker.tids]
    assert len(committed) == len(names) * ROUNDS
    for listener in listeners:
        listener.call('ping')
        tids = told(listener)
        assert tids == sorted(set(tids)), 'tids only grow'
        assert tids == sorted([*committed, *stored]), 'nobody misses a transaction'
        assert tids[0] > since
        listener.close()
    for worker in workers:
        worker.storage.sync()
        with worker.db.transaction() as connection:
            root = connection.root()
            assert root['all']['count'] == len(committed), 'no update is lost'
            assert [root[name]['count'] for name in names] == [ROUNDS] * len(names)
            assert root['outside'].value == len(stored) - 1
            assert root['outside']._p_serial == stored[-1]
        worker.db.close()
