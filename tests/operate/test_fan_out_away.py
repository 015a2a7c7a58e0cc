"""Fan-out servers and replicas whose upstream server goes away and comes back.

RZEO_FAN_OUT_SECONDS tells how long the storm takes; without it, there is none.
"""
import os
import signal
import threading
import time

import pytest
import transaction
from persistent.mapping import PersistentMapping
from support.fan_out import (  # noqa: F401
    Database, FanOut, Upstream, client, encoding, fan_out, kind, loaded, python, started, upstream)
from support.server import PATIENCE, is_python, wait_until
from support.steps import begin, commit, told
from support.wire import Disconnected, Wire, WireError
from transaction.interfaces import TransientError
from ZEO.Exceptions import ClientDisconnected
from ZODB import DB
from ZODB.POSException import ConflictError, POSKeyError, ReadConflictError, ReadOnlyError
from ZODB.tests.MinPO import MinPO
from ZODB.utils import p64, z64

pytestmark = pytest.mark.skipif(is_python(), reason='Python\'s server is the upstream one here')

LATEST = b'\x7f' + b'\xff' * 7
STORM = float(os.environ.get('RZEO_FAN_OUT_SECONDS') or 0)


def test_upstream_away_and_back(upstream, fan_out):
    database = Database(fan_out, blob_dir='b1')
    database.root['a'], database.root['b'] = MinPO(1), MinPO(1)
    database.commit()
    oids = [database.root[name]._p_oid for name in 'ab']
    wire = Wire(fan_out.address)
    wire.call('loadBefore', oids[0], LATEST)
    with Wire(fan_out.address) as voted:
        begin(voted, (p64(100), z64, 1))
        upstream.kill()
        # What is cached is answered, also to others; the rest can be tried again.
        for one in wire, Wire(fan_out.address):
            assert one.call('loadBefore', oids[0], LATEST)
        for call in ('loadSerial', p64(77), p64(77)), ('history', oids[0], 1), ('ping',):
            with pytest.raises(WireError) as error:
                wire.call(*call)
            assert error.value.name == 'ZODB.POSException.ReadConflictError'
        with pytest.raises(WireError) as error:
            voted.call('tpc_finish', 1)
        assert error.value.name == 'ZODB.POSException.ReadConflictError'
    database.root['a'].value = 2
    with pytest.raises(TransientError):
        database.commit()
    with pytest.raises(TransientError):
        database.storage.loadSerial(oids[1], p64(77))

    upstream.start()
    direct = Database(upstream)
    direct.root['b'].value = 3
    direct.commit()
    wait_until(lambda: fresh(database))
    assert (database.root['a'].value, database.root['b'].value) == (1, 3)
    wait_until(lambda: changed(database, 'a', 4))
    wait_until(lambda: direct.begin() or direct.root['a'].value == 4)
    with pytest.raises(POSKeyError):
        direct.storage.load(p64(100))
    database.close()
    direct.close()


def fresh(database):
    try:
        database.begin()
        return database.root['b'].value == 3
    except (TransientError, ClientDisconnected):
        return False


def changed(database, name, value):
    try:
        database.begin()
        database.root[name].value = value
        database.commit()
        return True
    except (TransientError, ClientDisconnected):
        return False


@pytest.mark.parametrize('when', ['before', 'behind'])
def test_an_outcome_that_nobody_knows_is_not_answered(upstream, fan_out, when):
    wire, listener = Wire(fan_out.address), Wire(fan_out.address)
    serial = commit(wire, (p64(1), z64, 0))
    listener.call('ping')
    begin(wire, (p64(1), serial, 1))
    if when == 'before':
        # The upstream server does not read it any more.
        os.kill(upstream.server.pid, signal.SIGSTOP)
        wait_until(lambda: state_of(upstream.server.pid) == 'T')
        finish = wire.request('tpc_finish', 1)
        time.sleep(0.2)
        upstream.kill()
        with pytest.raises(Disconnected):
            wire.answer(finish)
    else:
        finish = wire.request('tpc_finish', 1)
        upstream.kill()
        try:
            wire.answer(finish)
        except (Disconnected, WireError):
            pass
    upstream.start()
    current = Wire(upstream.address).call('loadBefore', p64(1), LATEST)[1]
    if when == 'before':
        assert current == serial
    wait_until(lambda: committed(fan_out, p64(1), current))
    assert told(listener) == [serial]


def state_of(pid):
    """The state of a process, when all its threads are in the same."""
    states = set()
    for thread in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{thread}/stat') as f:
            states.add(f.read().rsplit(') ')[1][0])
    return states.pop() if len(states) == 1 else None


def committed(server, oid, serial):
    """Whether a commit from this serial succeeds; it may be too early for it."""
    with Wire(server.address) as wire:
        try:
            return commit(wire, (oid, serial, 2))
        except (Disconnected, ConnectionError):
            return False
        except WireError as error:
            assert 'ConflictError' in error.name
            return False


