"""Keys of all kinds, authorities of all kinds, and certificates that change while it runs."""
import os
import signal
import socket
import ssl
import threading

import pytest
import transaction
import ZODB
from support.certificates import Certificates, client_context, connect, openssl, ssl_section
from support.configuration import mappingstorage
from support.server import PATIENCE, wait_until
from ZEO.ClientStorage import ClientStorage

ours_only = pytest.mark.ours_only('reads certificates at its start only')
PASSWORD = 'not 1234'
READ_AGAIN = 'certificates read again'
REFUSED = 'TLSV1_ALERT_UNKNOWN_CA'


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Certificates that all tests here use, and none changes."""
    made = Certificates(tmp_path_factory.mktemp('made'))
    made.server, made.client, made.other = map(made.self_signed, ('server', 'client', 'other'))
    return made


@pytest.fixture
def trusted(made, tmp_path):
    """The path of a file with the client's certificate."""
    path = tmp_path / 'trusted.pem'
    path.write_text(made.client.text())
    return path


def replace(path, text):
    """Replaces a file as it should be done: at once."""
    new = f'{path}.new'
    with open(new, 'w') as f:
        f.write(text)
    os.rename(new, path)


def wait_for_reload(server, before, words=READ_AGAIN):
    """Waits until the server has logged `words` once more than `before` it did."""
    wait_until(lambda: server.log().count(words) > before, server.log)


def reloads(server, words=READ_AGAIN):
    return server.log().count(words)


class Client(ClientStorage):
    """Counts its connections."""
    connections = 0

    def notify_connected(self, *args):
        super().notify_connected(*args)
        self.connections += 1


KINDS = {
    'PKCS#8': ('ec', ['pkey']),
    'SEC1': ('ec', ['ec']),
    'PKCS#1': ('rsa', ['rsa', '-traditional']),
    'Ed25519': ('ed25519', ['pkey']),
}
LOCKED = {
    'PKCS#8': ('ec', ['pkey', '-aes256']),
    'SEC1': ('ec', ['ec', '-aes128']),
    'PKCS#1': ('rsa', ['rsa', '-traditional', '-des3']),
    'Ed25519': ('ed25519', ['pkey', '-aes256']),
}


@pytest.mark.parametrize('kind, command', KINDS.values(), ids=KINDS)
@pytest.mark.parametrize('place', ['key', 'certificate', 'behind text'])
def test_kinds_of_keys(kind, command, place, made, serve, tmp_path):
    own = made.self_signed('own', kind=kind)
    key = str(tmp_path / 'key')
    openssl(*command, '-in', own.key, '-out', key)
    if place == 'certificate':
        both = made.together('own-both', own, key)
        section = f'<ssl>\ncertificate {both}\nauthenticate {made.client.file}\n</ssl>\n'
    else:
        if place == 'behind text':
            with open(key) as f:
                replace(key, f'some words\n{made.client.text()}{f.read()}')
        section = ssl_section(own, made.client, key)
    server = serve(mappingstorage(), ssl=section)
    assert connect(server.address, client_context(made.client, own)) == 'taken'


@pytest.mark.ours_only('takes a password from Python code')
@pytest.mark.parametrize('kind, command', LOCKED.values(), ids=LOCKED)
@pytest.mark.parametrize('way', ['file', 'command', 'variable of a file', 'variable'])
def test_passwords(kind, command, way, made, serve, tmp_path):
    own = made.self_signed('own', kind=kind)
    key = str(tmp_path / 'key')
    openssl(*command, '-passout', f'pass:{PASSWORD}', '-in', own.key, '-out', key)
    (tmp_path / 'password').write_text(PASSWORD + '\n')
    args, env = {
        'file': (['--tls-password-file', 'password'], {}),
        'command': (['--tls-password-command', 'cat password'], {}),
        'variable of a file': ([], {'RZEO_TLS_PASSWORD_FILE': 'password'}),
        'variable': ([], {'RZEO_TLS_PASSWORD': PASSWORD}),
    }[way]
    server = serve(mappingstorage(), ssl=ssl_section(own, made.client, key), args=args, env=env)
    assert connect(server.address, client_context(made.client, own)) == 'taken'
    assert PASSWORD not in server.log()


def hash_of(certificate):
    return openssl('x509', '-in', certificate.file, '-noout', '-hash').strip()


