"""One of RelStorage's processes, for `scripts/bench postgres`; prints "ready", and works when a line
has come on standard input. Its report is a line of JSON.

usage: relstorage_client.py commits|loads|raw|delay DSN HISTORY|FREE SECONDS FIRST COUNT SIZE [PORT]

It stores a new object of its own again and again (commits), or reads COUNT objects from oid FIRST on
at random: through RelStorage without its cache, or by raw prepared statements. `delay`: how long
after a commit a client of the ZEO server at PORT has its invalidation.
"""
import json
import logging
import os
import random
import statistics
import sys
import threading
import time
import warnings

warnings.simplefilter('ignore')
logging.disable(logging.CRITICAL)

import psycopg2  # noqa: E402
from relstorage.adapters.postgresql import PostgreSQLAdapter  # noqa: E402
from relstorage.options import Options  # noqa: E402
from relstorage.storage import RelStorage  # noqa: E402
from ZODB.Connection import TransactionMetaData  # noqa: E402
from ZODB.utils import p64, z64  # noqa: E402

PATIENCE = 10  # seconds


def main(work, dsn, kind, seconds, first, count, size, port=None):
    seconds, first, count, size = float(seconds), int(first), int(count), int(size)
    if work == 'raw':
        step = raw(dsn, kind)
    else:
        options = Options(keep_history=kind == 'history', cache_local_mb=0)
        storage = RelStorage(PostgreSQLAdapter(dsn, options=options), options=options).new_instance()
        if work == 'loads':
            storage.poll_invalidations()
            step = storage.load
        else:
            step = commits(storage, size)
            if work == 'delay':
                step = delay(step, storage, port)
    for _ in range(3):
        step(p64(random.randrange(first, first + count)))
    print('ready', flush=True)
    sys.stdin.readline()
    times, began, cpu = [], time.perf_counter(), time.process_time()
    last = began
    while last < began + seconds:
        told = step(p64(random.randrange(first, first + count)))
        now = time.perf_counter()
        times.append(told if work == 'delay' else now - last)
        last = now
    print(json.dumps({'operations': len(times), 'seconds': last - began,
                      'per_second': len(times) / (last - began),
                      'cpu_us': (time.process_time() - cpu) / len(times) * 1e6,
                      'p50_us': statistics.median(times) * 1e6}), flush=True)
    # Without the storage's clean-up, which is not what is measured.
    os._exit(0)


def commits(storage, size):
    """Stores an object again and again."""
    oid, tid, data = storage.new_oid(), z64, os.urandom(size)

    def step(_):
        nonlocal tid
        transaction = TransactionMetaData()
        storage.tpc_begin(transaction)
        storage.store(oid, tid, data, '', transaction)
        storage.tpc_vote(transaction)
        tid = storage.tpc_finish(transaction)
        return tid
    return step


def raw(dsn, kind):
    """What RelStorage executes, without RelStorage."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    cursor = connection.cursor()
    table = 'current_object_state' if kind == 'history' else 'object_state'
    cursor.execute(f'PREPARE load AS SELECT state, tid FROM {table} WHERE zoid = $1')

    def step(oid):
        cursor.execute('EXECUTE load(%s)', (int.from_bytes(oid, 'big'),))
        return cursor.fetchone()
    return step


def delay(commit, storage, port):
    """The seconds from the end of a commit until a client of a server has heard of it."""
    from ZEO.ClientStorage import ClientStorage
    client = ClientStorage(('127.0.0.1', int(port)))
    heard, news = {}, threading.Condition()

    class Listener:
        """What a ZODB.DB is to a storage."""
        transform_record_data = untransform_record_data = staticmethod(lambda data: data)

        def invalidate(self, tid, _):
            with news:
                heard[tid] = time.perf_counter()
                news.notify()

        invalidateCache = references = staticmethod(lambda *_: None)

    client.registerDB(Listener())

    def step(oid):
        tid = commit(oid)
        done = time.perf_counter()
        with news:
            if not news.wait_for(lambda: tid in heard, PATIENCE):
                raise SystemExit('the client has not heard of a commit')
            delay = max(heard.pop(tid) - done, 0)
        # Not in step with the server's polls.
        time.sleep(random.random() / 10)
        return delay
    return step


if __name__ == '__main__':
    main(*sys.argv[1:])
