"""What clients are told of a commit is what becomes of it, whatever breaks meanwhile."""
import contextlib
import threading

import psycopg2
import pytest
import transaction
from BTrees.Length import Length
from persistent.mapping import PersistentMapping
from support.server import PATIENCE, is_python, wait_until
from support.wire import Wire
from transaction.interfaces import TransientError
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZODB import DB
from ZODB.blob import Blob
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ConflictError, StorageError
from ZODB.utils import p64, u64

from postgres.test_hanging import stopped
from postgres.test_network import IMPATIENT
from postgres.test_rows import FAR, add_two, at_last, end_connections, open_db, read, vote, write

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

with_history = pytest.mark.parametrize('database', [True], ids=['history'], indirect=True)
without_history = pytest.mark.parametrize('database', [False], ids=['free'], indirect=True)


class Finish(threading.Thread):
    """A client's tpc_finish; what it was told."""

    def __init__(self, db, txn):
        super().__init__()
        self.db, self.txn = db, txn
        self.tid = self.error = None
        self.start()

    def run(self):
        try:
            self.tid = self.db.storage.tpc_finish(self.txn)
        except (ClientDisconnected, ConflictError, StorageError) as why:
            self.error = why


class OtherVote(threading.Thread):
    """A transaction of RelStorage that waits for our lock on an object, and then finds what it has read."""

    def __init__(self, database, item):
        super().__init__()
        self.database, self.item = database, item
        self.storage, self.txn = database.open(commit_lock_timeout=PATIENCE), TransactionMetaData()
        self.error = None
        self.start()
        wait_until(lambda: backends(database, 'RS: Store%', "wait_event = 'advisory'"))

    def run(self):
        try:
            vote(self.storage, [], [self.item], self.txn)
        except TransientError as why:
            self.error = why

    def finish(self):
        self.join()
        self.storage.tpc_finish(self.txn)
        self.storage.close()


