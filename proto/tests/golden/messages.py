"""Writes the golden messages: what Python's client sends, and what Python's server answers.

    python proto/tests/golden/messages.py > proto/tests/golden/messages.txt

Needs ZEO, and writes the same with 6.2 and 5.4. Each line is

    WHO <tab> LABEL <tab> ENCODING <tab> HEX

where WHO is `call`, `reply` (also with an exception) or `notify`, LABEL names the message for
`proto/tests/messages/`, ENCODING is `Z` or `M`, and HEX is the frame with its length.

The server is Python's own (`ZEO.asyncio.server.ServerProtocol` over a StorageServer over a
FileStorage), with a transport that only keeps what is written. All tids are given, so that
nothing depends on the time.
"""
import base64
import io
import logging
import os
import pickle
import struct
import sys
import tempfile
import threading

from persistent.mapping import PersistentMapping
from ZEO.asyncio.marshal import decoder
from ZEO.asyncio.marshal import encoder
from ZEO.asyncio.server import ServerProtocol
from ZEO.StorageServer import StorageServer
from ZEO.StorageServer import ZEOStorage
from ZODB.FileStorage import FileStorage
from ZopeUndo.Prefix import Prefix

MAX = b'\x7f' + b'\xff' * 7
NEW = bytes(8)
TXN = 0x7f0012345678


def oid(number):
    return struct.pack('>Q', number)


def tid(number):
    """A tid of 2020, in minutes."""
    return struct.pack('>Q', 0x03d4e258_00000000 + (number << 32))


def record(text):
    out = io.BytesIO()
    for value in (PersistentMapping, {'data': {'text': text}}):
        pickler = pickle.Pickler(out, 3)
        pickler.dump(value)
    return out.getvalue()


class Loop:
    """Does at once what it is given, as there is no other thread that could mind."""

    def call_soon_threadsafe(self, function, *args):
        function(*args)

    def create_future(self):
        raise AssertionError('the connection was closed')


class Client:
    """A connection to the server, and what came out of it."""

    def __init__(self, server, letter, show=True):
        self.written = []
        self.arrived = threading.Condition()
        self.letter, self.show = letter, show
        self.encode, self.decode = encoder(letter.encode()), decoder(letter.encode())
        storage = ZEOStorage(server, server.read_only)
        self.protocol = ServerProtocol(Loop(), 'golden', storage, letter == 'M')
        self.protocol.connection_made(self)
        self.send(letter.encode() + b'5')
        self.written.clear()
        self.number = 0

    # What the protocol needs of a transport.
    def writelines(self, parts):
        with self.arrived:
            self.written.append(b''.join(parts))
            self.arrived.notify_all()

    def send(self, message):
        self.protocol.data_received(struct.pack('>I', len(message)) + message)

    def put(self, who, label, frame):
        if self.show and label:
            print(who, label, self.letter, frame.hex(), sep='\t')

    def take(self, label, others=()):
        """Shows what the server has sent so far."""
        others = list(others)
        for frame in self.written:
            message = self.decode(frame[4:])
            if message[2] == '.reply':
                self.put('reply', label, frame)
            elif others:
                self.put('notify', others.pop(0), frame)
        self.written.clear()

    def call(self, label, name, *args, others=(), id=None):
        """Calls, waits for the reply, and shows all."""
        self.number += 1
        message = self.encode(id or self.number, False, name, args)
        self.put('call', label, struct.pack('>I', len(message)) + message)
        self.send(message)
        with self.arrived:
            found = self.arrived.wait_for(self.reply, 60)
        self.take(label, others)
        return found[0]

    def reply(self):
        messages = [self.decode(frame[4:]) for frame in self.written]
        return [message[3] for message in messages if message[2] == '.reply']

    def tell(self, label, name, *args):
        """Calls without a reply."""
        message = self.encode(0, True, name, args)
        self.put('call', label, struct.pack('>I', len(message)) + message)
        self.send(message)
        assert not self.written, (label, self.written)

    def begin(self, label, number, extension={}):
        self.tell(label, 'tpc_begin', TXN + number, b'user', b'description', extension,
                  tid(number), ' ')

    def finish(self, number, label='', others=('',)):
        assert self.call(label, 'tpc_finish', TXN + number, others=others) == tid(number)

    def commit(self, number, *stores):
        self.begin('', number)
        for store in stores:
            self.tell('', 'storea', *store, TXN + number)
        assert not self.call('', 'vote', TXN + number)
        self.finish(number)


