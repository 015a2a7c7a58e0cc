"""How clients hear of what others commit: never of a part of a transaction."""
import contextlib
import os
import signal

import psycopg2
import pytest
import transaction
from persistent.mapping import PersistentMapping
from support.server import PATIENCE, is_python, wait_until
from support.wire import Wire, WireError
from ZEO.ClientStorage import ClientStorage
from ZODB import DB
from ZODB.utils import p64, u64

from postgres.test_rows import open_db

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')


def add_pair(db):
    """Two objects, and their oids."""
    with db.transaction() as connection:
        root = connection.root()
        root['x'], root['y'] = PersistentMapping(n=0), PersistentMapping(n=0)
        connection.add(root['x']), connection.add(root['y'])
        return root['x']._p_oid, root['y']._p_oid


def change(db, *names):
    """A transaction that writes these; its tid."""
    with db.transaction() as connection:
        for name in names:
            connection.root()[name]['n'] += 1
    return db.lastTransaction()


def others(serve, database, by_python):
    """Somebody else on the database."""
    return DB(database.open()) if by_python else open_db(serve(storages=database.section()))


@pytest.mark.parametrize('by_python', [False, True], ids=['rzeo', 'python'])
def test_an_object_that_is_changed_again_before_anybody_is_told(serve, database, by_python):
    """Without history, its row stands with the second transaction only."""
    writer = others(serve, database, by_python)
    x, y = add_pair(writer)
    server = serve(storages=database.section())
    with Wire(server.address) as wire, Wire(server.address) as reader:
        begun = wire.call('lastTransaction')
        assert reader.call('loadBefore', y, b'\x7f' * 8)[1] == begun
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            change(writer, 'x', 'y')
            last = change(writer, 'y')
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        told = []
        while not told or told[-1][0] < last:
            _, _, name, arguments = wire.receive_message()
            if name == 'invalidateTransaction':
                told.append((arguments[0], set(arguments[1])))
        # Whoever has heard of x has heard of y.
        assert told[0][1] == {x, y}
        assert [y in oids for _, oids in told] == [True] * len(told)
        for tid, _ in told:
            # And it is not answered either: none is better than the one before.
            found = reader.call('loadBefore', y, p64(u64(tid) + 1))
            assert found is None or begun < found[1] <= tid
        # What was current before is known, up to there.
        found = reader.call('loadBefore', y, told[0][0])
        assert found is None or found[1] in (begun, told[0][0])
        before = reader.call('loadBefore', y, p64(u64(begun) + 1))
        assert before is not None and before[1] == begun < before[2] <= told[0][0]
    writer.close()


@pytest.mark.parametrize('database', [True], ids=['history'], indirect=True)
@pytest.mark.parametrize('by_python', [False, True], ids=['rzeo', 'python'])
def test_what_others_pack_before_anybody_is_told(serve, database, by_python):
    """Their pack has removed the revision that is current for our clients: they hear of the next one first."""
    writer = others(serve, database, by_python)
    x, _ = add_pair(writer)
    server = serve(storages=database.section('cache-local-mb 0'))
    with Wire(server.address) as wire, Wire(server.address) as reader, \
            contextlib.closing(psycopg2.connect(database.dsn)) as holder:
        begun = wire.call('lastTransaction')
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            last = change(writer, 'x')
            writer.pack()
            # Which only polls and commits read.
            holder.cursor().execute('LOCK TABLE transaction')
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        # In the transaction that it sees as the last one, and as it is now.
        asked = wire.request('loadBefore', x, p64(u64(begun) + 1))
        asked_now = reader.request('loadBefore', x, b'\x7f' * 8)
        with pytest.raises(TimeoutError):
            wire.socket.settimeout(1)
            wire.answer(asked)
        wire.socket.settimeout(PATIENCE)
        holder.rollback()
        assert wire.answer(asked) is None
        assert [arguments[0] for _, _, name, arguments in wire.notifications
                if name == 'invalidateTransaction'] == [last]
        assert reader.answer(asked_now)[1] == last
    writer.close()


