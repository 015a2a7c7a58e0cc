"""Who comes to the server's address besides its clients, and should not."""
import os
import random
import socket
import ssl
import struct

from hostile.clients import Hostile
from support.certificates import connect
from support.server import PATIENCE
from support.tls import TlsSocket
from support.wire import Wire

from soak.restarts import CUT, Helper

MOST_HELD = 12


class Stranger(Helper):
    """Connects, does something wrong, and goes, or stays for a while."""

    def __init__(self, restarts, every, address, seed):
        super().__init__(restarts, every)
        self.address, self.random = address, random.Random(seed)
        self.held = []
        self.ways = [self.garbage, self.silent, self.browser, self.pickle, self.client_hello,
                     self.half_message, self.does_not_read]
        if Wire.context:
            self.ways += [self.half_handshake, self.garbage_in_handshake, self.garbage_in_tls]

    def once(self):
        try:
            self.hold(self.random.choice(self.ways)())
        except CUT:
            pass  # the server had enough of it

    def hold(self, connection):
        """Keeps it for some rounds, in which nothing more comes from it."""
        self.held.append(connection)
        while len(self.held) > self.random.randrange(MOST_HELD):
            old = self.held.pop(0)
            if self.random.random() < 0.5:
                raw = getattr(old, 'raw', old)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            old.close()

    def close(self):
        for connection in self.held:
            connection.close()

    def plain(self, data=b''):
        connection = socket.create_connection(self.address, PATIENCE)
        connection.sendall(data)
        return connection

    def garbage(self):
        return self.plain(os.urandom(self.random.randrange(1, 3000)))

    def silent(self):
        return self.plain()

    def browser(self):
        return self.plain(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')

    def pickle(self):
        """A client without TLS."""
        return self.plain(b'\0\0\0\2Z5\0\0\0\x1c\x80\x03(K\x01\x89X\x08\0\0\0register')

    def client_hello(self):
        """A client with TLS that does not go on."""
        connection = TlsSocket(self.plain(), ssl.create_default_context(), handshake=False)
        connection.step()
        return connection

    def half_handshake(self):
        """Goes on, but not to the end."""
        connection = TlsSocket(self.plain(), Wire.context, handshake=False)
        connection.step()
        connection.fetch()
        if not connection.step(send=False):
            return connection
        data = connection.pending()
        connection.raw.sendall(data[:self.random.randrange(len(data))])
        return connection

    def garbage_in_handshake(self):
        connection = TlsSocket(self.plain(), Wire.context, handshake=False)
        connection.step()
        connection.fetch()
        connection.raw.sendall(os.urandom(200))
        return connection

    def garbage_in_tls(self):
        connection = TlsSocket(self.plain(), Wire.context)
        connection.raw.sendall(os.urandom(200))
        return connection

    def half_message(self):
        """A client that stalls in the middle of a message."""
        client = Hostile(self.address, timeout=PATIENCE)
        client.send_bytes(struct.pack('>I', 1 << 20) + os.urandom(self.random.randrange(1 << 19)))
        return client.socket

    def does_not_read(self):
        """A client that asks for more than fits on the way, and reads nothing."""
        client = Hostile(self.address, timeout=PATIENCE)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.socket.settimeout(1)
        try:
            for _ in range(300):
                client.request('undoInfo', 0, -100, None)
        except TimeoutError:
            pass
        return client.socket


class Refused(Helper):
    """Hammers at the server with certificates that it does not accept."""

    def __init__(self, restarts, every, address, contexts):
        super().__init__(restarts, every)
        self.address, self.contexts = address, contexts

    def once(self):
        for context in self.contexts:
            if connect(self.address, context) == 'taken':
                self.faults.append('a client was let in without an accepted certificate')
