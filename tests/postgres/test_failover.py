"""A standby of PostgreSQL takes over while servers, or copies, are at work."""
import os
import threading

import pytest
from exchange import files
from exchange.writer import pickle_of
from support import fstool
from support.server import is_python, wait_until
from support.wire import Wire, WireError
from ZEO.Exceptions import ClientDisconnected
from ZODB.POSException import ConflictError
from ZODB.utils import u64, z64

from postgres.cluster import Cluster
from postgres.conftest import Database
from postgres.test_copy import expected, in_file, section, transactions
from postgres.test_relstorage import COUNTERS, add_counters, increment, open_db, total

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')


class Pair:
    """A PostgreSQL and its standby, and a database of theirs."""

    def __init__(self, keep_history):
        self.primary = Cluster()
        self.standby = self.primary.standby()
        self.database = Database(self.primary, keep_history)
        hosts = f"host=127.0.0.1,127.0.0.1 port={self.primary.port},{self.standby.port}"
        self.database.dsn = (f'{hosts} target_session_attrs=read-write user=zodb '
                             f'dbname={self.database.name}')

    def fail_over(self):
        self.primary.stop('immediate')
        self.standby.run('pg_ctl', '-D', self.standby.data, '-w', 'promote')
        self.database.cluster = self.standby

    def remove(self):
        self.standby.remove()


@pytest.fixture(params=[True, False], ids=['history', 'free'])
def pair(request):
    made = Pair(request.param)
    yield made
    made.remove()


def test_a_standby_is_not_taken_for_the_primary(serve, pair):
    """Although `target_session_attrs` does not say so: a server writes."""
    database = pair.database
    database.dsn = database.dsn.replace('target_session_attrs=read-write', '')
    server = serve(storages=database.section('cache-local-mb 0'))
    db = open_db(server)
    add_counters(db)
    pair.primary.stop('fast')
    # The standby would answer it.
    with Wire(server.address) as wire, pytest.raises(WireError, match='ReadConflictError'):
        wire.call('loadBefore', z64, b'\x7f' * 8)
    pair.primary.start()

    def done():
        try:
            increment(db, 0)
            return True
        except (ClientDisconnected, ConflictError):
            return False

    wait_until(done)
    assert total(db) == 1
    db.close()


def test_a_synchronous_standby_has_all_that_was_acknowledged(serve, pair):
    pair.primary.set('synchronous_standby_names', '*')
    dbs = [open_db(serve(storages=pair.database.section())) for _ in range(2)]
    add_counters(dbs[0])
    done, unknown, died, over = [], [], [], threading.Event()

    def work(db, number):
        while not over.is_set():
            try:
                increment(db, number)
                done.append(number)
            except ClientDisconnected:
                unknown.append(number)
            except ConflictError:
                # Of the ping that begins a transaction.
                pass
            except Exception as error:
                died.append(error)
                raise
            number += 1

    threads = [threading.Thread(target=work, args=(db, n)) for n, db in enumerate(dbs * 2)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(done) > 20)
        pair.fail_over()
        before = len(done)
        wait_until(lambda: len(done) > before + 20)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert not died
    totals = [total(db) for db in dbs]
    assert totals[0] == totals[1]
    assert len(done) <= totals[0] <= len(done) + len(unknown)
    for db in dbs:
        db.close()


def cut_off(pair):
    """The standby has all that is there, and nothing of what comes now."""
    [last] = pair.primary.sql('postgres', 'SELECT pg_current_wal_lsn()')
    caught_up = f"SELECT pg_last_wal_replay_lsn() >= '{last}'"
    wait_until(lambda: pair.standby.sql('postgres', caught_up) == ['t'])
    pair.standby.set('primary_conninfo', '')
    following = 'SELECT count(*) FROM pg_stat_replication'
    wait_until(lambda: pair.primary.sql('postgres', following) == ['0'])


def test_what_an_asynchronous_standby_lacks_is_served_to_nobody(serve, pair):
    server = serve(storages=pair.database.section())
    db = open_db(server)
    add_counters(db)
    increment(db, 0)
    cut_off(pair)
    for number in range(COUNTERS):
        increment(db, number)
    assert total(db) == COUNTERS + 1
    pair.fail_over()

    def is_back():
        try:
            return total(db) == 1
        except (ClientDisconnected, ConflictError):
            return False

    wait_until(is_back)
    server.wait_for_log('lacks transaction')
    for number in range(COUNTERS):
        increment(db, number, failures=(ClientDisconnected,))
    assert total(db) == COUNTERS + 1
    db.close()
    # Clients are not disconnected again and again.
    assert server.log().count('begins again behind') == 1


def last_oid(cluster, database):
    """Behind this one, the sequence gives oids."""
    return 16 * int(*cluster.sql(database.name, 'SELECT last_value FROM zoid_seq'))


@pytest.mark.parametrize('loses', [False, True], ids=['transactions are there', 'transactions are lost'])
def test_oids_of_which_an_asynchronous_standby_has_not_heard(loses, serve, pair):
    server = serve(storages=pair.database.section())
    db = open_db(server)
    add_counters(db)
    cut_off(pair)
    with Wire(server.address) as wire:
        given = max(oid for _ in range(10) for oid in wire.call('new_oids'))
    if loses:
        increment(db, 0)
    assert last_oid(pair.standby, pair.database) < u64(given)
    pair.fail_over()
    wait_until(lambda: last_oid(pair.standby, pair.database) >= u64(given))
    db.close()


def test_interrupted_copies_are_continued(pair, tmp_path, monkeypatch):
    """One into a database that a standby takes over, and one out of it while it is restarted."""
    monkeypatch.chdir(tmp_path)
    database = pair.database
    files.write('Data.fs', lambda w: [w.commit(*((n * 50 + i, pickle_of('x' * 8000 + str(n))) for i in range(50)))
                                      for n in range(200)])
    wanted = expected(database, in_file('Data.fs'))
    pair.primary.set('synchronous_standby_names', '*')
    copy = fstool.start('copy', 'Data.fs', section(database))
    wait_until(lambda: is_begun(database) or copy.poll() is not None)
    pair.fail_over()
    assert copy.wait() in (0, 2)
    fstool.check('copy', '--continue', 'Data.fs', 'to.conf')
    assert transactions(database.open()) == wanted

    copy = fstool.start('copy', 'to.conf', 'back.fs')
    wait_until(lambda: os.path.exists('back.fs') and os.path.getsize('back.fs') > 1 << 20 or copy.poll() is not None)
    pair.standby.stop('immediate')
    pair.standby.start()
    assert copy.wait() in (0, 2)
    fstool.check('copy', '--continue', 'to.conf', 'back.fs')
    assert in_file('back.fs') == wanted


def is_begun(database):
    tables = database.sql("SELECT 1 FROM pg_tables WHERE tablename = 'object_state' AND schemaname = 'public'")
    return tables and database.sql('SELECT 1 FROM object_state LIMIT 1')
