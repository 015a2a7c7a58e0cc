"""A database that was restored: with history, who has seen what was lost drops its cache."""
import time

import pytest
from support.server import is_python
from ZODB.serialize import referencesf

from operate.test_restored import (DROPPED, KEPT, LOST, add, change, change_often, open_db, values,
                                   verdict)
from postgres.conftest import Database

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')


@pytest.mark.parametrize('later', [1, 150])
def test_a_client_with_a_cache_file(serve, cluster, later):
    database = Database(cluster, True)
    name, storages = database.name, database.section()
    with serve(storages) as server:
        old = open_db(server, client='cache')
        add(old, balance=100, other=0)
        values(old)
        old.close()
    cluster.sql('postgres', f'CREATE DATABASE backup_of_{name} TEMPLATE {name}')
    with serve(storages) as server:
        old = open_db(server, client='cache')
        assert verdict(old) == 'cache up to date'
        seen = change(old, 'balance', 1)
        old.close()
    cluster.sql('postgres', f'DROP DATABASE {name}')
    cluster.sql('postgres', f'ALTER DATABASE backup_of_{name} RENAME TO {name}')
    server = serve(storages)
    new = open_db(server)
    change_often(new, later)
    back = open_db(server, client='cache')
    assert verdict(back) == DROPPED
    assert values(back) == {'balance': 100, 'other': later}
    server.wait_for_log(LOST)
    [line] = [line for line in server.log().splitlines() if LOST in line]
    assert seen.hex() in line
    new.close()
    back.close()


@pytest.mark.parametrize('by_server', [True, False])
def test_what_a_pack_has_removed_is_not_lost(serve, database, by_server):
    storages = database.section()
    with serve(storages) as server:
        seen = open_db(server, client='cache')
        add(seen, balance=100, other=0)
        tid = change(seen, 'balance', 1)
        values(seen)
        seen.close()
        db = open_db(server)
        change(db, 'balance', 2)
        if by_server:
            db.pack(time.time() + 1)
        db.close()
    if not by_server:
        storage = database.open()
        storage.pack(time.time() + 1, referencesf)
        storage.close()
    table = 'transaction' if database.keep_history else 'object_state'
    number = int.from_bytes(tid, 'big')
    assert database.sql(f'SELECT tid FROM {table} WHERE tid = {number}') == []
    server = serve(storages)
    db = open_db(server)
    change(db, 'other', 1)
    back = open_db(server, client='cache')
    assert verdict(back) == KEPT
    assert values(back) == {'balance': 2, 'other': 1}
    assert LOST not in server.log()
    db.close()
    back.close()
