"""Packs as clients see them, and when the server is killed in the middle of one."""
import contextlib
import os
import random
import threading
import time

import pytest
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from persistent.TimeStamp import TimeStamp
from support.clients import impatient_client
from support.server import wait_until
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ServerException
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.scripts import fstest
from ZODB.utils import p64


def test_clients_learn_the_new_sizes(serve, encoding):
    server = serve(encoding=encoding)
    packer, other = ClientStorage(server.address), ClientStorage(server.address)
    db = ZODB.DB(packer)
    with db.transaction() as connection:
        connection.root()['garbage'] = PersistentMapping()
    with db.transaction() as connection:
        del connection.root()['garbage']
    size = packer.getSize()
    garbage = p64(1)
    packer.pack(time.time(), wait=True)
    assert len(packer) == 1
    assert packer.getSize() < size
    wait_until(lambda: len(other) == 1)
    assert other.getSize() == packer.getSize()
    # From the server, not from the cache of the client that wrote it.
    with pytest.raises(POSKeyError):
        other.loadBefore(garbage, p64(1 << 62))
    assert os.path.exists('Data.fs.old')
    other.close()
    db.close()
    fstest.check('Data.fs')


@pytest.mark.ours_only('it forgets the transaction, and refuses the client')
def test_caches_are_not_ahead_of_a_packed_file(serve, encoding):
    """Also if the last transaction has written nothing but garbage."""
    server = serve(encoding=encoding)
    db = ZODB.DB(ClientStorage(server.address, client='persistent', var='.'))
    with db.transaction() as connection:
        connection.root()['a'] = 1
    with db.transaction() as connection:
        connection.add(PersistentMapping())
    last = db.lastTransaction()
    db.storage.pack(time.time() + 1, wait=True)
    assert len(db.storage) == 1
    db.close()
    server.stop()
    storage = FileStorage('Data.fs')
    assert storage.lastTransaction() == last and len(storage) == 1
    assert [transaction.tid for transaction in storage.iterator()][-1] == last
    storage.close()
    server = serve(encoding=encoding)
    with contextlib.closing(ZODB.DB(ClientStorage(server.address, client='persistent', var='.'))) as db:
        assert db.lastTransaction() == last and db.open().root()['a'] == 1


@pytest.mark.ours_only('the pack fails')
def test_nothing_is_undone_meanwhile(serve, encoding):
    """A pack does not see that what is undone beside it refers to what it removes."""
    server = serve(encoding=encoding)
    db = ZODB.DB(ClientStorage(server.address))
    # A pack may be over before the next attempt.
    deleted = next(filter(None, (undo_beside_a_pack(db, server) for _ in range(20))))
    db.storage.tpc_finish(try_to_undo(db.storage, deleted))
    newcomer = ZODB.DB(ClientStorage(server.address))
    assert newcomer.open().root()['a']['below']['x'] == 1
    newcomer.close()
    db.close()


def undo_beside_a_pack(db, server):
    """A transaction whose undo was refused while the server packed; None if that was over too early."""
    with db.transaction() as connection:
        connection.root()['many'] = [PersistentMapping(x='x' * 4000) for n in range(4000)]
    filled = TimeStamp(db.lastTransaction()).timeTime()
    with db.transaction() as connection:
        connection.root()['a'] = PersistentMapping(below=PersistentMapping(x=1))
    with db.transaction() as connection:
        del connection.root()['a']
    [deleted] = db.undoInfo(0, 1)
    packer = ClientStorage(server.address)
    packing = threading.Thread(target=packer.pack, args=(filled, True))
    packing.start()
    txn = True
    while packing.is_alive() and (txn := try_to_undo(db.storage, deleted)):
        db.storage.tpc_abort(txn)
    packing.join()
    packer.close()
    return None if txn else deleted


def try_to_undo(storage, info):
    """A transaction that has voted; None if it is refused."""
    storage.tpc_begin(txn := TransactionMetaData())
    try:
        storage.undo(info['id'], txn)
        storage.tpc_vote(txn)
        return txn
    except ServerException as why:
        assert 'database maintenance' in str(why)
        storage.tpc_abort(txn)


@pytest.mark.parametrize('round_', range(2))
def test_killed_in_a_pack(round_, serve, encoding):
    """Clients commit and one packs, until the server is killed: all that was acknowledged
    is there. Several times on one file."""
    rng = random.Random(round_)
    acknowledged = [0] * 3
    for _ in range(3):
        server = serve(encoding=encoding)
        prepare(server)
        packs = []
        threads = [threading.Thread(target=count_up, args=(server, n, acknowledged))
                   for n in range(3)]
        threads.append(threading.Thread(target=pack_on, args=(server, packs)))
        for thread in threads:
            thread.start()
        wait_until(lambda: packs)
        time.sleep(rng.random() / 4)
        server.kill()
        for thread in threads:
            thread.join()
        check(acknowledged)
    server = serve(encoding=encoding)
    client = ClientStorage(server.address)
    client.pack(time.time(), wait=True)
    client.close()
    server.stop()
    check(acknowledged)
    assert not os.path.exists('Data.fs.pack')


def prepare(server):
    db = ZODB.DB(ClientStorage(server.address))
    with db.transaction() as connection:
        for number in range(3):
            connection.root().setdefault(number, PersistentMapping(count=0, copy=0))
    db.close()


def count_up(server, number, acknowledged):
    """Counts in an object of its own, with garbage, until the server is gone."""
    db = ZODB.DB(impatient_client(server))
    manager = transaction.TransactionManager()
    try:
        counter = db.open(manager).root()[number]
        while True:
            count = counter['count'] + 1
            counter.update(count=count, copy=count, below=PersistentMapping(count=count))
            manager.commit()
            acknowledged[number] = count
    except Exception:
        manager.abort()
    finally:
        db.close()


def pack_on(server, packs):
    client = impatient_client(server)
    try:
        while True:
            # Some time back, so that there is something behind the pack time.
            client.pack(time.time() - .1, wait=True)
            packs.append(True)
    except Exception:
        pass
    finally:
        client.close()


def check(acknowledged):
    """With Python, which cuts off the transaction that was being written."""
    storage = FileStorage('Data.fs')
    db = ZODB.DB(storage)
    root = db.open().root()
    for number, least in enumerate(acknowledged):
        counter = root[number]
        count = counter['count']
        assert count in (least, least + 1)
        assert counter['copy'] == count
        if count:
            assert counter['below']['count'] == count
        acknowledged[number] = count
    db.close()
    fstest.check('Data.fs')
