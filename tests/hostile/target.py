"""The server under attack, watched from outside: a bystander who must notice nothing, and the
resources that have to come back."""
import os
import re
import time

from support.server import is_python, wait_until
from support.wire import Wire
from ZODB.utils import p64

from hostile.clients import Hostile, record

MEMORY_SLACK = 24 << 20  # bytes that a server may keep after an attack: allocators do
# `history` or `free`: the storage is a PostgreSQL database of that kind.
POSTGRES = os.environ.get('RZEO_HOSTILE_POSTGRES')
# A server opens them when it needs them, and keeps them.
CONNECTIONS_TO_POSTGRES = 32 if POSTGRES else 0
BAD_WORDS = re.compile(r'Traceback|panicked|this is a bug|RUST_BACKTRACE')
TROUBLE = re.compile(r'\b(WARN\w*|ERRO?R?|CRIT\w*|ERROR|WARNING|CRITICAL)\b')


class Target:
    """Wraps a running server."""

    def __init__(self, server):
        self.server = server
        self.clients = []
        self.bystander = self._open(1)
        self.counter = 0
        for _ in range(3):
            self.serves_as_before()
        self._open(1).close()
        time.sleep(0.05)
        self.before = self.resources()
        # More that a client takes with TLS. The allocator keeps some of what hundreds have taken.
        self.client_memory = 64 << 10 if Wire.context else 0

    def hostile(self, register='1', **options):
        """A new hostile client, closed at the end if it is not before."""
        since = len(self.server.log())
        client = Hostile(self.server.address, register, **options)
        client.since = since  # an earlier client may have had the same port
        self.clients.append(client)
        return client

    def stranger(self):
        """A hostile client that has not answered the greeting."""
        return self.hostile(None)

    def _open(self, register):
        return Hostile(self.server.address, str(register))

    def serves_as_before(self):
        """The bystander commits two objects, and loads them; so does somebody new."""
        self.counter += 1
        data = record(f'number {self.counter}')
        tid = self.bystander.commit({p64(1): data, p64(2): data})
        assert self.bystander.load(p64(1)) == (data, tid, None)
        newcomer = self._open(1)
        try:
            assert newcomer.load(p64(2)) == (data, tid, None)
            assert newcomer.call('lastTransaction') == tid
        finally:
            newcomer.close()

    def resources(self):
        """Resident bytes, descriptors, threads."""
        process = f'/proc/{self.server.pid}'
        with open(f'{process}/statm') as f:
            memory = int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
        return memory, len(os.listdir(f'{process}/fd')), len(os.listdir(f'{process}/task'))

    def memory(self):
        """Resident bytes more than before."""
        return self.resources()[0] - self.before[0]

    def offences(self, client):
        """The log's lines of trouble that name this client."""
        return [line for line in self.server.log()[client.since:].splitlines()
                if TROUBLE.search(line) and re.search(rf'\b{client.port}\b', line)]

    def one_line(self, client, words=''):
        """The log has exactly one line of trouble about this client, with these words."""
        if is_python():
            return
        wait_until(lambda: self.offences(client), lambda: f'no line: {self.server.log()[-3000:]}')
        lines = self.offences(client)
        assert len(lines) == 1, lines
        assert re.search(words, lines[0]), f'{words!r} is not in {lines[0]!r}'
        assert len(lines[0]) < 1000, lines[0]

    def check(self):
        """After an attack: alive, serving, and everything given back."""
        assert self.server.process.poll() is None, f'it has died:\n{self.server.log()[-3000:]}'
        self.serves_as_before()
        for client in self.clients:
            client.close()
        self.serves_as_before()
        wait_until(self._is_calm, lambda: f'before {self.before}, now {self.resources()}')
        if not is_python():
            found = BAD_WORDS.search(self.server.log())
            assert not found, self.server.log()[-3000:]
        self.bystander.close()

    def _is_calm(self):
        memory, descriptors, threads = self.resources()
        if is_python():  # it keeps what its allocator has got, and some threads of its pool
            return descriptors <= self.before[1] + 2
        return (memory <= self.before[0] + MEMORY_SLACK + 256 * self.client_memory
                and descriptors <= self.before[1] + 2 + CONNECTIONS_TO_POSTGRES
                and threads <= self.before[2] + 2)

