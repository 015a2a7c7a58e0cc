"""How PostgreSQL looks for what servers ask for."""
import contextlib
import os
import re

import pytest
from support.server import is_python, wait_until
from ZEO.ClientStorage import ClientStorage
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

OBJECTS = 3000
COMMITS = 20
PICKLE = b'N.N.'
FAR = b'\x7f' * 8
# Transactions of one object that PostgreSQL has seen when it plans.
FEW = 200
LOADS = 200


def commit(storage, serials, data):
    """Stores these objects in one transaction; its tid."""
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    for oid, serial in serials.items():
        storage.store(oid, serial, data, '', txn)
    storage.tpc_vote(txn)
    return storage.tpc_finish(txn)


def test_no_table_or_index_is_read_through(serve, database):
    """After a large transaction, PostgreSQL believes that each has thousands of objects."""
    server = serve(storages=database.section('cache-local-mb 0'))
    storage = ClientStorage(server.address)
    oids = [p64(oid) for oid in range(OBJECTS)]
    tid = commit(storage, dict.fromkeys(oids, z64), b'x' * 1000)
    storage.close()
    server.stop()
    database.sql('VACUUM ANALYZE')
    before, read = seq_scans(database), entries_read(database)
    server, other = (serve(storages=database.section('cache-local-mb 0')) for _ in range(2))
    storage = ClientStorage(server.address)
    listener = ClientStorage(other.address)
    for oid in oids[-20:]:
        storage.loadBefore(oid, b'\x7f' * 8)
        tid = commit(storage, {oid: storage.getTid(oid)}, b'y')
    wait_until(lambda: listener.lastTransaction() == tid)
    storage.close()
    listener.close()
    server.stop()
    other.stop()
    after = seq_scans(database)
    assert {name: after[name] - before[name] for name in after} == dict.fromkeys(after, 0)
    # Both servers look for the last transactions when they start.
    assert entries_read(database) - read < 10 * OBJECTS


class Steps:
    """What is done with a large transaction, each by a server that has just been started."""

    def __init__(self, keep_history):
        self.keep_history, self.tids = keep_history, []
        self.oids = [p64(FEW + number) for number in range(OBJECTS)]
        self.names = ['store', 'store', 'load', 'iterate', *(['undo'] if keep_history else [])]

    def store(self, storage):
        before = self.tids[-1] if self.tids else z64
        self.tids.append(commit(storage, dict.fromkeys(self.oids, before), PICKLE))

    def load(self, storage):
        first, last = self.tids
        for oid in self.oids[-LOADS:]:
            assert storage.loadBefore(oid, FAR)[1:] == (last, None)
            assert storage.loadSerial(oid, last) == PICKLE
            assert [entry['tid'] for entry in storage.history(oid, 5)][0] == last
            if self.keep_history:
                assert storage.loadBefore(oid, last)[1:] == (first, last)

    def iterate(self, storage):
        for txn in storage.iterator(self.tids[-1]):
            assert sorted(record.oid for record in txn) == self.oids

    def undo(self, storage):
        txn = TransactionMetaData()
        storage.tpc_begin(txn)
        storage.undo(storage.undoLog(0, 1)[0]['id'], txn)
        storage.tpc_vote(txn)
        storage.tpc_finish(txn)


def test_statistics_lead_to_no_other_index(serve, database):
    """PostgreSQL has seen transactions of one object each, so that a tid seems to say as much as an oid."""
    section = database.section('cache-local-mb 0')
    server = serve(storages=section)
    with contextlib.closing(ClientStorage(server.address)) as storage:
        for number in range(FEW):
            commit(storage, {p64(number): z64}, PICKLE)
    server.stop()
    steps, read = Steps(database.keep_history), {}
    for table in seq_scans(database):
        database.sql(f'ALTER TABLE {table} SET (autovacuum_enabled = off)')
    database.sql('VACUUM ANALYZE')
    for name in steps.names:
        seq_scans(database)
        before = entries_read(database)
        server = serve(storages=section)
        with contextlib.closing(ClientStorage(server.address)) as storage:
            getattr(steps, name)(storage)
        server.stop()
        seq_scans(database)
        read[name] = entries_read(database) - before
    # Through all of a transaction for each of its objects, it would be some millions.
    assert max(read.values()) < 50 * OBJECTS, read


def test_no_workers_are_started(serve, database):
    """From some 60,000 objects on, PostgreSQL would start processes that help with each commit."""
    cluster = database.cluster
    for name in ('parallel_setup_cost', 'parallel_tuple_cost', 'min_parallel_table_scan_size',
                 'min_parallel_index_scan_size'):
        database.sql(f'ALTER DATABASE {database.name} SET {name} = 0')
    # It makes the tables, with workers.
    server = serve(storages=database.section('cache-local-mb 0'))
    storage = ClientStorage(server.address)
    cluster.set('log_min_messages', 'debug1')
    try:
        with open(f'{cluster.directory}/log') as log:
            log.seek(0, os.SEEK_END)
            oids = [p64(oid) for oid in range(OBJECTS)]
            tid = commit(storage, dict.fromkeys(oids, z64), PICKLE)
            for oid in oids[:COMMITS]:
                commit(storage, {oid: tid}, PICKLE)
                storage.loadBefore(oid, tid)
            assert 'starting background worker' not in log.read()
            database.sql('SELECT count(*) FROM object_state')
            assert 'starting background worker' in log.read()
            storage.pack(None, None, True)
            storage.close()
            assert 'starting background worker' not in log.read()
    finally:
        cluster.set('log_min_messages', 'warning')


def test_a_commit_asks_twice(serve, database):
    """Once for its locks and serials, and once to be written; what it has locked waits for the next one."""
    database.sql(f"ALTER DATABASE {database.name} SET log_statement = 'all'")
    server = serve(storages=database.section())
    storage = ClientStorage(server.address)
    tid = commit(storage, {p64(1): z64}, b'x')
    with open(f'{database.cluster.directory}/log') as log:
        log.seek(0, os.SEEK_END)
        for _ in range(COMMITS):
            tid = commit(storage, {p64(1): tid}, b'y')
        asked = re.findall(r'\[(\d+)\] LOG:  (?:execute \S+|statement): (.*)', log.read())
    ours = database.sql("SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                        "AND application_name IN ('rzeo: commit', 'rzeo: lock')")
    storage.close()
    calls = [re.sub(r'.*pg_temp\.(\w+)\(.*', r'\1', statement) for pid, statement in asked if pid in ours]
    # The look at the locks behind the commit goes out with it.
    look = [call for call in calls if call.startswith('SELECT x FROM unnest')]
    assert [calls.count(name) for name in ('rzeo_lock', 'rzeo_finish', *set(look))] == [COMMITS] * 3
    # What no vote has unlocked in time, a thread does.
    assert set(calls) - {'rzeo_lock', 'rzeo_finish', *look} <= {'SELECT'}


def seq_scans(database):
    """How often each table was read through: connections have counted it when they have gone."""
    wait_until(lambda: database.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                                    "AND application_name LIKE 'rzeo%'") == ['0'])
    rows = database.sql("SELECT relname, seq_scan FROM pg_stat_user_tables "
                        "WHERE relname IN ('transaction', 'object_state', 'current_object')")
    return {name: int(count) for name, count in (row.split('|') for row in rows)}


def entries_read(database):
    """How many entries of indexes were looked at."""
    return int(*database.sql('SELECT sum(idx_tup_read) FROM pg_stat_user_indexes'))
