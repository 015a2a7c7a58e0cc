"""Packs beside clients that load, undo, disconnect; `zeopack`; a server that is stopped meanwhile."""
import os
import random
import subprocess
import sys
import threading
import time

import pytest
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from support.configuration import filestorage, mappingstorage
from support.server import PATIENCE, wait_until
from support.wire import Wire
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ServerException
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError, ReadConflictError
from ZODB.scripts import fstest
from ZODB.utils import p64, z64

DAY = 86400


@pytest.fixture
def connect():
    """Makes clients, and closes them in the end."""
    clients = []

    def connect(server, **options):
        options.setdefault('wait_timeout', PATIENCE)
        clients.append(ClientStorage(getattr(server, 'address', server), **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def fill(client, changes=5):
    """A root that was changed so often, and an object that is garbage. Keeps the client open."""
    db = ZODB.DB(client)
    connection = db.open()
    root = connection.root()
    root['garbage'] = PersistentMapping()
    transaction.commit()
    del root['garbage']
    for count in range(changes):
        root['count'] = count
        transaction.commit()
    connection.close()
    return db


class Holding:
    """A client that has voted an undo and not finished: a pack has to wait for it, since it
    points back to a record that the pack might drop."""

    def __init__(self, client):
        self.client, self.meta = client, TransactionMetaData()
        last = client.undoLog(0, 1)[0]['id']
        client.tpc_begin(self.meta)
        client.undo(last, self.meta)
        client.tpc_vote(self.meta)

    def finish(self):
        return self.client.tpc_finish(self.meta)


def in_background(function, *args, **kwargs):
    """Calls it in a thread; gives the thread and a list that gets the result or the exception."""
    results = []

    def run():
        try:
            results.append(function(*args, **kwargs))
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, results


def start_pack(server, client, wait=True):
    thread = in_background(client.pack, time.time(), wait=wait)
    with Wire(server.address) as wire:
        wait_until(lambda: 'packing' in wire.call('server_status'))
    return thread


@pytest.mark.ours_only('packs do not wait for prepared transactions')
def test_others_while_a_pack_runs(serve, connect, encoding):
    server = serve(encoding=encoding)
    packer, holder, other = (connect(server) for _ in range(3))
    fill(other)
    holding = Holding(holder)
    thread, result = start_pack(server, packer)
    # A second one is refused, with the words of Python.
    with pytest.raises(ServerException) as refused:
        other.pack(time.time(), wait=True)
    assert 'FileStorageError' in str(refused.value) and 'Already packing' in str(refused.value)
    other.pack(time.time(), wait=False)
    # Everything else goes on: reading, the undo log, history, commits of other objects.
    assert other.history(z64, 100)
    log = other.undoLog(0, 100)
    assert len(log) > 3
    meta = TransactionMetaData()
    other.tpc_begin(meta)
    other.store(p64(100), z64, other.load(z64)[0], '', meta)
    waiting, voted = in_background(other.tpc_vote, meta)
    assert not result
    holding.finish()
    thread.join()
    assert result == [None]
    waiting.join()
    assert voted and not isinstance(voted[0], Exception)
    other.tpc_finish(meta)
    # What was packed can't be undone.
    with pytest.raises(Exception) as refused:
        other.tpc_begin(meta)
        other.undo(log[-1]['id'], meta)
        other.tpc_vote(meta)
    assert 'Undo' in type(refused.value).__name__ + str(refused.value)
    other.tpc_abort(meta)
    server.stop()
    fstest.check('Data.fs')


@pytest.mark.ours_only('packs do not wait for prepared transactions')
def test_a_pack_goes_on_without_its_client(serve, connect, encoding):
    server = serve(encoding=encoding)
    packer, holder, other = (connect(server) for _ in range(3))
    fill(other)
    size = other.getSize()
    holding = Holding(holder)
    start_pack(server, packer)
    packer.close()
    wait_until(lambda: 'disconnected' in server.log())
    holding.finish()
    wait_until(lambda: 'complete' in server.log())
    wait_until(lambda: other.getSize() < size)
    server.stop()
    fstest.check('Data.fs')


@pytest.mark.ours_only('packs do not wait for prepared transactions')
def test_stopped_in_a_pack(serve, connect, encoding):
    """Promptly, and with the old file or the new one, whole, and nothing else left behind. (The
    end of the client for which the pack waits may come before its own.)"""
    server = serve(encoding=encoding)
    packer, holder = connect(server), connect(server)
    fill(holder)
    Holding(holder)
    start_pack(server, packer)
    server.stop()
    ended = 'the pack was stopped: the storage is being closed' in server.log()
    assert ended or 'complete' in server.log()
    names = os.listdir('.')
    assert 'Data.fs.pack' not in names and ended != ('Data.fs.old' in names)
    fstest.check('Data.fs')
    storage = FileStorage('Data.fs')
    assert len(storage) == (2 if ended else 1)
    storage.close()


def test_snapshots_beside_packs(serve, encoding):
    """Who has a snapshot reads in it what was current then, or is told that it is gone; never
    anything else. Packs are to some time back, as they should be."""
    server = serve(encoding=encoding)
    numbers = range(8)
    setup = ZODB.DB(ClientStorage(server.address))
    with setup.transaction() as connection:
        for number in numbers:
            connection.root()[number] = PersistentMapping(count=0)
    setup.close()
    stopped, failures, packs = threading.Event(), [], []

    def work(function, seed):
        # Without a cache all is loaded from the server.
        db = ZODB.DB(ClientStorage(server.address, cache_size=0), cache_size=0)
        manager = transaction.TransactionManager()
        try:
            while not stopped.is_set():
                begun = time.monotonic()
                try:
                    function(db, manager, random.Random(seed))
                except (POSKeyError, ReadConflictError):
                    # The snapshot may have become older than what packs keep.
                    if time.monotonic() - begun < 1:
                        raise
                    manager.abort()
        except Exception as error:
            failures.append(error)
        finally:
            manager.abort()
            db.close()

    def write(db, manager, rng):
        """All count together, so that each snapshot has equal counts."""
        connection = db.open(manager)
        root = connection.root()
        for number in numbers:
            root[number]['count'] += 1
            root[number]['garbage'] = PersistentMapping()
        manager.commit()
        connection.close()

    def read(db, manager, rng):
        connection = db.open(manager)
        root = connection.root()
        counts = []
        for number in rng.sample(numbers, len(numbers)):
            counts.append(root[number]['count'])
            time.sleep(.001)
        assert len(set(counts)) == 1, counts
        manager.abort()
        connection.close()

    def pack(db, manager, rng):
        db.storage.pack(time.time() - 3, wait=True)
        packs.append(True)

    threads = [threading.Thread(target=work, args=(function, seed)) for seed, function
               in enumerate([write, read, read, read, pack])]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 6
    try:
        wait_until(lambda: failures or (time.monotonic() > end and len(packs) > 1))
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    assert not failures
    server.stop()
    fstest.check('Data.fs')


def test_old_revisions_are_gone(serve, connect, encoding):
    server = serve(encoding=encoding)
    client, other = connect(server), connect(server)
    fill(client)
    first = other.history(z64, 100)[-2]['tid']
    before = other.loadBefore(z64, first)
    assert before
    client.pack(time.time(), wait=True)
    # From the server, not from the cache of the client.
    fresh = connect(server)
    assert fresh.loadBefore(z64, first) is None
    with pytest.raises(POSKeyError):
        fresh.loadSerial(z64, first)
    with pytest.raises(POSKeyError):
        fresh.loadBefore(p64(1), first)
    # Of one who has it in the cache, nothing is taken away.
    assert other.loadBefore(z64, first) == before


def test_days_and_times_to_come(serve, connect, encoding):
    server = serve(encoding=encoding)
    client = connect(server)
    db = fill(client)
    size = client.getSize()
    db.pack(days=1)
    client.pack(0, wait=True)
    client.pack(-1e9, wait=True)
    assert client.getSize() == size and len(client.undoLog(0, 100)) > 3
    client.pack(time.time() + 10 * DAY, wait=True)
    assert client.getSize() < size
    assert not client.undoLog(0, 100)
    for odd in [float('nan'), float('inf'), 1e300]:
        with pytest.raises(Exception):
            client.pack(odd, wait=True)
    client.pack(time.time(), wait=True)


def zeopack(*args):
    script = os.path.join(os.path.dirname(sys.executable), 'zeopack')
    done = subprocess.run([script, *args], timeout=PATIENCE, text=True, capture_output=True)
    return done.returncode, done.stdout + done.stderr


def test_zeopack(serve, connect, encoding):
    storages = [filestorage('One.fs'), filestorage('Two.fs', name='two'), mappingstorage('three')]
    path = os.path.abspath('socket')
    for address in ['127.0.0.1:0', path]:
        server = serve(''.join(storages), encoding=encoding, address=address)
        clients = {name: connect(server, storage=name) for name in ['1', 'two', 'three']}
        for client in clients.values():
            fill(client)
        sizes = {name: client.getSize() for name, client in clients.items()}

        def packed():
            """Which storages were packed since this was asked for the last time."""
            names = [name for name, client in clients.items() if client.getSize() < sizes[name]]
            sizes.update((name, client.getSize()) for name, client in clients.items())
            return names

        if address == path:
            unix = [['-u', path], ['-u', f'{path}:two'], ['-U', path, '-S', 'three']]
            targets = list(zip(unix, ['1', 'two', 'three'], strict=True))
        else:
            host, port = server.address
            base = f'{host}:{port}'
            targets = [([base], '1'), ([f'{base}:two'], 'two'),
                       (['-h', host, '-p', str(port), '-S', 'three'], 'three')]
        for arguments, name in targets:
            assert zeopack('-d', '1', *arguments) == (0, '')
            assert packed() == []
            if name != 'three':
                # Of a MappingStorage, Python and we refuse this.
                assert zeopack('-d', '1', '-t', '00:00', *arguments) == (0, '')
                assert packed() == []
            assert zeopack(*arguments) == (0, '')
            wait_until(lambda: packed() == [name])
        for client in clients.values():
            client.close()
        server.stop()
        for name in os.listdir('.'):
            if '.fs' in name:
                os.remove(name)
