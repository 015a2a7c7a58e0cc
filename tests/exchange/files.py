"""Shapes of files that only an accident, or an old ZODB, leaves behind.

Each is a function that changes a good Data.fs (of the history `base`) at a
path; FILES maps its name to it. Python's own reading is the judge of every one.
"""
import os
import pickle
import shutil

from ZODB.FileStorage import FileStorage
from ZODB.fsIndex import fsIndex

from . import histories
from .writer import Writer, pickle_of

FILES = {}
HEADER = 23


def write(path, history, **options):
    """Writes a history with Python's FileStorage; returns the Writer."""
    storage = FileStorage(path)
    writer = Writer(storage, **options)
    history(writer)
    storage.close()
    return writer


def base(w):
    """What the files here hold before they are damaged."""
    histories.undo_of_creation(w)
    histories.many_revisions(w)
    w.commit((1, pickle_of('last but one')), (2, pickle_of('x' * 300)))


def file_shape(function):
    """Enters a function in FILES."""
    FILES[function.__name__] = function
    return function


@file_shape
def no_index(path):
    os.remove(path + '.index')


@file_shape
def garbage_index(path):
    write_bytes(path + '.index', b'\x80\x03this is no pickle' * 20)


@file_shape
def empty_index(path):
    write_bytes(path + '.index', b'')


@file_shape
def truncated_index(path):
    os.truncate(path + '.index', os.path.getsize(path + '.index') * 2 // 3)


@file_shape
def stale_index(path):
    """The index of an earlier time, as a crash leaves it."""
    shutil.copy(path + '.index', path + '.keep')
    append(path, 3)
    os.replace(path + '.keep', path + '.index')


@file_shape
def index_ahead_of_file(path):
    """The index of a longer file, as a restored backup leaves it."""
    size = os.path.getsize(path)
    append(path, 3)
    os.truncate(path, size)


@file_shape
def index_of_another_file(path):
    other = path + '.other'
    write(other, histories.many_objects)
    os.replace(other + '.index', path + '.index')
    os.remove(other)


@file_shape
def index_of_old_zodb(path):
    """A dictionary of all objects, as before ZODB 3.9."""
    saved = fsIndex.load(path + '.index')
    index = {'pos': saved['pos'], 'index': dict(saved['index'].items())}
    write_bytes(path + '.index', pickle.dumps(index, 2))


@file_shape
def index_out_of_order(path):
    """Python finds everything in it."""
    append(path, 1, first=1 << 20)
    with open(path + '.index', 'rb') as f:
        head, *buckets, end = pickles(f)
    write_bytes(path + '.index', b''.join([head, *reversed(buckets), end]))


@file_shape
def index_of_a_time_to_come(path):
    """What stands behind it may tell how to read it."""
    with open(path + '.index', 'ab') as f:
        f.write(bytes(8) + b'rze2')


@file_shape
def unfinished(path):
    """The last transaction has the status of one in progress."""
    set_status(path, last_transaction(path), b'c')


@file_shape
def unfinished_without_index(path):
    unfinished(path)
    os.remove(path + '.index')


@file_shape
def unfinished_behind_a_stale_index(path):
    stale_index(path)
    set_status(path, last_transaction(path), b'c')


def _truncations():
    """Files cut off within the last transaction: (name, bytes that are left of it)."""
    header_and_names = HEADER + len(b'')
    yield 'in_the_tid', 5
    yield 'in_the_header', HEADER - 1
    yield 'after_the_header', header_and_names
    yield 'in_a_data_header', header_and_names + 20
    yield 'after_a_data_header', header_and_names + 42
    yield 'in_the_data', header_and_names + 42 + 10
    yield 'before_the_second_length', -8
    yield 'in_the_second_length', -3
    yield 'before_the_last_byte', -1


def _cut(name, left):
    def cut(path):
        shutil.copy(path + '.index', path + '.keep')
        append(path, 1)
        os.replace(path + '.keep', path + '.index')
        start, size = last_transaction(path), os.path.getsize(path)
        os.truncate(path, start + left if left > 0 else size + left)
    cut.__name__ = f'cut_{name}'
    return cut


for _name, _left in _truncations():
    file_shape(_cut(_name, _left))


def _tail(name, tail):
    def add_tail(path):
        with open(path, 'ab') as f:
            f.write(tail)
    add_tail.__name__ = f'tail_of_{name}'
    return add_tail


for _name, _bytes in [('one_byte', b'x'), ('garbage', bytes(range(256)) * 4),
                      ('few_zeros', bytes(16)), ('zeros', bytes(4096))]:
    file_shape(_tail(_name, _bytes))


@file_shape
def cut_to_nothing(path):
    os.remove(path + '.index')
    os.truncate(path, 0)


@file_shape
def only_the_magic(path):
    os.remove(path + '.index')
    os.truncate(path, 4)


@file_shape
def wrong_magic(path):
    patch(path, 0, b'XS21')
    os.remove(path + '.index')


@file_shape
def damaged_length_in_the_middle(path):
    patch(path, 4 + 8, b'\0\0\0\0\0\0\0\x30')
    os.remove(path + '.index')


@file_shape
def tids_that_go_back(path):
    patch(path, last_transaction(path), b'\0' * 7 + b'\1')
    os.remove(path + '.index')


def append(path, count, first=100):
    """Adds transactions to an existing file with Python's FileStorage, a new object in each."""
    storage = FileStorage(path)
    writer = Writer(storage)
    writer.tids.append(storage.lastTransaction())
    for number in range(first, first + count):
        writer.commit((number, pickle_of(f'appended {number}')))
    storage.close()


def pickles(file):
    """The bytes of each pickle in a file."""
    while True:
        start = file.tell()
        try:
            pickle.load(file)
        except EOFError:
            return
        length = file.tell() - start
        file.seek(start)
        yield file.read(length)


def last_transaction(path):
    """The position of the last transaction."""
    with open(path, 'rb') as f:
        f.seek(-8, os.SEEK_END)
        length = int.from_bytes(f.read(8), 'big')
        return f.tell() - 8 - length


def set_status(path, position, status):
    patch(path, position + 16, status)


def patch(path, position, data):
    with open(path, 'r+b') as f:
        f.seek(position)
        f.write(data)


def write_bytes(path, data):
    with open(path, 'wb') as f:
        f.write(data)
