"""Sessions over TLS, as real clients and bare ones see them."""
import contextlib
import os
import signal
import socket
import ssl
import subprocess

import pytest
import transaction
import ZEO
from support.certificates import Certificates, client_context, ssl_section
from support.configuration import eventlog, filestorage
from support.server import PATIENCE, wait_until
from support.tls import TlsSocket
from support.wire import Wire
from ZODB.blob import Blob
from ZODB.utils import z64

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
MAX_TID = b'\x7f' + b'\xff' * 7

pytestmark = pytest.mark.ours_only('it logs nothing of TLS, and sends neither alert nor close_notify')


class Tls:
    """A server with TLS, and certificates for its clients."""

    def __init__(self, serve, directory):
        self._serve = serve
        made = Certificates(directory)
        self.certificate, self.client = made.self_signed('server'), made.self_signed('zope1')
        self.stranger = made.self_signed('stranger')
        self.server = None

    def start(self, *args, level='DEBUG', **options):
        """Starts the server."""
        self.server = self._serve(
            filestorage(blob_dir='blobs'), extra=eventlog(level=level), args=args,
            ssl=ssl_section(self.certificate, self.client), **options)
        return self.server

    def context(self, version=None, own=True):
        """A client's context; `own` may be another certificate, or None."""
        return client_context(self.client if own is True else own, self.certificate, version)

    @contextlib.contextmanager
    def database(self, version=None, **options):
        """A real client."""
        db = ZEO.DB(self.server.address, ssl=self.context(version), wait_timeout=PATIENCE,
                    ssl_server_hostname='localhost', **options)
        try:
            yield db
        finally:
            db.close()

    def wire(self, version=None, register='1'):
        """A bare client."""
        return Wire(self.server.address, register, ssl=self.context(version))

    def raw(self, own=True, handshake=True, version=ssl.TLSVersion.TLSv1_3):
        """A socket that has connected, and may have shaken hands."""
        sock = socket.create_connection(self.server.address, PATIENCE)
        return TlsSocket(sock, self.context(version, own), handshake)

    def lines(self, words):
        """The lines of the log that contain these words."""
        return [line for line in self.server.log().splitlines() if words in line]


@pytest.fixture
def tls(serve, tmp_path):
    return Tls(serve, tmp_path)


def store(wire, oid, data):
    """Commits one new object."""
    wire.call('tpc_begin', 1, b'', b'', {}, None, ' ')
    wire.send_async('storea', oid, z64, data, 1)
    wire.call('vote', 1)
    return wire.call('tpc_finish', 1)


@pytest.mark.parametrize('version', VERSIONS)
def test_objects_blobs_and_invalidations(tls, version, encoding, tmp_path):
    """Large and small, both ways."""
    tls.start(encoding=encoding)
    with tls.database(version, blob_dir=str(tmp_path / 'a')) as db, \
            tls.database(version, blob_dir=str(tmp_path / 'b')) as other:
        manager, seen = transaction.TransactionManager(), transaction.TransactionManager()
        root, root_seen = db.open(manager).root(), other.open(seen).root()
        for number in range(20):
            root[number] = 'x' * 40_000 * number
            manager.commit()
        content = os.urandom(3_000_000)
        root['blob'] = Blob(content)
        manager.commit()

        def is_seen():
            seen.begin()
            return 'blob' in root_seen
        wait_until(is_seen)
        assert [len(root_seen[number]) for number in range(20)] == [
            40_000 * number for number in range(20)]
        with root_seen['blob'].open() as f:
            assert f.read() == content
        seen.abort()
    shown = {ssl.TLSVersion.TLSv1_2: 'TLSv1.2', ssl.TLSVersion.TLSv1_3: 'TLSv1.3'}[version]
    assert len(tls.lines(f'{shown}, certificate of CN=zope1')) == 2


def test_a_client_that_does_not_read_holds_up_nobody(tls):
    tls.start()
    with tls.wire() as slow, tls.wire() as other:
        store(other, b'\0' * 7 + b'\1', b'x' * 300_000)
        for _ in range(100):
            slow.request('loadBefore', b'\0' * 7 + b'\1', MAX_TID)
        for number in range(2, 10):
            store(other, b'\0' * 7 + bytes([number]), b'y')
        replies = 0
        while replies < 100:
            message = slow.receive_message()
            if message[2] == '.reply':
                assert len(message[3][0]) == 300_000
                replies += 1


