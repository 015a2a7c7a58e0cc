"""The server of a soak through its lives: it is ended and started again at the same address."""
import signal
import time

from support.configuration import eventlog, filestorage, zeo
from support.ports import free_port
from support.server import Server, wait_until

from soak import samples
from soak.watch import BAD, LOG, Log, Teller


class Lives:
    """Runs the server, and does with it what an operator does.

    Ends by SIGTERM and by SIGKILL take turns. In each life the log is rotated and, with
    certificates, those are replaced; the log is judged as a whole.
    """

    def __init__(self, options, restarts, certified):
        self.restarts, self.certified = restarts, certified
        ssl = certified.section() if certified else ''
        self.config = (zeo(f'127.0.0.1:{free_port()}', ssl, transaction_timeout=2,
                           msgpack=options.encoding == 'M' or None)
                       + filestorage(blob_dir='blobs', pack_keep_old=options.seed % 2 == 0)
                       + eventlog(LOG))
        self.monitor = f'127.0.0.1:{free_port()}'
        self.number, self.faults, self.rotations, self.told = 0, [], 0, 0
        self.start()

    def start(self):
        self.number += 1
        self.log = Log(self.number)
        self.server = Server(self.config, args=['--monitor', self.monitor])
        self.teller = Teller(self.restarts, 0.02, self.server.address)
        self.teller.start()

    def live(self, seconds, crowd):
        """One life, longer if it was too slow for samples that tell something; returns these."""
        begin, found = time.monotonic(), []
        jobs = self.jobs()
        every_job, every_kill = max(1.5, seconds / 16), max(10, seconds / 10)
        next_job, next_kill = every_job, every_kill
        while not crowd.stop.is_set() and self.server.process.poll() is None:
            passed = time.monotonic() - begin
            if passed > seconds and len(found) >= samples.ENOUGH:
                break
            found.append(samples.resources(self.server.pid))
            if passed > next_job:
                next_job = passed + every_job
                next(jobs)()
            if passed > next_kill:
                next_kill = passed + every_kill
                crowd.kill_one()
            time.sleep(min(1, seconds / 40))
        return found

    def jobs(self):
        """What is done in turn."""
        while True:
            for by_signal in True, False:
                yield lambda: self.log.rotate(self.server)
                if self.certified:
                    yield lambda: self.certified.reload(self.server, by_signal)

    def restart(self):
        """Ends the server under its clients, and starts it again."""
        with self.restarts.get_lock():
            self.restarts.value += 1
        self.end(signal.SIGKILL if self.number % 2 == 0 else signal.SIGTERM)
        self.start()
        with self.restarts.get_lock():
            self.restarts.value += 1

    def end(self, number):
        """Ends the server, and judges what it has logged."""
        if not self.teller.over.is_set():
            self.faults += self.teller.end()
        if number == signal.SIGKILL:
            # A kill may cut off what was logged at that moment, and nothing before.
            wait_until(lambda: self.teller.lines(self.log.text()) >= self.teller.times)
        code = self.server.signal(number)
        if code != (-number if number == signal.SIGKILL else 0):
            self.faults.append(f'exit code {code} after signal {number}')
        self.log.rename()
        self.rotations += self.log.rotations
        self.told += self.teller.times
        faults = self.log.judge(self.teller, torn=number == signal.SIGKILL)
        self.server._log = None
        if BAD.search(self.server.log()):
            faults.append(f'standard error: {self.server.log()[-3000:]}')
        self.faults += [f'life {self.number}: {fault}' for fault in faults]
