"""A server that is ended and started again under its clients, and what they may lose by it."""
import http.client
import ssl
import threading
import traceback

from support.server import PATIENCE
from support.wire import Disconnected, Wire
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected

# How a bare connection ends that the server has closed, or that was cut.
CUT = (Disconnected, ConnectionError, ssl.SSLError)
LOST = (ClientDisconnected, http.client.HTTPException, *CUT)


def real_client(address, **options):
    """ZEO's client; over TLS when bare clients speak it."""
    if Wire.context:
        options.update(ssl=Wire.context, ssl_server_hostname='localhost')
    return ClientStorage(address, **options)


class Tolerant:
    """Makes attempts that may lose their connection if the server was restarted since the last one
    that went well, and at no other time.

    `restarts` is a number that all processes share: odd while the server is ended and started.
    """

    def __init__(self, restarts, confirm=lambda: None):
        self.restarts, self.confirm = restarts, confirm
        self.seen = restarts.value

    def attempt(self, action):
        """Whether `action()` was not in the way of a restart.

        If it was, or might have been, `confirm()` shows whether the connection is there again: the
        action may have been happy with a cache.
        """
        before = self.restarts.value
        try:
            action()
            if before != self.seen:
                self.confirm()
        except LOST:
            if self.restarts.value == self.seen and self.seen % 2 == 0:
                raise
            return False
        self.seen = before
        return True


class Helper(threading.Thread):
    """Does the same again and again, `every` so many seconds, until it is told to end."""

    def __init__(self, restarts, every):
        super().__init__(daemon=True)
        self.restarts, self.every = restarts, every
        self.times, self.faults, self.over = 0, [], threading.Event()

    def run(self):
        tolerant = Tolerant(self.restarts)
        try:
            while not self.over.wait(self.every):
                self.times += tolerant.attempt(self.once)
        except Exception:
            self.faults.append(f'{type(self).__name__}: {traceback.format_exc()}')
        self.close()

    def once(self):
        raise NotImplementedError

    def close(self):
        """Lets go what is still held."""

    def end(self):
        """Waits for its end; returns what went wrong."""
        self.over.set()
        self.join(PATIENCE)
        if self.is_alive():
            self.faults.append(f'{type(self).__name__} does not come to its end')
        return self.faults
