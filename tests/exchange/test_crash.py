"""What is left when the server is killed: all that was acknowledged, nothing in half."""
import os
import shutil
import threading

import pytest
from support.clients import impatient_client
from support.server import is_python
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError, StorageError
from ZODB.scripts import fstest
from ZODB.utils import load_current, p64, u64

from .histories import plain
from .writer import Writer, pickle_of


def test_committed_transactions_survive_a_kill(serve, encoding):
    """Killed five times, after each of which Python and the server find all there was."""
    current = {}
    for round_ in range(5):
        server = serve(encoding=encoding)
        client = ClientStorage(server.address)
        check_storage(client, current)
        writer = Writer(client, explicit_tids=False)
        writer.serials = {oid: serial for oid, (_data, serial) in current.items()}
        for number in range(4):
            writer.commit((number, pickle_of((round_, number))), (50 + round_, pickle_of(number)))
            writer.commit(description='no records')
        current.update({oid: (data, writer.serials[oid]) for oid, data in writer.current.items()})
        server.kill()
        client.close()
        check_with_python(current)


def test_a_vote_is_not_a_commit(serve, encoding):
    server = serve(encoding=encoding)
    client = ClientStorage(server.address)
    writer = Writer(client, explicit_tids=False)
    plain(writer)
    txn = writer.begin()
    client.store(p64(1), writer.serials[p64(1)], pickle_of('voted only'), '', txn)
    client.tpc_vote(txn)
    server.kill()
    client.close()
    current = {oid: (data, writer.serials[oid]) for oid, data in writer.current.items()}
    check_with_python(current)
    server = serve(encoding=encoding)
    client = ClientStorage(server.address)
    check_storage(client, current)
    if not is_python():  # upstream takes the tid of the torn tail for the last one
        assert client.lastTransaction() == writer.tids[-1]
    client.close()


@pytest.mark.parametrize('round_', range(3))
def test_killed_while_many_commit(round_, serve, encoding):
    """Four clients commit all the time; each transaction writes one number to three objects."""
    server = serve(encoding=encoding)
    acknowledged = [0] * 4
    threads = [threading.Thread(target=commit_until_it_fails, args=(server, n, acknowledged))
               for n in range(4)]
    for thread in threads:
        thread.start()
    while min(acknowledged) < 3 + 4 * round_:
        threads[0].join(0.001)
    server.kill()
    for thread in threads:
        thread.join()

    def check(storage):
        for n, count in enumerate(acknowledged):
            found = [load_current(storage, p64(n * 10 + i))[0] for i in range(3)]
            # The transaction under way when the server died may be there, but whole.
            assert found in ([pickle_of(count)] * 3, [pickle_of(count + 1)] * 3)

    check_with_python(check=check)
    server = serve(encoding=encoding)
    client = ClientStorage(server.address)
    check(client)
    writer = Writer(client, explicit_tids=False)
    writer.commit((1000, pickle_of('goes on')))
    client.close()


def commit_until_it_fails(server, number, acknowledged):
    """Counts up in the three objects of client `number`, until the server is gone."""
    try:
        client = impatient_client(server)
        writer = Writer(client, explicit_tids=False)
        while True:
            value = pickle_of(acknowledged[number] + 1)
            writer.commit(*((number * 10 + i, value) for i in range(3)))
            acknowledged[number] += 1
    except (ClientDisconnected, StorageError):
        client.close()


def check_with_python(current=None, check=None):
    """Opens a copy of the files, as they were left, with Python."""
    shutil.rmtree('python', ignore_errors=True)
    os.mkdir('python')
    for name in 'Data.fs', 'Data.fs.index':
        if os.path.exists(name):
            shutil.copy(name, 'python')
    storage = FileStorage('python/Data.fs')
    if current is not None:
        check_storage(storage, current)
    if check:
        check(storage)
    storage.close()
    fstest.check('python/Data.fs')


def check_storage(storage, current):
    """Every object has the data and serial of `current`, and there is no other."""
    for oid, (data, serial) in current.items():
        assert load_current(storage, oid) == (data, serial)
    assert len(storage) == len(current)
    with pytest.raises(POSKeyError):
        load_current(storage, p64(max(map(u64, current), default=0) + 1))
