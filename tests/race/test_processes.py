"""Several client processes change the same objects at once.

Each process increments two counters together, in transactions that it repeats
on conflicts, and looks at both in between: they must be equal in every
snapshot, and at the end count every increment that was acknowledged.
RZEO_RACE_ROUNDS=N makes it N times as long.
"""
import multiprocessing
import os

import pytest
import transaction
import ZEO
import ZODB
from transaction.interfaces import TransientError
from ZODB.tests.MinPO import MinPO

PROCESSES = 4
INCREMENTS = 40 * int(os.environ.get('RZEO_RACE_ROUNDS') or 1)


def increment(address, transport, count, results):
    """One client process; sends what it found wrong, or None."""
    db = ZEO.DB(address, wait_timeout=60, **transport.options())
    manager = transaction.TransactionManager()
    wrong = None
    for _ in range(count):
        while wrong is None:
            connection = db.open(manager)
            try:
                a, b = connection.root()['a'], connection.root()['b']
                if a.value != b.value:
                    wrong = f'{a.value} != {b.value} in one snapshot'
                a.value += 1
                b.value += 1
                manager.commit()
                break
            except TransientError:
                manager.abort()
            finally:
                manager.abort()
                connection.close()
    db.close()
    results.put(wrong)


@pytest.mark.timeout(600)
def test_counters(transport, serve, encoding, objects):
    server = serve(storages=objects.section, encoding=encoding, ssl=transport.section)
    db = ZEO.DB(server.address, **transport.options())
    with db.transaction() as connection:
        connection.root()['a'] = MinPO(0)
        connection.root()['b'] = MinPO(0)
    db.close()
    context = multiprocessing.get_context('spawn')
    results = context.Queue()
    processes = [context.Process(target=increment, args=(server.address, transport, INCREMENTS, results))
                 for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    assert [results.get(timeout=500) for _ in processes] == [None] * PROCESSES
    for process in processes:
        process.join()
    server.stop()
    db = ZODB.DB(objects.open())
    with db.transaction() as connection:
        root = connection.root()
        assert root['a'].value == root['b'].value == PROCESSES * INCREMENTS
    db.close()
