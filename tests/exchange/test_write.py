"""Files written through the server, judged by Python.

The same calls are made on Python's FileStorage with the same tids, so the two
files have to be the same, byte for byte but for the seals.
"""
import contextlib
import io
import os

import pytest
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.scripts import fsrefs, fstest
from ZODB.utils import load_current

from . import files, histories
from .reading import read_transactions
from .seals import unsealed
from .writer import Writer

# What a server pickles anew need not be the same bytes; what it means must be the same.
REPICKLED = {'odd_metadata'}


@pytest.mark.parametrize('name', histories.HISTORIES)
def test_history(name, serve, encoding):
    history = histories.HISTORIES[name]
    writer = write_through_server(serve, encoding, history)
    os.mkdir('python')
    files.write('python/Data.fs', history)
    judge(writer, same_bytes=name not in REPICKLED)


@pytest.mark.parametrize('name', ['many_revisions', 'several_undos', 'undo_of_creation', 'deleted'])
def test_history_with_tids_of_the_server(name, serve, encoding):
    writer = write_through_server(
        serve, encoding, histories.HISTORIES[name], explicit_tids=False)
    assert writer.tids == sorted(set(writer.tids))
    check_model('Data.fs', writer)
    check_tools('Data.fs')


@pytest.mark.parametrize('name', ['undo_of_undo', 'several_undos', 'undo_of_creation', 'deleted',
                                  'stored_twice', 'restored', 'packed', 'odd_metadata', 'large',
                                  'oids', 'no_records'])
def test_copied_transactions(name, serve, encoding):
    """copyTransactionsFrom, with its hints for back-pointers."""
    os.mkdir('python')
    files.write('python/source.fs', histories.HISTORIES[name])
    source = FileStorage('python/source.fs', read_only=True)
    twin = FileStorage('python/Data.fs')
    twin.copyTransactionsFrom(source)
    twin.close()
    server = serve(encoding=encoding)
    client = ClientStorage(server.address)
    client.copyTransactionsFrom(source)
    client.close()
    server.stop()
    source.close()
    judge(same_bytes=name not in REPICKLED)


@pytest.mark.parametrize('name', ['several_undos', 'undo_of_creation', 'odd_metadata', 'oids'])
def test_more_on_a_file_of_python(name, serve, encoding):
    """Python writes, the server goes on, Python goes on, the server goes on."""
    os.mkdir('python')
    writer = files.write('Data.fs', histories.HISTORIES[name])
    files.write('python/Data.fs', histories.HISTORIES[name])
    for number in range(1000, 1003):
        server = serve(encoding=encoding)
        client = writer.storage = ClientStorage(server.address)
        twin = FileStorage('python/Data.fs')
        for storage in client, twin:
            copy = Writer(storage)
            copy.tids, copy.serials = list(writer.tids), dict(writer.serials)
            copy.commit((number, histories.pickle_of(number)), user='both')
            copy.undo(copy.commit((number, histories.pickle_of('undone'))))
        writer.tids = copy.tids
        client.close()
        server.stop()
        twin.close()
        judge(same_bytes=True)
        for path in 'Data.fs', 'python/Data.fs':
            files.append(path, 1, first=number + 5000)
        storage = FileStorage('Data.fs', read_only=True)
        writer.tids.append(storage.lastTransaction())
        storage.close()


def test_instances_in_extensions_survive(serve):
    """An extension that only the application can load stays as it is, whatever is added."""
    files.write('Data.fs', histories.instances_in_extension)
    before = read('Data.fs')
    server = serve()
    client = ClientStorage(server.address)
    writer = Writer(client, explicit_tids=False)
    writer.commit((7, histories.pickle_of('more')))
    client.close()
    server.stop()
    assert read('Data.fs').startswith(before)
    storage = FileStorage('Data.fs')
    assert histories.INSTANCES in [txn.extension for txn in storage.iterator()]
    storage.close()


def write_through_server(serve, encoding, history, **options):
    server = serve(encoding=encoding)
    client = ClientStorage(server.address)
    writer = Writer(client, **options)
    history(writer)
    client.close()
    server.stop()
    return writer


def judge(writer=None, same_bytes=True):
    """Compares Data.fs with python/Data.fs, and has Python's tools check it."""
    if same_bytes:
        assert unsealed(read('Data.fs')) == unsealed(read('python/Data.fs')) == read('python/Data.fs')
    answers = [all_transactions(path) for path in ('Data.fs', 'python/Data.fs')]
    assert answers[0] == answers[1]
    if writer:
        check_model('Data.fs', writer)
    assert check_tools('Data.fs') == check_tools('python/Data.fs')
    assert used_index('Data.fs') == used_index('python/Data.fs')


def all_transactions(path):
    storage = FileStorage(path, read_only=True)
    try:
        return read_transactions(storage)
    finally:
        storage.close()


def check_model(path, writer):
    """Every object is what the model says, whether by the index or without it."""
    for without_index in False, True:
        if without_index:
            os.rename(path + '.index', path + '.kept')
        storage = FileStorage(path, read_only=True)
        for oid, data in writer.current.items():
            if data is None:
                with pytest.raises(POSKeyError):
                    load_current(storage, oid)
            else:
                assert load_current(storage, oid) == (data, writer.serials[oid])
        storage.close()
    os.rename(path + '.kept', path + '.index')


def check_tools(path):
    """fstest has to accept the file; returns what fsrefs has to say about it."""
    fstest.check(path)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        fsrefs.main(path)
    return output.getvalue()


def used_index(path):
    storage = FileStorage(path, read_only=True)
    used = storage._used_index
    storage.close()
    return used


def read(path):
    with open(path, 'rb') as f:
        return f.read()
