"""The clients of one process: each in a thread of its own, with a connection of its own."""
import contextlib
import logging
import os
import random
import threading
import time
import traceback
import zlib

import transaction
from hostile.clients import TXN, Hostile, record
from support.certificates import client_context
from support.server import PATIENCE
from support.wire import Wire, WireError
from ZEO.Exceptions import ClientDisconnected, ServerException
from ZODB.DB import DB
from ZODB.POSException import (ConflictError, POSKeyError, ReadConflictError,
                               StorageTransactionError, UndoError)
from ZODB.utils import p64, z64

from soak import blobs, data
from soak.restarts import CUT, Tolerant, real_client

# Places in the counters that the processes share.
ACTIONS = ['transfer', 'check', 'undo', 'iterate', 'look_back', 'stall', 'die', 'annoy',
           'reconnect', 'write_blob', 'read_blob', 'undo_blob', 'break_upload']
COUNTERS = ['begun', 'done', 'failed', 'undo_begun', 'undone', 'undo_failed', 'conflicts',
            'disconnected', 'blobs_written', 'blobs_undone', 'packed', 'restarted', *ACTIONS]
WEIGHTS = [40, 25, 4, 3, 4, 3, 5, 4, 3, 12, 20, 2, 6]
NOW = b'\x7f' + b'\xff' * 7


def run(number, threads, address, oids, counters, problems, stop, pace, seed, restarts,
        certificates):
    """The life of a worker process. With certificates, its own and the server's, over TLS."""
    Wire.context = client_context(*certificates) if certificates else None
    logging.getLogger('ZEO').setLevel(logging.CRITICAL + 1)  # what fails here fails on purpose
    logging.getLogger('ZODB').setLevel(logging.CRITICAL + 1)
    logging.getLogger('txn').setLevel(logging.CRITICAL + 1)
    workers = [Client(f'{number}-{each}', address, oids, counters, problems, stop, pace,
                      random.Random(f'{seed} {number} {each} {os.getpid()}'), restarts)
               for each in range(threads)]
    running = [threading.Thread(target=worker.live, daemon=True) for worker in workers]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


