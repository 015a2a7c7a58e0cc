"""Large records on their way to clients: in pieces, in order with everything else, and never whole
in the server's memory."""
import contextlib
import os
import socket
import time

import pytest
from exchange.writer import pickle_of
from support.certificates import Certificates, client_context, ssl_section
from support.configuration import demostorage, filestorage, zlibstorage
from support.server import PATIENCE, is_python, wait_until
from support.wire import Disconnected, Wire
from ZEO.ClientStorage import ClientStorage
from ZODB.utils import p64, z64

MB = 1 << 20
# More than the socket's buffers take.
SIZE = 24 * MB
MAX_TID = b'\x7f' + b'\xff' * 7


def record(letter, size=SIZE):
    return pickle_of(letter * size)


def commit(wire, number, oid, data, serial=z64):
    wire.call('tpc_begin', number, b'', b'', {}, None, ' ')
    wire.send_async('storea', p64(oid), serial, data, number)
    wire.call('vote', number)
    return wire.call('tpc_finish', number)


def reset_peak(server):
    with open(f'/proc/{server.pid}/clear_refs', 'w') as f:
        f.write('5')


def memory(server, name):
    with open(f'/proc/{server.pid}/status') as f:
        line = next(line for line in f if line.startswith(name + ':'))
    return int(line.split()[1]) * 1024


def open_files(server):
    """What the server has open."""
    directory, files = f'/proc/{server.pid}/fd', []
    for name in os.listdir(directory):
        with contextlib.suppress(FileNotFoundError):
            files.append(os.readlink(f'{directory}/{name}'))
    return files


class Slow(Wire):
    """Takes the beginning of an answer, and the rest when it is told to."""

    def begin(self, method, *args):
        """Sends a request and reads a megabyte of its answer, which is what comes next."""
        (self.socket.raw if self.context else self.socket).setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        number = self.request(method, *args)
        size = int.from_bytes(self._read(4), 'big')
        self.frame, self.left = self._read(MB), size - MB
        return number

    def rest(self):
        """The message whose beginning was read."""
        parts = [self.frame]
        while self.left:
            part = self.socket.recv(min(self.left, MB))
            if not part:
                raise Disconnected
            parts.append(part)
            self.left -= len(part)
        return self._decode(b''.join(parts))


@pytest.fixture(params=[False, True], ids=['plain', 'tls'])
def secured(request, serve, tmp_path, monkeypatch):
    """A function that starts a server; all bare clients speak TLS if it does."""
    def start(storages=None, **options):
        if request.param:
            if is_python():
                pytest.skip('one way is enough for upstream')
            made = Certificates(tmp_path)
            server, client = made.self_signed('server'), made.self_signed('client')
            options['ssl'] = ssl_section(server, client)
            monkeypatch.setattr(Wire, 'context', client_context(client, server))
        return serve(storages or filestorage(pack_gc=False, pack_keep_old=False), **options)
    return start


def test_slow_reader(secured, encoding):
    """Invalidations, commits and a pack while a client reads slowly: it gets what was current when
    it asked, then the invalidations, then the answer to what it asked next."""
    server = secured(encoding=encoding)
    with Wire(server.address) as writer, Slow(server.address) as reader:
        tid = commit(writer, 1, 1, record('a'))
        assert reader.receive_message()[2] == 'invalidateTransaction'
        if not is_python():
            reset_peak(server)
        before = memory(server, 'VmRSS')
        number = reader.begin('loadBefore', p64(1), MAX_TID)
        tids = [commit(writer, 2, 1, pickle_of('new'), tid)]
        tids += [commit(writer, 3 + n, 10 + n, pickle_of(n)) for n in range(20)]
        if not is_python():
            assert memory(server, 'VmHWM') - before < SIZE / 4, 'it stands in memory'
        writer.call('pack', time.time() + 1, True)
        ping = reader.request('lastTransaction')
        message = reader.rest()
        assert message[0] == number and message[3] == (record('a'), tid, None)
        met = []
        while len(met) < len(tids):
            message = reader.receive_message()
            if message[2] == 'invalidateTransaction':
                met.append(message[3][0])
        assert met == tids
        assert reader.answer(ping) == tids[-1]
        with pytest.raises(Exception, match='POSKeyError'):
            reader.call('loadSerial', p64(1), tid)


@pytest.mark.ours_only('it closes files when it is collected')
def test_a_client_that_goes_in_the_middle(secured, encoding):
    """Nothing is left of it, not even the file that was packed away."""
    server = secured(encoding=encoding)
    with Wire(server.address) as writer:
        tid = commit(writer, 1, 1, record('a'))
        commit(writer, 2, 1, pickle_of('new'), tid)
        reader = Slow(server.address)
        reader.begin('loadSerial', p64(1), tid)
        writer.call('pack', time.time() + 1, True)
        assert any('Data.fs' in name and 'deleted' in name for name in open_files(server))
        reader.close()
        wait_until(lambda: not any('deleted' in name and 'Data.fs' in name
                                   for name in open_files(server)))
        assert writer.call('loadBefore', p64(1), MAX_TID)[0] == pickle_of('new')


@pytest.mark.ours_only('it has read the record')
def test_a_file_that_becomes_shorter(serve):
    """Only the end of the connection can tell the client. The log says why."""
    server = serve()
    with Wire(server.address) as writer, Slow(server.address) as reader:
        commit(writer, 1, 1, record('a'))
        assert reader.receive_message()[2] == 'invalidateTransaction'
        reader.begin('loadBefore', p64(1), MAX_TID)
        os.truncate('Data.fs', SIZE // 2)
        with pytest.raises(Disconnected):
            reader.rest()
        server.wait_for_log('the client is disconnected, since a part of its answer is sent')
        assert 'the file ends within the record (reading object 0x01)' in server.log()
    server.kill()


STORAGES = {
    'file': lambda: filestorage(),
    'zlib': lambda: zlibstorage(filestorage(name='a'), name='1'),
    'demo': lambda: demostorage(filestorage(name='base'), name='1'),
}


@pytest.mark.parametrize('kind', STORAGES)
def test_all_ways_to_read_it(serve, encoding, kind):
    """By Python's own client, and what only a bare one asks for."""
    if is_python() and kind == 'zlib':
        pytest.skip('zc.zlibstorage may be missing')
    server = serve(STORAGES[kind](), encoding=encoding)
    first, second = record('a', 3 * MB), record('b', 3 * MB)
    with Wire(server.address) as wire:
        old = commit(wire, 1, 1, first)
        new = commit(wire, 2, 1, second, old)
        client = ClientStorage(server.address, wait_timeout=PATIENCE)
        assert client.load(p64(1)) == (second, new)
        assert client.loadBefore(p64(1), new) == (first, old, new)
        assert client.loadSerial(p64(1), old) == first
        found = [(r.oid, r.tid, r.data) for t in client.iterator() for r in t]
        assert found == [(p64(1), old, first), (p64(1), new, second)]
        client.close()
        if kind != 'demo':
            assert wire.call('record_iternext', None) == (p64(1), new, second, None)
        # Many at once, with others between.
        numbers = []
        for _ in range(3):
            numbers += [(wire.request('loadSerial', p64(1), old), first),
                        (wire.request('lastTransaction'), new),
                        (wire.request('loadSerial', p64(1), new), second)]
        for number, expected in numbers:
            message = wire.receive_message()
            assert message[0] == number and message[3] == expected