def test_a_directory(made, serve, tmp_path):
    directory = tmp_path / 'trusted'
    directory.mkdir()
    # Not looked for by this name.
    (directory / 'client.pem').write_text(made.client.text())
    server = serve(mappingstorage(), ssl=ssl_section(made.server, directory))
    context = client_context(made.client, made.server)
    assert connect(server.address, context) != 'taken'
    name = hash_of(made.client)
    twin = Certificates(tmp_path).self_signed('client')
    assert hash_of(twin) == name
    (directory / f'{name}.1').write_text(made.client.text())
    assert connect(server.address, context) != 'taken', 'names are numbered from 0 on'
    (directory / f'{name}.0').write_text(twin.text())
    assert connect(server.address, client_context(twin, made.server)) == 'taken'
    assert connect(server.address, context) == 'taken'
    assert connect(server.address, client_context(made.other, made.server)) != 'taken'


@ours_only
def test_a_directory_that_changes(made, serve, tmp_path):
    directory = tmp_path / 'trusted'
    directory.mkdir()
    server = serve(mappingstorage(), ssl=ssl_section(made.server, directory))
    assert 'no certificate with a name like' in server.log()
    before = reloads(server)
    file = directory / f'{hash_of(made.client)}.0'
    replace(file, made.client.text())
    context = client_context(made.client, made.server)
    assert connect(server.address, context) == 'taken'
    wait_for_reload(server, before)
    # Of a subject that OpenSSL has found, it looks for no other one by itself.
    twin = Certificates(tmp_path).self_signed('client')
    assert connect(server.address, client_context(twin, made.server)) == REFUSED
    before = reloads(server)
    replace(directory / f'{hash_of(twin)}.1', twin.text())
    wait_for_reload(server, before)
    assert connect(server.address, client_context(twin, made.server)) == 'taken'
    before = reloads(server)
    replace(file, twin.text())
    wait_for_reload(server, before)
    assert connect(server.address, context) == REFUSED


@pytest.mark.ours_only('loads no authorities for DYNAMIC, so that nobody can connect')
@pytest.mark.parametrize('variable', ['SSL_CERT_FILE', 'SSL_CERT_DIR'])
def test_the_system_s_authorities(variable, made, serve, tmp_path):
    (tmp_path / f'{hash_of(made.client)}.0').write_text(made.client.text())
    value = made.client.file if variable == 'SSL_CERT_FILE' else str(tmp_path)
    server = serve(mappingstorage(), ssl=ssl_section(made.server, 'DYNAMIC'), env={variable: value})
    assert connect(server.address, client_context(made.client, made.server)) == 'taken'
    assert connect(server.address, client_context(made.other, made.server)) == REFUSED


@ours_only
@pytest.mark.parametrize('way', ['signal', 'change'])
def test_other_clients_are_trusted(way, made, trusted, serve):
    server = serve(mappingstorage(), ssl=ssl_section(made.server, str(trusted)))
    first, second = (client_context(own, made.server) for own in (made.client, made.other))
    assert [connect(server.address, context) for context in (first, second)] == ['taken', REFUSED]
    client = Client(server.address, ssl=first, ssl_server_hostname='localhost')
    before = reloads(server)
    replace(trusted, made.other.text())
    if way == 'signal':
        server.process.send_signal(signal.SIGUSR2)
    wait_for_reload(server, before)
    assert [connect(server.address, context) for context in (first, second)] == [REFUSED, 'taken']
    # Who is there, stays.
    client.ping()
    assert client.is_connected() and client.connections == 1
    client.close()
    # One line for each, also when a change and a signal come together.
    server.stop()
    assert server.log().count(READ_AGAIN) == before + 1


@ours_only
def test_a_new_certificate_of_the_server(made, serve, tmp_path):
    own, key = tmp_path / 'own.pem', tmp_path / 'own.key'
    for path, source in (own, made.server.file), (key, made.server.key):
        with open(source) as f:
            path.write_text(f.read())
    section = f'<ssl>\ncertificate own.pem\nkey own.key\nauthenticate {made.client.file}\n</ssl>\n'
    server = serve(mappingstorage(), ssl=section)
    renewed = made.self_signed('renewed')
    old, new = (client_context(made.client, trusted) for trusted in (made.server, renewed))
    assert connect(server.address, old) == 'taken'
    # One file after the other.
    failed = 'certificates could not be read again'
    with open(renewed.key) as f:
        replace(key, f.read())
    server.wait_for_log(failed)
    server.wait_for_log('the key does not belong to the certificate in own.pem')
    assert connect(server.address, old) == 'taken'
    before = reloads(server)
    replace(own, renewed.text())
    wait_for_reload(server, before)
    assert connect(server.address, new) == 'taken'
    assert server.log().count(failed) == 1


