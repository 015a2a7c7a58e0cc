"""A way to PostgreSQL that breaks at a chosen message."""
import re
import socket
import threading


class Proxy:
    """Listens on 127.0.0.1 and passes everything on to a cluster.

    After arm(n), the n-th message on a connection that commits or locks is not passed on; instead,
    `act` is called, and that connection is closed, or all of them.
    """

    counted = b'rzeo: (commit|lock)'

    def __init__(self, cluster):
        self.target = '127.0.0.1', cluster.port
        self.lock = threading.Lock()
        self.open = []
        self.left, self.all, self.act = 0, False, None
        self.listening = socket.create_server(('127.0.0.1', 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def arm(self, number, all=False, act=None):
        with self.lock:
            self.left, self.all, self.act = number, all, act

    def disarm(self):
        """True if it has broken something."""
        with self.lock:
            broken, self.left = self.left <= 0, 0
            return broken

    def close(self):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        with self.lock:
            self.break_all()

    def accept(self):
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            pair = client, socket.create_connection(self.target)
            for end in pair:
                # Each message is sent by itself.
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.open.append(pair)
            threading.Thread(target=self.start, args=(pair,), daemon=True).start()

    def start(self, pair):
        client, server = pair
        first = self.message(client, b'')
        if first is None:
            return self.shut(pair)
        server.sendall(first)
        counts = re.search(self.counted, first) is not None
        threading.Thread(target=self.pump, args=(server, client, pair, counts), daemon=True).start()
        self.pump(client, server, pair, counts)

    def pump(self, source, to, pair, counts):
        while True:
            kind = self.read(source, 1)
            message = kind and self.message(source, kind)
            if not message or (counts and self.breaks(pair, message)):
                return self.shut(pair)
            try:
                to.sendall(message)
            except OSError:
                return self.shut(pair)

    def breaks(self, pair, message):
        with self.lock:
            if self.left <= 0:
                return False
            self.left -= 1
            if self.left:
                return False
            if self.act:
                self.act()
            if self.all:
                self.break_all()
            return True

    def break_all(self):
        for pair in self.open:
            self.shut(pair)
        self.open.clear()

    @staticmethod
    def shut(pair):
        for end in pair:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @staticmethod
    def read(source, size):
        data = b''
        while len(data) < size:
            try:
                more = source.recv(size - len(data))
            except OSError:
                return None
            if not more:
                return None
            data += more
        return data

    def message(self, source, kind):
        length = self.read(source, 4)
        rest = length and self.read(source, int.from_bytes(length, 'big') - 4)
        return None if rest is None else kind + length + rest