def serve(path, **options):
    storage = FileStorage(path, blob_dir=path + '-blobs')
    return StorageServer(None, {'1': storage}, **options)


def commits(client, other):
    client.begin('tpc_begin', 1, {'key': 'value', 'number': 2.5, 'none': None})
    client.tell('storea', 'storea', oid(0), NEW, record('root'), TXN + 1)
    client.tell('', 'storea', oid(1), NEW, record('one'), TXN + 1)
    client.call('vote', 'vote', TXN + 1)
    client.finish(1, 'tpc_finish', ['info'])
    other.take('', ['invalidateTransaction'])

    client.begin('', 2)
    client.tell('checkCurrentSerialInTransaction', 'checkCurrentSerialInTransaction',
                oid(0), tid(1), TXN + 2)
    client.tell('', 'storea', oid(1), tid(1), record('two'), TXN + 2)
    client.call('', 'vote', TXN + 2)
    client.finish(2)

    client.tell('tpc_begin plain', 'tpc_begin', 7, b'', b'', {}, None, ' ')
    client.call('tpc_abort', 'tpc_abort', 7)
    client.call('tpc_finish other', 'tpc_finish', 7)


def failures(client):
    client.begin('', 3)
    client.tell('', 'storea', oid(1), tid(1), record('late'), TXN + 3)
    client.call('vote conflict', 'vote', TXN + 3)
    client.begin('', 3)
    client.tell('', 'checkCurrentSerialInTransaction', oid(1), tid(1), TXN + 3)
    client.call('vote readconflict', 'vote', TXN + 3)
    client.call('vote stranger', 'vote', 99)
    client.begin('', 3)
    client.call('tpc_finish unvoted', 'tpc_finish', TXN + 3)
    client.call('', 'tpc_abort', TXN + 3)


def loads(client):
    # As Python's client does it, the arguments are the id of the call.
    for label, *key in [('loadBefore', oid(1), MAX), ('loadBefore old', oid(1), tid(2)),
                        ('loadBefore none', oid(1), tid(1)), ('loadBefore unknown', oid(77), MAX)]:
        client.call(label, 'loadBefore', *key, id=tuple(key))
    client.call('loadSerial', 'loadSerial', oid(1), tid(1))
    client.call('loadSerial unknown', 'loadSerial', oid(77), tid(1))
    client.call('getTid', 'getTid', oid(1))
    client.call('history', 'history', oid(1), 2)
    client.call('history root', 'history', oid(0), 1)
    client.call('record_iternext', 'record_iternext', None)
    client.call('record_iternext last', 'record_iternext', oid(1))
    client.call('getInvalidations', 'getInvalidations', tid(1))
    client.call('getInvalidations none', 'getInvalidations', NEW)
    client.call('lastTransaction', 'lastTransaction')
    client.call('undoLog', 'undoLog', 0, -20)
    client.call('undoInfo', 'undoInfo', 0, -20, None)
    client.call('undoInfo user', 'undoInfo', 0, -20, {'user_name': b'nobody'})
    if client.letter == 'Z':
        client.call('undoInfo prefix', 'undoInfo', 0, -20, {'user_name': Prefix('/a/b')})


def iterators(client):
    walk = client.call('iterator_start', 'iterator_start', None, None)
    client.call('iterator_next', 'iterator_next', walk)
    records = client.call('iterator_record_start', 'iterator_record_start', walk, tid(1))
    client.call('iterator_record_next', 'iterator_record_next', records)
    client.call('', 'iterator_record_next', records)
    client.call('iterator_record_next end', 'iterator_record_next', records)
    bounded = client.call('iterator_start bounded', 'iterator_start', tid(7), tid(8))
    client.call('iterator_next end', 'iterator_next', bounded)
    client.call('iterator_next unknown', 'iterator_next', 99)
    client.tell('iterator_gc', 'iterator_gc', [walk, 5])


def undo_id(number):
    return base64.encodebytes(tid(number))[:-1]


