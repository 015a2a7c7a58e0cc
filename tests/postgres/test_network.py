"""PostgreSQL on another machine, behind a network that loses packets: for a while, at random, in one direction."""
import contextlib
import os
import threading
import time

import pytest
from persistent.mapping import PersistentMapping
from support.network import network
from support.server import is_python, wait_until
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZODB import DB
from ZODB.POSException import ConflictError, StorageError

from postgres.cluster import Cluster
from postgres.conftest import Database
from postgres.test_rows import add_two, at_last, open_db, read, vote, write

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

by_hand = pytest.mark.skipif('RZEO_NETWORK' not in os.environ, reason='takes minutes; set RZEO_NETWORK')
KEEP_HISTORY = {'history': True, 'free': False} if 'RZEO_NETWORK' in os.environ else {'history': True}
# Of the dsn: an answer may take two seconds.
IMPATIENT = 'connect_timeout=2 tcp_user_timeout=2000'
WORKERS = 4
LOCKED = ("SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' "
          "AND classid = 0 AND application_name = 'rzeo: lock' AND datname = current_database()")


@pytest.fixture(scope='module')
def net():
    return network()


@pytest.fixture(scope='module')
def far(net):
    """A PostgreSQL on the other host; the test itself reaches it by its Unix socket."""
    with net.there.inside():
        running = Cluster(f"listen_addresses = '{net.there.address}'", tls=False)
    running.allow('local all all trust', 'host all all all trust')
    running.reload()
    yield running
    running.remove()


@pytest.fixture(params=KEEP_HISTORY.values(), ids=KEEP_HISTORY)
def database(request, net, far):
    net.heal()
    yield Database(far, request.param)
    net.heal()


def section(net, database, *lines, more=IMPATIENT):
    """Over the network."""
    to = f'host={net.there.address} port={database.cluster.port}'
    return database.section(*lines).replace(database.dsn, database.dsn.replace(database.cluster.where, to) + f' {more}')


def serve_far(serve, net, database, tmp_path, *lines, **options):
    """A server on this host. Its clients come by a Unix socket."""
    with net.here.inside():
        return serve(storages=section(net, database, *lines, **options), address=tmp_path / 'zeo.sock')


