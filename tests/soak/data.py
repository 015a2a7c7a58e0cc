"""The data of a soak, and what must always be true of them.

Purses hold money that transfers move; the sum never changes. A counter counts transfers: every
transfer changes it, so it lives by the server's conflict resolution, and in the end it has to be
the number of transfers that were acknowledged, but for those that nobody got an answer to.
"""
import transaction
from BTrees.Length import Length
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping
from ZODB.DB import DB
from ZODB.utils import u64

from soak import blobs

PURSES = 60
EACH = 1000
TOTAL = PURSES * EACH
# Packs leave what was current some time ago, in seconds.
PACKED_AGE = 10


def create(storage, random):
    """Makes the purses, the counter and the blobs; returns the oids of the purses."""
    database = DB(storage)
    with database.transaction() as connection:
        root = connection.root()
        root['purses'] = PersistentList(PersistentMapping(balance=EACH) for _ in range(PURSES))
        root['transfers'] = Length()
        blobs.create(root, random)
    with database.transaction() as connection:
        oids = [purse._p_oid for purse in connection.root()['purses']]
    database.close()
    return oids


def balances(connection):
    return [purse['balance'] for purse in connection.root()['purses']]


def broken(connection):
    """What is wrong with the snapshot that this connection sees; None if nothing is."""
    found = balances(connection)
    if sum(found) != TOTAL:
        return f'{sum(found)} in all instead of {TOTAL}: {found}'
    return None


def transfer(connection, manager, random):
    """Moves some money between two purses, if there is enough."""
    purses = connection.root()['purses']
    giver, taker = random.sample(range(PURSES), 2)
    amount = random.randint(1, 100)
    if purses[giver]['balance'] < amount:
        return False
    purses[giver]['balance'] -= amount
    purses[taker]['balance'] += amount
    connection.root()['transfers'].change(1)
    manager.get().note(f'{amount} from {giver} to {taker}')
    return True


def judge(path, storage_class, at_least, at_most):
    """Python's verdict on the stopped file: a list of faults."""
    faults = []
    storage = storage_class(path, read_only=True)
    last = b''
    for txn in storage.iterator():
        if txn.tid <= last:
            faults.append(f'tid {u64(txn.tid):x} is not later than {u64(last):x}')
        last = txn.tid
        for _ in txn:
            pass
    if last != storage.lastTransaction():
        faults.append('the last transaction is not the last one of the file')
    database = DB(storage)
    connection = database.open(transaction.TransactionManager())
    fault = broken(connection)
    if fault:
        faults.append(fault)
    transfers = connection.root()['transfers']()
    if not at_least <= transfers <= at_most:
        faults.append(f'{transfers} transfers in the file, but {at_least} to {at_most} were made')
    connection.close()
    database.close()
    return faults, transfers
