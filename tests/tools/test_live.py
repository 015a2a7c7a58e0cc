"""Beside a process that writes to the file, nothing seems wrong."""
import subprocess
import sys
import threading
import time

import pytest
from exchange import files, histories
from support.configuration import filestorage
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage
from ZODB.scripts import fstest

from .program import fstool

SECONDS = 2
COMMANDS = [['test'], ['refs'], ['tail'], ['dump'], ['size'], ['oids'],
            ['index', '--check']]
# Python's FileStorage has transactions marked as unfinished in the file, from the vote on.
PYTHON_WRITER = '''
import sys, time
from exchange.histories import pickle_of
from exchange.writer import Writer
from ZODB.FileStorage import FileStorage
writer = Writer(FileStorage('Data.fs'))
writer.commit((0, pickle_of('root')))
print('ready', flush=True)
number = 0
while True:
    number += 1
    change = (number % 50, pickle_of('x' * (number * 7919 % 100000)))
    if number % 3:
        writer.abort(change)
    else:
        txn = writer.begin()
        from ZODB.utils import p64, z64
        writer.storage.store(p64(change[0]), writer.serials.get(p64(change[0]), z64), change[1],
                             '', txn)
        writer.storage.tpc_vote(txn)
        time.sleep(.002)
        writer.tids.append(writer.storage.tpc_finish(txn))
        writer.serials[p64(change[0])] = writer.tids[-1]
'''


@pytest.mark.parametrize('packing', [False, True])
def test_beside_the_server(packing, serve):
    server = serve(filestorage(pack_gc=False, pack_keep_old=False))
    stop = threading.Event()
    commits = [0] * 3
    threads = [threading.Thread(target=commit, args=(server.address, n, commits, stop))
               for n in range(3)]
    first = ClientStorage(server.address)
    files.Writer(first, explicit_tids=False).commit((0, histories.pickle_of('root')))
    first.close()
    if packing:
        threads.append(threading.Thread(target=pack, args=(server.address, stop)))
    for thread in threads:
        thread.start()
    try:
        look(until=lambda: min(commits) > 20)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    server.stop()
    fstest.check('Data.fs')
    found = fstool('test', '--json', 'Data.fs').json
    assert found['transactions'] > (5 if packing else 50)
    fstool('refs', 'Data.fs')


def commit(address, number, commits, stop):
    storage = ClientStorage(address)
    writer = files.Writer(storage, explicit_tids=False)
    while not stop.is_set():
        commits[number] += 1
        count = commits[number]
        data = histories.pickle_of('x' * (count * 7919 % 50000))
        writer.commit((1000 * number + count % 10 + 1, data))
    storage.close()


def pack(address, stop):
    storage = ClientStorage(address)
    while not stop.is_set():
        storage.pack(time.time(), wait=True)
        time.sleep(.02)
    storage.close()


@pytest.mark.skipif(sys.platform != 'linux', reason='needs /proc/locks')
def test_beside_python(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    process = subprocess.Popen([sys.executable, '-c', PYTHON_WRITER], stdout=subprocess.PIPE,
                               env={'PYTHONPATH': ':'.join(sys.path)})
    try:
        assert process.stdout.readline() == b'ready\n'
        look(shrinks=True)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def look(shrinks=False, until=lambda: True):
    """Runs the tools in turn, for a while and `until` something is true. A file that `shrinks`, as Python's does when it aborts
    a transaction, may do so under a tool that reads it: then the tool is run again."""
    end, rounds = time.monotonic() + SECONDS, 0
    while time.monotonic() < end or not rounds or not until():
        for command in COMMANDS:
            arguments = ['Data.fs', '1'] if command == ['oids'] else ['Data.fs']
            for _ in range(100 if shrinks else 0):
                result = fstool(*command, *arguments, code=(0, 1))
                if result.code == 0:
                    break
                assert 'it ends within' in result.err, (command, result)
            else:
                result = fstool(*command, *arguments)
            # A pack may have put that of the new file there meanwhile.
            told = [line for line in result.err.splitlines() if 'ignoring the index' not in line]
            assert not told, (command, result)
        rounds += 1


def test_index_is_not_touched_in_use(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files.write('Data.fs', histories.plain)
    storage = FileStorage('Data.fs')
    try:
        before = open('Data.fs.index', 'rb').read()
        result = fstool('index', 'Data.fs', code=2)
        assert 'has the storage open for writing' in result.err
        assert open('Data.fs.index', 'rb').read() == before
    finally:
        storage.close()
