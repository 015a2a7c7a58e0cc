"""A soak: many clients that load, commit, conflict, undo, iterate, stall, die and come back.

They do the same with blobs, also in a directory that they share, and the server packs meanwhile.
Throughout, readers check the invariant in snapshots, and the server's memory, threads and
descriptors are sampled. In the end Python's FileStorage judges the file. Exit code 0: all is well.
"""
import argparse
import multiprocessing
import os
import queue
import random
import re
import statistics
import sys
import tempfile
import threading
import time
import traceback

from support.configuration import filestorage, zeo
from support.server import PATIENCE, Server, binary
from support.wire import Wire
from ZEO.ClientStorage import ClientStorage
from ZODB.blob import BushyLayout
from ZODB.FileStorage import FileStorage

from soak import blobs, data
from soak.worker import COUNTERS, run

THREADS = 8          # clients in one process
WARM_UP = 0.25       # of the time
MEMORY_SLACK = 16 << 20
BAD = re.compile(r'Traceback|panicked|this is a bug|no more (commits|transactions)')


def main():
    options = arguments()
    print(f'soak: {options.clients} clients, {options.minutes} minutes, encoding '
          f'{options.encoding}, seed {options.seed}, server {binary()}', flush=True)
    with tempfile.TemporaryDirectory(prefix='soak-') as directory:
        os.chdir(directory)
        faults = soak(options)
        os.chdir('/')
    for fault in faults:
        print('FAULT', fault)
    print('soak:', 'FAILED' if faults else 'passed')
    return 1 if faults else 0


def arguments():
    parser = argparse.ArgumentParser('scripts/soak')
    parser.add_argument('--clients', type=int, default=64)
    parser.add_argument('--minutes', type=float, default=20)
    parser.add_argument('--encoding', choices='ZM', default='Z')
    parser.add_argument('--seed', type=int, default=random.randrange(10 ** 6))
    return parser.parse_args()


def soak(options):
    server = Server(zeo(transaction_timeout=2, msgpack=options.encoding == 'M' or None)
                    + filestorage(blob_dir='blobs', pack_keep_old=options.seed % 2 == 0))
    storage = ClientStorage(server.address, blob_dir='blobs-first')
    oids = data.create(storage, random.Random(options.seed))
    crowd = Crowd(options, server.address, oids)
    at_rest = resources(server.pid)
    packer = Packer(server.address, options.minutes * 60)
    samples = crowd.keep_going(server)
    faults = packer.end() + crowd.end()
    counts = crowd.counts()
    if server.process.poll() is not None:
        return [*faults, f'the server has died: {server.log()[-3000:]}']
    faults += calm(server, at_rest)
    faults += flat(samples)
    server.stop()
    found = BAD.search(server.log())
    if found:
        faults.append(f'the log says {found[0]!r}: {server.log()[-3000:]}')
    in_doubt = counts['begun'] - counts['done'] - counts['failed']
    undo_in_doubt = counts['undo_begun'] - counts['undone'] - counts['undo_failed']
    done = counts['done'] - counts['undone']
    verdict, transfers = data.judge('Data.fs', FileStorage, done - undo_in_doubt, done + in_doubt)
    in_file, known = blobs.judge('Data.fs', 'blobs', FileStorage)
    verdict += in_file + blobs.strays('blobs', known, BushyLayout())
    if os.path.exists('Data.fs.old'):
        verdict += blobs.judge('Data.fs.old', 'blobs.old', FileStorage)[0]
    os.remove('Data.fs.index')
    again, _ = data.judge('Data.fs', FileStorage, done - undo_in_doubt, done + in_doubt)
    report(counts, samples, transfers, in_doubt + undo_in_doubt)
    print(f'{packer.packs} packs; {len(known)} revisions of blobs in the end')
    return faults + verdict + again


