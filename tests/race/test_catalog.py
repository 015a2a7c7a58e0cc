"""What a site with a catalog does, without Zope (scripts/zope does it with Zope): each transaction
changes a folder (OOBTree), its Length, and indexes forward and back. The server is killed meanwhile.

At the end the folder has what was acknowledged, and the indexes agree with it. No transaction is
tried again before its client knows of the commit that it conflicted with: such a retry would be in
vain. RZEO_RACE_ROUNDS=N makes it N times as long.
"""
import multiprocessing
import os
import random
import threading

import BTrees.check
import pytest
import transaction
import ZEO
import ZODB
from BTrees.IOBTree import IOBTree
from BTrees.Length import Length
from BTrees.OOBTree import OOBTree, OOTreeSet
from support.configuration import zeo
from support.ports import free_port
from support.server import PATIENCE, Server
from transaction.interfaces import TransientError
from ZODB.POSException import ConflictError

PROCESSES, THREADS = 2, 3
COUNT = 15 * int(os.environ.get('RZEO_RACE_ROUNDS') or 1)
COLOURS = 'red', 'green', 'blue'


def make(root):
    root['folder'], root['length'] = OOBTree(), Length()
    root['colours'] = OOBTree({colour: OOTreeSet() for colour in COLOURS})
    root['back'] = IOBTree()


def change(root, rng, key):
    """Adds the document `key`, or paints it, in the folder and its indexes."""
    before, colour = root['folder'].get(key), rng.choice(COLOURS)
    if before is None:
        root['length'].change(1)
    else:
        root['colours'][before].remove(key)
    root['folder'][key] = colour
    root['colours'][colour].insert(key)
    root['back'][key] = colour


def work(address, seed, opened, told):
    """A client process; tells of each acknowledged change (key), what was wrong, and its end."""
    try:
        db = ZEO.DB(address, wait_timeout=100)
        # To open a database takes a load, which is not tried again when the server is killed.
        opened.wait(PATIENCE)
        change_all(db, seed, told)
        db.close()
    finally:
        told.put(('done', None))


def change_all(db, seed, told):

    def thread(number):
        rng = random.Random(f'{seed} {number}')
        manager = transaction.TransactionManager()
        for _ in range(COUNT):
            key = rng.randrange(1000)
            while not attempt(db, manager, rng, key, told):
                pass
            told.put(('changed', key))
    threads = [threading.Thread(target=thread, args=[n]) for n in range(THREADS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def attempt(db, manager, rng, key, told):
    """Whether a change was committed."""
    try:
        connection = db.open(manager)
    except TransientError:
        return False
    try:
        change(connection.root(), rng, key)
        manager.commit()
        return True
    except ConflictError as error:
        committed = error.serials and error.serials[0]
        if committed and committed > db.storage.lastTransaction():
            told.put(('wrong', f'{error}: not told of {committed!r}'))
        return False
    except TransientError:
        return False
    finally:
        manager.abort()
        connection.close()


@pytest.mark.timeout(900)
def test_folder_and_indexes_agree(tmp_path, encoding, objects, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = zeo(f'127.0.0.1:{free_port()}', msgpack=encoding == 'M' or None) + objects.section
    server = Server(config, tmp_path)
    db = ZEO.DB(server.address)
    with db.transaction() as connection:
        make(connection.root())
    db.close()
    context = multiprocessing.get_context('spawn')
    opened, told = context.Barrier(PROCESSES), context.Queue()
    processes = [context.Process(target=work, args=(server.address, seed, opened, told))
                 for seed in range(PROCESSES)]
    for process in processes:
        process.start()
    changed, ended = [], 0
    while ended < PROCESSES:
        what, key = told.get(timeout=500)
        assert what != 'wrong', key
        changed += [key] if what == 'changed' else []
        ended += what == 'done'
        if what == 'changed' and len(changed) in (COUNT, 3 * COUNT):
            server.kill()
            server = Server(config, tmp_path)
    for process in processes:
        process.join()
    server.stop()
    assert len(changed) == PROCESSES * THREADS * COUNT, 'a thread has failed'
    check(objects.open(), set(changed))


def check(storage, changed):
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        root = connection.root()
        for tree in [root['folder'], root['back'], root['colours'], *root['colours'].values()]:
            tree._check()
            BTrees.check.check(tree)
        folder = dict(root['folder'])
        assert set(folder) == changed
        assert root['length']() == len(folder)
        assert dict(root['back']) == folder
        for colour in COLOURS:
            assert set(root['colours'][colour]) == {key for key in folder if folder[key] == colour}
    db.close()
