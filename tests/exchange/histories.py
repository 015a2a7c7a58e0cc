"""Shapes of history that can be written through the storage interface.

Each is a function of a Writer; HISTORIES maps its name to it. All can be
written by Python's FileStorage directly or through the server under test.
"""
import datetime
import decimal

from .writer import Reference, pickle_of

HISTORIES = {}


def history(function):
    """Enters a function in HISTORIES."""
    HISTORIES[function.__name__] = function
    return function


@history
def empty(w):
    """No transaction at all."""


@history
def plain(w):
    """A root that refers to two objects."""
    w.commit((0, pickle_of('root', [Reference(1), Reference(2)])),
             (1, pickle_of('one')), (2, pickle_of('two')), user='max', description='first')
    w.commit((1, pickle_of('one again')), user='max')


@history
def many_revisions(w):
    """Three objects that change in turn, 40 times."""
    root(w)
    for i in range(40):
        w.commit((i % 3, pickle_of(f'revision {i}')), description=f'number {i}')


@history
def no_records(w):
    """Transactions that store nothing, also as the first and the last."""
    w.commit(user='nobody')
    root(w)
    w.commit(description='nothing')


@history
def undone(w):
    """The plain case of undo: a back-pointer to the data before."""
    root(w)
    w.commit((1, pickle_of('first')))
    second = w.commit((1, pickle_of('second')), (2, pickle_of('new here')))
    w.undo(second, description='undo')


@history
def undo_of_undo(w):
    """Back-pointers to back-pointers, three deep."""
    root(w)
    w.commit((1, pickle_of('first')))
    tid = w.commit((1, pickle_of('second')))
    for _ in range(4):
        tid = w.undo(tid)
    w.commit((1, pickle_of('third')))


@history
def undo_of_creation(w):
    """An object whose creation is undone, then redone, then undone again."""
    root(w)
    tid = w.commit((1, pickle_of('created')), (2, pickle_of('stays away')))
    tid = w.undo(tid)
    tid = w.undo(tid)
    w.undo(tid)


@history
def several_undos(w):
    """Three transactions undone in one, two of them of the same object."""
    root(w)
    w.commit((1, pickle_of('a')), (2, pickle_of('b')))
    first = w.commit((1, pickle_of('a1')))
    second = w.commit((1, pickle_of('a2')))
    third = w.commit((2, pickle_of('b1')), (3, pickle_of('c')))
    w.undo(third, second, first, description='all three')
    w.commit((2, pickle_of('b2')))


@history
def deleted(w):
    """deleteObject, and what comes after it."""
    root(w)
    w.commit((1, pickle_of('one')), (2, pickle_of('two')))
    tid = w.delete(1, 2)
    w.commit((2, pickle_of('two is back')))
    w.commit((3, pickle_of('three')))
    assert tid in w.tids


@history
def undo_of_deletion(w):
    """A deletion taken back."""
    root(w)
    w.commit((1, pickle_of('one')))
    w.undo(w.delete(1))


@history
def stored_twice(w):
    """One object stored twice in a transaction: two records, the later one current."""
    root(w)
    w.commit((1, pickle_of('one')))
    w.commit((1, pickle_of('early')), (2, pickle_of('other')), (1, pickle_of('late')))
    w.commit((2, pickle_of('after')))


@history
def restored(w):
    """restore with data, with the hint that makes a back-pointer, and without an object."""
    w.restore((0, pickle_of('root'), None), (1, pickle_of('one'), None), user='copy')
    source = w.restore((1, pickle_of('two'), None))
    w.restore((1, pickle_of('three'), None))
    w.restore((1, pickle_of('two'), source), (2, pickle_of('new'), None))
    w.restore((1, None, None))
    w.restore((1, pickle_of('one'), w.tids[0]))


@history
def packed(w):
    """Transactions with the status of packed ones, then ordinary ones."""
    w.commit((0, pickle_of('root')), (1, pickle_of('one')), status='p')
    w.commit((1, pickle_of('two')), status='p')
    w.commit((1, pickle_of('three')))


@history
def large(w):
    """Records of several megabytes, among small ones."""
    root(w)
    w.commit((1, pickle_of('x' * 5_000_000)), (2, pickle_of('')))
    w.commit((1, pickle_of('y' * 3_000_000)))


@history
def odd_metadata(w):
    """Empty, longest and non-ASCII names; extensions of every plain type, nested."""
    root(w)
    w.commit((1, pickle_of(1)), user='', description='')
    w.commit((1, pickle_of(2)), user='u' * 65535, description='d' * 65535)
    w.commit((1, pickle_of(3)), user='Zoë 毛', description='naïve\n\0 \U0001f40d')
    w.commit((1, pickle_of(4)), extension={
        'none': None, 'yes': True, 'no': False, 'float': 1.5, 'big': 1 << 62, 'negative': -5,
        'bytes': b'\0\xff', 'text': 'Ünïcode', 'empty': '', 'tuple': (1, (2, ()), 'x'),
        'list': [1, [2, [3]], {'a': {'b': {}}}]})
    w.commit((1, pickle_of(5)), extension={'text': 't' * 60000})


@history
def oids(w):
    """Objects whose ids lie far apart (the last 2**16 ids make Python's index go in a circle)."""
    root(w)
    w.commit((1 << 16, pickle_of('2**16')), ((1 << 16) - 1, pickle_of('2**16-1')),
             (1 << 32, pickle_of('2**32')), (0x123456789abcdef0, pickle_of('sparse')))
    w.commit(((1 << 63) - 1, pickle_of('2**63-1')), (1 << 63, pickle_of('2**63')),
             ((1 << 64) - (1 << 17), pickle_of('nearly the last')))
    w.commit((1 << 32, pickle_of('2**32 again')))


@history
def many_objects(w):
    """More objects than one page of an index holds."""
    w.commit(*((n, pickle_of(n)) for n in range(3000)))
    w.commit(*((n, pickle_of(-n)) for n in range(0, 3000, 7)))


@history
def aborted(w):
    """Transactions given up after their vote leave nothing behind."""
    root(w)
    w.abort((1, pickle_of('never')), (2, pickle_of('nor this')))
    w.commit((1, pickle_of('one')))
    w.abort((1, pickle_of('never')))


# Python's FileStorage stores these, but its server can't send them with msgpack, and its client
# refuses to load instances of classes. Only a bare client can ask.
INSTANCES = {
    'huge': 1 << 70,
    'when': datetime.datetime(2024, 2, 29, 12, 30), 'nested': [{'price': decimal.Decimal('1.50')}],
    'zone': datetime.timezone(datetime.timedelta(hours=2)),
}


def instances_in_extension(w):
    """A transaction whose extension holds instances of application classes."""
    root(w)
    w.commit((1, pickle_of('one')), user='app', extension=INSTANCES)
    w.commit((1, pickle_of('two')))


def root(w):
    """The first transaction of most histories."""
    w.commit((0, pickle_of('root', [Reference(n) for n in (1, 2)])), user='root')
