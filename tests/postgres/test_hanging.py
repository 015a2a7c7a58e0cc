"""A database that hangs: nobody waits for ever, and when it goes on, so does everything."""
import contextlib
import os
import re
import signal
import subprocess
import threading

import psycopg2
import pytest
import transaction
from persistent.mapping import PersistentMapping
from support.server import binary, is_python, wait_until
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZODB import DB
from ZODB.blob import Blob
from ZODB.POSException import ConflictError
from ZODB.utils import p64

from postgres.test_rows import FAR, add_two, at_last, open_db, read, vote, write

pytestmark = [pytest.mark.skipif(is_python(), reason='the storage is one of ours'),
              pytest.mark.parametrize('database', [True], ids=['history'], indirect=True)]


def section(database):
    """Commits wait for others for a second."""
    return database.section('cache-local-mb 0', 'commit-lock-timeout 1')


def impatient(database):
    """The same; an answer may take two seconds, which it can on a busy machine."""
    return section(database).replace(database.dsn, f'{database.dsn} connect_timeout=2 tcp_user_timeout=2000')


def processes(database, purpose):
    """Those of PostgreSQL that work for our connections."""
    return [int(pid) for pid in database.sql('SELECT pid FROM pg_stat_activity WHERE datname = current_database() '
                                             f"AND application_name LIKE 'rzeo: {purpose}'")]


