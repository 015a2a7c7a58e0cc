"""A backup was restored, or a database begun anew: who has seen what was lost drops its cache, and nobody
else does."""
import os
import shutil
import time

import pytest
import transaction
import ZEO
from persistent.mapping import PersistentMapping
from support import fstool
from support.configuration import demostorage, filestorage, mappingstorage
from support.fan_out import FanOut, Upstream
from support.ports import free_port
from support.server import PATIENCE, is_python, wait_until
from support.steps import commit
from support.wire import Wire
from transaction.interfaces import TransientError
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage
from ZODB.scripts import repozo
from ZODB.serialize import referencesf
from ZODB.utils import p64, u64, z64

from operate.test_clients import commit_numbers, invalidations

pytestmark = pytest.mark.skipif(is_python(), reason='it answers as if nothing had happened')

LOST = 'the storage has no such transaction'
DROPPED, KEPT = 'cache too old, clearing', 'quick verification'
# How many transactions come after what the client has seen, and the server's settings: what was missed is
# found in the queue, at the end of the file, and in the file as far as an age goes back.
PLACES = pytest.mark.parametrize('later, options', [
    (1, {}), (150, {}), (12, {'invalidation_queue_size': 5, 'invalidation_age': 1000}),
], ids=['queue', 'end', 'age'])


def copied():
    shutil.copytree('.', 'backup', ignore=lambda _, names: {n for n in names if not n.startswith('Data.fs')})

    def restore():
        for name in 'Data.fs', 'Data.fs.index':
            shutil.copy(f'backup/{name}', name)
    return restore


def by_repozo():
    os.mkdir('backup')
    repozo.main(['-B', '-r', 'backup', '-f', 'Data.fs'])
    return lambda: repozo.main(['-R', '-r', 'backup', '-o', 'Data.fs'])


def by_fstool():
    os.mkdir('backup')
    fstool.check('repozo', '-B', '-r', 'backup', '-f', 'Data.fs')
    return lambda: fstool.check('repozo', '-R', '-r', 'backup', '-o', 'Data.fs')


def by_copy():
    fstool.check('copy', 'Data.fs', 'backup.fs')

    def restore():
        os.remove('Data.fs')
        fstool.check('copy', 'backup.fs', 'Data.fs')
    return restore


BACKUPS = pytest.mark.parametrize('back_up', [copied, by_repozo, by_fstool, by_copy])


def open_db(server, **options):
    return ZEO.DB(server.address, wait_timeout=PATIENCE, **options)


def add(db, **values):
    with db.transaction() as connection:
        for name, value in values.items():
            connection.root()[name] = PersistentMapping(value=value)


def change(db, name, value):
    with db.transaction() as connection:
        connection.root()[name]['value'] = value
    return db.storage.lastTransaction()


def values(db):
    with db.transaction() as connection:
        return {name: found['value'] for name, found in connection.root().items()}


def change_often(db, count):
    for number in range(1, count + 1):
        change(db, 'other', number)


def verdict(db):
    return db.storage._server.client.verify_result.lower()


def is_there(tid, path='Data.fs'):
    storage = FileStorage(path, read_only=True)
    found = [found.tid for found in storage.iterator(tid, tid)]
    storage.close()
    return bool(found)


@BACKUPS
def test_a_running_client(serve, back_up):
    address = f'127.0.0.1:{free_port()}'
    server = serve(address=address)
    running = open_db(server)
    add(running, balance=100, other=0)
    server.stop()
    restore = back_up()
    server = serve(address=address)
    wait_until(running.storage.is_connected)
    seen = change(running, 'balance', 1)
    assert values(running) == {'balance': 1, 'other': 0}
    server.stop()
    wait_until(lambda: not running.storage.is_connected())
    restore()
    # Somebody else is faster.
    with serve() as elsewhere:
        new = open_db(elsewhere)
        assert values(new) == {'balance': 100, 'other': 0}
        change(new, 'other', 2)
        new.close()
    server = serve(address=address)
    wait_until(running.storage.is_connected)
    assert values(running) == {'balance': 100, 'other': 2}
    assert verdict(running) == DROPPED
    server.wait_for_log(LOST)
    [line] = [line for line in server.log().splitlines() if LOST in line]
    assert seen.hex() in line and 'WARNING' in line and '127.0.0.1' in line
    running.close()