def test_clients_keep_their_caches_when_servers_are_started_again(upstream, fan_out, tmp_path):
    storage = client(fan_out, client='cache', var=str(tmp_path))
    with Wire(upstream.address) as direct:
        serials = [commit(direct, (p64(n), z64, n)) for n in range(1, 4)]
    wait_until(lambda: storage.lastTransaction() == serials[-1])
    for n in range(1, 4):
        storage.load(p64(n))
    for restart in (fan_out,), (upstream,), (fan_out, upstream):
        for server in restart:
            server.stop()
        for server in reversed(restart):
            server.start()
        with Wire(upstream.address) as direct:
            serials[1] = commit(direct, (p64(2), serials[1], 5))
        wait_until(lambda: loaded(storage, p64(2)) == serials[1])
        # Had it been dropped, so would these be.
        assert storage._cache.load(p64(1)) and storage._cache.load(p64(3)), restart
    storage.close()


def test_a_replica(upstream, tmp_path, started, encoding):
    """Read-only, with a cache that is kept; the upstream server may be away."""
    with Wire(upstream.address) as direct:
        serial = commit(direct, (p64(1), z64, 1))
    replica = FanOut(tmp_path / 'replica', upstream.address, encoding,
                     'read-only true\ncache-path replica.zec\nwait-timeout 1')
    started.append(replica)
    with pytest.raises(WireError) as error:
        Wire(replica.address)
    assert error.value.name == 'ZODB.POSException.ReadOnlyError'
    storage = client(replica, read_only=True)
    assert storage.load(p64(1))[1] == serial
    with Wire(upstream.address) as direct:
        serial = commit(direct, (p64(1), serial, 2))
    wait_until(lambda: storage.lastTransaction() == serial)
    assert storage.load(p64(1))[1] == serial
    upstream.stop()
    wire = Wire(replica.address, read_only=True)
    assert wire.call('loadBefore', p64(1), LATEST)[1] == serial
    with pytest.raises(WireError):
        wire.call('loadBefore', p64(2), LATEST)
    with pytest.raises(ReadOnlyError):
        storage.new_oid()
    upstream.start()
    with Wire(upstream.address) as direct:
        serial = commit(direct, (p64(1), serial, 3))
    wait_until(lambda: loaded(storage, p64(1)) == serial)
    storage.close()


class Adder(threading.Thread):
    """Adds to a counter that all share and one of its own, and notes what it was told."""

    def __init__(self, server, name, until):
        super().__init__(daemon=True)
        self.server, self.name, self.until = server, name, until
        self.done = self.unknown = 0
        self.error = None

    def run(self):
        try:
            storage = client(self.server)
            storage._server.timeout = 1
            self.db = DB(storage)
            self.last = -1
            while time.monotonic() < self.until:
                self.add()
            self.db.close()
        except BaseException as error:
            self.error = error

    def add(self):
        manager = transaction.TransactionManager()
        connection = self.db.open(manager)
        finishing = False
        try:
            root = connection.root()
            assert root['all'].value == sum(one.value for one in root['own'].values()), 'torn'
            mine = root['own'][self.name]
            assert mine.value >= self.last, 'stale'
            self.last = mine.value
            root['all'].value += 1
            mine.value += 1
            storage = connection._storage._storage
            finish = storage.tpc_finish

            def note(*args, **options):
                nonlocal finishing
                finishing = True
                return finish(*args, **options)

            storage.tpc_finish = note
            try:
                manager.commit()
            finally:
                del storage.tpc_finish
            self.done += 1
            self.last = mine.value
        except (ConflictError, ReadConflictError):
            pass
        except (TransientError, ClientDisconnected):
            self.unknown += finishing
            time.sleep(0.05)
        finally:
            manager.abort()
            connection.close()


@pytest.mark.skipif(not STORM, reason='takes long: set RZEO_FAN_OUT_SECONDS to 20')
def test_no_update_is_lost_in_a_storm(upstream, tmp_path, started, encoding):
    """Two fan-out servers beside direct clients, on the same objects, through kills of each."""
    fans = [FanOut(tmp_path / name, upstream.address, encoding, 'wait-timeout 2')
            for name in ('one', 'two')]
    started += fans
    servers = [fans[0], fans[0], fans[1], upstream]
    database = Database(upstream)
    database.root['all'] = MinPO(0)
    database.root['own'] = PersistentMapping(
        {str(n): MinPO(0) for n in range(len(servers))})
    database.commit()
    until = time.monotonic() + STORM
    adders = [Adder(server, str(n), until) for n, server in enumerate(servers)]
    for adder in adders:
        adder.start()
    victims = [upstream, fans[0], upstream, fans[1]]
    while time.monotonic() < until - STORM / 8:
        time.sleep(STORM / 5)
        victim = victims.pop(0)
        victims.append(victim)
        victim.kill()
        victim.start()
    for adder in adders:
        adder.join(PATIENCE)
        assert not adder.is_alive()
    assert [adder.error for adder in adders] == [None] * len(adders)
    database.close()
    # A new client: one that is about to connect again still reads what it had.
    database = Database(upstream)
    values = [database.root['own'][adder.name].value for adder in adders]
    for adder, value in zip(adders, values):
        assert adder.done <= value <= adder.done + adder.unknown, (adder.name, values)
    assert database.root['all'].value == sum(values)
    assert sum(adder.done for adder in adders) > 0
    database.close()
