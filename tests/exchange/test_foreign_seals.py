"""Files in which other tools have left our seals, over other bytes: nothing of them is lost.

The server writes a file, a tool copies or changes it, and the server opens it again: with the
index of Python, which closed it, or without one.
"""
import os
import random

import pytest
from support import fstool
from support.configuration import filestorage
from support.server import run
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage
from ZODB.scripts import fstest
from ZODB.utils import p64

from .reading import read_transactions
from .writer import Writer, pickle_of

pytestmark = pytest.mark.ours_only('upstream has no seals')
ACCEPT = 'fstool index --accept'
NEW = 1000  # an object that only the end of a test has


def history(w):
    """Transactions of several records, the oids in any order; some of an object only."""
    rng = random.Random(3)
    w.commit((0, pickle_of('root')))
    for count in range(30):
        numbers = rng.sample(range(12), rng.choice([1, 1, 3, 8]))
        w.commit(*((number, pickle_of('x' * rng.randrange(600))) for number in numbers),
                 user='max', extension={'count': count} if count % 3 else None)
    w.undo(w.commit((1, pickle_of('undone'))))
    numbers = range(11, 0, -1)
    w.commit(*((number, pickle_of(f'the last of {number}')) for number in numbers))


class Sorted:
    """A storage to be copied, with the records of each transaction in order of oid: so zodbconvert
    gives those of a RelStorage."""

    def __init__(self, storage):
        self.storage = storage

    def iterator(self):
        return map(SortedTransaction, self.storage.iterator())


class SortedTransaction:
    def __init__(self, txn):
        self.txn = txn

    def __getattr__(self, name):
        return getattr(self.txn, name)

    def __iter__(self):
        return iter(sorted(self.txn, key=lambda record: record.oid))


def copy_sorted():
    copy_by_python(Sorted)


def copy_as_it_is():
    copy_by_python(lambda storage: storage)


def copy_by_python(as_source):
    source, copy = FileStorage('Data.fs', read_only=True), FileStorage('copy.fs', create=True)
    copy.copyTransactionsFrom(as_source(source))
    source.close()
    copy.close()
    for suffix in '', '.index':
        os.replace('copy.fs' + suffix, 'Data.fs' + suffix)


def rename_class():
    """Changes a name for one as long in place, in a file that Python opens and closes."""
    with open('Data.fs', 'r+b') as f:
        content = f.read()
        f.seek(0)
        f.write(content.replace(b'MinPO', b'MaxPO'))
    FileStorage('Data.fs').close()


TOOLS = [copy_sorted, copy_as_it_is, rename_class]


@pytest.fixture(params=TOOLS, ids=[tool.__name__ for tool in TOOLS])
def left(request, serve):
    """Leaves Data.fs as a tool has left it; gives all its transactions as Python reads them."""
    server = serve()
    client = ClientStorage(server.address)
    history(Writer(client))
    client.close()
    server.stop()
    before = contents('Data.fs')
    request.param()
    if request.param is not copy_as_it_is:
        assert len(contents('Data.fs')) == len(before) and contents('Data.fs') != before
    storage = FileStorage('Data.fs', read_only=True)
    found = read_transactions(storage)
    storage.close()
    return request.param, found


def contents(path):
    with open(path, 'rb') as f:
        return f.read()


def read_from(server):
    client = ClientStorage(server.address)
    found = read_transactions(client)
    client.close()
    return found


def add_one(server, known):
    """Commits a transaction; gives all that are there then."""
    client = ClientStorage(server.address)
    writer = Writer(client)
    writer.tids.append(client.lastTransaction())
    if known:
        writer.serials[p64(NEW)] = client.getTid(p64(NEW))
    writer.commit((NEW, pickle_of('ours')))
    found = read_transactions(client)
    client.close()
    return found


def check_tools():
    """No tool of ours has anything to say about the file."""
    fstest.check('Data.fs')
    fstool.check('test', 'Data.fs')
    fstool.check('index', '--check', 'Data.fs')
    fstool.check('recover', '-f', 'Data.fs', 'recovered.fs')
    for path in 'copied.fs', 'copied.fs.index':
        if os.path.exists(path):
            os.remove(path)
    fstool.check('copy', 'Data.fs', 'copied.fs')
    expected = read_file('Data.fs')
    assert read_file('recovered.fs') == expected
    assert read_file('copied.fs') == expected
    fstool.check('test', 'copied.fs')


def read_file(path):
    storage = FileStorage(path, read_only=True)
    found = read_transactions(storage)
    storage.close()
    return found


def test_closed_by_python(left, serve):
    """It opens whole, and stays so: after commits, a crash, and a pack."""
    _tool, expected = left
    check_tools()
    for round_ in range(2):
        server = serve()
        assert read_from(server) == expected
        grown = add_one(server, known=round_ > 0)
        assert grown[:-1] == expected
        expected = grown
        server.kill()
    server = serve()
    assert read_from(server) == expected
    server.stop()
    check_tools()
    with open('Data.fs', 'ab') as f:
        f.write(bytes(900))
    server = serve()
    assert read_from(server) == expected
    client = ClientStorage(server.address)
    client.pack(1e10, wait=True)
    client.close()
    expected = read_from(server)
    server.kill()
    os.remove('Data.fs.index')
    server = serve()
    assert read_from(server) == expected
    server.stop()
    check_tools()


def test_without_an_index(left, serve):
    """It is refused as it is, unless all seals hold, and opens once it is accepted."""
    tool, expected = left
    os.remove('Data.fs.index')
    before = contents('Data.fs')
    code, output, errors = fstool.run('test', 'Data.fs')
    if tool is copy_as_it_is:
        assert code == 0
    else:
        assert code == 1 and ACCEPT in output.decode() + errors
        for _ in range(2):
            code, output = run('-a', '127.0.0.1:0', '-f', 'Data.fs')
            assert code == 1 and ACCEPT in output
            assert contents('Data.fs') == before
            assert not os.path.exists('Data.fs.tr0')
        code, _output, errors = fstool.run('index', 'Data.fs')
        assert code == 1 and ACCEPT in errors
        fstool.check('index', '--accept', 'Data.fs')
    assert contents('Data.fs') == before
    for _ in range(2):
        server = serve()
        assert read_from(server) == expected
        server.stop()
    check_tools()
