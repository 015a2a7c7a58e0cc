"""Clients that misbehave, and the messages they send."""
import io
import pickle
import socket
import ssl
import struct

import msgpack
from support.server import PATIENCE
from support.tls import TlsSocket
from support.wire import Disconnected, Wire, WireError
from ZODB.utils import z64

TXN = 7  # the id of every transaction here: a client chooses its own


class Hostile(Wire):
    """A connection that sends whatever a test wants, and can end in several ways."""

    def __init__(self, *args, **options):
        self.serials = {}  # of what it has committed itself
        super().__init__(*args, **options)
        self.port = self.socket.getsockname()[1]

    @property
    def pickles(self):
        return self.greeting.startswith(b'Z')

    def hello(self):
        """Answers the greeting, without registering."""
        self.send(self.greeting)
        return self

    def send_bytes(self, data):
        """Sends bytes as they are, without a length. A server that has closed already is fine."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def send_value(self, value):
        """Sends any value in the place of a message."""
        self.send(self._encode(value))

    def attempt(self, method, *args):
        """Makes a call; returns ('ok', result), ('error', class name) or ('closed', None)."""
        try:
            return 'ok', self.call(method, *args)
        except WireError as error:
            return 'error', error.name
        except (Disconnected, ConnectionError):
            return 'closed', None

    def is_closed(self, timeout=PATIENCE):
        """Whether the server closes the connection within the time."""
        self.socket.settimeout(timeout)
        try:
            while self.socket.recv(1 << 16):
                pass
        except TimeoutError:
            return False
        except (ConnectionError, ssl.SSLError):  # with TLS, maybe without close_notify
            pass
        return True

    def is_alive(self):
        """Whether the connection still serves."""
        return self.attempt('ping') == ('ok', None)

    def has_input(self):
        """Whether something has come already that a `select` does not see."""
        return isinstance(self.socket, TlsSocket) and self.socket.has_input()

    def finish_sending(self):
        """Ends the sending half only, and goes on reading."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        """Ends the connection by RST, as the death of a machine's process may."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.socket.close()

    def receive_answer(self):
        """The next message that is no notification."""
        message = self.receive_message()
        while message[2] != '.reply':
            message = self.receive_message()
        return message

    def _decode(self, frame):
        """What a test has sent may come back: nothing of it is run here either."""
        if self.pickles:
            return Inert(io.BytesIO(frame)).load()
        return msgpack.unpackb(frame, raw=False, use_list=False, strict_map_key=False)

    def begin(self, txn=TXN):
        return self.call('tpc_begin', txn, b'user', b'description', {}, None, ' ')

    def store(self, oid, data, serial=z64, txn=TXN):
        self.send_async('storea', oid, serial, data, txn)

    def load(self, oid):
        return self.call('loadBefore', oid, b'\x7f' + b'\xff' * 7)

    def commit(self, changes):
        """One transaction that sets each oid to its data; returns its tid."""
        self.begin()
        for oid, data in changes.items():
            self.store(oid, data, self.serials.get(oid) or self._serial(oid))
        self.call('vote', TXN)
        tid = self.call('tpc_finish', TXN)
        self.serials.update(dict.fromkeys(changes, tid))
        return tid

    def _serial(self, oid):
        try:
            return self.load(oid)[1]
        except WireError:
            return z64


class Inert(pickle.Unpickler):
    """Makes empty objects of everything."""

    def find_class(self, module, name):
        return type(name, (), {'__init__': lambda self, *args: None, '__module__': module})


def record(text=''):
    """An object's record: a class pickle and a state pickle."""
    return pickle.dumps(('a.module', 'AClass'), 3) + pickle.dumps(text, 3)


def call_pickle(args, message_id=b'K\x01', flag=b'\x89', method='ping'):
    """A pickled call whose arguments are these opcodes."""
    name = method.encode()
    return (b'\x80\x03(' + message_id + flag + b'X' + struct.pack('<I', len(name)) + name
            + args + b't.')


def call_msgpack(args, method='ping'):
    """A call in msgpack whose arguments are these bytes."""
    return b'\x94\x01\xc2' + msgpack.packb(method) + args
