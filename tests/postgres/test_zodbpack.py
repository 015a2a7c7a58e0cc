"""Packs by RelStorage's zodbpack, beside clients of servers."""
import contextlib
import os
import random
import re
import threading
import time
import traceback

import psycopg2.errors
import pytest
import transaction
from persistent.mapping import PersistentMapping
from support.server import PATIENCE, is_python, wait_until
from transaction.interfaces import TransientError
from ZEO.ClientStorage import ClientStorage
from ZODB import DB
from ZODB.blob import Blob
from ZODB.POSException import POSKeyError, StorageError, UndoError
from ZODB.utils import p64, u64

from postgres import zodbpack
from postgres.test_blobs import open_db as open_with_blobs
from postgres.test_blobs import open_python, orphans
from postgres.test_pack import FAR, check, grow, open_db, pack, reachable, stored

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

with_history = pytest.mark.parametrize('database', [True], ids=['history'], indirect=True)
without_history = pytest.mark.parametrize('database', [False], ids=['free'], indirect=True)

# Seconds of packs beside writers, at least.
SECONDS = float(os.environ.get('RZEO_ZODBPACK_SECONDS') or 0)


def add_stray(db):
    """A transaction with nothing but garbage; its tid."""
    with db.transaction() as connection:
        connection.add(PersistentMapping())
    return db.storage.lastTransaction()


@with_history
def test_the_last_transaction_goes_with_a_pack(serve, database):
    """Nothing that clients have is wrong, so nobody is disconnected."""
    server = serve(storages=database.section())
    db = open_db(server)
    with db.transaction() as connection:
        connection.root()['x'] = 1
    tid = add_stray(db)
    zodbpack.pack(database)
    assert database.sql(f'SELECT 1 FROM transaction WHERE tid >= {u64(tid)}') == []
    # Asks what others have committed.
    with db.transaction() as connection:
        assert connection.root()['x'] == 1
    assert db.storage.lastTransaction() == tid
    with db.transaction() as connection:
        connection.root()['x'] = 2
    assert 'lacks transaction' not in server.log() and 'verify' not in server.log()
    db.close()


def test_tids_rise_although_the_last_one_goes_with_a_pack(serve, database):
    """One that was in the future, by a clock that was wrong."""
    server = serve(storages=database.section())
    db = open_db(server)
    with db.transaction() as connection:
        connection.root()['x'] = 1
    future = u64(db.storage.lastTransaction()) + (60 << 32)
    row = f'SELECT 777, {future}, {{}}state_size, state FROM object_state WHERE zoid = 0 LIMIT 1'
    if database.keep_history:
        database.sql(f"""BEGIN; INSERT INTO transaction (tid, username, description) VALUES ({future}, '', '');
            INSERT INTO object_state (zoid, tid, prev_tid, state_size, state) {row.format('0, ')};
            INSERT INTO current_object (zoid, tid) VALUES (777, {future}); COMMIT""")
    else:
        database.sql(f'INSERT INTO object_state (zoid, tid, state_size, state) {row.format("")}')
    db.storage.ping()
    assert u64(db.storage.lastTransaction()) == future
    zodbpack.pack(database)
    assert database.sql('SELECT 1 FROM object_state WHERE zoid = 777') == []
    with db.transaction() as connection:
        connection.root()['x'] = 2
    assert u64(db.storage.lastTransaction()) > future
    with db.transaction() as connection:
        assert connection.root()['x'] == 2
    db.close()


@with_history
def test_a_database_that_goes_back_to_a_pack_is_noticed(serve, database):
    server = serve(storages=database.section())
    db = open_db(server)
    with db.transaction() as connection:
        connection.root()['x'] = 1
    zodbpack.pack(database)
    packed = u64(db.storage.lastTransaction())
    with db.transaction() as connection:
        connection.root()['x'] = 2
    # All transactions that are left are packed, as behind a pack.
    database.sql(f'''BEGIN; UPDATE current_object SET tid = {packed} WHERE zoid = 0;
        DELETE FROM object_state WHERE tid > {packed}; DELETE FROM transaction WHERE tid > {packed}; COMMIT''')
    server.wait_for_log('lacks transaction')

    def is_back():
        try:
            with db.transaction() as connection:
                return connection.root()['x'] == 1
        except (TransientError, StorageError):
            return False

    wait_until(is_back)
    db.close()


@pytest.mark.parametrize('lines', [(), ('pack-gc false',)], ids=['gc', 'no-gc'])
def test_a_pack_in_two_steps(serve, database, lines):
    """What is committed between them stays, also if a server packs there."""
    server = serve(storages=database.section())
    db = open_db(server)
    unlinked = grow(db)
    zodbpack.pack(database, '--days=-1', '--prepack', lines=lines)
    with db.transaction() as connection:
        root = connection.root()
        for folder in root['tree'].values():
            for item in folder.values():
                item['value'] += 1
        root['new'] = PersistentMapping(PersistentMapping())
    before = check(database)
    if lines:
        pack(server)
    zodbpack.pack(database, '--use-prepack-state', lines=lines)
    assert check(database) == before
    # Without gc, the server's pack has removed it.
    assert not unlinked & stored(database)
    with db.transaction() as connection:
        for folder in connection.root()['tree'].values():
            for item in folder.values():
                item['value'] += 1
    pack(server)
    assert set(check(database)) == set(before) == stored(database)
    # Nothing in the server's memory that is not in the database.
    with contextlib.closing(ClientStorage(server.address)) as client:
        assert reachable(client) == check(database)
    db.close()


