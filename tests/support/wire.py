"""A bare ZEO client: sends requests and returns replies, and nothing else.

It has no cache and checks nothing, so that tests see what the server says.
"""
import pickle
import socket
import struct

from .server import PATIENCE
from .tls import TlsSocket


class WireError(Exception):
    """The server answered a request with an error: its class name and payload."""

    def __init__(self, name, payload):
        super().__init__(name, payload)
        self.name, self.payload = name, payload


class Disconnected(Exception):
    """The server closed the connection."""


class Wire:
    """One connection; `register` (a storage name) is sent unless it is None.

    With a context in `ssl`, or in `context` for all connections, it speaks TLS.
    """
    context = None

    def __init__(self, address, register='1', read_only=False, timeout=PATIENCE, ssl=None):
        family = socket.AF_UNIX if isinstance(address, str) else (
            socket.AF_INET6 if ':' in address[0] else socket.AF_INET)
        if not isinstance(address, str):
            address = (address[0] or '127.0.0.1', *address[1:])
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        if family != socket.AF_UNIX:
            # As real clients do; else a call behind one without a reply is held for 40 ms.
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        if ssl or self.context:
            self.socket = TlsSocket(self.socket, ssl or self.context)
        self.notifications = []
        self._last_id = 0
        self.greeting = self.receive()
        if register is not None:
            self.send(self.greeting)
            self.call('register', register, read_only)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.socket.close()

    def call(self, method, *args):
        """Sends a request, waits for its reply; notifications that arrive meanwhile are kept."""
        return self.answer(self.request(method, *args))

    def answer(self, number):
        """Waits for the reply to the request of this number."""
        while True:
            message = self.receive_message()
            if message[0] == number:
                return _result(message)
            self.notifications.append(message)

    def request(self, method, *args):
        """Sends a request and returns its number without waiting."""
        self._last_id += 1
        self.send(self._encode((self._last_id, False, method, args)))
        return self._last_id

    def send_async(self, method, *args):
        """Sends a request that gets no reply."""
        self.send(self._encode((0, True, method, args)))

    def receive_message(self):
        """The next message: a tuple of id, flag, name and arguments."""
        return self._decode(self.receive())

    def send(self, frame):
        self.socket.sendall(struct.pack('>I', len(frame)) + frame)

    def receive(self):
        """The next frame, without its length."""
        size, = struct.unpack('>I', self._read(4))
        return self._read(size)

    def _read(self, size):
        data = bytearray()
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise Disconnected
            data += part
        return bytes(data)

    def _encode(self, message):
        if self.greeting.startswith(b'M'):
            import msgpack
            return msgpack.packb(message, use_bin_type=True)
        return pickle.dumps(message, 3)

    def _decode(self, frame):
        if self.greeting.startswith(b'M'):
            import msgpack
            return msgpack.unpackb(frame, raw=False, use_list=False)
        return pickle.loads(frame)


def _result(message):
    _number, flag, _name, result = message
    if flag == 2:
        raise WireError(*result)
    return result
