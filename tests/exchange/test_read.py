"""Files written by Python's FileStorage, read through the server.

Every answer of the server is compared with Python's own reading of a copy.
"""
import os
import shutil

import pytest
from support.server import ServerFailed, is_python
from support.wire import Wire
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import p64

from . import files, histories
from .reading import WireStorage, differences, everything, outcome, read_current_records, undo_log


@pytest.mark.parametrize('name', histories.HISTORIES)
def test_history(name, serve, encoding):
    files.write('Data.fs', histories.HISTORIES[name])
    compare(serve, encoding)


@pytest.mark.parametrize('name', files.FILES)
def test_file(name, serve, encoding):
    files.write('Data.fs', files.base)
    files.FILES[name]('Data.fs')
    shutil.rmtree('python', ignore_errors=True)
    compare(serve, encoding)


def test_tail_that_python_stumbles_over(serve, encoding):
    """A tail whose status is not even ASCII: Python fails to open the file, by accident.

    A server may refuse it as well, but if it opens the file, it finds all that was there.
    """
    files.write('Data.fs', files.base)
    copy_for_python()
    whole = contents()['Data.fs']
    with open('Data.fs', 'ab') as f:
        f.write(b'\xff' * 500)
    try:
        server = serve(encoding=encoding)
    except ServerFailed:
        assert contents()['Data.fs'] == whole + b'\xff' * 500
        return
    client, theirs = ClientStorage(server.address), python_storage()
    compare_answers(client, theirs)
    client.close()
    server.stop()
    assert contents()['Data.fs'] == whole
    assert contents()['Data.fs.tr0'] == b'\xff' * 500


@pytest.mark.ours_only('its iterator fails on such transactions, and so does its start')
def test_undone_status(serve, encoding):
    """Transactions that early versions of ZODB marked as undone do not exist for a reader."""
    files.write('Data.fs', files.base)
    files.append('Data.fs', 1)
    files.set_status('Data.fs', files.last_transaction('Data.fs'), b'u')
    files.append('Data.fs', 1, first=200)
    os.remove('Data.fs.index')
    copy_for_python()
    server = serve(encoding=encoding)
    client, theirs = ClientStorage(server.address), python_storage()
    assert read_current_records(client) == read_current_records(theirs)
    assert client.lastTransaction() == theirs.lastTransaction()
    oids = {record.oid for txn in client.iterator() for record in txn}
    assert p64(200) in oids and p64(100) not in oids
    with pytest.raises(POSKeyError):
        client.load(p64(100))
    client.close()


def test_instances_in_extensions_pass_through(serve):
    """A bare client gets, by pickle, what the application wrote."""
    files.write('Data.fs', histories.instances_in_extension)
    copy_for_python()
    server = serve(encoding='Z')
    with Wire(server.address) as wire:
        compare_answers(WireStorage(wire), python_storage())


def test_instances_in_extensions_do_no_harm_with_msgpack(serve):
    """What msgpack can't express may be an error, but of that one request only."""
    files.write('Data.fs', histories.instances_in_extension)
    server = serve(encoding='M')
    copy_for_python()
    theirs = python_storage()
    with Wire(server.address) as wire:
        storage = WireStorage(wire)
        for method in 'undoLog', 'undoInfo':
            try:
                wire.call(method, 0, -20, *[None] * (method == 'undoInfo'))
            except Exception as e:
                assert type(e).__name__ == 'WireError', e
        for oid in (bytes(8), bytes(7) + b'\1'):
            assert storage.loadBefore(oid, b'\x7f' + b'\xff' * 7) == theirs.loadBefore(
                oid, b'\x7f' + b'\xff' * 7)


@pytest.mark.parametrize('name', ['plain', 'several_undos', 'oids'])
def test_read_only_server_changes_nothing(name, serve):
    """Not a byte of any file, and no new file."""
    files.write('Data.fs', histories.HISTORIES[name])
    before = contents()
    copy_for_python()
    server = serve(read_only=True, storages=storage_section(read_only=True))
    client = ClientStorage(server.address, read_only=True)
    compare_answers(client, python_storage())
    client.close()
    server.stop()
    assert contents() == before


def test_prefix_in_a_specification(serve):
    """Zope sends instances of ZopeUndo.Prefix; whatever the answer, the connection goes on.

    (Python's own server answers with a TypeError since user names are bytes.)
    """
    from ZopeUndo.Prefix import Prefix
    files.write('Data.fs', histories.plain)
    server = serve(encoding='Z')
    with Wire(server.address) as wire:
        for path in '', '/x', '/x/y':
            answer = outcome(wire.call, 'undoInfo', 0, -20, {'user_name': Prefix(path)})
            assert answer[0] == 'error' or isinstance(answer[1], (list, tuple))
        assert len(wire.call('undoInfo', 0, -20, None)) == 2


def compare(serve, encoding):
    """Serves Data.fs and compares with Python; if Python refuses the file, so must the server."""
    before = contents()
    copy_for_python()
    refused = None
    try:
        python_storage(read_only=False).close()  # recovers, as the server will
    except Exception as e:
        refused = e
    if refused:
        with pytest.raises(ServerFailed):
            serve(encoding=encoding)
        assert contents()['Data.fs'] == before['Data.fs'], 'a refused file was changed'
        return
    server = serve(encoding=encoding)
    theirs = python_storage()
    client = ClientStorage(server.address)
    compare_answers(client, theirs)
    client.close()
    server.stop()
    theirs.close()
    compare_files()


def compare_answers(client, theirs):
    wire = getattr(client, 'wire', None)
    load_before = None if wire else lambda oid, tid: client._call('loadBefore', oid, tid)
    if len(theirs):  # Python's own undo log fails on an empty file
        found = differences(undo_log(client), undo_log(theirs))
        assert not found, found
    answers, expected = everything(client, load_before), everything(theirs)
    if is_python():
        # After it has cut off a torn tail, Python takes the tid of what it cut off for the last.
        del answers['lastTransaction'], expected['lastTransaction']
    found = differences(answers, expected)
    assert not found, found


def compare_files():
    """After a clean stop the files are what Python would have left, and Python trusts the index.

    (Python throws torn tails of less than a header away; a server may save them.)
    """
    ours, theirs = contents(), contents('python')
    assert ours['Data.fs'] == theirs['Data.fs']
    for name, cut_off in theirs.items():
        if '.fs.tr' in name:
            assert ours[name] == cut_off
    assert uses_index('.') == uses_index('python')


def uses_index(directory):
    """Whether Python's FileStorage believes the index that lies beside Data.fs."""
    storage = FileStorage(os.path.join(directory, 'Data.fs'), read_only=True)
    used = storage._used_index
    storage.close()
    return used


def copy_for_python():
    """A copy of all the files, in a directory of its own."""
    os.mkdir('python')
    for name in contents():
        shutil.copy(name, 'python')


def python_storage(read_only=True):
    return FileStorage(os.path.join('python', 'Data.fs'), read_only=read_only)


def storage_section(**options):
    from support.configuration import filestorage
    return filestorage(**options)


def contents(directory='.'):
    """The storage's files of a directory, by name."""
    found = {}
    for name in os.listdir(directory):
        if name.startswith('Data.fs') and not name.endswith(('.lock', '.tmp')):
            with open(os.path.join(directory, name), 'rb') as f:
                found[name] = f.read()
    return found
