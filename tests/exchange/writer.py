"""Writes transactions through ZODB's storage interface, and remembers them.

The same calls work on a FileStorage and on a ClientStorage, so every shape of
history can be written by Python directly or through the server under test.
"""
import io
from base64 import encodebytes

from persistent.TimeStamp import TimeStamp
from ZODB._compat import PersistentPickler
from ZODB.Connection import TransactionMetaData
from ZODB.tests.MinPO import MinPO
from ZODB.utils import p64, u64, z64

EPOCH = TimeStamp(2020, 1, 2, 3, 4, 5).raw()
SECOND = (1 << 32) // 60  # the low half of a tid counts the fraction of a minute


class Writer:
    """Wraps a storage. With `explicit_tids`, transactions get tids from a clock of our own,
    so that two writers that make the same calls make the same file, byte for byte."""

    def __init__(self, storage, explicit_tids=True):
        self.storage = storage
        self.explicit_tids = explicit_tids
        self.current = {}   # the model: oid -> data, None when there is no object
        self.serials = {}   # oid -> tid of its last revision
        self.tids = []
        self._before = {}   # (tid, oid) -> what the object was before that transaction

    def begin(self, user='', description='', extension=None, status=' '):
        """Starts a transaction; returns its metadata object."""
        txn = TransactionMetaData(user, description, extension)
        if self.explicit_tids:
            self.storage.tpc_begin(txn, self.next_tid(), status)
        else:
            self.storage.tpc_begin(txn)
        return txn

    def next_tid(self):
        """A tid one second after that of the last transaction, or EPOCH."""
        return p64(u64(self.tids[-1]) + SECOND) if self.tids else EPOCH

    def finish(self, txn, changes):
        """Votes and finishes; `changes` is what the transaction did, oid -> data or None."""
        self.storage.tpc_vote(txn)
        tid = self.storage.tpc_finish(txn)
        self.tids.append(tid)
        for oid, data in changes.items():
            self._before[tid, oid] = self.current.get(oid)
            self.current[oid] = data
            self.serials[oid] = tid
        return tid

    def commit(self, *records, **metadata):
        """One transaction that stores (number of the object, data) pairs; returns its tid."""
        txn = self.begin(**metadata)
        for number, data in records:
            oid = p64(number)
            self.storage.store(oid, self.serials.get(oid, z64), data, '', txn)
        return self.finish(txn, {p64(number): data for number, data in records})

    def undo(self, *tids, **metadata):
        """One transaction that undoes others, in the order given."""
        txn = self.begin(**metadata)
        changes = {}
        for tid in tids:
            self.storage.undo(encodebytes(tid).rstrip(), txn)
            changes.update({oid: before for (t, oid), before in self._before.items() if t == tid})
        return self.finish(txn, changes)

    def delete(self, *numbers):
        """One transaction that deletes objects."""
        txn = self.begin()
        for number in numbers:
            self.storage.deleteObject(p64(number), self.serials[p64(number)], txn)
        return self.finish(txn, {p64(number): None for number in numbers})

    def restore(self, *records, **metadata):
        """One transaction that restores (number, data or None, tid of the source or None)."""
        txn = self.begin(**metadata)
        for number, data, source in records:
            self.storage.restore(p64(number), self.next_tid(), data, '', source, txn)
        return self.finish(txn, {p64(number): data for number, data, _ in records})

    def abort(self, *records):
        """A transaction that stores, votes and is given up."""
        txn = self.begin()
        for number, data in records:
            oid = p64(number)
            self.storage.store(oid, self.serials.get(oid, z64), data, '', txn)
        self.storage.tpc_vote(txn)
        self.storage.tpc_abort(txn)


def pickle_of(value, references=()):
    """A ZODB record: a MinPO object with a value and references to other objects."""
    out = io.BytesIO()
    oids = {id(r): p64(r.number) for r in references}
    pickler = PersistentPickler(lambda obj: oids.get(id(obj)), out, 3)
    pickler.dump((MinPO, None))
    pickler.dump({'value': value, 'references': list(references)})
    return out.getvalue()


class Reference:
    """Stands for a reference to the object with a number, in pickle_of."""

    def __init__(self, number):
        self.number = number
