"""Which servers the <ssl> of a <clientstorage> trusts: the client in Rust beside the context that
ZEO makes of the same section."""
import os
import socket
import ssl
import sys
import types

import pytest
import ZEO.zconfig
from support.certificates import (AUTHORITY, HOSTS, LEAF, SIGNER, Certificates, ssl_section)
from support.configuration import mappingstorage, zeo
from support.contest import python_server
from support.server import PATIENCE, Server
from ZODB.utils import z64

from client.console import Client, Failed, connect

TAKEN = None
IDS = AUTHORITY[1:]


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """The certificates of all tests here."""
    made = Certificates(tmp_path_factory.mktemp('made'))
    made.client = made.self_signed('client')
    made.other = made.self_signed('other')
    made.authority = made.self_signed('authority', SIGNER)
    made.loose = made.self_signed('loose', AUTHORITY)
    made.leaf = made.signed('leaf', made.authority)
    made.directory = made.path('trusted')
    os.mkdir(made.directory)
    assert not os.system(f'cp {made.authority.file} {made.directory} && openssl rehash {made.directory}')
    return made


@pytest.fixture
def start(monkeypatch, tmp_path):
    """A function that starts a server of either kind: ours by default."""
    monkeypatch.chdir(tmp_path)
    servers = []

    def start(ssl='', kind='ours', **options):
        config = zeo(ssl=ssl, **options) + mappingstorage()
        servers.append(python_server(monkeypatch, config) if kind == 'python' else Server(config))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def itself(*extensions, **options):
    """A row of a server whose certificate is trusted itself."""
    def make(made):
        own = made.self_signed('server', extensions, **options)
        return own, {'authenticate': own.file}
    return make


def signed(by, *extensions, **more):
    """A row of a server whose certificate another one has signed."""
    def make(made):
        by_ = getattr(made, by)
        return made.signed('server', by_, extensions), {'authenticate': by_.file, **more}
    return make


def with_crl(*revoked, **options):
    def make(made):
        own = made.signed('server', made.authority)
        crl = made.crl(made.authority, [own for _ in revoked], **options)
        return own, {'authenticate': made.together('with-crl', made.authority, crl)}
    return make


def name(*names, **options):
    """A row of a server with these names in its certificate."""
    return lambda made: itself(*AUTHORITY, f'subjectAltName={",".join(names)}')(made)[:1] + (
        {'authenticate': made.path('server.pem'), **options},)


ROWS = {
    'self-signed, as by openssl req -x509': (itself(*AUTHORITY, *HOSTS), TAKEN),
    'CA:FALSE critical': (itself('basicConstraints=critical,CA:FALSE', *IDS, *HOSTS), TAKEN),
    'Ed25519': (itself(*AUTHORITY, *HOSTS, kind='ed25519'), TAKEN),
    'RSA': (itself(*AUTHORITY, *HOSTS, kind='rsa'), TAKEN),
    'for clients only': (itself(*AUTHORITY, *HOSTS, 'extendedKeyUsage=clientAuth'),
                         'unsuitable certificate purpose'),
    'expired': (itself(*AUTHORITY, *HOSTS, days=(-10, -1)), 'certificate has expired'),
    'not yet valid': (itself(*AUTHORITY, *HOSTS, days=(1, 10)), 'certificate is not yet valid'),
    'version 1, no name': (itself(), 'invalid CA certificate'),
    'signed by an authority': (signed('authority', *LEAF, *HOSTS), TAKEN),
    'signed by one without keyUsage': (signed('loose', *LEAF, *HOSTS),
                                       'CA cert does not include key usage extension'),
    'another': (lambda made: (made.leaf, {'authenticate': made.other.file}),
                'unable to get local issuer certificate'),
    'another, self-signed': (lambda made: (made.client, {'authenticate': made.other.file}),
                             'self-signed certificate'),
    'in a directory': (lambda made: (made.leaf, {'authenticate': made.directory}), TAKEN),
    'of the system': (lambda made: (made.leaf, {'authenticate': 'DYNAMIC'}), TAKEN),
    'of the system, by default': (lambda made: (made.leaf, {}), TAKEN),
    'not revoked': (with_crl(), TAKEN),
    'revoked': (with_crl(True), 'certificate revoked'),
    'old revocation list': (with_crl(days=-1), 'CRL has expired'),
    'another name': (name('DNS:example.org'), 'IP address mismatch'),
    'the name that is given': (name('DNS:example.org', server_hostname='example.org'), TAKEN),
    'not the name that is given': (name('DNS:localhost', server_hostname='example.org'),
                                   'hostname mismatch'),
    'any name of a domain': (name('DNS:*.example.org', server_hostname='db.example.org'), TAKEN),
    'part of a name': (name('DNS:d*.example.org', server_hostname='db.example.org'),
                       'hostname mismatch'),
    'names are not looked at': (name('DNS:example.org', check_hostname='false'), TAKEN),
    'the address as a name': (name('DNS:127.0.0.1'), 'IP address mismatch'),
}


