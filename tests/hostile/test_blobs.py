"""Blob calls out of order, names that lead elsewhere, clients that go or read nothing."""
import os
import pickle
import time

import pytest
from support.configuration import filestorage
from support.server import is_python, wait_until
from ZODB.blob import Blob, BushyLayout
from ZODB.utils import p64, z64

from hostile.clients import TXN, record
from hostile.target import POSTGRES

BLOBS = filestorage(blob_dir='blobs')
pytestmark = pytest.mark.options(storages=BLOBS)

MB = 1 << 20
OID = p64(100)
DATA = pickle.dumps(Blob, 3) + pickle.dumps(None, 3)
DIRECTORY = os.path.join('blobs', 'rzeo' if POSTGRES else '', BushyLayout().oid_to_path(OID))
KEY, READ_CONFLICT = 'ZODB.POSException.POSKeyError', 'ZODB.POSException.ReadConflictError'
# tests/postgres/test_blobs.py has what a client is told that shares it nevertheless.
shared_only = pytest.mark.skipif(
    bool(POSTGRES), reason='on PostgreSQL, blobs are in the database: clients share no directory')


@pytest.fixture(autouse=True)
def nothing_is_left(target):
    """After every test there are committed blobs, and no other file."""
    yield
    for client in target.clients:
        client.close()
    wait_until(lambda: not strangers(), lambda: f'{strangers()}')


def strangers():
    return [os.path.join(path, name) for path, _directories, files in os.walk('blobs')
            for name in files if name not in ('.layout', '.lock') and not name.endswith('.blob')]


def committed():
    return sorted(name for _path, _directories, files in os.walk('blobs')
                  for name in files if name.endswith('.blob'))


def upload(client, content, oid=OID, serial=z64, txn=TXN, size=59_000):
    client.send_async('storeBlobStart')
    for at in range(0, len(content), size):
        client.send_async('storeBlobChunk', content[at:at + size])
    client.send_async('storeBlobEnd', oid, serial, DATA, txn)


def commit_blob(client, content, serial=z64):
    client.begin()
    upload(client, content, serial=serial)
    client.call('vote', TXN)
    return client.call('tpc_finish', TXN)


def download(client, tid, oid=OID):
    """The content as the server sends it."""
    client.notifications.clear()
    assert client.call('sendBlob', oid, tid) is None
    calls = [(name, args) for _id, _flag, name, args in client.notifications
             if name.startswith('receiveBlob')]
    assert calls[0] == ('receiveBlobStart', (oid, tid))
    assert calls[-1] == ('receiveBlobStop', (oid, tid))
    assert all((name, *args[:2]) == ('receiveBlobChunk', oid, tid) for name, args in calls[1:-1])
    chunks = [args[2] for _name, args in calls[1:-1]]
    assert all(len(chunk) == 59_000 for chunk in chunks[:-1])
    return b''.join(chunks)


def share(name, content=b'shared'):
    """Puts a file where a client that shares the directory does."""
    os.makedirs(DIRECTORY, exist_ok=True)
    with open(os.path.join(DIRECTORY, name), 'wb') as f:
        f.write(content)
    return name


@pytest.mark.parametrize('size', [0, 1, 59_000, 59_001, 200_000])
def test_contents_come_back(target, size):
    content = os.urandom(size)
    client = target.hostile()
    tid = commit_blob(client, content)
    assert download(client, tid) == content
    again = commit_blob(client, content + b'.', tid)
    assert download(client, tid) == content
    assert download(target.hostile(), again) == content + b'.'


NAMES = ['../../../../../../../../../outside.tmp', '/etc/passwd', 'precious', '..', '.', '',
         'x/../precious.tmp', 'precious.tmp/', '.tmp/..', 'precious.tmpxx']


@pytest.mark.parametrize('name', NAMES)
def test_names_that_lead_elsewhere(target, name):
    """ValueError for a call that waits; an asynchronous one closes. Python's takes some names of
    what is no file, and fails at the vote."""
    for path in 'outside.tmp', os.path.join(DIRECTORY, 'precious.blob'):
        os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
        with open(path, 'wb') as f:
            f.write(b'precious')
    client = target.hostile()
    client.begin()
    args = OID, z64, DATA, name, TXN
    outcome = client.attempt('storeBlobShared', *args)
    if not is_python():
        assert outcome == ('error', 'builtins.ValueError')
        assert client.is_alive()
        client.send_async('storeBlobShared', *args)
        assert client.is_closed()
    for path in 'outside.tmp', os.path.join(DIRECTORY, 'precious.blob'):
        with open(path, 'rb') as f:
            assert f.read() == b'precious'