@pytest.mark.parametrize('database', [True], ids=['history'], indirect=True)
@pytest.mark.parametrize('by_python', [False, True], ids=['rzeo', 'python'])
def test_what_is_changed_again_and_packed_before_anybody_is_told(serve, database, by_python):
    """The first transaction lacks then what the second one has changed again."""
    writer = others(serve, database, by_python)
    x, y = add_pair(writer)
    server = serve(storages=database.section())
    with Wire(server.address) as wire:
        wire.call('ping')
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            change(writer, 'x', 'y')
            last = change(writer, 'y')
            writer.pack()
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        told = []
        while not told or told[-1][0] < last:
            _, _, name, arguments = wire.receive_message()
            if name == 'invalidateTransaction':
                told.append((arguments[0], set(arguments[1])))
        assert told[0][1] == {x, y}
    writer.close()


def test_an_object_that_nobody_is_told_of_yet(serve, database):
    """A walk through all objects comes to it."""
    server = serve(storages=database.section())
    writer = DB(database.open())
    with Wire(server.address) as wire:
        for _ in range(10):
            wire.call('ping')
            x, _ = add_pair(writer)
            oid, tid, *_ = wire.call('record_iternext', x)
            assert oid == x and tid <= wire.call('lastTransaction')
    writer.close()


def test_a_client_that_was_away_hears_of_what_is_changed_again(serve, database):
    """Not yet published, so that the answer is up to the transaction before."""
    server = serve(storages=database.section(), invalidation_queue_size=1, invalidation_age=86400)
    writer = DB(database.open())
    with writer.transaction() as connection:
        connection.root()['z'] = PersistentMapping(n=0)
    x, y = add_pair(writer)
    with Wire(server.address) as wire:
        wire.call('ping')
        asked = 0

        def ask():
            nonlocal asked
            since = wire.call('lastTransaction')
            # More than the server has in memory.
            for names in ('x', 'y'), ('z',), ('z',):
                change(writer, *names)
            wire.call('ping')
            last = wire.call('lastTransaction')
            change(writer, 'y')
            tid, oids = wire.call('getInvalidations', since)
            assert {x, y} <= set(oids)
            asked += tid == last
            return asked >= 5

        wait_until(ask)
    writer.close()


def test_what_was_before_a_deletion(serve, database):
    """Without history, it is not known any more; but the object is not one that never was."""
    server, other = (serve(storages=database.section('cache-local-mb 0')) for _ in range(2))
    db = open_db(server)
    x, _ = add_pair(db)
    storage = db.storage
    begun = storage.lastTransaction()
    txn = transaction.get()
    storage.tpc_begin(txn)
    storage.deleteObject(x, begun, txn)
    storage.tpc_vote(txn)
    gone = storage.tpc_finish(txn)
    with Wire(other.address) as wire:
        wire.call('ping')
        with pytest.raises(WireError, match='POSKeyError'):
            wire.call('loadBefore', x, b'\x7f' * 8)
        found = wire.call('loadBefore', x, gone)
        assert found[1] == begun if database.keep_history else found is None
    db.close()


def test_a_ping_is_answered_when_all_is_told(serve, database):
    server = serve(storages=database.section())
    db = open_db(server)
    add_pair(db)
    if database.keep_history:
        many = "INSERT INTO transaction (tid, username, description) SELECT last + g, '', ''"
    else:
        many = "INSERT INTO object_state (zoid, tid, state_size, state) SELECT 1000 + g, last + g, 1, 'x'"
    table = 'transaction' if database.keep_history else 'object_state'
    for _ in range(3):
        database.sql(f'SELECT pg_advisory_lock(-1); {many} FROM generate_series(1, 3500) g, '
                     f'(SELECT max(tid) AS last FROM {table}) t {"" if database.keep_history else CONFLICTS}')
        last = p64(int(*database.sql(f'SELECT max(tid) FROM {table}')))
        db.storage.sync()
        assert db.storage.lastTransaction() == last
        # Nor does anybody begin earlier.
        newcomer = ClientStorage(server.address)
        assert newcomer.lastTransaction() == last
        newcomer.close()
    db.close()


CONFLICTS = 'ON CONFLICT (zoid) DO UPDATE SET tid = excluded.tid'