def undos(client):
    client.begin('', 3)
    client.tell('undoa', 'undoa', undo_id(2), TXN + 3)
    client.call('vote undo', 'vote', TXN + 3)
    client.finish(3)
    client.commit(4, (oid(1), tid(3), record('four')))
    client.begin('', 5)
    client.tell('', 'undoa', undo_id(2), TXN + 5)
    client.call('vote undoerrors', 'vote', TXN + 5)
    client.begin('', 5)
    client.tell('', 'undoa', b'AAAAAAAAAAA=', TXN + 5)
    client.call('vote undoerror', 'vote', TXN + 5)


def copies(client):
    client.begin('', 5)
    client.tell('restorea', 'restorea', oid(2), tid(5), record('copy'), None, TXN + 5)
    client.tell('restorea undone', 'restorea', oid(3), tid(5), None, None, TXN + 5)
    client.tell('restorea again', 'restorea', oid(1), tid(5), record('four'), tid(4), TXN + 5)
    client.call('', 'vote', TXN + 5)
    client.finish(5)
    client.begin('', 6)
    client.tell('deleteObject', 'deleteObject', oid(2), tid(5), TXN + 6)
    client.call('', 'vote', TXN + 6)
    client.finish(6)
    walk = client.call('', 'iterator_start', tid(6), None)
    client.call('', 'iterator_next', walk)
    records = client.call('', 'iterator_record_start', walk, tid(6))
    client.call('iterator_record_next deleted', 'iterator_record_next', records)


def blobs(client, server):
    client.begin('', 7)
    client.tell('storeBlobStart', 'storeBlobStart')
    client.tell('storeBlobChunk', 'storeBlobChunk', b'the content')
    client.tell('storeBlobEnd', 'storeBlobEnd', oid(4), NEW, record('blob'), TXN + 7)
    folder = server.storages['1'].fshelper.getPathForOID(oid(5), create=True)
    with open(os.path.join(folder, 'new.tmp'), 'wb') as file:
        file.write(b'shared')
    client.tell('storeBlobShared', 'storeBlobShared', oid(5), NEW, record('blob'), 'new.tmp', TXN + 7)
    client.call('', 'vote', TXN + 7)
    client.finish(7)
    client.call('sendBlob', 'sendBlob', oid(4), tid(7),
                others=['receiveBlobStart', 'receiveBlobChunk', 'receiveBlobStop'])


def conversation(letter):
    server = serve('Data.fs')
    other = Client(server, letter)
    other.call('', 'register', '1', True)
    client = Client(server, letter)
    client.call('register unknown', 'register', 'none', False)
    client.call('register', 'register', '1', False)
    client.call('get_info', 'get_info')
    client.tell('set_client_label', 'set_client_label', 'label')
    client.call('ping', 'ping')
    commits(client, other)
    failures(client)
    loads(client)
    iterators(client)
    undos(client)
    copies(client)
    blobs(client, server)
    client.call('new_oids', 'new_oids')
    client.call('new_oids few', 'new_oids', 3)
    other.call('new_oids readonly', 'new_oids')
    other.written.clear()
    client.call('pack', 'pack', 1000000000.0, True, others=['info packed'])
    # What tells the time has no golden reply; and there is no `new_oid`.
    for name in ['server_status', 'new_oid']:
        message = client.encode(1, False, name, ())
        client.put('call', name, struct.pack('>I', len(message)) + message)
    message = client.encode(-1, 0, '.reply', None)
    client.put('reply', 'keep-alive', struct.pack('>I', len(message)) + message)
    server.storages['1'].close()

    server = serve('Other.fs', client_conflict_resolution=True)
    client = Client(server, letter)
    client.call('', 'register', '1', False)
    client.commit(1, (oid(1), NEW, record('one')))
    client.commit(2, (oid(1), tid(1), record('two')))
    client.begin('', 3)
    client.tell('', 'storea', oid(1), tid(1), record('late'), TXN + 3)
    client.call('vote client', 'vote', TXN + 3)
    server.storages['1'].close()

    server = serve('Other.fs', read_only=True)
    Client(server, letter).call('register refused', 'register', '1', False)
    server.storages['1'].close()


def main():
    logging.disable(logging.CRITICAL)
    for letter in 'ZM':
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            conversation(letter)
            os.chdir('/')


if __name__ == '__main__':
    main()