@shared_only
@pytest.mark.ours_only('it follows links')
def test_a_link_that_leads_elsewhere(target):
    with open('secret', 'wb') as f:
        f.write(b'secret')
    os.makedirs(DIRECTORY)
    os.symlink(os.path.abspath('secret'), os.path.join(DIRECTORY, 'link.tmp'))
    os.mkfifo(os.path.join(DIRECTORY, 'pipe.tmp'))
    client = target.hostile()
    client.begin()
    for name, error in [('link.tmp', 'ValueError'), ('pipe.tmp', 'ValueError'),
                        ('missing.tmp', 'FileNotFoundError')]:
        outcome = client.attempt('storeBlobShared', OID, z64, DATA, name, TXN)
        assert outcome == ('error', f'builtins.{error}')
    for name in 'link.tmp', 'pipe.tmp':
        os.remove(os.path.join(DIRECTORY, name))


@shared_only
@pytest.mark.ours_only('it fails in the middle of the vote')
def test_a_shared_file_that_is_taken_back(target):
    """What the server has taken is the server's."""
    client = target.hostile()
    client.begin()
    name = share('0x01abc.tmp-')
    client.call('storeBlobShared', OID, z64, DATA, name, TXN)
    assert not os.path.exists(os.path.join(DIRECTORY, name))
    share(name, b'another')
    os.remove(os.path.join(DIRECTORY, name))
    client.call('vote', TXN)
    tid = client.call('tpc_finish', TXN)
    assert download(client, tid) == b'shared'


def test_chunk_and_end_without_start(target):
    """TypeError for a call that waits; an asynchronous one closes. As Python's."""
    client = target.hostile()
    client.begin()
    for method, args in [('storeBlobChunk', (b'x',)), ('storeBlobEnd', (OID, z64, DATA, TXN))]:
        assert client.attempt(method, *args) == ('error', 'builtins.TypeError')
        assert client.is_alive()
        other = target.hostile()
        other.begin()
        other.send_async(method, *args)
        assert other.is_closed()


def test_start_twice(target):
    """AssertionError, as Python's, and the upload goes on."""
    client = target.hostile()
    client.begin()
    client.call('storeBlobStart')
    client.call('storeBlobChunk', b'one')
    assert client.attempt('storeBlobStart') == ('error', 'builtins.AssertionError')
    client.call('storeBlobChunk', b'two')
    client.call('storeBlobEnd', OID, z64, DATA, TXN)
    client.call('vote', TXN)
    assert download(client, client.call('tpc_finish', TXN)) == b'onetwo'


@pytest.mark.ours_only('it leaves files behind')
def test_an_upload_that_never_ends(target):
    """It belongs to no transaction yet: one is committed without it, and the blob goes when its
    client does."""
    client = target.hostile()
    client.send_async('storeBlobStart')
    for _ in range(50):
        client.send_async('storeBlobChunk', bytes(100_000))
    assert client.commit({OID: record()})
    assert target.memory() < 16 * MB
    assert len(strangers()) == 1
    client.reset()


@pytest.mark.parametrize('args', [(b'', z64, DATA, TXN), (OID[:7], z64, DATA, TXN),
                                  (OID, z64, DATA, TXN + 1),
                                  (OID, z64, 7, TXN), ('../etc', z64, DATA, TXN)])
@pytest.mark.ours_only('it keeps the file, or looks at the vote only')
def test_an_end_that_is_wrong(target, args):
    client = target.hostile()
    client.begin()
    client.call('storeBlobStart')
    outcome, _name = client.attempt('storeBlobEnd', *args)
    assert outcome == 'error'
    assert client.attempt('storeBlobChunk', 7)[0] == 'error'
    client.call('tpc_abort', TXN)
    client.reset()


STATES = ['started', 'sent', 'ended', 'shared', 'voted', 'aborted', 'conflict']
ENDS = [pytest.param(state, end, marks=shared_only if state == 'shared' else ())
        for state in STATES for end in ('closes', 'resets')]


@pytest.mark.parametrize('state, end', ENDS + [('aborted', 'stays'), ('conflict', 'stays')])
@pytest.mark.ours_only('it leaves files behind')
def test_what_is_not_committed_leaves_no_file(target, state, end):
    """However far it came, and however it ends."""
    target.bystander.commit({OID: record('there')})
    serial = target.bystander.serials[OID]
    client = target.hostile()
    client.begin()
    client.call('storeBlobStart')
    if state != 'started':
        client.call('storeBlobChunk', b'x' * 1000)
    if state not in ('started', 'sent'):
        client.call('storeBlobEnd', OID, z64 if state == 'conflict' else serial, DATA, TXN)
    if state == 'shared':
        client.call('storeBlobShared', OID, serial, DATA, share('a.tmp'), TXN)
    if state in ('voted', 'aborted'):
        client.call('vote', TXN)
    if state == 'aborted':
        client.call('tpc_abort', TXN)
    if state == 'conflict':
        assert client.attempt('vote', TXN) == ('error', 'ZODB.POSException.ConflictError')
    if end == 'closes':
        client.close()
    if end == 'resets':
        client.reset()
    wait_until(lambda: not strangers(), lambda: f'{strangers()}')
    assert committed() == []
    target.bystander.commit({OID: record('free')})