@without_history
def test_what_zodbpack_loses_is_told_to_clients(serve, database):
    """An object that is brought back between its two steps: RelStorage removes it whatever its tid."""
    server = serve(storages=database.section())
    db = open_db(server)
    with db.transaction() as connection:
        connection.root()['kept'] = lost = PersistentMapping(n=1)
    oid = lost._p_oid
    with db.transaction() as connection:
        del connection.root()['kept']
    zodbpack.pack(database, '--days=-1', '--prepack')
    with db.transaction() as connection:
        connection.root()['kept'] = kept = connection.get(oid)
        kept['n'] = 2
    zodbpack.pack(database, '--use-prepack-state')
    assert oid not in stored(database)
    server.stop()
    server = serve(storages=database.section())
    other = open_db(server)
    with other.transaction() as connection, pytest.raises(POSKeyError):
        connection.root()['kept']['n']
    # Who still has it can write it again.
    with other.transaction() as connection:
        connection.root()['kept'] = PersistentMapping(n=3)
    other.close()
    db.close()
    assert oid not in check(database)


@with_history
def test_what_zodbpack_leaves_is_mended_by_a_pack(serve, database):
    """A revision that stands on one that is gone: its transaction can't be removed by RelStorage."""
    server = serve(storages=database.section())
    db = open_db(server)
    with db.transaction() as connection:
        connection.root()['a'] = PersistentMapping()
    for value in range(2):
        with db.transaction() as connection:
            connection.root()['a']['value'] = value
    middle = db.storage.lastTransaction()
    zodbpack.pack(database, '--days=-1', '--prepack')
    with db.transaction() as connection:
        del connection.root()['a']
    with db.transaction() as connection:
        connection.root()['b'] = 1
    [oid] = database.sql(f'SELECT zoid FROM object_state WHERE tid = {u64(middle)}')
    # As a pack to that time leaves it: an object that was garbage then, and is changed since.
    with db.transaction() as connection:
        connection.root()['a'] = again = connection.get(p64(int(oid)))
        again['value'] = 2
    database.sql(f'''BEGIN; DELETE FROM object_state WHERE zoid = {oid} AND tid = {u64(middle)};
        UPDATE transaction SET packed = true, is_empty = true WHERE tid = {u64(middle)}; COMMIT''')
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        zodbpack.pack(database)
    with db.transaction() as connection:
        connection.root()['a']['value'] = 3
    pack(server)
    zodbpack.pack(database)
    with db.transaction() as connection:
        assert connection.root()['a']['value'] == 3
    check(database)
    db.close()


FOLDERS, ITEMS, BLOBS = 4, 10, 3
LINES = [('pack-batch-timeout 0',), (), ('pack-gc false',)]


def folders(root):
    return [root[n] for n in range(FOLDERS)]


def names_in(folder):
    """Of what is moved about."""
    return sorted(name for name in folder if not name.startswith('new'))


def seen(root):
    """Of the folders: oids, serials and names."""
    # A folder has its serial when it is loaded.
    return [(u64(folder._p_oid), names_in(folder), u64(folder._p_serial)) for folder in folders(root)]