@pytest.mark.parametrize('version', VERSIONS)
def test_a_refused_client_gets_an_alert_and_one_line(tls, version):
    tls.start()
    for own, alert in (tls.stranger, 'UNKNOWN_CA'), (None, ''):
        for _ in range(2):
            with pytest.raises(ssl.SSLError) as error:
                tls.raw(own, version=version).recv(10)
            assert 'ALERT' in error.value.reason and alert in error.value.reason, error.value
    words = 'its certificate is not accepted: self-signed certificate (CN=stranger)'
    told = [line for line in tls.lines('TLS handshake failed') if 'WARN' in line]
    assert len(tls.lines(words)) == 2 and len(told) == 1 and words in told[0]
    assert len(tls.lines('it has no certificate')) == 2
    with tls.wire() as client:
        client.call('ping')


def test_a_refused_client_does_not_hold_up_a_stop(tls):
    tls.start()
    refused = tls.raw(tls.stranger)
    tls.server.wait_for_log('its certificate is not accepted')
    tls.server.stop()
    with pytest.raises(ssl.SSLError):
        refused.recv(10)


def test_clients_without_tls_are_told_apart_from_probes(tls):
    tls.start('--handshake-timeout', '3')
    socket.create_connection(tls.server.address).close()
    silent = socket.create_connection(tls.server.address, PATIENCE)
    nagios = socket.create_connection(tls.server.address, PATIENCE)
    nagios.sendall(b'\0\0\0\4ruok')
    tls.server.wait_for_log('it does not speak TLS')
    tls.server.wait_for_log('nothing has come; clients without <ssl> wait for the server to begin')
    assert silent.recv(1) == b''
    assert len([line for line in tls.lines('TLS handshake failed') if 'WARN' in line]) == 2
    tls.server.wait_for_log('closed the connection without a word')


def test_half_an_end_is_answered_and_a_cut_is_told(tls):
    tls.start()
    for is_cut in False, True:
        client = tls.wire()
        client.request('lastTransaction')
        if is_cut:
            client.socket.cut()
        else:
            client.socket.shutdown(socket.SHUT_WR)
        assert client.receive_message()[3] == z64
        assert client.socket.recv(1) == b'', 'close_notify, and no error'
    cut = 'the client has gone without TLS\'s close_notify'
    tls.server.wait_for_log(f'disconnected: {cut}')
    gone = tls.lines('disconnected: the client has gone')
    assert [cut in line for line in gone] == [False, True]


def test_a_stop_sends_close_notify(tls):
    tls.start()
    newcomer = tls.raw(handshake=False)
    # It is accepted before these; who waits to be accepted is reset by the system.
    clients = [tls.wire(version) for version in VERSIONS]
    assert tls.server.signal(signal.SIGTERM) == 0
    for client in clients:
        assert client.socket.recv(1) == b''
    assert newcomer.raw.recv(1) == b''


@pytest.mark.parametrize('key', [b'k\n', b'K\n'], ids=['alone', 'with request'])
def test_key_updates_are_taken(tls, key):
    """By openssl's own client, which sends one when it reads such a line."""
    tls.start()
    host, port = tls.server.address
    command = ['openssl', 's_client', '-connect', f'{host}:{port}', '-tls1_3', '-cert',
               tls.client.file, '-key', tls.client.key, '-CAfile', tls.certificate.file]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, bufsize=0) as client:
        def say(words, until):
            os.write(client.stdin.fileno(), words)
            seen = b''
            while until not in seen:
                more = os.read(client.stdout.fileno(), 1 << 16)
                assert more, seen
                seen += more
        say(b'', b'Z5')
        for _ in range(3):
            say(key, b'KEYUPDATE')
        say(b'\0\0\0\4ruok', b'"1"')
        client.stdin.close()
    assert not tls.lines('ERROR')


def test_renegotiation_ends_only_who_asks_for_it(tls):
    tls.start()
    host, port = tls.server.address
    with tls.wire() as bystander:
        done = subprocess.run(
            ['openssl', 's_client', '-connect', f'{host}:{port}', '-tls1_2', '-cert',
             tls.client.file, '-key', tls.client.key, '-CAfile', tls.certificate.file],
            input=b'R\n', stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE)
        assert b'RENEGOTIATING' in done.stdout and b'Verify return code: 0' in done.stdout
        bystander.call('ping')
