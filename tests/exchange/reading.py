"""Reads all that a storage can tell, in a form that can be compared."""
import itertools

from support.wire import WireError
from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, p64, u64, z64

# Errors that a ZEO client rebuilds; others arrive as some other exception.
REBUILT = {'POSKeyError', 'ConflictError', 'ReadOnlyError', 'StorageTransactionError'}
FAR = 1 << 20  # how many back all of an undo log is


def everything(storage, load_before=None):
    """A dict of all answers of a storage: transactions, records, histories, undo log.

    `load_before(oid, tid)` replaces storage.loadBefore, to go past a cache.
    """
    load_before = load_before or storage.loadBefore
    transactions = read_transactions(storage)
    oids = sorted({oid for txn in transactions for oid, *_ in txn['records']})
    tids = [txn['tid'] for txn in transactions]
    answers = {
        'len': len(storage),
        'size': storage.getSize(),
        'lastTransaction': storage.lastTransaction(),
        'transactions': transactions,
        'records in order of oid': read_current_records(storage),
    }
    answers.update(partial_iterations(storage, tids))
    unknown = p64(0xdead)
    for oid in sample([*oids, unknown]):
        answers['getTid', oid] = outcome(storage.getTid, oid)
        answers['history', oid] = outcome(read_history, storage, oid, 1000)
        answers['history of 2', oid] = outcome(read_history, storage, oid, 2)
        for tid in sample(around(tids)):
            answers['loadBefore', oid, tid] = outcome(load_before, oid, tid)
            answers['loadSerial', oid, tid] = outcome(storage.loadSerial, oid, tid)
    return answers


def undo_log(storage):
    """A dict of the undo log read in several ways."""
    specifications = [None, {}, {'user_name': b'max'}, {'description': b'first'},
                      {'user_name': b'nobody', 'description': b''}, {'absent': 1}]
    answers = {}
    for first, last in [(0, -20), (0, -FAR), (2, -3), (0, 1), (1, 4), (5, 2), (FAR, -5)]:
        answers['undoLog', first, last] = outcome(read_undo_log, storage.undoLog, first, last)
        for number, specification in enumerate(specifications):
            answers['undoInfo', first, last, number] = outcome(
                read_undo_log, storage.undoInfo, first, last, specification)
    return answers


def read_transactions(storage, *range_):
    """All transactions with their records, as the iterator gives them."""
    return [{
        'tid': txn.tid, 'status': as_text(txn.status), 'user': as_bytes(txn.user),
        'description': as_bytes(txn.description), 'extension': as_tuples(txn.extension),
        'records': [(r.oid, r.tid, r.data, r.data_txn) for r in txn],
    } for txn in storage.iterator(*range_)]


def partial_iterations(storage, tids):
    """Iterations with a start, a stop, both and neither to be found in the file."""
    answers = {}
    points = sample(around(tids), 12)
    for start, stop in [*((t, None) for t in points), *((None, t) for t in points),
                        *zip(points, points[2:])]:
        answers['iterator', start, stop] = outcome(
            lambda: [txn.tid for txn in storage.iterator(start, stop)])
    return answers


def read_current_records(storage):
    """The current record of each object in order of oid, by record_iternext."""
    records, next_oid = [], None
    while True:
        answer = outcome(storage.record_iternext, next_oid)
        records.append(answer)
        if answer[0] == 'error' or answer[1][3] is None:
            return records
        next_oid = answer[1][3]


def read_history(storage, oid, size):
    return [_rounded(entry) for entry in storage.history(oid, size=size)]


def read_undo_log(method, *args):
    return [_rounded(entry) for entry in method(*args)]


def outcome(function, *args):
    """('ok', result) or ('error', class of the exception as far as a client can know it)."""
    try:
        return 'ok', function(*args)
    except Exception as e:  # every kind is an answer to compare
        name = 'POSKeyError' if isinstance(e, POSKeyError) else type(e).__name__
        if isinstance(e, WireError):
            name = e.name.rsplit('.')[-1]
        return 'error', name if name in REBUILT else 'other'


def differences(ours, theirs, limit=10):
    """What differs between two dicts of answers, as lines for a person."""
    lines = [f'{key!r}:\n  server {short(ours.get(key))}\n  Python {short(theirs.get(key))}'
             for key in {**theirs, **ours} if ours.get(key) != theirs.get(key)]
    return '\n'.join(lines[:limit] + [f'... and {len(lines) - limit} more'] * (len(lines) > limit))


def around(tids):
    """The tids, their neighbours, and the ends of the range."""
    near = (u64(tid) + d for tid in tids for d in (-1, 0, 1))
    return sorted({z64, p64(1), maxtid, *map(p64, near)})


def sample(items, limit=60):
    """At most `limit` of the items, evenly spread, the first and the last among them."""
    if len(items) <= limit:
        return list(items)
    step = (len(items) - 1) / (limit - 1)
    return [items[round(i * step)] for i in range(limit)]


def short(value):
    text = repr(value)
    return text if len(text) < 600 else f'{text[:300]} ... {text[-200:]}'


def as_bytes(text):
    return text.encode() if isinstance(text, str) else text


def as_text(status):
    return status.decode() if isinstance(status, bytes) else status


def as_tuples(value):
    """With tuples for lists, since msgpack makes no difference between them."""
    if isinstance(value, (list, tuple)):
        return tuple(map(as_tuples, value))
    if isinstance(value, dict):
        return {key: as_tuples(item) for key, item in value.items()}
    return value


def _rounded(entry):
    entry = as_tuples(dict(entry))
    if 'time' in entry:  # computed anew by each server
        entry['time'] = round(entry['time'], 5)
    return entry


class WireStorage:
    """The reading half of the storage interface over a bare connection."""

    def __init__(self, wire):
        self.wire = wire

    def __getattr__(self, name):
        return lambda *args: self.wire.call(name, *args)

    def __len__(self):
        return self.wire.call('get_info')['length']

    def getSize(self):
        return self.wire.call('get_info')['size']

    def record_iternext(self, next_oid=None):
        return self.wire.call('record_iternext', next_oid)

    def history(self, oid, size=1):
        return self.wire.call('history', oid, size)

    def undoInfo(self, first, last, specification=None):
        return self.wire.call('undoInfo', first, last, specification)

    def iterator(self, start=None, stop=None):
        number = self.wire.call('iterator_start', start, stop)
        while (answer := self.wire.call('iterator_next', number)) is not None:
            yield WireTransaction(self.wire, number, *answer)


class WireTransaction:
    """A transaction of WireStorage.iterator."""

    def __init__(self, wire, iterator, tid, status, user, description, extension):
        self.wire, self.iterator, self.tid, self.status = wire, iterator, tid, status
        self.user, self.description, self.extension = user, description, extension

    def __iter__(self):
        from ZODB.BaseStorage import DataRecord
        number = self.wire.call('iterator_record_start', self.iterator, self.tid)
        for _ in itertools.count():
            answer = self.wire.call('iterator_record_next', number)
            if answer is None:
                return
            yield DataRecord(*answer)
