"""What is read of the server while it runs: its monitor, its log."""
import glob
import os
import re
import signal

from support import monitor
from support.server import wait_until
from support.wire import Wire

from soak.restarts import Helper

LOG = 'server.log'
LINE = re.compile(r'20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d [A-Z]+ (ZEO|ZODB)')
BAD = re.compile(r'Traceback|panicked|this is a bug|no more (commits|transactions)')
LATER = b'\x7f' + b'\xff' * 7


class Monitor(monitor.Monitor):
    def __init__(self, address):
        self.addresses = [address]

    def ask(self, *args, **options):
        """As in general; but a server that is starting is not there yet."""
        code, text = super().ask(*args, **options)
        if code == 503:
            raise ConnectionError(text)
        return code, text


class Scraper(Helper):
    """Asks the monitor all the time. What only grows must not shrink while a server lives."""

    def __init__(self, restarts, every, address):
        super().__init__(restarts, every)
        self.monitor = Monitor(address)
        self.last, self.when = {}, None

    def once(self):
        before = self.restarts.value
        values = self.monitor.metrics()
        self.monitor.status()
        # An odd number: a server is ended and another started, and either may have answered.
        if self.when == before == self.restarts.value and before % 2 == 0:
            self.faults += [f'{key} was {self.last[key]}, and is {value}'
                            for key, value in values.items()
                            if key[0].endswith('_total') and value < self.last.get(key, 0)]
        self.last, self.when = values, before


class Teller(Helper):
    """Has lines written to the log, and counts them. One for each life of the server."""

    def __init__(self, restarts, every, address):
        super().__init__(restarts, every)
        self.wire = Wire(address)
        self.port = self.wire.socket.getsockname()[1]

    def once(self):
        self.wire.call('getInvalidations', LATER)
        self.wire.notifications.clear()

    def close(self):
        self.wire.close()

    def lines(self, text):
        """How many of its lines the text has, with those that the server says it has dropped."""
        dropped = sum(map(int, re.findall(r'(\d+) log lines were dropped', text)))
        return len(re.findall(rf':{self.port}\b.* Return \d+ invalidations', text)) + dropped


class Log:
    """The log of one life of the server, in as many files as rotations make."""

    def __init__(self, life):
        self.life, self.rotations = life, 0

    def rotate(self, server):
        self.rename()
        server.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: os.path.exists(LOG))

    def rename(self):
        self.rotations += 1
        os.rename(LOG, f'log-{self.life}-{self.rotations:06}')

    def text(self):
        text = ''
        for path in [*sorted(glob.glob(f'log-{self.life}-*')), LOG]:
            if os.path.exists(path):
                with open(path, errors='replace') as f:
                    text += f.read()
        return text

    def judge(self, teller, torn):
        """What is wrong with the whole log, after the server's end: a list of faults.

        With `torn`, the last line may be.
        """
        text = self.text()
        if torn:
            text = text[:text.rfind('\n') + 1]
        faults = [f'a torn line in the log: {line!r}' for line in text.splitlines()
                  if line != '------' and not LINE.match(line)][:10]
        found = BAD.search(text)
        if found:
            faults.append(f'the log says {found[0]!r}: {text[found.start() - 1000:][:3000]}')
        if teller.lines(text) < teller.times:
            faults.append(f'{teller.lines(text)} lines in the log of {teller.times}')
        return faults
