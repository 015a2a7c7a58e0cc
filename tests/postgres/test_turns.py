"""What comes while others commit waits outside of the database, and goes together."""
import contextlib

import pytest
from support.server import is_python, wait_until
from support.steps import begin
from support.wire import Wire
from ZODB.utils import p64, u64, z64

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')


@contextlib.contextmanager
def committing(database):
    """Somebody else commits, meanwhile."""
    import psycopg2
    connection = psycopg2.connect(database.dsn)
    try:
        connection.cursor().execute('SELECT pg_advisory_xact_lock(-1)')
        yield
    finally:
        connection.close()


def commit_together(database, wires, first):
    """Commits an object by each while somebody else commits; how many transactions of the database it took."""
    for number, wire in enumerate(wires):
        begin(wire, (p64(first + number), z64, number))
    with committing(database):
        requests = [wire.request('tpc_finish', 1) for wire in wires]
        for wire in wires:
            # The server has taken the request before.
            wire.call('get_info')
        wait_until(lambda: database.sql("SELECT count(*) FROM pg_locks WHERE NOT granted "
                                        "AND locktype = 'advisory'") == ['1'])
    tids = [u64(wire.answer(request)) for wire, request in zip(wires, requests)]
    assert len(set(tids)) == len(wires)
    count, = database.sql('SELECT count(DISTINCT xmin::text) FROM object_state '
                          f'WHERE tid IN ({", ".join(map(str, tids))})')
    return int(count)


def test_what_comes_while_others_commit_goes_together(serve, database):
    server = serve(storages=database.section())
    wires = [Wire(server.address) for _ in range(5)]
    # The server does not know yet that others commit.
    assert commit_together(database, wires[:1], 100) == 1
    assert commit_together(database, wires, 200) == 1
    # And what nobody delays is as before.
    for number, wire in enumerate(wires):
        begin(wire, (p64(300 + number), z64, number))
        assert wire.call('tpc_finish', 1)
    for wire in wires:
        wire.close()