@ours_only
def test_a_reload_that_fails(made, trusted, serve):
    server = serve(mappingstorage(), ssl=ssl_section(made.server, str(trusted)))
    context = client_context(made.client, made.server)
    failed = 'certificates could not be read again, those from before stay in use: <ssl>: authenticate '
    for break_it in trusted.unlink, lambda: trusted.write_text('no certificate'):
        break_it()
        before = reloads(server, failed)
        server.process.send_signal(signal.SIGUSR2)
        wait_for_reload(server, before, failed)
        assert connect(server.address, context) == 'taken'
    trusted.write_text(made.other.text())
    server.wait_for_log(READ_AGAIN)
    assert connect(server.address, context) == REFUSED


@ours_only
def test_sessions_end_at_a_reload(made, trusted, serve):
    server = serve(mappingstorage(), ssl=ssl_section(made.server, str(trusted)))

    for version in ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2:
        before = reloads(server)
        trusted.write_text(made.client.text())
        server.process.send_signal(signal.SIGUSR2)
        wait_for_reload(server, before)
        context = client_context(made.client, made.server, version)

        def attempt(session=None):
            with socket.create_connection(server.address) as plain, context.wrap_socket(
                    plain, server_hostname='localhost', session=session) as stream:
                assert stream.recv(6)
                return stream.session_reused, stream.session

        _reused, session = attempt()
        reused, session = attempt(session)
        assert reused
        before = reloads(server)
        server.process.send_signal(signal.SIGUSR2)
        wait_for_reload(server, before)
        reused, session = attempt(session)
        assert not reused
        # Neither does a ticket let in whose certificate is no longer trusted.
        before = reloads(server)
        trusted.write_text(made.other.text())
        server.process.send_signal(signal.SIGUSR2)
        wait_for_reload(server, before)
        with pytest.raises(OSError):
            attempt(session)


@ours_only
def test_reloads_under_load(made, trusted, serve):
    server = serve(ssl=ssl_section(made.server, str(trusted)))
    context = client_context(made.client, made.server)
    stop, commits, failures = threading.Event(), [], []
    # The first one makes the root object.
    ZODB.DB(ClientStorage(server.address, ssl=context, ssl_server_hostname='localhost')).close()

    def work(number):
        storage = Client(server.address, ssl=context, ssl_server_hostname='localhost',
                         wait_timeout=PATIENCE)
        database = ZODB.DB(storage)
        manager = transaction.TransactionManager()
        connection = database.open(manager)
        root, done = connection.root(), 0
        try:
            while not stop.is_set() or not done:
                for attempt in manager.attempts(100):
                    with attempt:
                        root[number] = done + 1
                done += 1
            assert storage.connections == 1
            commits.append((number, done))
        except Exception as e:
            failures.append(e)
        finally:
            database.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for n in range(10):
        before = reloads(server)
        replace(trusted, made.client.text() + f'{n}\n')
        server.process.send_signal(signal.SIGUSR2)
        wait_for_reload(server, before)
        assert connect(server.address, context) == 'taken'
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert not failures and len(commits) == 3
    database = ZODB.DB(ClientStorage(server.address, ssl=context, ssl_server_hostname='localhost'))
    with database.transaction() as connection:
        assert dict(connection.root()) == dict(commits)
    database.close()


@pytest.mark.ours_only('serves TLS there without a word')
def test_a_unix_socket(made, serve):
    server = serve(mappingstorage(), address='./zeo.sock', ssl=ssl_section(made.server, made.client))
    assert "<ssl> with a Unix socket (./zeo.sock): Python's clients can't connect there" in server.log()


@pytest.mark.ours_only('does not look')
def test_an_expired_certificate(made, serve):
    old = made.self_signed('expired', days=(-10, -1))
    server = serve(mappingstorage(), ssl=ssl_section(old, made.client))
    assert f'certificate {old.file}: it has expired on ' in server.log()
    context = client_context(made.client, old)
    assert connect(server.address, context) == 'CERTIFICATE_VERIFY_FAILED'
