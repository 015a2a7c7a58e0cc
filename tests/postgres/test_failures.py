"""Servers on PostgreSQL when something breaks: connections, servers, disks, rows."""
import os
import signal
import threading

import pytest
import transaction
from persistent.mapping import PersistentMapping
from support.server import is_python, wait_until
from support.wire import Wire
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZODB import DB
from ZODB.POSException import ConflictError, POSKeyError, StorageError
from ZODB.utils import z64

from postgres.proxy import Proxy
from postgres.test_relstorage import add_counters, increment, open_db, total

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

# More than a commit has, also one that has to ask for its locks several times on a busy machine.
MESSAGES = 200
LOCKED = ("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 "
          'AND database = (SELECT oid FROM pg_database WHERE datname = current_database())')
# Minutes for all of them.
at_every_message = pytest.mark.skipif('RZEO_EVERY_MESSAGE' not in os.environ,
                                      reason='takes minutes; set RZEO_EVERY_MESSAGE')


@pytest.fixture
def proxy(cluster):
    started = Proxy(cluster)
    yield started
    started.close()


def through(database, proxy):
    return database.section().replace(database.cluster.where, f"host=127.0.0.1 port={proxy.port} sslmode=disable")


def add_pair(db):
    with db.transaction() as connection:
        connection.root()['pair'] = PersistentMapping(a=PersistentMapping(n=0), b=PersistentMapping(n=0))


def write_pair(db, number):
    with db.transaction() as connection:
        pair = connection.root()['pair']
        pair['a']['n'] = pair['b']['n'] = number


def read_pair(db):
    with db.transaction() as connection:
        pair = connection.root()['pair']
        a, b = pair['a']['n'], pair['b']['n']
        assert a == b, 'half of a transaction'
        return a


def write_until_done(db, number):
    """Tries again as long as it is told to, or is not told."""
    def done():
        try:
            write_pair(db, number)
            return True
        except (ClientDisconnected, ConflictError):
            return False
    wait_until(done)


@at_every_message
@pytest.mark.parametrize('all', [False, True], ids=['one', 'all'])
def test_a_connection_breaks_at_each_message_of_a_commit(serve, database, proxy, all):
    db = open_db(serve(storages=through(database, proxy)))
    reader = open_db(serve(storages=database.section()))
    add_pair(db)
    committed, told = 0, set()
    for step in range(1, MESSAGES):
        number = step * 10
        proxy.arm(step, all)
        try:
            write_pair(db, number)
            outcome, expected = 'done', {number}
        except ConflictError:
            outcome, expected = 'again', {committed}
        except ClientDisconnected:
            outcome, expected = 'unknown', {number, committed}
        broken = proxy.disarm()
        told.add(outcome)
        assert read_pair(reader) in expected, (step, outcome)
        committed = number + 1
        write_until_done(db, committed)
        assert read_pair(reader) == read_pair(db) == committed
        if not broken:
            break
    else:
        raise AssertionError('a commit without end')
    assert step > 10 and outcome == 'done'
    db.close()
    reader.close()


@at_every_message
def test_a_server_is_killed_at_messages_of_a_commit(serve, database, proxy):
    reader = open_db(serve(storages=database.section()))
    add_pair(reader)
    committed = 0
    for step in range(1, MESSAGES, 3):
        server = serve(storages=through(database, proxy))
        db = DB(ClientStorage(server.address, wait_timeout=1))
        # What is prepared only once.
        write_pair(db, committed)
        proxy.arm(step, act=lambda: os.kill(server.process.pid, signal.SIGKILL))
        expected = {step}
        try:
            write_pair(db, step)
        except ClientDisconnected:
            expected = {step, committed}
        broken = proxy.disarm()
        db.close()
        committed = read_pair(reader)
        assert committed in expected
        # Its locks are gone, too.
        write_pair(reader, committed)
        # Those of the reader's own server are given back, so that the next one need not try again and again.
        wait_until(lambda: not database.sql(LOCKED))
        if not broken:
            break
        server.process.wait()
    else:
        raise AssertionError('a commit without end')
    reader.close()


def test_a_full_disk(serve, database):
    db = open_db(serve(storages=database.section()))
    add_pair(db)
    database.sql('''
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON object_state EXECUTE FUNCTION full_disk()''')
    with pytest.raises(StorageError, match='No space left on device.*53100'):
        write_pair(db, 1)
    assert read_pair(db) == 0
    database.sql('DROP TRIGGER full_disk ON object_state')
    write_pair(db, 2)
    assert read_pair(db) == 2
    db.close()


def test_rows_without_state(serve, database):
    server = serve(storages=database.section())
    db = open_db(server)
    add_pair(db)
    with db.transaction() as connection:
        oid = connection.root()['pair']['a']._p_oid
    db.close()
    server.stop()
    database.sql(f'UPDATE object_state SET state = NULL WHERE zoid = {int.from_bytes(oid, "big")}')
    db = open_db(serve(storages=database.section()))
    with pytest.raises(POSKeyError, match=oid.hex()[-2:]):
        read_pair(db)
    with db.transaction() as connection:
        connection.root()['pair']['b']['n'] = 1
    db.close()


def test_no_connection_is_left_in_a_transaction(serve, database):
    servers = [serve(storages=database.section()) for _ in range(2)]
    dbs = [open_db(server) for server in servers]
    add_counters(dbs[0])
    def work(db):
        for number in range(60):
            increment(db, number)

    threads = [threading.Thread(target=work, args=(db,)) for db in dbs * 2]
    for thread in threads:
        thread.start()
    found, looked = [], 0
    while any(thread.is_alive() for thread in threads):
        found += database.sql("SELECT application_name, state, query FROM pg_stat_activity WHERE state LIKE "
                              "'idle in transaction%' AND application_name LIKE 'rzeo: %' "
                              "AND datname = current_database()")
        looked += 1
    assert looked > 3 and not found
    assert total(dbs[0]) == total(dbs[1]) == 240
    for db in dbs:
        db.close()


def test_a_connection_hangs(serve, database):
    """Who waits for it hears what else its client asks, and asks over another one."""
    server = serve(storages=database.section('cache-local-mb 0'))
    db = open_db(server)
    add_pair(db)
    db.close()
    with Wire(server.address) as wire:
        load = 'loadBefore', z64, b'\x7f' * 8
        # The first one is asked by a helper.
        found = wire.call(*load)
        assert wire.call(*load) == found
        hanging = database.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'rzeo: load' "
                               "AND datname = current_database()")
        for pid in hanging:
            os.kill(int(pid), signal.SIGSTOP)
        try:
            loading = wire.request(*load)
            assert wire.call('get_info')
            assert wire.answer(loading) == found
        finally:
            for pid in hanging:
                os.kill(int(pid), signal.SIGCONT)