@contextlib.contextmanager
def stopped(pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def all_of(cluster, database):
    with open(f'{cluster.data}/postmaster.pid') as f:
        return [int(f.readline()), *processes(database, '%')]


def test_all_of_it_hangs(serve, database, cluster):
    server = serve(storages=impatient(database))
    db = open_db(server)
    (oid, state, serial), _ = at_last(lambda: add_two(db))
    fresh = ClientStorage(server.address)
    with stopped(all_of(cluster, database)):
        with pytest.raises(ConflictError):
            fresh.loadBefore(oid, FAR)
        txn = transaction.Transaction()
        with pytest.raises(ConflictError):
            vote(db.storage, [], [(oid, state, serial)], txn)
        db.storage.tpc_abort(txn)
        zeo = os.path.join(os.path.dirname(binary()), 'zeo')
        shown = subprocess.run([zeo, 'status', '127.0.0.1:%d' % server.address[1]], capture_output=True, text=True)
        assert shown.returncode == 0 and 'last transaction' in shown.stdout, shown
        # It begins with what the server knows.
        other = ClientStorage(server.address, wait_timeout=60)
        assert other.lastTransaction() == db.storage.lastTransaction()
        other.close()
    at_last(lambda: write(db, n=1))
    assert at_last(lambda: read(db, 'n')) == 1
    with stopped(all_of(cluster, database)):
        with pytest.raises(ConflictError):
            fresh.loadBefore(p64(0), FAR)
        fresh.close()
        db.close()
        server.stop()


def is_done(call):
    try:
        call()
    except (ClientDisconnected, ConflictError):
        return False
    return True


def test_a_commit_hangs(serve, database):
    """Nobody is told that it is committed, or that it is not."""
    db = open_db(serve(storages=impatient(database)))
    at_last(lambda: write(db, n=0))
    with stopped(processes(database, 'commit')):
        with pytest.raises(ClientDisconnected):
            write(db, n=1)
    at_last(lambda: write(db, more=1))
    assert at_last(lambda: read(db, 'n')) in (0, 1) and at_last(lambda: read(db, 'more')) == 1
    db.close()


def test_the_lock_of_all_commits_is_kept(serve, database):
    db = open_db(serve(storages=impatient(database)))
    at_last(lambda: write(db, n=0))
    with contextlib.closing(psycopg2.connect(database.dsn, application_name='RS: Store')) as other:
        other.cursor().execute('SELECT pg_advisory_xact_lock(-1)')
        words = f'process {other.info.backend_pid} of the database .RS: Store, .* has kept the lock of all'

        def is_told():
            with pytest.raises((ConflictError, ClientDisconnected)) as told:
                write(db, n=1)
            return re.search(words, str(told.value))

        wait_until(is_told)
        assert at_last(lambda: read(db, 'n')) == 0
    at_last(lambda: write(db, n=1))
    assert at_last(lambda: read(db, 'n')) == 1
    db.close()


def test_all_wait_for_the_lock_of_all_commits_together(serve, database):
    """Not one after the other."""
    server = serve(storages=impatient(database))
    dbs = [open_db(server) for _ in range(8)]
    at_last(lambda: write(dbs[0], **{str(n): PersistentMapping(n=0) for n, _ in enumerate(dbs)}))
    begun, told = threading.Barrier(len(dbs)), []

    def work(number):
        begun.wait()
        with contextlib.suppress(ConflictError, ClientDisconnected):
            with dbs[number].transaction() as connection:
                connection.root()[str(number)]['n'] = 1
            told.append('committed')
        told.append(number)

    with contextlib.closing(psycopg2.connect(database.dsn)) as other:
        other.cursor().execute('SELECT pg_advisory_xact_lock(-1)')
        threads = [threading.Thread(target=work, args=(n,)) for n, _ in enumerate(dbs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(told) == [*range(len(dbs))]
    # A batch is one line, however many are in it: those that came first, and the others; more on a busy machine.
    server.wait_for_log('has kept the lock of all commits')
    assert server.log().count('has kept the lock of all commits') < len(dbs)
    for db in dbs:
        db.close()


def test_a_server_that_is_stopped_in_the_commit_of_a_blob(serve, database, tmp_path):
    """It has the lock of all commits then, and others go on all the same."""
    server = serve(storages=database.section(f'blob-dir {tmp_path}/kept'))
    db = DB(ClientStorage(server.address, server_sync=True, blob_dir=str(tmp_path / 'client')))
    write(db, blob=Blob(b'before'), other=PersistentMapping(n=0))
    other = open_db(serve(storages=impatient(database)))

    def write_other():
        with other.transaction() as connection:
            connection.root()['other']['n'] = 1

    with contextlib.closing(psycopg2.connect(database.dsn)) as blocking:
        blocking.cursor().execute('LOCK TABLE blob_chunk IN SHARE MODE')
        thread = threading.Thread(target=lambda: is_done(lambda: write(db, blob=Blob(b'after'))))
        thread.start()
        wait_until(lambda: database.sql("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND "
                                        "application_name LIKE 'rzeo%' AND wait_event_type = 'Lock'") != [])
        with stopped([server.process.pid]):
            blocking.rollback()
            at_last(write_other)
    thread.join()
    assert at_last(lambda: read(other, 'other')) == 1
    with db.transaction() as connection, connection.root()['blob'].open() as f:
        assert f.read() in (b'before', b'after')
    db.close()
    other.close()


def test_a_server_stops_while_a_pack_and_a_vote_hang(serve, database):
    server = serve(storages=section(database))
    db = open_db(server)
    add_two(db)
    write(db, garbage=PersistentMapping(n=1))
    write(db, garbage=None)
    (oid, state, serial), _ = add_two(db)
    failures = []

    def run(call):
        try:
            call()
        except Exception as failure:
            failures.append(failure)

    with contextlib.closing(psycopg2.connect(database.dsn)) as other, contextlib.closing(open_db(server)) as packer:
        # What is garbage is removed under it.
        other.cursor().execute('SELECT pg_advisory_xact_lock(-1)')
        threads = [threading.Thread(target=run, args=(lambda: packer.storage.pack(wait=True),))]
        threads[0].start()
        waits = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'rzeo: pack' AND wait_event_type = 'Lock'"
        wait_until(lambda: database.sql(waits))
        with stopped(processes(database, 'pack') + processes(database, 'lock')):
            threads.append(threading.Thread(target=run, args=(lambda: vote(db.storage, [], [(oid, state, serial)]),)))
            threads[1].start()
            server.stop()
            for thread in threads:
                thread.join()
    assert len(failures) == 2
    db.close()
