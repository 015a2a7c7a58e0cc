"""Data for `scripts/bench client` that Python makes.

usage: python_data.py tree DATA.FS ITEMS | cache FILE DATA.FS BYTES
"""
import os
import random
import sys
from contextlib import closing

import BTrees.LOBTree
import ZEO.cache
import ZODB.FileStorage
from ZODB.utils import p64


def main():
    {'tree': tree, 'cache': cache}[sys.argv[1]](*sys.argv[2:])


def tree(path, items):
    """A database whose root has a BTree with so many items."""
    with closing(ZODB.DB(ZODB.FileStorage.FileStorage(path))) as db, db.transaction() as connection:
        made = connection.root()['tree'] = BTrees.LOBTree.LOBTree()
        for number in range(int(items)):
            made[number] = f'value {number}'


def cache(path, data, size):
    """A client's cache, filled up with records of all sizes of that file's last transaction."""
    with closing(ZODB.FileStorage.FileStorage(data, read_only=True)) as storage:
        tid = storage.lastTransaction()
    chance, made = random.Random(1), ZEO.cache.ClientCache(path, int(size))
    made.setLastTid(tid)
    room = int(size) - 12
    while True:
        # Half of them below 500 bytes, a few of 10,000 and more.
        record = os.urandom(1) * int(chance.lognormvariate(6.2, 1))
        room -= len(record) + 43
        if room < 100:
            break
        # Some objects of a large database.
        made.store(p64(chance.randrange(50_000_000)), tid, None, record)
    made.close()


if __name__ == '__main__':
    main()
