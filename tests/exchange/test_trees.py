"""BTrees that several clients change at once, through merged conflicts and a pack.

What each client was told that it committed is in the trees, and Python's tools find the file
sound, the trees included.
"""
import contextlib
import io
import random
import threading
import time

import BTrees
import transaction
import ZODB
from BTrees.Length import Length
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError
from ZODB.scripts import checkbtrees, fsrefs, fstest

CLIENTS = 4
COMMITS = 25
FAMILIES = ['OO', 'IO', 'OI', 'II', 'LO', 'OL', 'LL', 'IF', 'LF', 'UO', 'QQ', 'OU']
TREES = [f'{family}{kind}' for family in FAMILIES for kind in ('BTree', 'TreeSet')]


def test_concurrent_changes(serve, encoding):
    server = serve(encoding=encoding)
    db = ZODB.DB(ClientStorage(server.address))
    with db.transaction() as connection:
        for name in TREES:
            module = getattr(BTrees, f'{name[:2]}BTree')
            connection.root()[name] = getattr(module, name)()
        connection.root()['length'] = Length()
    db.close()
    threads = [Changes(server.address, number) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [thread.failure for thread in threads] == [None] * CLIENTS
    client = ClientStorage(server.address)
    resolved = client.server_status()['conflicts_resolved']
    check_content(ZODB.DB(client), threads)
    client.close()
    server.stop()
    assert resolved > 0
    storage = FileStorage('Data.fs')
    db = ZODB.DB(storage)
    check_content(db, threads)
    db.close()
    check_tools('Data.fs')
    server = serve(encoding=encoding)
    client = ClientStorage(server.address)
    client.pack(time.time(), wait=True)
    client.close()
    server.stop()
    check_tools('Data.fs')


class Changes(threading.Thread):
    """A client that adds keys of its own to some trees in each commit, takes some out again,
    and remembers what it was told is there."""

    def __init__(self, address, number):
        super().__init__()
        self.address, self.number = address, number
        self.expected = {name: set() for name in TREES}
        self.length = 0
        self.failure = None

    def run(self):
        try:
            self.work()
        except Exception as e:
            self.failure = e

    def work(self):
        rng = random.Random(self.number)
        db = ZODB.DB(ClientStorage(self.address))
        manager = transaction.TransactionManager()
        root = db.open(manager).root()
        # Apart from each other in all trees, so that only buckets are shared.
        keys = iter(range(self.number, 10_000, CLIENTS))
        done = 0
        while done < COMMITS:
            key, names = next(keys), rng.sample(TREES, 5)
            gone = {name: rng.choice(sorted(self.expected[name]))
                    for name in names if self.expected[name] and rng.random() < .3}
            try:
                manager.begin()
                for name in names:
                    change(root[name], name, key, gone.get(name))
                root['length'].change(len(names) - len(gone))
                manager.commit()
            except ConflictError:
                manager.abort()
                continue
            done += 1
            for name in names:
                self.expected[name].discard(gone.get(name))
                self.expected[name].add(key)
            self.length += len(names) - len(gone)
        db.close()


def change(tree, name, key, gone):
    """Adds a key, and takes out another one, if one is given."""
    if name.endswith('Set'):
        tree.add(as_key(name, key))
    else:
        tree[as_key(name, key)] = f'value {key}' if name[1] == 'O' else key
    if gone is not None:
        tree.remove(as_key(name, gone)) if name.endswith('Set') else tree.pop(as_key(name, gone))


def as_key(name, number):
    return f'{number:05}' if name[0] == 'O' else number


def check_content(db, threads):
    connection = db.open()
    root = connection.root()
    for name in TREES:
        expected = set().union(*(thread.expected[name] for thread in threads))
        assert set(root[name]) == {as_key(name, number) for number in expected}, name
    assert root['length']() == sum(thread.length for thread in threads)
    connection.close()


def check_tools(path):
    """fstest, fsrefs and checkbtrees find nothing wrong."""
    fstest.check(path)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        fsrefs.main(path)
        checkbtrees.oids_seen.clear()
        checkbtrees.main(path)
    text = output.getvalue()
    assert '***' not in text and 'missing' not in text and 'failed' not in text, text
    assert 'found 1\n' not in text
