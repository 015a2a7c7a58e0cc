"""Makes testdata/history/: small FileStorage files in many shapes, each with a
JSON file of what Python's FileStorage answers about it.

    python make_history_data.py        (needs ZODB; run by hand)

All bytes are hex, tids and oids included. Tids are fixed, so the outcome is
the same every time.
"""
import json
import logging
import os
import pickle
import shutil
import sys
import tempfile
from base64 import decodebytes
from base64 import encodebytes

from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import MultipleUndoErrors
from ZODB.POSException import POSKeyError
from ZODB.POSException import UndoError
from ZODB.TimeStamp import TimeStamp
from ZODB.utils import p64
from ZODB.utils import u64

OUT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                   'history')
FIRST_TID = u64(TimeStamp(2024, 2, 29, 12, 0, 0.0).raw())
MAX_TID = b'\x7f' + b'\xff' * 7
UNDO_TID = p64(FIRST_TID + (10000 << 32))


def tid(n):
    """The n-th tid; the gaps between them widen."""
    return p64(FIRST_TID + (n * n << 32) + n)


def hexed(value):
    return None if value is None else value.hex()


def record(text):
    """A record of a class that can't be imported, as a conflict needs."""
    if text is None:
        return None
    return b'cnowhere\nThing\n.' + pickle.dumps(text, 3)


class Texts(list):
    """Record data, each kept once; answers name them by number."""

    def number(self, data):
        if data is None:
            return None
        if data.hex() not in self:
            self.append(data.hex())
        return self.index(data.hex())


class Script:
    """Commits transactions with fixed tids to a FileStorage."""

    def __init__(self, path):
        self.storage = FileStorage(path, create=True)
        self.n = 0
        self.serials = {}

    def __call__(self, *steps, user=b'', description=b'', extension=b''):
        self.n += 1
        txn = TransactionMetaData(user, description, extension)
        self.storage.tpc_begin(txn, tid(self.n))
        for what, *args in steps:
            getattr(self, what)(txn, *args)
        self.storage.tpc_vote(txn)
        self.storage.tpc_finish(txn)
        return tid(self.n)

    def store(self, txn, number, data):
        oid = p64(number)
        try:
            serial = self.storage.getTid(oid)
        except POSKeyError:
            # Gone objects keep the serial under which they went.
            serial = p64(0)
            if oid in self.storage._index:
                serial = self.storage.history(oid)[0]['tid']
        self.storage.store(oid, serial, record(data), '', txn)

    def delete(self, txn, number):
        oid = p64(number)
        self.storage.deleteObject(oid, self.storage.getTid(oid), txn)

    def restore(self, txn, number, data, prev_tid=None):
        self.storage.restore(
            p64(number), tid(self.n), record(data), '', prev_tid, txn)

    def undo(self, txn, undone):
        self.storage.undo(encoded(undone), txn)


def encoded(tid):
    return encodebytes(tid).rstrip()


def plain(path):
    commit = Script(path)
    commit(('store', 0, b'root'), description=b'initial')
    commit(('store', 1, b'one'), ('store', 2, b'two'),
           user=b'/ jim', description='caf\xe9'.encode(),
           extension={'key': 'value', 'n': [1, 2]})
    commit(('store', 1, b'first'), ('store', 1, b'second'))
    commit(user=b'nobody', description=b'nothing at all')
    commit(('store', 0x123456, b'x' * 5000))
    commit(('store', 2, b'two again'), ('store', 0xffffffffffffffff, b'max'))
    return commit.storage


def undone(path):
    commit = Script(path)
    commit(('store', 0, b'root'))
    a = commit(('store', 1, b'a1'), ('store', 2, b'b1'))
    b = commit(('store', 1, b'a2'))
    c = commit(('undo', b))
    d = commit(('undo', c))
    commit(('undo', d))
    e = commit(('store', 3, b'c1'), description=b'creation')
    f = commit(('undo', e), description=b'creation undone')
    commit(('undo', f), description=b'undo of that undone')
    g = commit(('store', 1, b'a3'), ('store', 3, b'c2'))
    h = commit(('store', 1, b'a4'))
    i = commit(('undo', h), ('undo', g), description=b'two at once')
    commit(('undo', i))
    j = commit(('store', 2, b'b2'))
    commit(('store', 2, b'b1'))
    commit(('store', 2, b'b2'), description=b'equal data')
    commit(('undo', j), description=b'works as data are equal')
    commit(('store', 4, b'd1'), ('store', 4, b'd2'))
    commit(('store', 4, b'd1'))
    commit(('store', 5, b'e1'), ('store', 5, b'e1'))
    k = commit(('store', 6, b'f1'))
    commit(('undo', k))
    commit(('store', 6, b'f2'), description=b'alive again')
    assert a
    return commit.storage


