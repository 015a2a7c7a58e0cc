"""What RelStorage's own tests ask of a storage, asked of servers on a database, and of RelStorage beside them."""
import contextlib
import time

import pytest
from support.server import is_python
from ZEO.ClientStorage import ClientStorage
from ZODB import DB
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import POSKeyError
from ZODB.serialize import referencesf
from ZODB.tests.MinPO import MinPO
from ZODB.tests.StorageTestBase import zodb_pickle
from ZODB.utils import p64, u64, z64

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')


@pytest.fixture
def connect(serve, database):
    """A function that opens a client of a new server on the database."""
    with contextlib.ExitStack() as stack:
        def connected():
            client = ClientStorage(serve(storages=database.section()).address, server_sync=True)
            return stack.enter_context(contextlib.closing(client))
        yield connected


@contextlib.contextmanager
def python(database):
    """A RelStorage that sees what is committed now."""
    with contextlib.closing(database.open()) as storage:
        yield storage


def vote(storage, records, meta=None):
    """Stores (oid, serial, state)s up to the vote; the transaction."""
    meta = meta or TransactionMetaData()
    storage.tpc_begin(meta)
    for oid, serial, state in records:
        storage.store(oid, serial, state, '', meta)
    storage.tpc_vote(meta)
    return meta


def commit(storage, records, meta=None):
    return storage.tpc_finish(vote(storage, records, meta))


def test_oids_that_somebody_has_chosen_are_not_given_away(connect, database):
    state = zodb_pickle(MinPO(1))
    client = connect()
    for oid in 15, 33_000, 1 << 62:
        commit(client, [(p64(oid), z64, state)])
        assert u64(connect().new_oid()) > oid
        with python(database) as storage:
            assert u64(storage.new_oid()) > oid


def test_what_is_said_of_a_transaction(connect, database):
    client = connect()
    user, description = 'jörg ☃', 'è' * 70_000
    meta = TransactionMetaData(user, description, {'digits': 3, 'who': 'ü'})
    tid = commit(client, [(z64, z64, zodb_pickle(MinPO(1)))], meta)
    with python(database) as storage:
        for each in client, storage:
            (entry,) = each.history(z64)
            assert entry['tid'] == tid
            if database.keep_history:
                said = {name: entry[name] for name in ('user_name', 'description', 'digits', 'who')}
                assert said == {'user_name': meta.user, 'description': meta.description,
                                'digits': 3, 'who': 'ü'}
                assert each.undoInfo()[0]['description'] == meta.description


def test_large_states_and_many_objects(connect, database):
    client = connect()
    records = [(client.new_oid(), z64, b'x' * size) for size in [16 << 20, *[1900] * 99]]
    tid = commit(client, records)
    with python(database) as storage:
        for each in connect(), storage.new_instance():
            if hasattr(each, 'poll_invalidations'):
                each.poll_invalidations()
            for oid, _, state in records:
                assert each.load(oid) == (state, tid)


def test_transactions_on_different_objects_do_not_wait_for_each_other(connect, database):
    one, two = connect(), connect()
    states = [zodb_pickle(MinPO(value)) for value in range(2)]
    oids = one.new_oid(), one.new_oid()
    before = commit(one, [(oid, z64, states[0]) for oid in oids])
    two.sync()
    voted = [vote(client, [(oid, before, states[1])]) for client, oid in zip((one, two), oids)]
    with python(database) as storage:
        third = commit(storage.new_instance(), [(z64, z64, states[0])])
        reader = storage.new_instance()
        reader.poll_invalidations()
        for each in one, two, reader:
            # Others read on what is about to be changed.
            assert [each.load(oid) for oid in oids] == [(states[0], before)] * 2
    tids = [client.tpc_finish(meta) for client, meta in zip((two, one), reversed(voted))]
    assert third < tids[0] < tids[1]
    for client in one, two:
        client.sync()
        assert [client.load(oid) for oid in oids] == [(states[1], tid) for tid in reversed(tids)]


def test_a_pack_that_finds_an_unreadable_record_removes_nothing(connect, database):
    client = connect()
    oid, lost = client.new_oid(), client.new_oid()
    with contextlib.closing(DB(connect())) as db, db.transaction() as connection:
        connection.root()['object'] = MinPO(1)
        connection.add(connection.root()['object'])
    client.sync()
    (referred,) = referencesf(client.load(z64)[0])
    serial = client.load(referred)[1]
    broken = b'\x80\x03brokenpickle'
    tid = commit(client, [(referred, serial, broken), (oid, z64, zodb_pickle(MinPO(2)))])
    with pytest.raises(Exception, match=f'0x{u64(referred):02x}|{referred.hex()}'):
        client.pack(time.time(), wait=True)
    assert client.load(referred) == (broken, tid)
    assert client.loadSerial(oid, tid)
    with pytest.raises(POSKeyError):
        client.load(lost)
