"""Two servers on one database, and somebody who changes it directly (`server/examples/shared`)."""
import os
import subprocess
import threading

from .server import PATIENCE, binary


class Shared:
    """The running program. `addresses` are those of its two servers."""

    def __init__(self, encoding='Z'):
        program = os.path.join(os.path.dirname(binary()), 'examples', 'shared')
        if not os.access(program, os.X_OK):
            raise AssertionError(f'there is no {program}: build the workspace with --examples')
        arguments = ['msgpack'] if encoding == 'M' else []
        self.process = subprocess.Popen(
            [program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._lock = threading.Lock()
        word, *ports = self.process.stdout.readline().split()
        assert word == 'listening'
        self.addresses = [('127.0.0.1', int(port)) for port in ports]

    def order(self, *words):
        """Gives an order; returns the answer."""
        with self._lock:
            print(*words, file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline().strip()
        assert not answer.startswith('error'), answer
        return answer

    def store(self, oid, record):
        """Commits a record without a server, over what is current; its tid."""
        return bytes.fromhex(self.order('store', oid.hex(), record.hex()))

    def last(self):
        """The last tid of all."""
        return bytes.fromhex(self.order('last'))

    def lose(self):
        """Changes that nobody knows of; the tid that stands for them."""
        return bytes.fromhex(self.order('lose'))

    def stop(self):
        """Stops it; fails if it does not end well."""
        if self.process.poll() is None:
            self.process.stdin.close()
            assert self.process.wait(PATIENCE) == 0
        self.process.stdout.close()