def backends(database, name, condition):
    return database.sql(f"SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                        f"AND application_name LIKE '{name}' AND {condition}")


def serials(database, oid):
    """Of the revisions that are there."""
    return [int(tid) for tid in database.sql(f'SELECT tid FROM object_state WHERE zoid = {u64(oid)} ORDER BY tid')]


@contextlib.contextmanager
def locked(database, key):
    with contextlib.closing(psycopg2.connect(database.dsn)) as holder:
        holder.cursor().execute(f'SELECT pg_advisory_xact_lock({key})')
        yield holder


def make_inserts_wait(database, table):
    """For this advisory lock; its number."""
    lock = -777
    database.sql(f"""CREATE FUNCTION wait_for_test() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN PERFORM pg_advisory_xact_lock({lock}); RETURN NEW; END';
        CREATE TRIGGER wait_for_test BEFORE INSERT ON {table} FOR EACH STATEMENT
        EXECUTE FUNCTION wait_for_test()""")
    return lock


def test_locks_are_lost_before_a_commit(serve, database):
    """Nobody has noticed that."""
    db = open_db(serve(storages=database.section()))
    _, item = add_two(db)
    txn = vote(db.storage, [], [item])
    other = OtherVote(database, item)
    end_connections(database, 'lock')
    other.join()
    finish = Finish(db, txn)
    finish.join()
    other.finish()
    assert isinstance(finish.error, ConflictError)
    db.storage.tpc_abort(txn)
    write(db, done=True)
    assert serials(database, item[0])[-1] > u64(item[2])
    db.close()


def test_locks_are_lost_while_rows_are_written(serve, database):
    """That is behind the first look at the locks."""
    db = open_db(serve(storages=database.section()))
    _, item = add_two(db)
    lock = make_inserts_wait(database, 'object_state')
    txn = vote(db.storage, [], [item])
    other = OtherVote(database, item)
    with locked(database, lock) as holder:
        finish = Finish(db, txn)
        wait_until(lambda: backends(database, 'rzeo: commit', "wait_event = 'advisory'"))
        end_connections(database, 'lock')
        other.join()
        holder.rollback()
        finish.join()
    other.finish()
    assert isinstance(finish.error, ConflictError)
    db.storage.tpc_abort(txn)
    write(db, done=True)
    db.close()


def test_locks_are_lost_while_a_blob_is_linked(serve, database, tmp_path):
    """That is behind the last look before the commit: who is overwritten then was told nothing."""
    server = serve(storages=database.section(f'blob-dir {tmp_path}/kept'))
    db = DB(ClientStorage(server.address, server_sync=True, blob_dir=str(tmp_path / 'client')))
    write(db, blob=Blob(b'before'))
    _, (oid, state, serial) = add_two(db)
    with db.transaction() as connection:
        blob = connection.root()['blob']._p_oid
    blob_state, blob_serial = db.storage.loadBefore(blob, FAR)[:2]
    lock = make_inserts_wait(database, 'blob_chunk')
    (tmp_path / 'new').write_bytes(b'after')
    txn = transaction.Transaction()
    db.storage.tpc_begin(txn)
    db.storage.store(oid, serial, state, '', txn)
    db.storage.storeBlob(blob, blob_serial, blob_state, str(tmp_path / 'new'), '', txn)
    db.storage.tpc_vote(txn)
    other = OtherVote(database, (oid, state, serial))
    with locked(database, lock) as holder:
        finish = Finish(db, txn)
        wait_until(lambda: backends(database, 'rzeo: commit', "wait_event = 'advisory' AND query LIKE '%blob_chunk%'"))
        end_connections(database, 'lock')
        other.join()
        holder.rollback()
        finish.join()
    other.finish()
    assert finish.tid is None
    at_last(lambda: write(db, done=True))
    db.close()


def write_much(cursor, database):
    """A transaction by others, of objects from 1,000 on; its tid, and how many there are."""
    log = 'transaction' if database.keep_history else 'object_state'
    cursor.execute(f'SELECT max(tid) + 1 FROM {log}')
    [[tid]] = cursor.fetchall()
    if database.keep_history:
        cursor.execute("INSERT INTO transaction (tid, username, description) VALUES (%s, '', '')", [tid])
        cursor.execute("INSERT INTO object_state (zoid, tid, prev_tid, state_size, state) "
                       "SELECT 1000 + g, %s, 0, 1, 'x' FROM generate_series(0, 199999) g", [tid])
        return tid, 200_000
    cursor.execute("INSERT INTO object_state (zoid, tid, state_size, state) SELECT 1000 + g, %s, 50000, "
                   "convert_to(repeat('x', 50000), 'UTF8') FROM generate_series(0, 399) g", [tid])
    return tid, 400


def test_a_server_is_stopped_while_it_commits(serve, database):
    """Behind much that others have written. Nobody waits for it; and it finds all that when it goes on."""
    server = serve(storages=database.section('poll-interval 60'))
    db = open_db(server)
    _, item = add_two(db)
    txn = vote(db.storage, [], [item])
    with locked(database, -1) as holder:
        finish = Finish(db, txn)
        wait_until(lambda: backends(database, 'rzeo: commit', "wait_event = 'advisory'"))
        with stopped([server.process.pid]):
            tid, count = write_much(holder.cursor(), database)
            holder.commit()
            database.sql("SET lock_timeout = '60s'; SELECT pg_advisory_lock(-1)")
            assert len(serials(database, item[0])) == 1 + database.keep_history
        finish.join()
        assert finish.error is None and u64(finish.tid) > tid
        with Wire(server.address) as wire:
            missed = wire.call('getInvalidations', p64(tid - 1))
        assert missed[0] == finish.tid
        assert set(missed[1]) == {item[0]} | {p64(1000 + n) for n in range(count)}
    db.close()


def test_another_process_has_written_the_same(serve, database):
    """Our commit is lost. What was merged is as what another one has committed just before: that is not ours."""
    db = open_db(serve(storages=database.section('poll-interval 60')))
    write(db, merged=Length(5), written=PersistentMapping(n=0))
    with db.transaction() as connection:
        objects = [connection.root()[name] for name in ('merged', 'written')]
        oids = [thing._p_oid for thing in objects]
    items = [(oid, *db.storage.loadBefore(oid, FAR)[:2]) for oid in oids]
    python = DB(database.open())
    with contextlib.closing(psycopg2.connect(database.dsn)) as holder:
        txn = transaction.Transaction()
        db.storage.tpc_begin(txn)
        for oid, state, serial in items:
            db.storage.store(oid, serial, state, '', txn)
        with python.transaction() as connection:
            connection.root()['merged'].change(1)
        db.storage.tpc_vote(txn)
        holder.cursor().execute('SELECT pg_advisory_xact_lock(-1)')
        finish = Finish(db, txn)
        wait_until(lambda: backends(database, 'rzeo: commit', "wait_event = 'advisory'"))
        end_connections(database, 'commit')
        holder.rollback()
        finish.join()
    there = serials(database, oids[1])[-1]
    assert finish.tid is None or there == u64(finish.tid)
    python.close()
    db.close()


@contextlib.contextmanager
def standby_away(database):
    """Commits wait for one that is not there."""
    over = threading.Event()

    def commit():
        with contextlib.closing(psycopg2.connect(f'{database.dsn} application_name=probe')) as connection:
            connection.autocommit = True
            while not over.is_set():
                connection.cursor().execute("SELECT pg_logical_emit_message(true, 'test', '')")

    probe = threading.Thread(target=commit)
    database.cluster.set('synchronous_standby_names', 'nobody')
    try:
        # It takes a moment until all processes know.
        probe.start()
        wait_until(lambda: backends(database, 'probe', "wait_event = 'SyncRep'"))
        yield
    finally:
        over.set()
        database.cluster.set('synchronous_standby_names', '')
        probe.join()


def test_nobody_knows_what_becomes_of_a_commit(serve, database):
    """A standby is away for longer than the server waits: the objects stay locked until it is visible."""
    database.dsn += f' {IMPATIENT}'
    db = open_db(serve(storages=database.section('poll-interval 1')))
    one, two = add_two(db)
    txn = vote(db.storage, [], [one, two])
    other = OtherVote(database, one)
    with standby_away(database):
        finish = Finish(db, txn)
        finish.join()
        assert isinstance(finish.error, ClientDisconnected)
        other.join(2)
        assert other.is_alive(), 'it has got the lock'
        assert backends(database, 'rzeo: commit', "wait_event = 'SyncRep'")
    # What it has read is not what is there.
    other.join()
    assert other.error
    other.storage.close()
    assert serials(database, one[0])[-1] == serials(database, two[0])[-1] > u64(one[2])
    at_last(lambda: write(db, done=True))
    wait_until(lambda: not database.sql("SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE classid = 0 "
                                        "AND locktype = 'advisory' AND application_name = 'rzeo: lock'"))
    db.close()


@without_history
def test_a_vote_is_cancelled_while_its_answer_is_sent(serve, database):
    """It has its locks by then: none is left."""
    server = serve(storages=database.section())
    db = open_db(server)
    # More than what the sockets take.
    count = 11_000
    write(db, many=[PersistentMapping() for _ in range(count)])
    with db.transaction() as connection:
        many = connection.root()['many']
        oids, serial = [thing._p_oid for thing in many], many[0]._p_serial
    state = db.storage.loadBefore(oids[0], FAR)[0]
    failed = []

    def try_to_vote():
        try:
            vote(db.storage, [], [(oid, state, serial) for oid in oids])
        except (ConflictError, StorageError) as why:
            failed.append(why)

    with contextlib.closing(psycopg2.connect(database.dsn)) as holder:
        holder.cursor().execute('LOCK TABLE object_state IN ACCESS EXCLUSIVE MODE')
        voting = threading.Thread(target=try_to_vote)
        voting.start()
        wait_until(lambda: backends(database, 'rzeo: lock', "wait_event_type = 'Lock'"))
        with stopped([server.process.pid]):
            holder.rollback()
            wait_until(lambda: backends(database, 'rzeo: lock', "wait_event = 'ClientWrite'"))
            assert backends(database, 'rzeo: lock', "wait_event = 'ClientWrite' AND pg_cancel_backend(pid)")
    voting.join()
    assert failed
    wait_until(lambda: not database.sql("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 "
                                        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"))
    db.close()


@with_history
def test_the_clock_is_behind_what_was_lost(serve, database):
    """Behind a failover: tids go on behind those that clients know, so that they are told of commits."""
    server = serve(storages=database.section())
    db = open_db(server)
    write(db, n=0)
    future = u64(db.storage.lastTransaction()) + (3 << 32)
    database.sql(f"INSERT INTO transaction (tid, username, description) VALUES ({future}, '', '')")
    db.storage.ping()
    assert db.storage.lastTransaction() == p64(future)
    database.sql(f'DELETE FROM transaction WHERE tid = {future}')
    server.wait_for_log('lacks transaction')
    at_last(lambda: write(db, n=1))
    last = u64(db.storage.lastTransaction())
    assert future < last == int(database.sql('SELECT max(tid) FROM transaction')[0])
    for n in range(3):
        write(db, n=n)
        assert read(db, 'n') == n
    assert 'CRITICAL' not in server.log()
    db.close()