class Crowd:
    """The processes of clients; one is killed and replaced from time to time."""

    def __init__(self, options, address, oids):
        self.options, self.address, self.oids = options, address, oids
        self.context = multiprocessing.get_context('spawn')
        self.counters = self.context.Array('q', len(COUNTERS))
        self.problems = self.context.Queue()
        self.stop = self.context.Event()
        self.random = random.Random(options.seed)
        self.processes = {}
        for first in range(0, options.clients, THREADS):
            self.start(first)

    def start(self, first):
        threads = min(THREADS, self.options.clients - first)
        pace = self.options.clients / 200  # about 200 actions a second
        process = self.context.Process(target=run, daemon=True, args=(
            first, threads, self.address, self.oids, self.counters, self.problems, self.stop,
            pace, self.options.seed))
        process.start()
        self.processes[first] = process

    def keep_going(self, server):
        """Samples the server until the time is over, or something is wrong."""
        seconds = self.options.minutes * 60
        begin, samples, next_kill = time.monotonic(), [], max(10, seconds / 40)
        while not self.stop.is_set() and server.process.poll() is None:
            passed = time.monotonic() - begin
            if passed > seconds:
                break
            samples.append((passed / seconds, *resources(server.pid)))
            if passed > next_kill:
                next_kill = passed + max(10, seconds / 40)
                self.kill_one()
            time.sleep(min(1, seconds / 30))
        return samples

    def kill_one(self):
        first = self.random.choice(sorted(self.processes))
        # Counters that it holds locked at this moment would stay so.
        with self.counters.get_lock():
            self.processes[first].kill()
            self.processes[first].join()
        self.start(first)

    def end(self):
        """Stops all clients; returns what they have complained about."""
        self.stop.set()
        faults = []
        for first, process in self.processes.items():
            process.join(PATIENCE)
            if process.is_alive():
                process.kill()
                faults.append(f'the clients from {first} on do not come to their end')
        try:
            while True:
                faults.append(self.problems.get(timeout=0.5))
        except queue.Empty:
            return faults

    def counts(self):
        return dict(zip(COUNTERS, self.counters))


class Packer:
    """Packs again and again, to a time not long ago."""

    def __init__(self, address, seconds):
        self.address, self.every = address, max(3, seconds / 60)
        self.packs, self.faults, self.over = 0, [], threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        storage = ClientStorage(self.address)
        try:
            while not self.over.wait(self.every):
                storage.pack(time.time() - data.PACKED_AGE, wait=True)
                self.packs += 1
        except Exception:
            self.faults.append(f'a pack has failed: {traceback.format_exc()}')
        storage.close()

    def end(self):
        self.over.set()
        self.thread.join()
        return self.faults


def resources(pid):
    """Resident bytes, threads, descriptors."""
    with open(f'/proc/{pid}/statm') as f:
        memory = int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    return memory, len(os.listdir(f'/proc/{pid}/task')), len(os.listdir(f'/proc/{pid}/fd'))


def calm(server, at_rest):
    """What is left of the clients when they have gone."""
    end = time.monotonic() + PATIENCE
    with Wire(server.address) as wire:
        while time.monotonic() < end:
            status = wire.call('server_status')
            _, threads, descriptors = resources(server.pid)
            if (status['connections'] == 1 and status['active_txns'] == 0
                    and status['waiting'] == 0 and threads <= at_rest[1] + 3
                    and descriptors <= at_rest[2] + 5):
                return []
            time.sleep(0.1)
    return [f'all clients have gone, but not from the server: {status}, {threads} threads and '
            f'{descriptors} descriptors; at rest {at_rest}']


def flat(samples):
    """Whether the last part of the samples is like the first one after the warm-up."""
    middle = WARM_UP + (1 - WARM_UP) / 2
    first = [sample for sample in samples if WARM_UP <= sample[0] < middle]
    last = [sample for sample in samples if sample[0] >= middle]
    if len(first) < 3 or len(last) < 3:
        return ['too few samples']
    faults = []
    for place, name, slack in ((1, 'memory', MEMORY_SLACK), (2, 'threads', 15),
                               (3, 'descriptors', 30)):
        before, after = (statistics.median(sample[place] for sample in part)
                         for part in (first, last))
        if after > before * 1.1 + slack:
            faults.append(f'{name} grow from {before} to {after}')
    return faults


def report(counts, samples, transfers, in_doubt):
    print('  '.join(f'{name} {count}' for name, count in counts.items()))
    print(f'{transfers} transfers in the file; {in_doubt} in doubt')
    for place, name in (1, 'memory'), (2, 'threads'), (3, 'descriptors'):
        values = [sample[place] for sample in samples]
        print(f'{name}: first {values[0]}, median {statistics.median(values)}, '
              f'greatest {max(values)}, last {values[-1]}')


if __name__ == '__main__':
    sys.exit(main())
