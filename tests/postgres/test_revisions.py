"""Old revisions in a PostgreSQL database, which one without history has in the server's memory only."""
import contextlib
import time

import pytest
from persistent.mapping import PersistentMapping
from support.server import is_python
from ZEO.ClientStorage import ClientStorage
from ZODB import DB
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
