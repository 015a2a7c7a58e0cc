"""Files with seals, in the hands of Python: read, packed, copied, and served again."""
import contextlib
import io
import os
import time

import pytest
from support.configuration import filestorage
from support.server import is_python
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.fsdump import fsdump
from ZODB.scripts import fstest
from ZODB.serialize import referencesf

from . import files, histories
from .reading import differences, everything, read_history, read_transactions, undo_log
from .seals import extensions, without_seal
from .writer import Writer, pickle_of

pytestmark = pytest.mark.skipif(is_python(), reason='upstream has no seals')

EXTENSION = {'number': 3, 'text': 'naïve', 'none': None}


def history(w):
    """Some of everything, also with extensions, and much that a pack removes."""
    histories.many_revisions(w)
    w.commit((2, pickle_of('with an extension')), user='max', extension=EXTENSION)
    w.undo(w.commit((1, pickle_of('undone'))))
    w.commit(description='no records')
    w.commit((2, pickle_of('the last')), extension={'text': 't' * 60000})


@pytest.fixture
def written(serve, encoding):
    """Writes the history through a server; Data.fs is left."""
    server = serve(encoding=encoding)
    client = ClientStorage(server.address)
    history(Writer(client))
    client.close()
    server.stop()
    found = list(extensions(contents('Data.fs')))
    assert found and all(without_seal(extension) != extension for extension in found)


def test_python_does_not_see_seals(written):
    """Whatever shows an extension shows what was committed."""
    os.mkdir('python')
    files.write('python/Data.fs', history)
    ours, theirs = FileStorage('Data.fs', read_only=True), FileStorage('python/Data.fs')
    assert read_transactions(ours) == read_transactions(theirs)
    assert EXTENSION in [txn.extension for txn in ours.iterator()]
    assert without_sizes(undo_log(ours)) == without_sizes(undo_log(theirs))
    for number in range(3):
        oid = number.to_bytes(8, 'big')
        assert read_history(ours, oid, 99) == read_history(theirs, oid, 99)
    fstest.check('Data.fs')
    dumps = io.StringIO()
    with contextlib.redirect_stdout(dumps):
        fsdump('Data.fs', with_offset=False)
    assert dumps.getvalue().count('Trans') == len(read_transactions(ours))
    ours.close()
    theirs.close()


def test_packed_by_python(written, serve, encoding):
    """Seals that a pack moves mean nothing; later ones do again."""
    before = read_current()
    for round_ in range(2):
        storage = FileStorage('Data.fs')
        writer = go_on(storage)
        writer.commit((100 + round_, pickle_of('by Python')))
        storage.pack(time.time() + 1, referencesf, gc=False)
        writer.commit((110 + round_, pickle_of('by Python, behind the pack')))
        storage.close()
        for without_index in False, True:
            if without_index:
                os.remove('Data.fs.index')
            server = serve(encoding=encoding)
            client, twin = ClientStorage(server.address), FileStorage('Data.fs', read_only=True)
            found = differences(
                everything(client, lambda oid, tid: client._call('loadBefore', oid, tid)),
                everything(twin))
            assert not found, found
            twin.close()
            number = 120 + 10 * round_ + without_index
            go_on(client).commit((number, pickle_of('ours')))
            client.close()
            server.stop()
            fstest.check('Data.fs')
    assert {oid: data for oid, data in read_current().items() if oid in before} == before
    assert len(read_current()) == len(before) + 8


def test_copied_by_python(written, serve, encoding):
    """A copy by Python has the seals of the original, with and without something before."""
    for number in range(2):
        source = FileStorage('Data.fs', read_only=True)
        copy = FileStorage('copy.fs', create=True)
        if number:
            Writer(copy).commit((70, pickle_of('before')))
        copy.copyTransactionsFrom(source)
        expected = read_transactions(copy)
        copy.close()
        os.remove('copy.fs.index')
        server = serve(encoding=encoding, storages=filestorage(path='copy.fs'))
        client = ClientStorage(server.address)
        assert read_transactions(client) == expected
        client.close()
        server.stop()
        source.close()


def go_on(storage):
    """A Writer of more transactions, a second apart."""
    writer = Writer(storage)
    writer.tids.append(storage.lastTransaction())
    return writer


def read_current():
    """The current data of each object by its number."""
    storage = FileStorage('Data.fs', read_only=True)
    found = {int.from_bytes(oid, 'big'): storage.load(oid)[0] for oid in storage._index.keys()}
    storage.close()
    return found


def without_sizes(answers):
    """Answers of undo logs without the lengths of transactions, which seals add to."""
    return repr([(key, [{name: entry[name] for name in entry if name != 'size'}
                        for entry in value[1]] if value[0] == 'ok' else value)
                 for key, value in answers.items()])


def contents(path):
    with open(path, 'rb') as f:
        return f.read()
