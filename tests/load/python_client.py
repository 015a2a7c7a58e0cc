"""What `scripts/bench client` measures, done by Python's client: see tests/load/src/client/, which
does the same by ours. Run by a Python with ZEO; prints one line of JSON.

usage: python_client.py HOST:PORT CACHE|- WORK [NUMBER]
"""
import json
import logging
import os
import random
import statistics
import sys
import threading
import time

import transaction
import ZEO.ClientStorage
import ZODB
from ZODB.utils import maxtid, p64, z64

# As in tests/load/src/client/main.rs.
CACHE_SIZE = 200 << 20
SIZE = 1000
RECORD = b'\x80\x03cpersistent.mapping\nPersistentMapping\n.\x80\x03}X\x04\0\0\0data}ss.'


def main():
    address, cache, work = sys.argv[1:4]
    numbers = list(map(int, sys.argv[4:]))
    host, port = address.rsplit(':', 1)
    # A cache that is dropped is no measurement.
    logging.basicConfig(level=logging.CRITICAL)
    opened = measured(lambda: ZEO.ClientStorage.ClientStorage(
        (host, int(port)), cache=None if cache == '-' else cache, cache_size=CACHE_SIZE))
    storage = opened.pop('result')
    report = opened if work == 'open' else WORKS[work](storage, *numbers)
    report.pop('result', None)
    report.setdefault('operations', 1)
    storage.close()
    print(json.dumps(report))


def measured(work):
    """What it returns, the seconds it takes, and what it takes of memory and processor time."""
    memory, cpu, began = resident(), time.process_time(), time.perf_counter()
    result = work()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {'result': result, 'seconds': seconds, 'cpu': cpu, 'memory': resident() - memory,
            'resident': resident()}


def resident():
    """Resident bytes."""
    with open('/proc/self/statm') as f:
        return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def shuffled(objects):
    oids = [p64(number) for number in range(1, objects + 1)]
    random.Random(1).shuffle(oids)
    return oids


def loads(storage, objects, threads):
    """Objects that are not in the cache, each once."""
    oids = shuffled(objects)
    load = storage.load

    def some(number):
        for oid in oids[number::threads]:
            load(oid)

    def all_of_them():
        running = [threading.Thread(target=some, args=(number,)) for number in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()

    return {**measured(all_of_them), 'operations': objects}


def cached(storage, objects, passes, threads):
    """Objects that are in the cache, and were loaded before."""
    oids = shuffled(objects)
    load = storage.load
    storage.prefetch(oids, maxtid)
    for oid in oids:
        load(oid)

    def some():
        for _ in range(passes):
            for oid in oids:
                load(oid)

    return {**measured(lambda: at_once(some, threads)), 'operations': objects * passes * threads}


def at_once(work, threads):
    """Done by several threads."""
    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def first(storage, objects):
    """Objects that are in the cache, and were not loaded before."""
    oids = shuffled(objects)
    load = storage.load
    storage.prefetch(oids, maxtid)
    storage.loadBefore(oids.pop(), maxtid)

    def all_of_them():
        for oid in oids:
            load(oid)

    return {**measured(all_of_them), 'operations': objects - 1}


def prefetch(storage, objects):
    """Until the last one is there."""
    oids = shuffled(objects)

    def all_of_them():
        storage.prefetch(oids, maxtid)
        storage.loadBefore(oids[-1], maxtid)

    return {**measured(all_of_them), 'operations': objects}


def iterate(storage):
    """All records of all transactions."""
    def all_of_them():
        return sum(len(record.data) > 0 for txn in storage.iterator() for record in txn)

    report = measured(all_of_them)
    return {**report, 'operations': report['result']}


def commit(storage, commits):
    """One object, again and again; the median."""
    oid, serial, times = storage.new_oid(), z64, []
    data = RECORD + b'\0' * (SIZE - len(RECORD))

    def all_of_them():
        nonlocal serial
        for _ in range(commits):
            began = time.perf_counter()
            txn = transaction.TransactionManager().begin()
            storage.tpc_begin(txn)
            storage.store(oid, serial, data, '', txn)
            storage.tpc_vote(txn)
            serial = storage.tpc_finish(txn)
            times.append(time.perf_counter() - began)

    return {**measured(all_of_them), 'operations': commits, 'median': statistics.median(times)}


def walk(storage):
    """All items of a BTree, through a connection whose objects are ghosts."""
    db = ZODB.DB(storage)

    def all_of_them():
        with db.transaction() as connection:
            return sum(1 for _ in connection.root()['tree'].items())

    report = measured(all_of_them)
    return {**report, 'operations': report['result']}


WORKS = {'open': None, 'loads': loads, 'cached': cached, 'first': first, 'prefetch': prefetch, 'iterate': iterate,
         'commit': commit, 'walk': walk}

if __name__ == '__main__':
    main()