def packed(path):
    commit = Script(path)
    commit(('store', 0, b'root'))
    commit(('store', 1, b'a1'), ('store', 2, b'b1'), description=b'partly')
    b = commit(('store', 1, b'a2'))
    commit(('undo', b))
    commit(('store', 3, b'c1'))
    storage = commit.storage
    storage.pack(TimeStamp(tid(5)).timeTime() + 1, lambda *args: None, gc=False)
    commit(('store', 1, b'a3'))
    c = commit(('store', 3, b'c2'), user=b'later')
    commit(('undo', c))
    return storage


def gone(path):
    commit = Script(path)
    commit(('store', 0, b'root'))
    commit(('store', 1, b'a1'), ('store', 2, b'b1'), ('store', 3, b'c1'))
    commit(('delete', 1), description=b'gone')
    commit(('store', 1, b'a2'), description=b'back')
    commit(('restore', 2, b'b1', tid(2)), description=b'back-pointer')
    commit(('restore', 2, b'other', tid(2)), description=b'other data')
    commit(('restore', 3, None), ('restore', 9, b'new'))
    commit(('restore', 3, b'c2'), ('delete', 9))
    commit(('restore', 2, b'b1', tid(5)), description=b'over two steps')
    return commit.storage


def ignored(path):
    """Transactions 3, 5 and 7 get status u, and their objects vanish."""
    commit = Script(path)
    commit(('store', 0, b'root'))
    for n in range(2, 8):
        steps = [('store', n, b'only here')]
        if n % 2 == 0:
            steps.append(('store', 0, b'root %d' % n))
        commit(*steps, description=b'transaction %d' % n)
    commit.storage.close()
    with open(path, 'r+b') as f:
        for n in 3, 5, 7:
            f.seek(0)
            f.seek(f.read().index(tid(n)) + 16)
            f.write(b'u')
    os.remove(path + '.index')
    return FileStorage(path)


def empty(path):
    return Script(path).storage


def transactions(path, texts):
    """The file's transactions without those of status u, on which Python's
    own iterator raises UnboundLocalError: it sees a copy that has none."""
    copy = path + '.copy'
    with open(path, 'rb') as f:
        content = bytearray(f.read())
    skipped, at = set(), 4
    while at < len(content):
        if content[at + 16:at + 17] == b'u':
            skipped.add(bytes(content[at:at + 8]))
            content[at + 16:at + 17] = b' '
        at += u64(bytes(content[at + 8:at + 16])) + 8
    with open(copy, 'wb') as f:
        f.write(content)
    storage = FileStorage(copy)
    try:
        return skipped, [{
            'tid': hexed(t.tid), 'status': t.status,
            'user': hexed(t.user), 'description': hexed(t.description),
            'extension': hexed(t.extension_bytes),
            'records': [{
                'oid': hexed(r.oid), 'tid': hexed(r.tid),
                'data': texts.number(r.data), 'data_txn': hexed(r.data_txn),
            } for r in t],
        } for t in storage.iterator() if t.tid not in skipped]
    finally:
        storage.close()


