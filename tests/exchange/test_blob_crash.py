"""Blobs when the server is killed: each that was acknowledged has its whole file."""
import itertools
import os
import random
import shutil
import threading
import time

import pytest
from support.clients import impatient_client
from support.configuration import filestorage
from support.server import wait_until
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, POSKeyError, StorageError
from ZODB.scripts import fstest
from ZODB.utils import p64, u64, z64

from .test_blobs import BLOB, read_file
from .writer import Reference, Writer, pickle_of

CLIENTS = 4


@pytest.mark.parametrize('shared', [False, True])
def test_killed_while_blobs_are_committed(shared, serve, encoding):
    """Several times on one file: clients commit revisions of blobs, one of them of such that are
    garbage, and one packs."""
    rng = random.Random(shared)
    acknowledged = [[] for _ in range(CLIENTS)]  # (oid, tid, content) of each revision
    for round_ in range(3):
        server = serve(filestorage(blob_dir='blobs'), encoding)
        assert not any(name.startswith('rzeo-') for name in os.listdir('blobs/tmp'))
        if not round_:
            make_root(server)
        before = [len(done) for done in acknowledged]
        if os.path.exists('Data.fs.old'):
            os.remove('Data.fs.old')
        threads = [threading.Thread(target=commit_on, args=(server, shared, number, done))
                   for number, done in enumerate(acknowledged)]
        threads.append(threading.Thread(target=pack_on, args=(server,)))
        for thread in threads:
            thread.start()
        wait_until(lambda: went_on(threads) and os.path.exists('Data.fs.old')
                   and all(len(done) > count + 4 for done, count in zip(acknowledged, before)))
        time.sleep(rng.random() / 10)
        server.kill()
        for thread in threads:
            thread.join()
        check_with_python(acknowledged)
    server = serve(filestorage(blob_dir='blobs'), encoding)
    client = ClientStorage(server.address, blob_dir='last')
    for number in range(1, CLIENTS):
        tid, content = commit(client, number, client.getTid(p64(number)), b'after all')
        assert read_file(client.loadBlob(p64(number), tid)) == content
    client.close()


@pytest.mark.ours_only('it syncs no blob')
@pytest.mark.parametrize('layout', ['bushy', 'lawn'])
def test_names_that_a_power_cut_takes(layout, serve, encoding):
    """Of what was acknowledged just before: the directories of objects, old and new, are as they
    were. Until the server has started again, the names in `tmp` are all there is."""
    os.mkdir('blobs')
    with open('blobs/.layout', 'w') as f:
        f.write(layout)
    for number in itertools.count(1, 2):
        server = serve(filestorage(blob_dir='blobs'), encoding)
        revisions = revise_and_make(server, number)
        server.kill()
        if len(os.listdir('blobs/tmp')) == 2:
            break
        # It was slow, and the names are durable by now.
    check_with_python([[], *[[revision] for revision in revisions]])
    for name in os.listdir('blobs'):
        if name.startswith('0x'):
            shutil.rmtree(f'blobs/{name}')
    shutil.copytree('before', 'blobs', dirs_exist_ok=True)
    server = serve(filestorage(blob_dir='blobs'), encoding)
    client = ClientStorage(server.address, blob_dir='again')
    for oid, tid, content in revisions:
        assert read_file(client.loadBlob(oid, tid)) == content
    client.close()
    assert server.log().count('has its name again') == 2
    server.stop()
    assert os.listdir('blobs/tmp') == []
    check_with_python([[], *[[revision] for revision in revisions]])


def test_a_shared_directory_has_no_second_names(serve):
    """Clients that see it find nothing in `tmp` after a commit, as with Python's server."""
    os.mkdir('blobs')
    server = serve(filestorage(blob_dir='blobs'))
    client = ClientStorage(server.address, blob_dir='blobs', shared_blob_dir=True)
    serial = z64
    for number in range(5):
        serial, _content = commit(client, 1, serial, b'revision')
        assert os.listdir('blobs/tmp') == []
    client.close()


