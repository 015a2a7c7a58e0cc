"""What a server says that can't connect to PostgreSQL: what has failed, where, and what to do; no password."""
import contextlib
import os
import socket
import ssl
import threading

import pytest
from support.certificates import AUTHORITY, LEAF, SIGNER, Certificates
from support.ports import free_port
from support.server import is_python, run

pytestmark = [pytest.mark.skipif(is_python(), reason='the storage is one of ours'),
              pytest.mark.parametrize('database', [False], ids=['free'], indirect=True)]

SECRET = 'se-cret'
OTHER_NAME = (*LEAF, 'subjectAltName=DNS:db.example.org')


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """None of the user's own files count."""
    monkeypatch.setenv('HOME', str(tmp_path))


def told(serve, database, dsn):
    """What a server says that does not start with this dsn."""
    server = serve(storages=database.section().replace(database.dsn, dsn), ready=False)
    assert server.wait() in (1, 2)
    text = server.log()
    assert 'panicked' not in text
    assert SECRET not in text and 'error:0' not in text, text
    return text


def starts(serve, database, dsn):
    """What a server says that starts with this dsn."""
    server = serve(storages=database.section().replace(database.dsn, dsn))
    server.stop()
    assert SECRET not in server.log()
    return server.log()


@pytest.mark.parametrize('dsn, words', [
    ('host=h sslrotcert=/x', 'unknown keyword "sslrotcert"'),
    (f'host=h password=my {SECRET}', 'behind the value of password'),
    (f'postgresql://u:{SECRET}/x@h/d', '%2F'),
    ('host=h requirepeer=x', 'requirepeer is not supported here'),
    ('host=h sslmode=verify-ca', 'sslrootcert is missing, and there is no '),
    ('host=h sslmode=require sslrootcert=system', 'sslmode: require is too weak for sslrootcert=system'),
    ('host=h sslmode=verify-ca sslrootcert=/nowhere', 'sslrootcert /nowhere: No such file'),
    ('host=h sslmode=verify-ca sslrootcert=zeo.conf', 'sslrootcert zeo.conf: it holds no certificate'),
    ('host=h sslmode=require sslcert=/nowhere', 'sslcert /nowhere: No such file'),
])
def test_a_dsn_that_is_wrong(serve, database, dsn, words, tmp_path):
    (tmp_path / 'zeo.conf').write_text('no certificate')
    assert words in told(serve, database, dsn)


def test_nobody_is_there(serve, database, tmp_path):
    free = free_port()
    text = told(serve, database, f'host=127.0.0.1 port={free} dbname=d user=u password={SECRET}')
    assert f'127.0.0.1 port {free}: Connection refused' in text and 'is PostgreSQL running' in text
    text = told(serve, database, f'host={tmp_path} port={free}')
    assert f'{tmp_path}/.s.PGSQL.{free}: No such file' in text and 'unix_socket_directories' in text
    with socket.create_server(('127.0.0.1', 0)) as silent:
        port = silent.getsockname()[1]
        text = told(serve, database, f'host=127.0.0.1,127.0.0.1 port={port},{free} connect_timeout=1')
        assert f'port {port}: no answer in time (connect_timeout)' in text and f'port {free}: Connection refused' in text


def test_what_postgresql_refuses(serve, database):
    text = told(serve, database, database.dsn.replace(database.name, 'nothing'))
    assert 'database "nothing" does not exist (3D000); make it (createdb)' in text
    text = told(serve, database, database.dsn.replace("'zodb'", "'nobody'"))
    assert 'role "nobody" does not exist (28000); make the role (createuser)' in text


def test_a_check_looks_and_makes_nothing(database, tmp_path):
    def check(expected, section):
        (tmp_path / 'check.conf').write_text(f'<zeo>\naddress 0\n</zeo>\n{section}')
        code, output = run('-C', 'check.conf', '--check', cwd=tmp_path)
        assert code == expected, output
        return output
    missing = database.section().replace(database.name, 'nothing')
    assert 'database "nothing" does not exist (3D000); make it (createdb)' in check(1, missing)
    assert 'has no tables: let create-schema be true' in check(1, database.section('create-schema false'))
    for _ in range(2):
        assert 'has no tables: a start makes them' in check(0, database.section())
    database.open().close()
    assert 'has the tables, and the role its rights' in check(0, database.section())
    compressed = database.section().replace('<relstorage 1>', '<zlibstorage 1>\n<relstorage>')
    compressed = compressed.replace('</relstorage>', '</relstorage>\n</zlibstorage>')
    with_history = compressed.replace('keep-history false', 'keep-history true')
    assert 'without history: set keep-history false' in check(1, '%import zc.zlibstorage\n' + with_history)


@pytest.fixture
def with_password(cluster, database):
    """A dsn whose role needs a password."""
    path = f'{cluster.data}/pg_hba.conf'
    with open(path) as f:
        before = f.read()
    with open(path, 'w') as f:
        f.write(f'host all secretive 127.0.0.1/32 scram-sha-256\n{before}')
    database.sql(f"CREATE ROLE secretive LOGIN SUPERUSER PASSWORD '{SECRET}'")
    cluster.sql('postgres', 'SELECT pg_reload_conf()')
    yield f'host=127.0.0.1 port={cluster.port} dbname={database.name} user=secretive'
    with open(path, 'w') as f:
        f.write(before)
    cluster.sql('postgres', 'SELECT pg_reload_conf()')
    database.sql('DROP OWNED BY secretive CASCADE; DROP ROLE secretive')