class Client:
    """One client: does one thing after another until it is told to stop."""

    def __init__(self, name, address, oids, counters, problems, stop, pace, rng, restarts):
        self.name, self.address, self.oids = name, address, oids
        self.counters, self.problems, self.stop = counters, problems, stop
        self.pace, self.random, self.tolerant = pace, rng, Tolerant(restarts, self.confirm)
        self.manager = transaction.TransactionManager()
        self.last_transfer = None
        self.database = None

    def live(self):
        try:
            while not self.stop.is_set():
                action = self.random.choices(ACTIONS, WEIGHTS)[0]
                if self.database is None:
                    self.tolerant.attempt(self.connect)
                    continue
                done = self.tolerant.attempt(getattr(self, action))
                self.count(action if done else 'restarted')
                time.sleep(self.random.expovariate(1 / self.pace))
            self.close()
        except ClientDisconnected:
            if not self.stop.is_set():
                self.report(traceback.format_exc())
        except Exception:
            self.report(traceback.format_exc())

    def connect(self):
        # Half of them keep a cache on disk, and verify it each time.
        cache = {'client': f'cache-{self.name}', 'var': '.'} if zlib.crc32(self.name.encode()) % 2 else {}
        storage = real_client(self.address, wait_timeout=PATIENCE, cache_size=200_000, **cache,
                              **self.blob_cache())
        try:
            self.database = DB(storage, pool_size=2)
        except BaseException:
            storage.close()
            raise

    def confirm(self):
        self.database.storage.ping()

    def close(self):
        if self.database is not None:
            database, self.database = self.database, None
            database.close()

    def blob_cache(self):
        """Each third has all blobs that it has seen, those seen last, or the server's directory."""
        kind = zlib.crc32(self.name[::-1].encode()) % 3
        if kind == 0:
            return {'blob_dir': 'blobs', 'shared_blob_dir': True}
        limit = {'blob_cache_size': 300_000, 'blob_cache_size_check': 50} if kind == 1 else {}
        return {'blob_dir': f'blobs-{self.name}', **limit}

    def count(self, name, by=1):
        place = COUNTERS.index(name)
        with self.counters.get_lock():
            self.counters[place] += by

    def report(self, what):
        self.problems.put(f'client {self.name}: {what}')
        self.stop.set()

    @contextlib.contextmanager
    def open(self):
        """A connection in a new transaction, which is aborted unless it is committed."""
        connection = self.database.open(self.manager)
        try:
            self.manager.begin()
            begun = time.monotonic()
            yield connection
        except (POSKeyError, ReadConflictError):
            # A pack may take what a snapshot sees that is older than its time.
            if time.monotonic() - begun < data.PACKED_AGE / 2:
                raise
            self.count('packed')
        finally:
            self.manager.abort()
            connection.close()

    def transfer(self):
        with self.open() as connection:
            if not data.transfer(connection, self.manager, self.random):
                return
            self.count('begun')
            try:
                self.manager.commit()
            except ConflictError:
                self.count('conflicts')
                self.count('failed')
            except (ClientDisconnected, StorageTransactionError):
                self.count('disconnected')  # whether it is there, the end will show
            else:
                self.count('done')
                self.last_transfer = connection.root()['transfers']._p_serial

    def check(self):
        """All of one snapshot; what is cached, and what others have just changed."""
        for _ in range(3):
            with self.open() as connection:
                fault = data.broken(connection)
                if fault:
                    self.report(fault)

    def undo(self):
        """Takes back one of the last transfers, unless others have built upon it."""
        log = self.database.undoLog(0, 30)
        wanted = [entry['id'] for entry in log if b' from ' in entry['description'].encode()]
        if not wanted:
            return
        self.count('undo_begun')
        self.take_back(self.random.choice(wanted[:3]), 'undone', 'undo_failed')

    def take_back(self, id, done, failed):
        try:
            self.manager.begin()
            self.database.undo(id, self.manager.get())
            self.manager.commit()
        except (UndoError, ConflictError, POSKeyError):
            self.count(failed)
            self.manager.abort()
        except ServerException as error:
            # What is packed, when that takes long: ZEO's client knows no better.
            if 'UndoError' not in str(error):
                raise
            self.count(failed)
            self.manager.abort()
        except (ClientDisconnected, StorageTransactionError):
            self.count('disconnected')
            self.manager.abort()
        else:
            self.count(done)

    def undo_blob(self):
        log = self.database.undoLog(0, 30)
        wanted = [entry['id'] for entry in log if b'on shelf' in entry['description'].encode()]
        if wanted:
            self.take_back(self.random.choice(wanted[:3]), 'blobs_undone', 'conflicts')

    def write_blob(self):
        with self.open() as connection:
            try:
                blobs.write(connection, self.manager, self.random)
                if self.random.random() < 0.1:
                    return
                self.manager.commit()
                self.count('blobs_written')
            except ConflictError:
                self.count('conflicts')
            except (ClientDisconnected, StorageTransactionError):
                self.count('disconnected')

    def read_blob(self):
        with self.open() as connection:
            fault = blobs.broken(connection, self.random)
            if fault:
                self.report(fault)

    def break_upload(self):
        """Uploads a blob that is not committed."""
        client = self.hostile()
        try:
            if blobs.upload(client, TXN, self.random) and self.random.random() < 0.7:
                client.call('vote', TXN)
                if self.random.random() < 0.5:
                    client.call('tpc_abort', TXN)
        except CUT:
            self.count('disconnected')  # its time ran out
        finally:
            client.reset() if self.random.random() < 0.5 else client.close()

    def iterate(self):
        """The transactions since the client's last transfer, with their records."""
        if self.last_transfer is None:
            return
        last = z64
        for number, txn in enumerate(self.database.storage.iterator(self.last_transfer)):
            if txn.tid <= last:
                self.report('tids do not grow in an iteration')
            last = txn.tid
            if sum(1 for _ in txn) == 0 or number > 30:
                break

    def look_back(self):
        oid = self.random.choice(self.oids)
        revisions = [entry['tid'] for entry in self.database.history(oid, 20)]
        if revisions != sorted(revisions, reverse=True):
            self.report(f'the history of {oid!r} is out of order')
        self.database.undoInfo(0, -20)

    def reconnect(self):
        self.close()
        self.connect()

    def hostile(self):
        return Hostile(self.address, timeout=PATIENCE)

    def voted(self):
        """A bare client that has voted for a purse as it is, and so holds its lock; or None."""
        client = self.hostile()
        oid = self.random.choice(self.oids)
        try:
            contents, serial, _ = client.load(oid)
            client.begin()
            client.store(oid, contents, serial)
            client.call('vote', TXN)
            return client
        except (WireError, *CUT):
            client.close()
            return None

    def stall(self):
        """Holds up others for a while, and aborts, or is timed out."""
        client = self.voted()
        if client is None:
            return
        time.sleep(self.random.choice([0.05, 0.3, 1, 3.5]))
        try:
            client.call('tpc_abort', TXN)
        except CUT:
            pass
        client.close()

    def die(self):
        """Ends a connection in the middle of something."""
        how = self.random.randrange(4)
        client = self.voted() if how == 0 else self.hostile()
        if client is None:
            return
        if how == 1:
            client.begin()
            client.store(self.random.choice(self.oids), record())
        elif how == 2:
            for oid in self.oids:
                client.request('loadBefore', oid, NOW)
        elif how == 3:
            client.begin()
            client.store(self.random.choice(self.oids), record(), p64(1))
            client.request('vote', TXN)
        client.reset() if self.random.random() < 0.5 else client.close()

    def annoy(self):
        """Sends what no client should."""
        client = self.hostile()
        try:
            kind = self.random.randrange(4)
            if kind == 0:
                client.send(self.random.randbytes(200))
            elif kind == 1:
                client.attempt('no_such_method')
            elif kind == 2:
                client.attempt('getTid', 5)
                client.attempt('vote', TXN)
            else:
                client.send_bytes(b'\x00\x01\x00\x00' + self.random.randbytes(100))
        finally:
            client.close()