def ranges(storage, skipped, found):
    if skipped or not found:
        return []
    tids = [bytes.fromhex(t['tid']) for t in found]
    near = sorted({p64(u64(t) + d) for t in tids for d in (-1, 0, 1)})
    return [{
        'start': hexed(start), 'stop': hexed(stop),
        'tids': [hexed(t.tid) for t in storage.iterator(start, stop)],
    } for start in [None] + near for stop in (None, tids[len(tids) // 2])]


def histories(storage, oids):
    return {hexed(oid): [{
        'tid': hexed(d['tid']), 'size': d['size'],
        'user': hexed(d['user_name']), 'description': hexed(d['description']),
    } for d in storage.history(oid, 1000)] for oid in oids}


def undo_logs(storage):
    return [{
        'first': first, 'last': last,
        'entries': [{
            'tid': hexed(decodebytes(d['id'] + b'\n')), 'size': d['size'],
            'user': hexed(d['user_name']),
            'description': hexed(d['description']),
        } for d in storage.undoLog(first, last)],
    } for first, last in [(0, 1000), (0, 0), (0, 1), (1, 3), (3, 1), (2, 9)]]


def loads(storage, found, oids, texts):
    tids = [bytes.fromhex(t['tid']) for t in found]
    befores = sorted({p64(u64(t) + d) for t in tids for d in (0, 1)})[::2]
    answers = []
    for oid in oids:
        for before in [p64(0)] + befores + [MAX_TID]:
            answer = {'oid': hexed(oid), 'before': hexed(before)}
            try:
                loaded = storage.loadBefore(oid, before)
                if loaded is not None:
                    data, serial, after = loaded
                    answer.update(data=texts.number(data), serial=hexed(serial),
                                  next=hexed(after))
                    assert storage.loadSerial(oid, serial) == data
            except POSKeyError:
                answer['gone'] = True
            answers.append(answer)
    return answers


def iternexts(storage, oids, texts):
    answers = []
    for start in [None] + list(oids):
        answer = {'from': hexed(start)}
        try:
            oid, serial, data, after = storage.record_iternext(start)
            answer.update(oid=hexed(oid), serial=hexed(serial),
                          data=texts.number(data), next=hexed(after))
        except POSKeyError:
            answer['gone'] = True
        except ValueError as e:
            answer['error'] = str(e)
        except Exception as e:
            # The oid of all ones has no successor, says struct.
            assert type(e).__module__ == 'struct', e
            continue
        answers.append(answer)
    return answers


def undos(path, found):
    """Each transaction undone, and each two near each other at once."""
    tids = [bytes.fromhex(t['tid']) for t in found][::-1]
    tries = [[t] for t in tids] + [[p64(77)]]
    tries += [[a, b] for i, a in enumerate(tids)
              for b in tids[max(i - 2, 0):i + 3]]
    copy = path + '.undo'
    answers = []
    shutil.copyfile(path, copy)
    storage = FileStorage(copy)
    size = storage.getSize()
    for undoing in tries:
        answer = {'tids': [hexed(t) for t in undoing]}
        txn = TransactionMetaData(b'undoer', b'undo', b'')
        storage.tpc_begin(txn, UNDO_TID)
        try:
            for t in undoing:
                storage.undo(encoded(t), txn)
            storage.tpc_vote(txn)
            with open(copy, 'rb') as f:
                f.seek(size)
                # As it will be once finished: the status byte.
                written = bytearray(f.read())
                written[16:17] = b' '
                answer['written'] = hexed(written)
        except MultipleUndoErrors as e:
            answer['reason'] = str(e)
            answer['failures'] = [
                [hexed(oid), why._reason] for oid, why in e._errs]
        except UndoError as e:
            answer['reason'] = e._reason
            answer['failures'] = []
        storage.tpc_abort(txn)
        answers.append(answer)
    storage.close()
    return answers


def describe(path, storage):
    texts = Texts()
    skipped, found = transactions(path, texts)
    oids = sorted(storage._index.keys())
    invalidations = []
    if not skipped:
        invalidations = [{
            'count': count,
            'transactions': [[hexed(t), [hexed(oid) for oid in oids]]
                             for t, oids in storage.lastInvalidations(count)],
        } for count in (0, 1, 3, 1000)]
    return {
        'transactions': found,
        'ranges': ranges(storage, skipped, found),
        'history': histories(storage, oids),
        'undo_log': undo_logs(storage),
        'loads': loads(storage, found, oids, texts),
        'record_iternext': iternexts(storage, oids + [p64(0x1234567)], texts),
        'last_invalidations': invalidations,
        'undo': undos(path, found),
        'texts': texts,
    }


def main():
    logging.disable(logging.CRITICAL)
    os.makedirs(OUT, exist_ok=True)
    for shape in plain, undone, packed, gone, ignored, empty:
        name = shape.__name__
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, name + '.fs')
            storage = shape(path)
            answers = describe(path, storage)
            storage.close()
            shutil.copyfile(path, os.path.join(OUT, name + '.fs'))
        with open(os.path.join(OUT, name + '.json'), 'w') as f:
            json.dump(answers, f, indent=0, separators=(',', ':'),
                      sort_keys=True)
            f.write('\n')
        print(name, os.path.getsize(os.path.join(OUT, name + '.fs')), 'bytes')


if __name__ == '__main__':
    sys.exit(main())
