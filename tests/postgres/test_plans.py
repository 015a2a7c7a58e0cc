"""How PostgreSQL looks for what commits and loads ask for."""
import pytest
from support.server import is_python, wait_until
from ZEO.ClientStorage import ClientStorage
from ZODB.Connection import TransactionMetaData
from ZODB.utils import p64, z64

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

OBJECTS = 3000


def commit(storage, serials, data):
    """Stores these objects in one transaction; its tid."""
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    for oid, serial in serials.items():
        storage.store(oid, serial, data, '', txn)
    storage.tpc_vote(txn)
    return storage.tpc_finish(txn)


def test_no_table_is_read_through(serve, database):
    """After a large transaction, PostgreSQL believes that each has thousands of objects."""
    server = serve(storages=database.section('cache-local-mb 0'))
    storage = ClientStorage(server.address)
    oids = [p64(oid) for oid in range(OBJECTS)]
    tid = commit(storage, dict.fromkeys(oids, z64), b'x' * 1000)
    storage.close()
    server.stop()
    database.sql('ANALYZE')
    before = seq_scans(database)
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


def seq_scans(database):
    """How often each table was read through: connections have counted it when they have gone."""
    wait_until(lambda: database.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                                    "AND application_name LIKE 'rzeo%'") == ['0'])
    rows = database.sql("SELECT relname, seq_scan FROM pg_stat_user_tables "
                        "WHERE relname IN ('transaction', 'object_state', 'current_object')")
    return {name: int(count) for name, count in (row.split('|') for row in rows)}