def test_a_client_that_is_ahead(serve):
    """It refuses the server, until somebody commits."""
    address = f'127.0.0.1:{free_port()}'
    server = serve(address=address)
    running = open_db(server)
    add(running, balance=100, other=0)
    server.stop()
    restore = copied()
    server = serve(address=address)
    wait_until(running.storage.is_connected)
    change(running, 'balance', 1)
    last = running.storage.lastTransaction()
    server.stop()
    wait_until(lambda: not running.storage.is_connected())
    restore()
    server = serve(address=address)
    server.wait_for_log('it has called nothing')
    assert not running.storage.is_connected()
    server.wait_for_log('its cache is newer than the last transaction')
    new = open_db(server)
    assert new.storage.lastTransaction() < last
    change(new, 'other', 2)
    wait_until(running.storage.is_connected)
    assert values(running) == {'balance': 100, 'other': 2}
    assert verdict(running) == DROPPED
    new.close()
    running.close()


@PLACES
@pytest.mark.parametrize('is_lost', [True, False])
def test_a_client_with_a_cache_file(serve, encoding, later, options, is_lost):
    """One that has seen nothing but what is in the backup, too, keeps all of it."""
    server = serve(encoding=encoding, **options)
    old = open_db(server, client='cache')
    add(old, balance=100, other=0)
    values(old)
    old.close()
    server.stop()
    restore = copied()
    server = serve(encoding=encoding, **options)
    db = open_db(server, client='cache' if is_lost else None)
    change(db, 'balance', 1)
    values(db)
    db.close()
    server.stop()
    restore()
    shutil.copy('cache-1.zec', 'saved.zec')
    server = serve(encoding=encoding, **options)
    new = open_db(server)
    change_often(new, later)
    for restart in True, False:
        back = open_db(server, client='cache')
        assert verdict(back) == (DROPPED if is_lost else KEPT)
        assert values(back) == {'balance': 100, 'other': later}
        back.close()
        if is_lost:
            server.wait_for_log(LOST)
        else:
            assert LOST not in server.log()
        if restart:
            server.stop()
            server = serve(encoding=encoding, **options)
            shutil.copy('saved.zec', 'cache-1.zec')
    new.close()


@PLACES
@pytest.mark.parametrize('by_server', [True, False])
def test_what_a_pack_has_removed_is_not_lost(serve, encoding, later, options, by_server):
    server = serve(encoding=encoding, **options)
    seen = open_db(server, client='cache')
    add(seen, balance=100, other=0)
    tid = change(seen, 'balance', 1)
    values(seen)
    seen.close()
    db = open_db(server)
    change(db, 'balance', 2)
    if by_server:
        db.pack(time.time() + 1)
    db.close()
    server.stop()
    if not by_server:
        storage = FileStorage('Data.fs')
        storage.pack(time.time() + 1, referencesf)
        storage.close()
    assert not is_there(tid)
    server = serve(encoding=encoding, **options)
    db = open_db(server)
    change_often(db, later)
    back = open_db(server, client='cache')
    assert verdict(back) == KEPT
    assert values(back) == {'balance': 2, 'other': later}
    assert LOST not in server.log()
    db.close()
    back.close()


def test_the_last_transaction_was_packed_away(serve, encoding):
    """By Python, whose packer also removes the last one; the server's would not."""
    server = serve(encoding=encoding)
    with Wire(server.address) as wire:
        first = commit(wire, (z64, z64, 0))
        gone = commit(wire, (p64(1), z64, 1))
    server.stop()
    storage = FileStorage('Data.fs')
    storage.pack(time.time() + 1, referencesf)
    storage.close()
    assert not is_there(gone)
    server = serve(encoding=encoding)
    with Wire(server.address) as wire:
        assert wire.call('lastTransaction') == first
        last = commit(wire, (z64, first, 2))
        assert invalidations(wire, gone) == (last, {0})
        later = commit(wire, (z64, last, 3))
        assert invalidations(wire, gone) == (later, {0})
        assert invalidations(wire, last) == (later, {0})
        assert invalidations(wire, p64(u64(last) + 1)) is None