def test_passwords(serve, database, with_password, cluster, tmp_path):
    starts(serve, database, f'{with_password} password={SECRET}')
    text = told(serve, database, f'{with_password} password=wrong')
    assert 'password authentication failed for user "secretive" (28P01); correct user or password' in text
    assert 'it wants a password, and there is none' in told(serve, database, with_password)
    file = tmp_path / '.pgpass'
    file.write_text(f'127.0.0.1:{cluster.port}:*:secretive:{SECRET}\n')
    file.chmod(0o644)
    text = told(serve, database, with_password)
    assert f'the password file {file} is not used: others may read or write it (chmod 600 {file})' in text
    file.chmod(0o600)
    starts(serve, database, with_password)
    starts(serve, database, f'host=127.0.0.1,127.0.0.1 port={free_port()},{cluster.port} {with_password.split(" ", 2)[2]}')


class Secure:
    """TLS before a cluster that has none."""

    def __init__(self, cluster, context):
        self.context, self.target = context, ('127.0.0.1', cluster.port)
        self.listening = socket.create_server(('127.0.0.1', 0))
        self.port = self.listening.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listening.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with contextlib.suppress(OSError), client:
            client.recv(8)  # SSLRequest
            client.sendall(b'S')
            with self.context.wrap_socket(client, server_side=True, do_handshake_on_connect=False) as secure, \
                    socket.create_connection(self.target) as server:
                try:
                    secure.do_handshake()
                except ssl.SSLError:
                    # What was sent is read, so that the alert is not lost.
                    while socket.socket.recv(secure, 65536):
                        pass
                    return
                thread = threading.Thread(target=self.pump, args=(secure, server), daemon=True)
                thread.start()
                self.pump(server, secure)
                thread.join()

    @staticmethod
    def pump(source, to):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                to.sendall(data)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def secure(cluster):
    """A function that puts TLS before the cluster."""
    made = []

    def make(certificate, clients=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.file, certificate.key)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(clients.file)
        made.append(Secure(cluster, context))
        return made[-1].port
    yield make
    for each in made:
        each.listening.close()


def test_certificates(serve, database, secure, tmp_path, cluster):
    made = Certificates(tmp_path)
    authority, other = made.self_signed('authority', SIGNER), made.self_signed('other', SIGNER)
    rest = f'dbname={database.name} user=zodb'
    verified = f'{rest} sslmode=verify-full sslrootcert={authority.file}'

    port = secure(made.signed('server', authority))
    starts(serve, database, f'host=localhost port={port} {verified}')
    starts(serve, database, f'host=127.0.0.1 port={port} {verified}')
    text = told(serve, database, f'host=localhost port={port} {rest} sslmode=verify-full sslrootcert={other.file}')
    assert f'localhost port {port}: its certificate is not believed: unable to get local issuer certificate' in text
    assert 'sslrootcert is to hold the certificate of who has signed it' in text

    port = secure(made.signed('elsewhere', authority, OTHER_NAME))
    text = told(serve, database, f'host=localhost port={port} {verified}')
    assert 'not believed: hostname mismatch (sslmode verify-full); name the host as' in text.replace('H', 'h')
    starts(serve, database, f'host=localhost port={port} {verified}'.replace('verify-full', 'verify-ca'))
    starts(serve, database, f'host=localhost port={port} {rest} sslmode=require')

    # Where no certificate is given, libpq looks for one.
    (tmp_path / '.postgresql').mkdir()
    os.symlink(other.file, tmp_path / '.postgresql' / 'root.crt')
    assert 'is not believed' in told(serve, database, f'host=localhost port={port} {rest} sslmode=require')
    if cluster.tls:
        return
    text = told(serve, database, f'host=localhost port={cluster.port} {rest} sslmode=require')
    assert 'it has no TLS (ssl = on in postgresql.conf), and sslmode is require' in text


def test_certificates_of_clients(serve, database, secure, tmp_path):
    made = Certificates(tmp_path)
    authority, other = made.self_signed('authority', SIGNER), made.self_signed('other', AUTHORITY)
    client = made.signed('client', authority)
    port = secure(made.signed('server', authority), authority)
    dsn = f'host=localhost port={port} dbname={database.name} user=zodb sslmode=require'
    with_cert = f'{dsn} sslcert={client.file} sslkey={client.key}'
    os.chmod(client.key, 0o600)
    os.chmod(other.key, 0o600)
    starts(serve, database, with_cert)
    assert 'it wants a certificate: give sslcert and sslkey' in told(serve, database, dsn)
    text = told(serve, database, f'{dsn} sslcert={other.file} sslkey={other.key}')
    assert 'it does not accept our certificate (sslcert): ' in text and 'unknown ca' in text
    text = told(serve, database, f'{dsn} sslcert={client.file} sslkey={other.key}')
    assert 'is not the key of the certificate in sslcert' in text
    os.chmod(client.key, 0o644)
    assert f'sslkey {client.key}: others may read it (chmod 6' in told(serve, database, with_cert)
