"""Passes connections on to a PostgreSQL, and counts how often each is waited for."""
import collections
import contextlib
import re
import socket
import threading


class Proxy:
    """Listens at `port` while a `with` lasts. `path` is the socket of PostgreSQL."""

    def __init__(self, path):
        self.path = path
        # application name -> bursts of messages to PostgreSQL that followed something from there
        self._trips = collections.Counter()

    def __enter__(self):
        self._listening = socket.create_server(('127.0.0.1', 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._listening.close()

    def trips(self, *purposes):
        """The round trips of our connections for these purposes until now."""
        return sum(self._trips[f'rzeo: {purpose}'] for purpose in purposes)

    def _accept(self):
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            database = socket.socket(socket.AF_UNIX)
            database.connect(self.path)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Passed(client, database, self._trips)


class Passed:
    """One connection."""

    def __init__(self, client, database, trips):
        self.client, self.database, self.trips = client, database, trips
        self.name, self.answered = None, True
        for pass_on in self._to_database, self._to_client:
            threading.Thread(target=pass_on, daemon=True).start()

    def _to_database(self):
        while data := receive(self.client):
            if self.name is None:
                found = re.search(rb'application_name\0([^\0]*)\0', data)
                self.name = found and found[1].decode()
            if self.answered:
                self.answered = False
                self.trips[self.name] += 1
            self.database.sendall(data)
        end(self.database)

    def _to_client(self):
        while data := receive(self.database):
            self.answered = True
            self.client.sendall(data)
        end(self.client)


def end(connection):
    """Also if another thread waits for it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def receive(connection):
    try:
        return connection.recv(1 << 16)
    except OSError:
        return b''
