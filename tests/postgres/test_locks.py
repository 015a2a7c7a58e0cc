"""Locks that servers take in the database, when something fails, and when two want the same."""
import contextlib
import os
import signal
import threading

import psycopg2
import pytest
from persistent.mapping import PersistentMapping
from support.server import is_python, wait_until
from support.wire import Wire, WireError
from ZODB.utils import p64, u64

from postgres.test_rows import open_db, vote, write

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

NAMES = 'first', 'blocking', 'shared', 'failing', 'last'


class Reader(Wire):
    """A client with transactions that want objects to stay as they are."""

    def vote(self, oid, serial):
        """Asks for it, and does not wait."""
        self.call('tpc_begin', 1, b'', b'', {}, None, ' ')
        self.send_async('checkCurrentSerialInTransaction', oid, serial, 1)
        return self.request('vote', 1)

    def abort(self):
        self.call('tpc_abort', 1)


def wait_for(connection, statement):
    """Runs it until it is cancelled."""
    with pytest.raises(psycopg2.errors.QueryCanceled):
        connection.cursor().execute(statement)
    connection.rollback()


def test_locks_after_a_vote_that_has_failed(serve, database):
    """What it was to give back for others on its way is given back once: somebody else may have the same lock."""
    database.dsn += " tcp_user_timeout='600000'"
    server = serve(storages=database.section())
    db = open_db(server)
    write(db, **{name: PersistentMapping() for name in NAMES})
    with db.transaction() as connection:
        objects = {name: (connection.root()[name]._p_oid, connection.root()[name]._p_serial) for name in NAMES}

    def locks(which):
        return database.sql('SELECT pid FROM pg_locks l JOIN pg_database d ON d.oid = l.database '
                            f"WHERE datname = current_database() AND locktype = 'advisory' AND classid = 0 AND {which}")

    def holders(name):
        return locks(f"mode = 'ShareLock' AND granted AND objid = {u64(objects[name][0])} AND objsubid = 1")

    def waits(pid):
        return database.sql(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid} AND wait_event_type = 'Lock'")

    with contextlib.ExitStack() as stack:
        first, blocking, one, two, failing, last = (stack.enter_context(Reader(server.address)) for _ in range(6))
        holder = stack.enter_context(contextlib.closing(psycopg2.connect(database.dsn)))
        lock = f'LOCK TABLE {"current_object" if database.keep_history else "object_state"}'
        wait_until(lambda: not locks('granted'))
        # The first connection for locks hangs in a vote, and the thread that gives locks back waits for it.
        first.answer(first.vote(*objects['first']))
        [hanging] = holders('first')
        holder.cursor().execute(lock)
        blocking.vote(*objects['blocking'])
        wait_until(lambda: waits(hanging))
        os.kill(int(hanging), signal.SIGSTOP)
        stack.callback(os.kill, int(hanging), signal.SIGCONT)
        holder.rollback()
        first.abort()
        # Two have the same lock by the second connection. One gives it back, on the way of a vote that fails.
        for reader in one, two:
            reader.answer(reader.vote(*objects['shared']))
        [pid] = holders('shared')
        assert pid != hanging
        two.abort()
        # The one that hangs has a lock on the table: this waits, and the vote behind it.
        waiting = threading.Thread(target=wait_for, args=(holder, lock))
        waiting.start()
        wait_until(lambda: waits(holder.info.backend_pid))
        asked = failing.vote(*objects['failing'])
        wait_until(lambda: waits(pid))
        database.sql(f'SELECT pg_cancel_backend({pid})')
        wait_until(lambda: not waits(pid))
        database.sql(f'SELECT pg_cancel_backend({holder.info.backend_pid})')
        waiting.join()
        with pytest.raises(WireError, match='canceling statement'):
            failing.answer(asked)
        last.answer(last.vote(*objects['last']))
        assert holders('last') == holders('shared') == [pid]
        assert holders('failing') == []
        one.abort()
        last.abort()
    wait_until(lambda: not any(map(holders, NAMES)))
    db.close()


def test_two_that_raise_the_sequence_of_oids(serve, database):
    """As by imports: none sets it back behind the other."""
    server = serve(storages=database.section())
    db = open_db(server)
    with db.transaction() as connection:
        state = db.storage.load(connection.root()._p_oid)[0]
    with contextlib.closing(psycopg2.connect(database.dsn)) as other:
        cursor = other.cursor()
        cursor.execute('SELECT pg_advisory_xact_lock(-1002)')
        voted = threading.Thread(target=lambda: vote(db.storage, [], [(p64(16 * 5000), state, p64(0))]))
        voted.start()
        wait_until(lambda: database.sql("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
                                        "AND application_name = 'rzeo: load' AND wait_event = 'advisory'"))
        cursor.execute("SELECT setval('zoid_seq', 10000)")
        other.commit()
        voted.join()
    assert database.sql('SELECT last_value >= 10000 FROM zoid_seq') == ['t']
    db.close()
