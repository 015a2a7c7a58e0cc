"""The clients of a soak, in processes of their own, and the one that packs."""
import multiprocessing
import queue
import random
import time

from support.server import PATIENCE

from soak import data
from soak.restarts import Helper, real_client
from soak.worker import COUNTERS, run

THREADS = 8  # clients in one process


class Crowd:
    """The processes of clients; one is killed and replaced from time to time."""

    def __init__(self, options, address, oids, restarts, certificates):
        self.options, self.address, self.oids = options, address, oids
        self.restarts, self.certificates = restarts, certificates
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
            pace, self.options.seed, self.restarts, self.certificates))
        process.start()
        self.processes[first] = process

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


class Packer(Helper):
    """Packs again and again, to a time not long ago."""

    def __init__(self, restarts, every, address):
        super().__init__(restarts, every)
        self.storage = real_client(address)

    def once(self):
        self.storage.pack(time.time() - data.PACKED_AGE, wait=True)

    def close(self):
        self.storage.close()
