"""RelStorage's own tests of what is committed in the middle of a pack, which is here one by a server.

The changes are made by a client of this server, or by a RelStorage, before each statement of the pack in turn. That
takes minutes: with RZEO_RELSTORAGE_CHECKS in the environment; else, before some.
"""
import itertools
import os
import threading
import time
import types
import unittest

import pytest
from relstorage.tests import packundo
from support.server import is_python
from ZEO.ClientStorage import ClientStorage

from postgres.conftest import Database
from postgres.in_place import Client, InPlace
from postgres.proxy import Proxy
from postgres.test_pack import check

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

KINDS = {'history': packundo.HistoryPreservingTestPack, 'free': packundo.HistoryFreeTestPack}
# check_refs=True is an option of RelStorage's pack.
HOOKS = 'on_filling_object_refs_added', 'on_fill_object_ref_batch', 'fill_object_refs_batch_size'
SYNC = b'S\0\0\0\4'
# Before all statements of a pack; or before some, by the method in which objects move in the middle.
ALL = 'RZEO_RELSTORAGE_CHECKS' in os.environ
SOME, STEP = 'test_pack_when_object_ref_moved_during_prepack', 9
CASES = [(kind, method, writer) for kind, base in KINDS.items() for method in dir(base)
         if (method.startswith('test_pack_when') if ALL else method == SOME) for writer in ('client', 'relstorage')]
# Who waits for a lock of the pack longer than this goes on after the pack.
WAIT = 0.5


class Holding(Proxy):
    """Calls `act` before the n-th statement of packs."""

    counted = b'rzeo: pack'

    def breaks(self, pair, message):
        with self.lock:
            self.left -= message[:1] == b'Q' or message == SYNC
            act, self.act = (self.act, None) if self.left == 0 else (None, self.act)
        if act:
            act()
        return False


class Packs:
    """Packs by a server of what the test calls its storage, with the test's hooks."""

    def __init__(self, server, proxy):
        self.server, self.proxy = server, proxy
        self.number, self.is_over = 0, False
        # What the tests set their hooks on.
        self.hooks = None

    def __call__(self, *_):
        threads = []

        def act():
            thread = threading.Thread(target=self.call_hooks)
            threads.append(thread)
            thread.start()
            thread.join(WAIT)

        self.proxy.arm(self.number, act=act)
        client = ClientStorage(self.server.address)
        client.pack(time.time(), None, True)
        client.close()
        for thread in threads:
            thread.join()
        self.is_over = not threads
        if self.is_over:
            self.call_hooks()

    def forget_hooks(self):
        for name in HOOKS:
            vars(self.hooks).pop(name, None)

    def call_hooks(self):
        """As RelStorage's pack of the first objects does, each in a batch of its own if the test says so."""
        hooks, oids = vars(self.hooks), packundo.TestPackBase.OID_INITIAL_SET
        if HOOKS[0] in hooks:
            hooks[HOOKS[0]]()
        if HOOKS[1] in hooks:
            size = hooks.get(HOOKS[2], len(oids))
            for first in range(0, len(oids), size):
                hooks[HOOKS[1]](oid_batch=list(oids[first:first + size]), num_refs_found=3)


@pytest.mark.parametrize('kind, method, writer', CASES)
def test_pack(kind, method, writer, serve, cluster, tmp_path):
    base = KINDS[kind]
    database = Database(cluster, kind == 'history')
    proxy = Holding(cluster)
    dsn, database.dsn = database.dsn, f"host=127.0.0.1 port={proxy.port} user=zodb sslmode=disable dbname='{database.name}'"
    server = serve(storages=database.section('cache-local-mb 0'))
    database.dsn = dsn
    packs = Packs(server, proxy)

    class Case(InPlace, base):
        def make_storage(self, *_, **__):
            if writer == 'client':
                storage = Client(server.address, str(tmp_path / 'client'))
                storage._adapter = types.SimpleNamespace(packundo=types.SimpleNamespace())
            else:
                storage = database.open()
            storage.pack, storage.load = packs, self.load
            packs.hooks = storage._adapter.packundo
            return storage

        @staticmethod
        def load(oid, version):
            """By one that has nothing in memory."""
            storage = database.open()
            try:
                return storage.load(oid, version)
            finally:
                storage.close()

        def all(self):
            for packs.number in itertools.count(1, 1 if ALL else STEP):
                packs.forget_hooks()
                getattr(self, method)()
                if packs.is_over:
                    break

    result = unittest.TestResult()
    Case('all').run(result)
    for _, text in result.errors + result.failures:
        pytest.fail(f'at statement {packs.number}:\n{text}', pytrace=False)
    assert packs.number > 10
    proxy.close()
    check(database)
