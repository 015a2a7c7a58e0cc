"""Which certificates of clients are taken, and which are refused with which alert.

Each row is tried with the server, and with the context that ZEO makes for Python's server.
"""
import ssl
import sys
import types

import pytest
import ZEO.zconfig
from support.certificates import (AUTHORITY, LEAF, SIGNER, Certificates, client_context, connect,
                                  ssl_section)
from support.configuration import mappingstorage
from support.server import is_python

TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
TAKEN = None
IDS = AUTHORITY[1:]
# Not in Python before 3.13, which wants the authority, too.
PARTIAL_CHAIN = pytest.mark.partial_chain


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """The certificates of all tests here."""
    made = Certificates(tmp_path_factory.mktemp('made'))
    made.server = made.self_signed('server')
    made.other = made.self_signed('other')
    made.authority = made.self_signed('authority', SIGNER)
    made.loose = made.self_signed('loose', AUTHORITY)
    made.leaf = made.signed('leaf', made.authority)
    made.crls = {
        'good': made.crl(made.authority, name='good'),
        'old': made.crl(made.authority, days=-1, name='old'),
        'revoking': made.crl(made.authority, [made.leaf], name='revoking')}
    return made


def itself(*extensions, **options):
    """A row of a certificate that is trusted itself."""
    def make(made):
        own = made.self_signed('client', extensions, **options)
        return own, own.file
    return make


def signed(by, *extensions, trusted=None):
    """A row of a certificate that another one has signed."""
    def make(made):
        own = made.signed('client', getattr(made, by), extensions)
        return own, trusted(made, own) if trusted else getattr(made, by).file
    return make


def with_crl(crl, client='leaf'):
    """A row of a trusted file with a list of revoked certificates."""
    def make(made):
        file = made.together('with-crl', made.authority, made.other, made.crls[crl])
        return getattr(made, client), file
    return make


ROWS = {
    'self-signed, as by openssl req -x509': (itself(*AUTHORITY), TAKEN),
    'CA:FALSE critical': (itself('basicConstraints=critical,CA:FALSE', *IDS), TAKEN),
    'CA:TRUE not critical': (itself('basicConstraints=CA:TRUE', *IDS), TAKEN),
    'no basicConstraints': (itself('subjectKeyIdentifier=hash'), TAKEN),
    'only other names': (itself('subjectAltName=DNS:client'), TAKEN),
    'version 1': (itself(), 'UNKNOWN_CA'),
    'Ed25519': (itself(*AUTHORITY, kind='ed25519'), TAKEN),
    'RSA': (itself(*AUTHORITY, kind='rsa'), TAKEN),
    'for clients': (itself('basicConstraints=critical,CA:FALSE', *IDS, 'extendedKeyUsage=clientAuth',
                           'keyUsage=critical,digitalSignature'), TAKEN),
    'for servers only': (itself(*AUTHORITY, 'extendedKeyUsage=serverAuth'), 'UNSUPPORTED_CERTIFICATE'),
    'for encipherment only': (itself(*AUTHORITY, 'keyUsage=keyEncipherment'), 'UNSUPPORTED_CERTIFICATE'),
    'for signing certificates only': (itself(*SIGNER), 'UNSUPPORTED_CERTIFICATE'),
    'expired': (itself(*AUTHORITY, days=(-10, -1)), 'CERTIFICATE_EXPIRED'),
    'not yet valid': (itself(*AUTHORITY, days=(1, 10)), 'BAD_CERTIFICATE'),
    'signed by one without keyUsage': (signed('loose', *LEAF), 'CERTIFICATE_UNKNOWN'),
    'signed by an authority': (signed('authority', *LEAF), TAKEN),
    'signed by an authority, version 1': (signed('authority'), TAKEN),
    'signed, trusted alone': pytest.param(
        signed('authority', *LEAF, trusted=lambda made, own: own.file), TAKEN, marks=PARTIAL_CHAIN),
    'not trusted': (lambda made: (made.other, made.leaf.file), 'UNKNOWN_CA'),
    'signed by another': (lambda made: (made.leaf, made.other.file), 'UNKNOWN_CA'),
    'none': (lambda made: (None, made.leaf.file), 'CERTIFICATE_REQUIRED'),
    'not revoked': (with_crl('good'), TAKEN),
    'revoked': (with_crl('revoking'), 'CERTIFICATE_REVOKED'),
    'old revocation list': (with_crl('old'), 'CERTIFICATE_EXPIRED'),
    'no revocation list of its issuer': (with_crl('good', 'other'), 'UNKNOWN_CA'),
}


@pytest.mark.parametrize('make, expected', [
    pytest.param(*getattr(row, 'values', row), marks=getattr(row, 'marks', ()), id=name)
    for name, row in ROWS.items()])
def test_who_may_come_in(make, expected, made, serve, request):
    own, trusted = make(made)
    as_python = expected
    if request.node.get_closest_marker('partial_chain') and sys.version_info < (3, 13):
        as_python = 'UNKNOWN_CA'
    if is_python():
        expected = as_python
    server = serve(mappingstorage(), ssl=ssl_section(made.server, trusted))
    for version in TLS_1_3, TLS_1_2:
        if version == TLS_1_2 and expected == 'CERTIFICATE_REQUIRED':
            expected = as_python = 'HANDSHAKE_FAILURE'
        context = client_context(own, made.server, version)
        answer = connect(server.address, context)
        check(answer, expected)
        check(connect_to_zeo_s_context(made.server, trusted, context), as_python)


def check(answer, expected):
    if expected is TAKEN:
        assert answer == 'taken'
    elif is_python() and answer == 'closed':
        pass  # Python's server sends no alert.
    else:
        assert expected in answer


def connect_to_zeo_s_context(own, trusted, client):
    """How Python's server would answer: its context is asked in memory."""
    section = types.SimpleNamespace(certificate=own.file, key=own.key, password_function=None,
                                    authenticate=trusted)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server, server_hostname='localhost'),
             ZEO.zconfig.server_ssl(section).wrap_bio(to_server, to_client, server_side=True)]
    refused = False
    for _round in range(4):
        for number, side in enumerate(sides):
            try:
                side.do_handshake()
                if refused:
                    side.read(1)  # With TLS 1.3, the alert comes behind the client's handshake.
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError as e:
                if number == 0:
                    return e.reason
                refused = True
    return 'closed' if refused else 'taken'
