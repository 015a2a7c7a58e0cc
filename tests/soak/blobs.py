"""The blobs of a soak, and what must always be true of them.

Shelves hold a blob each, and say which one: what stands in a blob tells itself whether it is whole,
and the shelf knows its sum, so that both have to be of one transaction. A shelf may get another
blob; the one before is garbage then, which packs remove.
"""
import hashlib
import os
import pickle
import re

from persistent.list import PersistentList
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob, is_blob_record
from ZODB.POSException import POSKeyError
from ZODB.utils import p64, u64, z64

SHELVES = 20
RECORD = pickle.dumps(Blob, 3) + pickle.dumps(None, 3)
CHUNK = 59_000
# What a client may leave that is killed: an upload, or a file on its way into a shared directory.
THEIRS = re.compile(r'(BUC\w+|[\w.]+\.tmp-?)$')


def content(random):
    """The sum of what follows, and that."""
    rest = random.randbytes(random.choice([0, 10, 5_000, random.randint(0, 200_000), 1_000_000]))
    return hashlib.sha256(rest).digest() + rest


def is_whole(data):
    return len(data) >= 32 and hashlib.sha256(data[32:]).digest() == data[:32]


def create(root, random):
    root['shelves'] = PersistentList(PersistentMapping() for _ in range(SHELVES))
    for shelf in root['shelves']:
        fill(shelf, content(random), new=True)


def fill(shelf, data, new):
    if new:
        shelf['blob'] = Blob()
    with shelf['blob'].open('w') as f:
        f.write(data)
    shelf['sum'] = data[:32]


def write(connection, manager, random):
    """Another content on a shelf, in the same blob or in another one. (Nobody undoes the latter: a
    pack might come between, to a time at which nothing referred to the blob that comes back.)
    """
    number, new = random.randrange(SHELVES), random.random() < 0.3
    fill(connection.root()['shelves'][number], content(random), new)
    manager.get().note(f'another blob on {number}' if new else f'blob on shelf {number}')


def broken(connection, random):
    """What is wrong with a blob in the snapshot that this connection sees; None if nothing is."""
    number = random.randrange(SHELVES)
    shelf = connection.root()['shelves'][number]
    with shelf['blob'].open('r') as f:
        data = f.read()
    if not is_whole(data):
        return f'the blob on shelf {number} is not whole: {len(data)} bytes'
    if data[:32] != shelf['sum']:
        return f'the blob on shelf {number} is another one than the shelf says'
    return None


def upload(client, txn, random):
    """A bare client's upload of a new blob, which may end in the middle; says whether it did not."""
    oid, data = client.call('new_oids')[0], content(random)
    client.begin()
    client.send_async('storeBlobStart')
    for at in range(0, len(data), CHUNK):
        if random.random() < 0.1:
            return False
        client.send_async('storeBlobChunk', data[at:at + CHUNK])
    client.send_async('storeBlobEnd', oid, z64, RECORD, txn)
    return True


def judge(path, directory, storage_class):
    """Python's verdict on the blobs of a stopped file: a list of faults, and how many there are."""
    faults, known = [], set()
    storage = storage_class(path, read_only=True, blob_dir=directory)
    for txn in storage.iterator():
        for record in txn:
            if not record.data or not is_blob_record(record.data):
                continue
            known.add((u64(record.oid), u64(record.tid)))
            try:
                with open(storage.loadBlob(record.oid, record.tid), 'rb') as f:
                    if not is_whole(f.read()):
                        faults.append(f'{f.name} is not whole')
            except POSKeyError as error:
                faults.append(f'{path} has a blob that is not in {directory}: {error}')
    storage.close()
    return faults, known


def strays(directory, known, layout):
    """Files that belong to no revision, but for what clients have left."""
    paths = {layout.getBlobFilePath(p64(oid), p64(tid)) for oid, tid in known}
    faults = []
    for where, _directories, names in os.walk(directory):
        for name in names:
            below = os.path.relpath(os.path.join(where, name), directory)
            ours = name.startswith('rzeo-') or not THEIRS.match(name)
            if below not in paths and below != '.layout' and ours:
                faults.append(f'{below} is left in {directory}')
    return faults