class Writers:
    """Threads that move objects about, make and drop them, change blobs and undo, until they are told to end."""

    def __init__(self, dbs):
        self.dbs = dbs
        self.over, self.failed, self.added = threading.Event(), [], 0
        self.done = [0] * (2 * len(dbs))
        self.lock = threading.Lock()
        with dbs[0].transaction() as connection:
            root = connection.root()
            for n in range(FOLDERS):
                root[n] = PersistentMapping((f'{n}-{i}', PersistentMapping(n=0)) for i in range(ITEMS))
            root['blobs'] = PersistentMapping((n, Blob(b'0')) for n in range(BLOBS))
            root['undone'] = PersistentMapping((n, PersistentMapping(n=0)) for n in range(len(dbs)))
        self.threads = [threading.Thread(target=self.work, args=(n, db, act))
                        for n, (db, act) in enumerate([*((db, self.move) for db in dbs),
                                                       *((db, self.undo) for db in dbs)])]

    def work(self, number, db, act):
        chance = random.Random(number)
        while not self.over.is_set():
            try:
                act(db, number, chance)
                self.done[number] += 1
            except (TransientError, UndoError):
                pass
            except POSKeyError as why:
                # A pack to now takes old content, and what nothing refers to any more, from who still reads
                # in an old snapshot.
                is_old = db.supportsUndo() and 'No blob file' in str(why)
                if not (is_old or self.is_dropped(db, why.args[0])):
                    self.fail(number, why)
            except BaseException as why:
                self.fail(number, why)

    def fail(self, number, why):
        traceback.print_exception(why)
        self.failed.append((number, why))
        self.over.set()

    @staticmethod
    def is_dropped(db, oid):
        """Whether new transactions, soon, don't find an object any more."""
        def is_found():
            try:
                with db.transaction() as connection:
                    root = connection.root()
                    mappings = [root[n] for n in [*range(FOLDERS), 'blobs', 'undone']]
                    return oid in [thing._p_oid for mapping in mappings for thing in mapping.values()]
            except TransientError:
                return True
        began = time.monotonic()
        while is_found() and time.monotonic() - began < PATIENCE:
            time.sleep(0.05)
        return not is_found()

    def move(self, db, number, chance):
        manager = transaction.TransactionManager()
        connection = db.open(manager)
        try:
            manager.begin()
            root = connection.root()
            source, target, read = chance.sample(range(FOLDERS), 3)
            names = names_in(root[source])
            added = chance.randrange(2)
            if names:
                name = chance.choice(names)
                moved = root[source].pop(name)
                moved['n'] += added
                root[target][name] = moved
            root[target][f'new-{number}'] = PersistentMapping(PersistentMapping(), n=0)
            if chance.randrange(2) and root[read]:
                connection.readCurrent(root[read])
            if chance.randrange(3) == 0:
                with root['blobs'][chance.randrange(BLOBS)].open('w') as f:
                    f.write(b'%d' % number * 1000)
            manager.commit()
            with self.lock:
                self.added += added if names else 0
        finally:
            manager.abort()
            connection.close()

    def undo(self, db, number, chance):
        """Looks at everything in a snapshot, and takes back a change."""
        mine = number - len(self.dbs)
        manager = transaction.TransactionManager()
        connection = db.open(manager)
        try:
            manager.begin()
            root = connection.root()
            assert sum(map(len, map(names_in, folders(root)))) == FOLDERS * ITEMS, seen(root)
            for n in range(FOLDERS):
                assert all(item['n'] >= 0 for item in root[n].values())
            for blob in root['blobs'].values():
                with blob.open() as f:
                    assert len(set(f.read())) == 1
            before = root['undone'][mine]['n']
            root['undone'][mine]['n'] = before + 1
            manager.get().note(f'undo {mine}')
            manager.commit()
            if db.supportsUndo():
                self.take_back(db, manager, connection, mine, before)
        finally:
            manager.abort()
            connection.close()

    @staticmethod
    def take_back(db, manager, connection, mine, before):
        entries = [entry for entry in db.undoLog(0, 20) if entry['description'] == f'undo {mine}']
        if not entries:
            return
        manager.begin()
        db.undo(entries[0]['id'], manager.get())
        try:
            manager.commit()
        except StorageError as why:
            # A pack runs, also RelStorage's, or has packed it.
            assert re.search('pack|non-undoable', str(why)), why
            return
        manager.begin()
        assert connection.root()['undone'][mine]['n'] == before

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self.over.set()
        for thread in self.threads:
            thread.join()


def in_folders(database):
    """What RelStorage reads now."""
    with contextlib.closing(DB(database.open())) as db, db.transaction() as connection:
        return seen(connection.root())


def test_packs_beside_writers_of_all_kinds(serve, database, tmp_path):
    """By zodbpack and by servers in turn. RZEO_ZODBPACK_SECONDS=N: for at least that long."""
    servers = [serve(storages=database.section(f'blob-dir {tmp_path}/server{n}')) for n in range(2)]
    dbs = [open_with_blobs(server, tmp_path / f'client{n}') for n, server in enumerate(servers)]
    # With RelStorage's own cache, its threads see half of a transaction at times, also where there is no server.
    dbs.append(open_python(database, tmp_path / 'python', cache_local_mb=0))
    began, packs = time.monotonic(), 0
    with Writers(dbs) as writers:
        while not writers.over.is_set():
            if packs % 4 == 3:
                pack(servers[packs % 2])
            elif packs % 4 == 2:
                zodbpack.pack(database, '--days=-1', '--prepack')
                zodbpack.pack(database, '--use-prepack-state')
            else:
                zodbpack.pack(database, lines=LINES[packs % len(LINES)])
            packs += 1
            took = time.monotonic() - began
            if packs >= 4 and took >= SECONDS and all(writers.done):
                break
            assert took < SECONDS + PATIENCE, writers.done
    # Beside what they say: what is there.
    assert not writers.failed, (writers.failed, in_folders(database))
    assert all('lacks transaction' not in server.log() for server in servers)
    found = check(database)
    for server in servers:
        with contextlib.closing(ClientStorage(server.address)) as client:
            assert reachable(client) == found
    for number, db in enumerate([*dbs, open_with_blobs(serve(storages=database.section(f'blob-dir {tmp_path}/new')),
                                                       tmp_path / 'new_client')]):
        with db.transaction() as connection:
            root = connection.root()
            items = [folder[name] for folder in folders(root) for name in names_in(folder)]
            assert len(items) == FOLDERS * ITEMS
            assert sum(item['n'] for item in items) == writers.added
            for blob in root['blobs'].values():
                with blob.open() as f:
                    assert len(set(f.read())) == 1
        db.close()
    assert orphans(database).startswith('0|')