def revise_and_make(server, number):
    """Revises a blob, of which the first revision is durable, and makes another one; returns both.
    The blob directory is in `before` as it was then."""
    client = ClientStorage(server.address, blob_dir=f'cache-{number}')
    first, _content = commit(client, number, z64, b'durable')
    wait_until(lambda: os.listdir('blobs/tmp') == [])
    shutil.rmtree('before', ignore_errors=True)
    shutil.copytree('blobs', 'before', ignore=shutil.ignore_patterns('tmp', '*.lock'))
    voted_and_aborted(client, number, first)
    revisions = [(p64(number), *commit(client, number, first, b'revised')),
                 (p64(number + 1), *commit(client, number + 1, z64, b'made'))]
    client.close()
    return revisions


def voted_and_aborted(client, number, serial):
    txn = TransactionMetaData()
    with open('aborted', 'wb') as f:
        f.write(b'aborted')
    client.tpc_begin(txn)
    client.storeBlob(p64(number), serial, BLOB, os.path.abspath('aborted'), '', txn)
    client.tpc_vote(txn)
    client.tpc_abort(txn)


def went_on(threads):
    """Fails when a thread has ended before the server did."""
    assert all(thread.is_alive() for thread in threads), 'a client has failed'
    return True


def make_root(server):
    client = ClientStorage(server.address)
    Writer(client, explicit_tids=False).commit(
        (0, pickle_of('root', [Reference(number) for number in range(1, CLIENTS)])))
    client.close()


def commit_on(server, shared, number, done):
    """Commits revisions of a blob of its own, until the server is gone; number 0 makes a new blob
    for every second one."""
    try:
        blob_dir = 'blobs' if shared else f'cache-{number}'
        client = impatient_client(server, blob_dir=blob_dir, shared_blob_dir=shared)
        while True:
            count = len(done)
            oid = p64(number or 100 + count // 2)
            try:
                serial = client.getTid(oid)
            except POSKeyError:
                serial = z64
            try:
                done.append((oid, *commit(client, u64(oid), serial, content_of(number, count))))
            except (ConflictError, POSKeyError):
                if number:
                    raise
                # A pack has taken the first revision: garbage is kept for a moment only.
    except (ClientDisconnected, StorageError):
        client.close()


def content_of(number, count):
    return b'%d of %d ' % (count, number) * (count * 7919 % 30_000)


def commit(client, number, serial, content):
    txn = TransactionMetaData()
    path = os.path.abspath(f'upload-{number}')
    with open(path, 'wb') as f:
        f.write(content)
    client.tpc_begin(txn)
    client.storeBlob(p64(number), serial, BLOB, path, '', txn)
    try:
        client.tpc_vote(txn)
    except (ConflictError, POSKeyError):
        client.tpc_abort(txn)
        raise
    return client.tpc_finish(txn), content


def pack_on(server):
    """Packs to before all that a test looks at, so that files are removed and kept."""
    client = impatient_client(server)
    try:
        while True:
            try:
                client.pack(time.time() - 1.5, wait=True)
            except KeyError:
                # At the pack time there was the root, and not yet all that it refers to: a
                # POSKeyError here, a KeyError in Python's FileStorage. Later packs succeed.
                pass
            time.sleep(.1)
    except (ClientDisconnected, StorageError):
        client.close()


def check_with_python(acknowledged):
    """Opens a copy of the files, as they were left, with Python."""
    shutil.rmtree('python', ignore_errors=True)
    os.mkdir('python')
    shutil.copytree('blobs', 'python/blobs')
    shutil.copy('Data.fs', 'python')
    storage = FileStorage('python/Data.fs', blob_dir='python/blobs')
    for number, done in enumerate(acknowledged):
        for oid, tid, content in done:
            if has_revision(storage, oid, tid):
                assert read_file(storage.loadBlob(oid, tid)) == content
        if number:
            oid, last, _content = done[-1]
            current = storage.getTid(oid)
            assert current >= last
            if current != last:  # not acknowledged, but whole
                content = content_of(number, len(done))
                assert read_file(storage.loadBlob(oid, current)) == content
                done.append((oid, current, content))
    storage.close()
    fstest.check('python/Data.fs')


def has_revision(storage, oid, tid):
    try:
        return bool(storage.loadSerial(oid, tid))
    except POSKeyError:
        return False
