"""Old revisions in a PostgreSQL database, which one without history has in the server's memory only."""
import contextlib
import os
import time

import pytest
from persistent.mapping import PersistentMapping
from support.server import is_python
from ZEO.ClientStorage import ClientStorage
from ZODB import DB
from ZODB.blob import Blob
from ZODB.POSException import POSKeyError
from ZODB.utils import z64

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')


def test_a_pack_leaves_none_from_before_it(database, serve):
    client = ClientStorage(serve(storages=database.section()).address)
    with contextlib.closing(DB(client)) as db:
        removed = []
        for value in range(3):
            with db.transaction() as connection:
                connection.root()['value'] = value
            removed.append((z64, client.lastTransaction()))
        with db.transaction() as connection:
            unlinked = connection.root()['unlinked'] = PersistentMapping()
        removed += [(oid, client.lastTransaction()) for oid in (z64, unlinked._p_oid)]
        with db.transaction() as connection:
            del connection.root()['unlinked']
        last = client.lastTransaction()
        for oid, serial in removed:
            assert client.loadSerial(oid, serial)
        client.pack(time.time(), wait=True)
        for oid, serial in removed:
            with pytest.raises(POSKeyError):
                client.loadSerial(oid, serial)
        assert client.loadSerial(z64, last)


def blob_files(directory):
    return [name for _, _, names in os.walk(directory) for name in names if name.endswith('.blob')]


def test_a_pack_removes_the_files_of_blobs_that_are_gone(database, serve):
    client = ClientStorage(serve(storages=database.section('blob-dir blobs')).address, blob_dir='cache')
    with contextlib.closing(DB(client)) as db:
        with db.transaction() as connection:
            kept, unlinked = (connection.root().setdefault(name, Blob(b'first'))
                              for name in ('kept', 'unlinked'))
        first = client.lastTransaction()
        with db.transaction() as connection, connection.root()['kept'].open('w') as f:
            f.write(b'second')
        with db.transaction() as connection:
            del connection.root()['unlinked']
        assert len(blob_files('blobs')) == 3
        client.pack(time.time(), wait=True)
        _, serial = client.load(kept._p_oid)
        (file,) = blob_files('blobs')
        assert serial.hex() in file
        # Whoever still has the serials.
        with contextlib.closing(ClientStorage(client._addr, blob_dir='other')) as other:
            for blob in kept, unlinked:
                with pytest.raises(POSKeyError):
                    other.loadBlob(blob._p_oid, first)
            with open(other.loadBlob(kept._p_oid, serial), 'rb') as f:
                assert f.read() == b'second'