@pytest.mark.options(storages=BLOBS, transaction_timeout=1)
@pytest.mark.ours_only('it leaves files behind')
def test_a_transaction_that_takes_too_long(target):
    client = target.hostile()
    client.begin()
    upload(client, b'late')
    client.call('vote', TXN)
    assert client.is_closed()
    wait_until(lambda: not strangers() and not committed())


def test_blobs_that_are_not_there(target):
    """POSKeyError, as Python's. A database without history can't tell what never was from what another
    process has replaced a moment ago: if the object has a later revision, the client is to try again."""
    client = target.hostile()
    tid = commit_blob(client, b'there')
    target.bystander.commit({p64(1): record()})
    earlier = READ_CONFLICT if POSTGRES == 'free' else KEY
    for oid, serial, error in [
            (OID, z64, earlier), (OID, p64(1), earlier), (p64(1), tid, earlier), (p64(1 << 60), tid, KEY),
            (OID, b'\xff' * 8, KEY), (b'\xff' * 8, tid, KEY)]:
        assert client.attempt('sendBlob', oid, serial) == ('error', error), (oid, serial)
    assert download(client, tid) == b'there'


@pytest.mark.options(storages=filestorage())
def test_a_storage_without_blobs(target):
    client = target.hostile()
    client.begin()
    for method, args in [('storeBlobStart', ()), ('sendBlob', (OID, z64)),
                         ('storeBlobShared', (OID, z64, DATA, 'a.tmp', TXN))]:
        assert client.attempt(method, *args)[0] == 'error'
    client.call('vote', TXN)
    assert client.call('tpc_finish', TXN)


def make_large(client, size):
    """A committed blob whose file has holes up to this size."""
    tid = commit_blob(client, b'large')
    path = os.path.join(DIRECTORY, BushyLayout().getBlobFilePath(OID, tid).rsplit('/', 1)[1])
    os.chmod(path, 0o600)
    os.truncate(path, size)
    return tid


@pytest.mark.ours_only('it reads the blob to its end')
def test_downloads_that_nobody_reads(target):
    """Hardly anything of them is in memory, and others go on."""
    tid = make_large(target.hostile(), 1 << 40)
    clients = [target.hostile() for _ in range(5)]
    for client in clients:
        for _ in range(10):
            client.request('sendBlob', OID, tid)
    time.sleep(0.3)
    target.serves_as_before()
    assert target.memory() < 64 * MB
    clients[0].reset()


@pytest.mark.ours_only('its answers wait for the whole blob')
def test_other_work_beside_a_download(target):
    """Replies and invalidations come between chunks of a blob that would take hours."""
    client = target.hostile()
    tid = make_large(client, 1 << 40)
    blob = client.request('sendBlob', OID, tid)
    for _ in range(20):
        ping = client.request('ping')
        changed = target.bystander.commit({p64(5): record()})
        waiting, chunks = {ping, changed}, 0
        while waiting:
            number, _flag, name, args = client.receive_message()
            assert number != blob
            chunks += name == 'receiveBlobChunk'
            waiting -= {number, args[0] if name == 'invalidateTransaction' else None}
        # What the buffers of the sockets hold, and little more.
        assert chunks * 59_000 < 24 * MB
    client.reset()


@pytest.mark.ours_only('it keeps all of them')
def test_downloads_with_long_ids(target):
    """However many are asked for, a thousand wait, and what names them is short."""
    tid = make_large(target.hostile(), 1 << 40)
    clients = [target.hostile() for _ in range(3)]
    for client in clients:
        for number in range(2000):
            client.send_value((b'%0900d' % number, False, 'sendBlob', (OID, tid)))
    target.serves_as_before()
    assert target.memory() < 24 * MB
    for client in clients:
        client.reset()


def test_many_downloads_at_once(target):
    """They come one after the other, each with its answer behind it. What a database has to be asked for
    comes in the order in which it has answered."""
    client = target.hostile()
    tid = commit_blob(client, b'x' * 100)
    numbers = [client.request('sendBlob', OID, tid) for _ in range(2500)]
    messages = [client.receive_message() for _ in range(4 * len(numbers))]
    answered = [number for number, _flag, name, _args in messages if name == '.reply']
    assert (sorted(answered) if POSTGRES else answered) == numbers
    names = [name for _number, _flag, name, _args in messages]
    assert names == ['receiveBlobStart', 'receiveBlobChunk', 'receiveBlobStop', '.reply'] * 2500
    assert client.is_alive()
