"""`zeo`, `zeopack` and `zeo-nagios` over TLS, and with Python's server."""
import os
import re
import ssl

import pytest
import ZEO
from support.certificates import Certificates, client_context, ssl_section
from support.configuration import filestorage, zeo
from support.contest import python_server
from support.pretenders import pretender
from support.programs import ours, run
from support.server import Server

COMMANDS = {'zeo': ['status'], 'zeo-nagios': [], 'zeopack': ['--wait', '3']}


def tls(own=None, server=None, *more):
    """The options of a client with the certificate `own` that trusts `server`."""
    mine = ['--tls-certificate', own.file, '--tls-key', own.key] if own else []
    return [*mine, *(['--tls-authority', server.file] if server else []), *more]


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Certificates(tmp_path)


@pytest.fixture(params=['ours', 'python'])
def start(request, made, monkeypatch):
    """A function that starts a server of either kind with some <ssl> section, or without."""
    servers = []

    def start(section=''):
        config = zeo().replace('</zeo>', f'{section}</zeo>') + filestorage()
        if request.param == 'ours':
            servers.append(Server(config))
        else:
            servers.append(python_server(monkeypatch, config))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def every(*args):
    """Runs all programs, which must say that all is well, or that the storage is empty."""
    for name, command in COMMANDS.items():
        result = run(ours(name), *command, *args)
        assert (result.code, result.out) in ((0, 'OK\n'), (1, "Empty storage '1'\n")) \
            if name == 'zeo-nagios' else result.code == 0, (name, args, result)


def test_with_certificates(start, made, request):
    server, client = made.self_signed('server'), made.self_signed('client')
    running = start(ssl_section(server, client))
    port = running.address[1]
    ZEO.DB(('127.0.0.1', port), ssl=client_context(client, server),
           ssl_server_hostname='localhost').close()
    for host in '127.0.0.1', 'localhost':
        every(*tls(client, server), f'{host}:{port}')
    every(*tls(client, server, '--tls-server-name', 'localhost'), f'127.0.0.1:{port}')
    # The key may stand in the file of the certificate.
    both = made.together('both.pem', client.file, client.key)
    every('--tls-certificate', both, '--tls-authority', server.file, f'127.0.0.1:{port}')
    if request.node.callspec.params['start'] == 'ours':
        # Each has said that it goes; so no line looks like a killed client.
        running.wait_for_log('TLSv1.3, certificate of ')
        running.stop()
        assert 'without TLS' not in running.log()


def test_an_authority_in_a_directory(start, made):
    authority = made.self_signed('authority', extensions=(
        'basicConstraints=critical,CA:TRUE', 'subjectKeyIdentifier=hash',
        'keyUsage=critical,keyCertSign,cRLSign'))
    server, client = (made.signed(name, authority) for name in ('server', 'client'))
    address = 'localhost:%s' % start(ssl_section(server, authority)).address[1]
    os.mkdir('trusted')
    os.system(f'cp {authority.file} trusted/ && openssl rehash trusted')
    every('--tls-authority', 'trusted', '--tls-certificate', client.file, '--tls-key', client.key,
          address)


def test_who_is_not_trusted(start, made):
    server, client, other = (made.self_signed(name) for name in ('server', 'client', 'other'))
    address = 'localhost:%s' % start(ssl_section(server, client)).address[1]
    for args, expected in (
            (tls(client, other), 'its certificate is not accepted'),
            (tls(client), 'its certificate is not accepted'),
            (tls(client, server, '--tls-server-name', 'example.org'), 'hostname mismatch'),
            (tls(other, server), None),
            (tls(None, server), None)):
        for program in 'zeo', 'zeo-nagios':
            result = run(ours(program), *COMMANDS[program], *args, address)
            told = result.out + result.err
            assert result.code in (1, 2) and told.count('\n') == 1, (args, result)
            assert expected is None or expected in told, (args, result)
            if expected is None:
                assert re.search('alert|does the server trust this client', told), told
    every(*tls(client, server, '--tls-server-name', 'example.org', '--tls-any-server-name'), address)


def test_tls_at_a_server_without(start):
    address = '%s:%s' % start().address
    every(address)
    for program in 'zeo', 'zeo-nagios':
        result = run(ours(program), *COMMANDS[program], '--tls', address)
        assert 'it does not speak TLS' in result.out + result.err, result


def test_no_tls_at_a_server_with(start, made):
    server = made.self_signed('server')
    address = '%s:%s' % start(ssl_section(server, server)).address
    result = run(ours('zeo'), 'status', '--timeout', '0.5', address)
    assert result.code == 1 and 'TLS' in result.err, result


@pytest.mark.parametrize('hold', [True, False])
def test_who_answers_no_handshake(hold):
    with pretender(hold=hold) as address:
        result = run(ours('zeo'), 'ping', '--tls', '--timeout', '0.3', address)
    assert result.code == 1 and result.err.count('\n') == 1, result
    assert 'no TLS' in result.err, result


def test_files_that_are_wrong(made):
    own, other = made.self_signed('own'), made.self_signed('other')
    encrypted = made.path('encrypted.key')
    assert not os.system(f'openssl pkey -in {own.key} -aes256 -passout pass:secret -out {encrypted}')
    with open('password', 'w') as f:
        f.write('secret\n')
    certificate = ['--tls-certificate', own.file]
    for args, expected in (
            (['--tls-authority', '/no/such.pem'], 'authorities /no/such.pem: No such file'),
            (['--tls-authority', own.key], f'authorities {own.key}: '),
            (['--tls-certificate', '/no/such.pem'], 'certificate /no/such.pem: No such file'),
            (['--tls-certificate', own.key], f'certificate {own.key}: '),
            (certificate, f'key {own.file}: there is no private key in this file'),
            ([*certificate, '--tls-key', other.key], f'key {other.key}: '),
            ([*certificate, '--tls-key', encrypted], 'the key is encrypted, and no password is given'),
            ([*certificate, '--tls-key', encrypted, '--tls-password-file', own.file], f'key {encrypted}: '),
            ([*certificate, '--tls-key', encrypted, '--tls-password-file', '/no/such'], '/no/such: '),
            # This gets as far as the address.
            ([*certificate, '--tls-key', encrypted, '--tls-password-file', 'password'], "can't connect")):
        result = run(ours('zeo'), 'ping', *args, '127.0.0.1:1', env={'RZEO_TLS_PASSWORD': ''})
        assert result.code == 1 and expected in result.err, (args, result)
        assert result.err.count('\n') == 1, result


def test_versions_of_tls(start, made):
    server, client = made.self_signed('server'), made.self_signed('client')
    address = start(ssl_section(server, client)).address
    context = client_context(client, server, ssl.TLSVersion.TLSv1_2)
    ZEO.DB(address, ssl=context, ssl_server_hostname='localhost').close()
    every(*tls(client, server), '%s:%s' % address)
