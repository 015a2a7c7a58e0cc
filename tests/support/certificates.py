"""Certificates and keys for tests of TLS, made by the command `openssl`.

    made = Certificates(tmp_path)
    server, client = made.self_signed('server'), made.self_signed('client')
    serve(ssl=ssl_section(server, client))
    ZEO.DB(address, ssl=client_context(client, server), ssl_server_hostname='localhost')
"""
import dataclasses
import datetime
import itertools
import os
import shutil
import socket
import ssl
import subprocess

import pytest

# What `openssl req -x509` writes into a certificate that signs itself.
AUTHORITY = ('basicConstraints=critical,CA:TRUE', 'subjectKeyIdentifier=hash',
             'authorityKeyIdentifier=keyid:always')
# An authority that strict checks accept as the signer of others.
SIGNER = (*AUTHORITY, 'keyUsage=critical,keyCertSign,cRLSign')
LEAF = ('basicConstraints=critical,CA:FALSE', 'subjectKeyIdentifier=hash',
        'authorityKeyIdentifier=keyid:always')
HOSTS = ('subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost',)

KEYS = {
    'ec': ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'],
    'rsa': ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
    'rsa1024': ['-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:1024'],
    'ed25519': ['-algorithm', 'ED25519'],
}
CA_CONFIG = '''
[ca]
default_ca = made
[made]
database = {directory}/index.txt
new_certs_dir = {directory}
rand_serial = yes
unique_subject = no
default_md = {digest}
policy = any
[any]
commonName = supplied
[extensions]
{extensions}
'''


@dataclasses.dataclass(frozen=True)
class Certificate:
    """A certificate and its key, both in PEM."""
    name: str
    file: str
    key: str

    def text(self):
        """The certificate's PEM text."""
        with open(self.file) as f:
            return f.read()


class Certificates:
    """Makes certificates in a directory."""

    def __init__(self, directory):
        if not shutil.which('openssl'):
            pytest.skip('the command openssl is not installed')
        self.directory = os.path.join(os.path.abspath(directory), 'certificates')
        os.makedirs(self.directory, exist_ok=True)
        self._numbers = itertools.count()

    def self_signed(self, name, extensions=AUTHORITY + HOSTS, kind='ec', days=(-1, 365)):
        """A certificate that signs itself, valid from and to so many days from now.

        Without extensions it is one of version 1.
        """
        return self._certificate(name, None, extensions, kind, days)

    def signed(self, name, by, extensions=LEAF + HOSTS, kind='ec', days=(-1, 365)):
        """A certificate that the certificate `by` signs."""
        return self._certificate(name, by, extensions, kind, days)

    def crl(self, by, revoked=(), days=30, name='crl'):
        """The path of a list of revoked certificates of `by`, to be renewed in so many days."""
        config = self._config(by.name, ())
        authority = ['-config', config, '-cert', by.file, '-keyfile', by.key]
        for certificate in revoked:
            openssl('ca', *authority, '-md', 'sha256', '-revoke', certificate.file)
        path = self.path(f'{by.name}.{name}')
        openssl('ca', *authority, '-gencrl', '-out', path, '-crl_lastupdate', _date(days - 30),
                '-crl_nextupdate', _date(days))
        return path

    def together(self, name, *parts):
        """The path of a file with these certificates, or files, one after the other."""
        path = self.path(name)
        with open(path, 'w') as out:
            for part in parts:
                with open(getattr(part, 'file', part)) as f:
                    out.write(f.read())
        return path

    def _certificate(self, name, by, extensions, kind, days):
        file, key, request = (self.path(f'{name}.{part}') for part in ('pem', 'key', 'csr'))
        openssl('genpkey', *KEYS[kind], '-out', key)
        config = self._config(by.name if by else name, extensions)
        openssl('req', '-new', '-config', _request_config(self.directory), '-key', key,
                '-subj', f'/CN={name}', '-out', request)
        signer = ['-cert', by.file, '-keyfile', by.key] if by else ['-selfsign', '-keyfile', key]
        openssl('ca', '-batch', '-notext', '-config', config, '-in', request, '-out', file, *signer,
                '-startdate', _date(days[0]), '-enddate', _date(days[1]),
                *(['-extensions', 'extensions'] if extensions else []))
        return Certificate(name, file, key)

    def _config(self, authority, extensions):
        """The configuration of `openssl ca`, with the list of what `authority` has signed."""
        directory = self.path(f'{authority}.ca')
        os.makedirs(directory, exist_ok=True)
        with open(os.path.join(directory, 'index.txt'), 'a'):
            pass
        path = os.path.join(directory, f'{next(self._numbers)}.cnf')
        # An Ed25519 key has a digest of its own.
        with open(path, 'w') as f:
            f.write(CA_CONFIG.format(directory=directory, digest='default',
                                     extensions='\n'.join(extensions)))
        return path

    def path(self, name):
        """The path of a file among the certificates: `server.pem`, `server.key`."""
        return os.path.join(self.directory, name)


def ssl_section(certificate, authenticate, key=None, **options):
    """The text of an <ssl> section; `authenticate` may be a certificate, or any text."""
    options = {'certificate': certificate.file, 'key': key or certificate.key,
               'authenticate': getattr(authenticate, 'file', authenticate), **options}
    lines = ''.join(f'    {key.replace("_", "-")} {value}\n'
                    for key, value in options.items() if value is not None)
    return f'  <ssl>\n{lines}  </ssl>\n'


def client_context(own, server, version=None):
    """The context of a client with the certificate `own` (None: without) that trusts `server`."""
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=server.file)
    if own:
        context.load_cert_chain(own.file, own.key)
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def connect(address, context):
    """How a server answers: `taken`, `closed`, or its alert."""
    try:
        with socket.create_connection(address) as plain, \
                context.wrap_socket(plain, server_hostname='localhost') as stream:
            return 'taken' if stream.recv(6) else 'closed'
    except (ssl.SSLEOFError, ConnectionError):
        return 'closed'
    except ssl.SSLError as e:
        return e.reason


def openssl(*arguments):
    """Runs the command; returns what it prints."""
    done = subprocess.run(['openssl', *arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise AssertionError(f'openssl {" ".join(arguments)}: {done.stderr}')
    return done.stdout


def _request_config(directory):
    """A configuration that adds nothing, whatever the system's says."""
    path = os.path.join(directory, 'request.cnf')
    with open(path, 'w') as f:
        f.write('[req]\ndistinguished_name = name\n[name]\n')
    return path


def _date(days):
    """So many days from now, as `openssl ca` takes it."""
    date = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)
    return date.strftime('%Y%m%d%H%M%SZ')