class Load:
    """Clients that commit and read all the time, and remember what they were told."""

    def __init__(self, dbs):
        self.dbs, self.over = dbs, threading.Event()
        self.told, self.unknown, self.failures = [0] * WORKERS, [0] * WORKERS, []
        at_last(lambda: write(dbs[0], **{f'w{number}': PersistentMapping(n=0) for number in range(WORKERS)}))
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(WORKERS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()

    def run(self, number):
        db = self.dbs[number % len(self.dbs)]
        while not self.over.is_set():
            try:
                with db.transaction() as connection:
                    connection.root()[f'w{number}']['n'] += 1
                self.told[number] += 1
            except ClientDisconnected:
                self.unknown[number] += 1
            except ConflictError:
                pass
            except Exception as failure:
                self.failures.append(failure)
                return

    def goes_on(self):
        """Waits until each of them has committed several times more."""
        before = list(self.told)
        wait_until(lambda: self.failures or all(now >= old + 3 for old, now in zip(before, self.told)),
                   lambda: f'{before} {self.told} {self.unknown} {self.failures}')
        assert not self.failures

    def check(self, db):
        """What was told is there, once."""
        for number in range(WORKERS):
            # What began to connect before the network was whole fails seconds later.
            found = at_last(lambda: read(db, f'w{number}'))
            assert self.told[number] <= found <= self.told[number] + self.unknown[number]


@contextlib.contextmanager
def loaded(serve, net, database, tmp_path):
    """A server over the network and one beside the database, with clients of both at work."""
    server = serve_far(serve, net, database, tmp_path)
    dbs = [open_db(server), open_db(server), open_db(serve(storages=database.section()))]
    with Load(dbs) as load:
        load.goes_on()
        yield load
        load.goes_on()
    for db in dbs:
        load.check(db)
    for db in dbs:
        db.close()


@pytest.mark.parametrize('direction', ['both', *(pytest.param(name, marks=by_hand) for name in ('there', 'here'))])
def test_cut(serve, net, database, tmp_path, direction):
    with loaded(serve, net, database, tmp_path):
        net.cut = {'both': (net.here, net.there), 'there': (net.here,), 'here': (net.there,)}[direction]
        time.sleep(4)
        net.heal()


@by_hand
def test_loss(serve, net, database, tmp_path):
    with loaded(serve, net, database, tmp_path) as load:
        for net.loss in 0.05, 0.3:
            load.goes_on()
        net.heal()


@by_hand
def test_delay(serve, net, database, tmp_path):
    with loaded(serve, net, database, tmp_path) as load:
        net.delay = 0.1
        load.goes_on()
        net.heal()


def test_connections_are_forgotten(serve, net, database, tmp_path):
    """As by a firewall, or an address that moves: what was open is never answered again."""
    with loaded(serve, net, database, tmp_path) as load:
        for _ in range(2):
            net.forget()
            load.goes_on()


@by_hand
def test_the_machine_is_gone_and_back(serve, net, database, tmp_path):
    """Without a word to who was connected."""
    with loaded(serve, net, database, tmp_path):
        net.cut = net.here, net.there
        database.cluster.stop('immediate')
        with net.there.inside():
            database.cluster.start()
        net.heal()


@by_hand
def test_what_others_commit_is_heard_of_afterwards(serve, net, database, tmp_path):
    db, beside = open_db(serve_far(serve, net, database, tmp_path)), open_db(serve(storages=database.section()))
    write(beside, n=0)
    # Without a question to the database.
    quiet = DB(ClientStorage(db.storage._addr))
    wait_until(lambda: at_last(lambda: read(quiet, 'n')) == 0)
    net.cut = net.here, net.there
    write(beside, n=1)
    time.sleep(3)
    net.heal()
    wait_until(lambda: at_last(lambda: read(quiet, 'n')) == 1)
    for each in db, beside, quiet:
        each.close()


@by_hand
def test_a_pack(serve, net, database, tmp_path):
    server = serve_far(serve, net, database, tmp_path)
    db = open_db(server)
    for number in range(300):
        at_last(lambda: write(db, garbage=PersistentMapping(n=number)))
    at_last(lambda: write(db, garbage=None, n=1))
    outcome = []

    def pack():
        try:
            outcome.append(db.storage.pack(time.time() + 1))
        except Exception as failure:
            outcome.append(failure)

    thread = threading.Thread(target=pack)
    thread.start()
    server.wait_for_log('pack')
    net.cut = net.here, net.there
    time.sleep(1)
    net.heal()
    thread.join()
    assert outcome == [None] or isinstance(outcome[0], (StorageError, ClientDisconnected)), outcome
    wait_until(lambda: is_packed(db))
    assert at_last(lambda: read(db, 'n')) == 1
    db.close()


def is_packed(db):
    try:
        db.storage.pack(time.time() + 1)
    except (ConflictError, StorageError, ClientDisconnected):
        return False
    return True


@by_hand
@pytest.mark.parametrize('answers', ['arrive', 'are lost'])
def test_locks_of_a_machine_that_is_gone(serve, net, database, tmp_path, answers):
    """They are free in about a minute, also if PostgreSQL has sent what was never acknowledged."""
    server = serve_far(serve, net, database, tmp_path, more='')
    db = open_db(server)
    [(oid, state, serial), _] = add_two(db)
    # Else, a connection may still wait for an answer, and another one can't be opened any more.
    wait_until(lambda: not database.sql(LOCKED))
    if answers == 'are lost':
        net.cut = (net.there,)
    thread = threading.Thread(target=try_to_vote, args=(db.storage, (oid, state, serial)))
    thread.start()
    wait_until(lambda: database.sql(LOCKED))
    net.cut = net.here, net.there
    server.kill()
    thread.join()
    begun = time.monotonic()
    wait_until(lambda: not database.sql(LOCKED))
    print(f'free after {time.monotonic() - begun:.0f} seconds')
    db.close()


def try_to_vote(storage, item):
    with contextlib.suppress(ClientDisconnected, ConflictError):
        vote(storage, [], [item])
