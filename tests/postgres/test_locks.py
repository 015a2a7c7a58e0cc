"""Locks that servers take in the database, when something fails, and when two want the same."""
import contextlib
import threading

import psycopg2
import pytest
from support.server import is_python, wait_until
from ZODB.utils import p64

from postgres.test_rows import open_db, vote

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')


def test_two_that_raise_the_sequence_of_oids(serve, database):
    """As by imports: none sets it back behind the other."""
    server = serve(storages=database.section())
    db = open_db(server)
    with db.transaction() as connection:
        state = db.storage.load(connection.root()._p_oid)[0]
    with contextlib.closing(psycopg2.connect(database.dsn)) as other:
        cursor = other.cursor()
        cursor.execute('SELECT pg_advisory_xact_lock(-1002)')
        voted = threading.Thread(target=lambda: vote(db.storage, [], [(p64(16 * 5000), state, p64(0))]))
        voted.start()
        wait_until(lambda: database.sql("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
                                        "AND application_name = 'rzeo: load' AND wait_event = 'advisory'"))
        cursor.execute("SELECT setval('zoid_seq', 10000)")
        other.commit()
        voted.join()
    assert database.sql('SELECT last_value >= 10000 FROM zoid_seq') == ['t']
    db.close()
