"""A client of a server in the place of a RelStorage, for RelStorage's own tests."""
import os
import time
import types

from persistent.timestamp import TimeStamp
from ZEO.ClientStorage import ClientStorage, ClientStorageTransactionInformation
from ZODB.utils import p64, u64

# Keys of `<relstorage>` that tests set and that mean something to a server.
KEYS = 'pack_gc', 'pack_prepack_only', 'commit_lock_timeout'
# Greater numbers are tids, for RelStorage's packs.
LAST_TIME = 275085010696509852


class Transaction(ClientStorageTransactionInformation):
    """One whose records are there already."""

    def __iter__(self):
        return iter(self.records)


class Transactions(list):
    """All at once, which can be counted and closed, unlike those of a client."""

    def __next__(self):
        return self.pop(0)

    def __iter__(self):
        while self:
            yield self.pop(0)

    def close(self):
        self.clear()


class Client(ClientStorage):
    """What RelStorage has beside the interfaces of storages, as far as its tests need it."""

    # By how many seconds a pack to a tid is behind it: a float can't tell.
    slack = 1e-6
    _transaction = None
    _adapter = types.SimpleNamespace(WRITING_REQUIRES_EXCLUSIVE_LOCK=False,
                                     stats=types.SimpleNamespace(large_database_change=lambda: None))

    def __init__(self, address, directory):
        self.place = address, directory
        super().__init__(address, server_sync=True, blob_dir=directory)
        clear = self._cache.clear
        self._cache.clear = lambda load_persistent=None: clear()

    def new_instance(self):
        return Client(*self.place)

    def release(self):
        self.close()

    def cleanup(self):
        """There is nothing of its own."""

    afterCompletion = cleanup

    def poll_invalidations(self):
        self.ping()

    def lastTransactionInt(self):
        return u64(self.lastTransaction())

    def tpc_begin(self, transaction, *args):
        super().tpc_begin(transaction, *args)
        self._transaction = transaction

    def iterator(self, *limits):
        found = Transactions()
        for transaction in super().iterator(*limits):
            transaction.records = list(transaction)
            transaction.__class__ = Transaction
            found.append(transaction)
        return found

    def pack(self, t=None, referencesf=None):
        if t is None or t <= 0:
            t = time.time()
        elif t > LAST_TIME:
            t = TimeStamp(p64(int(t))).timeTime() + self.slack
        super().pack(t, referencesf, wait=True)
        # It may have garbage.
        self._cache.clear()


class InPlace:
    """The methods of a test that make storages."""

    driver_name = 'auto'

    def make_adapter(self, options):
        raise NotImplementedError

    get_adapter_class = get_adapter_zconfig = verify_adapter_from_zconfig = make_adapter

    def use(self, make_database, serve, directory):
        self.make_database, self.serve, self.directory = make_database, serve, directory

    def make_storage(self, zap=True, **options):
        """A server of its own, on a database of its own, or on that of the one before."""
        if zap:
            self.database = self.make_database(self.keep_history)
        lines = [f'{key.replace("_", "-")} {str(value).lower()}' for key, value in options.items() if key in KEYS]
        name = f'{self.directory}/{time.monotonic_ns()}'
        server = self.serve(storages=self.database.section(f'blob-dir {name}-server', *lines))
        return Client(server.address, os.path.abspath(f'{name}-client'))