def test_undone_and_restored_transactions_are_there(serve, encoding):
    """A client may have seen any of them last."""
    server = serve(encoding=encoding)
    storage = ClientStorage(server.address)
    tids = commit_numbers(server, 3)
    db = ZEO.DB(server.address)
    db.undo(db.undoInfo(0, 1)[0]['id'])
    transaction.commit()
    db.close()
    meta = transaction.Transaction()
    tids.append(storage.lastTransaction())
    # Later than whatever the server chose, as a copy has it from another clock.
    tids.append(p64(u64(storage.lastTransaction()) + (60 << 26)))
    storage.tpc_begin(meta, tids[-1], ' ')
    storage.restore(p64(9), tids[-1], b'N.N.', '', None, meta)
    storage.tpc_vote(meta)
    storage.tpc_finish(meta)
    storage.close()
    tids += commit_numbers(server, 1, first=20)
    for restart in False, True:
        with Wire(server.address) as wire:
            for tid in tids:
                assert invalidations(wire, tid)[0] == tids[-1]
                between = p64(u64(tid) + 1)
                assert between >= tids[-1] or between in tids or invalidations(wire, between) is None
        if not restart:
            server.stop()
            server = serve(encoding=encoding)


def test_a_database_is_begun_anew(serve, encoding):
    for storages in mappingstorage(), filestorage():
        server = serve(storages, encoding)
        tids = commit_numbers(server, 2)
        server.stop()
        if os.path.exists('Data.fs'):
            os.remove('Data.fs')
        server = serve(storages, encoding)
        last = commit_numbers(server, 2)[-1]
        with Wire(server.address) as wire:
            assert invalidations(wire, tids[-1]) is None
            assert invalidations(wire, last) == (last, set())
        server.wait_for_log(LOST)
        server.stop()


def test_changes_of_a_demostorage_are_lost(serve, encoding):
    """But not those who have seen no more than the base."""
    base = filestorage('base.fs')
    with serve(base, encoding) as server:
        tids = commit_numbers(server, 3)
    storages = demostorage(base)
    with serve(storages, encoding) as server:
        lost = commit_numbers(server, 2, first=10)[-1]
    server = serve(storages, encoding)
    commit_numbers(server, 1, first=20)
    with Wire(server.address) as wire:
        last = wire.call('lastTransaction')
        assert invalidations(wire, lost) is None
        assert invalidations(wire, last) == (last, set())
        # As far as the queue of a DemoStorage reaches.
        assert invalidations(wire, tids[-1]) == (last, {20})


@pytest.mark.parametrize('is_running', [True, False], ids=['running', 'started'])
def test_clients_of_a_fan_out_server(serve, tmp_path, is_running):
    """It learns from its upstream server that both have seen what was lost."""
    upstream = Upstream(tmp_path / 'up')
    between = FanOut(tmp_path / 'between', upstream.address, settings='cache-path cache.zec')
    db = open_db(between)
    add(db, balance=100, other=0)
    upstream.stop()
    shutil.copy('up/up.fs', 'backup.fs')
    upstream.start()
    wait_until(lambda: tried(change, db, 'balance', 1))
    assert values(db) == {'balance': 1, 'other': 0}
    if not is_running:
        between.stop()
    upstream.stop()
    shutil.copy('backup.fs', 'up/up.fs')
    os.remove('up/up.fs.index')
    with serve(filestorage('up/up.fs')) as elsewhere:
        new = open_db(elsewhere)
        change(new, 'other', 2)
        new.close()
    upstream.start()
    if not is_running:
        between.start()
    wait_until(lambda: tried(values, db) == {'balance': 100, 'other': 2})
    upstream.server.wait_for_log(LOST)
    db.close()
    between.stop()
    upstream.stop()


def tried(call, *args):
    """The result, unless the server is away."""
    try:
        return call(*args)
    except TransientError:
        return None