@pytest.mark.parametrize('row', ROWS)
def test_which_servers_are_trusted(row, made, start, monkeypatch):
    make, expected = ROWS[row]
    own, options = make(made)
    server = start(ssl_section(own, made.client))
    monkeypatch.setenv('SSL_CERT_FILE', made.authority.file)
    options = {'authenticate': None, **options}
    assert bool(python_says(server.address, made.client, options)) == bool(expected)
    write(server.address, ssl_section(made.client, **options))
    if expected is TAKEN:
        taken()
    else:
        assert expected in refused(), row


def write(address, section='', **options):
    lines = ''.join(f'    {key.replace("_", "-")} {value}\n' for key, value in options.items())
    server = address if isinstance(address, str) else '%s:%s' % address
    with open('zodb.conf', 'w') as f:
        f.write(f'%import ZEO\n<zodb>\n  <clientstorage>\n    server {server}\n'
                f'{lines}{section}  </clientstorage>\n</zodb>\n')


def taken(**settings):
    assert connect('zodb.conf', **settings) == z64


def refused(seconds=PATIENCE, **settings):
    """Why the server can't be connected to."""
    with pytest.raises(Failed) as failed:
        connect('zodb.conf', seconds, **settings)
    return failed.value.message


def python_says(address, own, options):
    """Why a client of Python would not connect; None if it would."""
    section = {'password_function': None, 'check_hostname': True, 'server_hostname': None,
               **options, 'certificate': own.file, 'key': own.key}
    section['check_hostname'] = section['check_hostname'] is True
    context, host = ZEO.zconfig.client_ssl(types.SimpleNamespace(**section))
    if sys.version_info < (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with socket.create_connection(address) as plain:
        try:
            context.wrap_socket(plain, server_hostname=host or address[0]).close()
        except ssl.SSLError as e:
            return str(e)
    return None


KINDS = {
    'PKCS#8': '-aes256',
    'traditional': '-aes256 -traditional',
}


@pytest.mark.parametrize('kind', KINDS)
def test_keys_with_a_password(kind, made, start):
    server = start(ssl_section(made.leaf, made.client))
    key = made.path('locked.key')
    assert not os.system(f'openssl pkey -in {made.client.key} {KINDS[kind]} -passout pass:secret '
                         f'-out {key}')
    write(server.address, ssl_section(made.client, made.authority, key=key))
    taken(key_password='secret')
    where = '(line 5, in zodb.conf)'
    for settings, expected in (({}, 'the key is encrypted, and no password is given'),
                               ({'key_password': 'other'}, 'bad decrypt')):
        told = refused(**settings)
        assert told.startswith(f'<ssl>: key {key}: {expected}') and told.endswith(where), told


@pytest.mark.parametrize('kind', ['ours', 'python'])
def test_a_storage_over_tls(kind, made, start):
    server = start(ssl_section(made.leaf, made.client), kind)
    write(server.address, ssl_section(made.client, made.authority))
    with Client(config='zodb.conf') as client:
        assert client.last_tid() == z64
    write(server.address, ssl_section(made.other, made.authority))
    told = refused()
    assert 'alert' in told or 'does the server trust this client' in told, told
    # The server waits for the client's first word, and the client for the server's.
    write(server.address)
    assert 'TLS' in refused(seconds=0.5)
    write(start(kind=kind).address, ssl_section(made.client, made.authority))
    assert 'it does not speak TLS' in refused()


def test_a_unix_socket(made, start, tmp_path):
    """Not possible with Python's client."""
    path = str(tmp_path / 'zeo.sock')
    start(ssl_section(made.leaf, made.client), address=path)
    write(path, ssl_section(made.client, made.authority, server_hostname='localhost'))
    taken()
    write(path, ssl_section(made.client, made.authority))
    assert 'give the name in the server\'s certificate' in refused()
