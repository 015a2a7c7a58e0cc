"""The settings of TLS: what is read, and what is refused before any file is made."""
import os

import pytest
from support.certificates import Certificates, openssl, ssl_section
from support.configuration import eventlog, filestorage, zeo
from support.server import run

ours_only = pytest.mark.ours_only('its mistakes are tracebacks')
OPTIONS = '--tls-password-file, --tls-password-command or the variable RZEO_TLS_PASSWORD'


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Certificates, and files that are none."""
    made = Certificates(tmp_path_factory.mktemp('made'))
    server, _client = made.self_signed('server'), made.self_signed('client')
    made.self_signed('other')
    made.self_signed('weak', kind='rsa1024')
    file = made.path
    made.together('both', server, server.key)
    made.together('key after certificates', server, file('client.pem'), file('server.key'))
    openssl('pkey', '-in', server.key, '-aes256', '-passout', 'pass:secret', '-out', file('locked.key'))
    openssl('ec', '-in', server.key, '-aes128', '-passout', 'pass:secret', '-out', file('old.key'))
    openssl('x509', '-in', server.file, '-outform', 'DER', '-out', file('server.der'))
    made.crl(made.self_signed('authority'))
    for name, text in ('empty', ''), ('text', 'no certificate here\n'), (
            'damaged', '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n'), (
            'damaged.key', '-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n'), (
            'locked.pem', server.text().replace('CERTIFICATE-----\n',
                                                'CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n', 1)):
        with open(file(name), 'w') as f:
            f.write(text)
    return made


def started(tmp_path, lines, *args, env=None):
    """Starts a server that must not run; returns its exit code and what it wrote."""
    section = '<ssl>\n' + ''.join(f'{key} {value}\n' for key, value in lines.items()) + '</ssl>\n'
    with open(tmp_path / 'zeo.conf', 'w') as f:
        f.write(zeo(ssl=section, pid_filename='pid') + filestorage() + eventlog())
    code, output = run('-C', 'zeo.conf', *args, cwd=tmp_path, env=env)
    assert os.listdir(tmp_path) == ['zeo.conf'], output
    return code, output


MISTAKES = [
    ({'certificate': 'none.pem'}, 'certificate M/none.pem: No such file or directory'),
    ({'certificate': '.'}, 'certificate M/.: Is a directory'),
    ({'certificate': 'empty'}, 'certificate M/empty: no certificate in this file'),
    ({'certificate': 'server.key'}, 'certificate M/server.key: no certificate in this file'),
    ({'certificate': 'damaged'}, 'certificate M/damaged: '),
    ({'certificate': 'locked.pem'}, 'certificate M/locked.pem: the certificate is encrypted'),
    ({'certificate': 'server.der'}, 'certificate M/server.der: the file is in DER; PEM is needed'),
    ({'certificate': 'weak.pem', 'key': 'weak.key'}, 'certificate M/weak.pem: ee key too small, at least 2048 bits'),
    ({'key': None}, 'certificate M/server.pem: no private key in this file; name its file by the '
                    'setting `key`'),
    ({'key': 'none.key'}, 'key M/none.key: No such file or directory'),
    ({'key': 'client.pem'}, 'key M/client.pem: no private key in this file'),
    ({'key': 'damaged.key'}, 'key M/damaged.key: the private key can\'t be read ('),
    ({'key': 'other.key'}, 'key M/other.key: the key does not belong to the certificate in '
                           'M/server.pem (key values mismatch)'),
    ({'key': 'weak.key'}, 'key M/weak.key: the key does not belong to the certificate in '
                          'M/server.pem ('),
    ({'key': 'locked.key'}, f'key M/locked.key: the private key is encrypted; give its password by {OPTIONS}'),
    ({'key': 'old.key'}, f'key M/old.key: the private key is encrypted; give its password by {OPTIONS}'),
    ({'authenticate': 'none.pem'}, 'authenticate M/none.pem: No such file or directory'),
    ({'authenticate': 'empty'}, 'authenticate M/empty: no certificate in this file'),
    ({'authenticate': 'text'}, 'authenticate M/text: no certificate in this file'),
    ({'authenticate': 'damaged'}, 'authenticate M/damaged: '),
    ({'authenticate': 'server.key'}, 'authenticate M/server.key: no certificate in this file'),
    ({'authenticate': 'authority.crl'}, 'authenticate M/authority.crl: no certificate in this file'),
    ({'authenticate': 'server.der'}, 'authenticate M/server.der: the file is in DER; PEM is needed'),
]


@ours_only
@pytest.mark.parametrize('changed, expected', MISTAKES)
def test_files_that_can_t_be_used(changed, expected, made, tmp_path):
    names = {'certificate': 'server.pem', 'key': 'server.key', 'authenticate': 'client.pem', **changed}
    lines = {key: os.path.join(made.directory, name) for key, name in names.items() if name}
    code, output = started(tmp_path, lines)
    expected = 'Error: <ssl>: ' + expected.replace('M/', made.directory + '/')
    assert code == 2 and output.startswith(expected), output
    assert output.endswith(' (line 4, in zeo.conf)\n') and output.count('\n') == 1, output


@ours_only
@pytest.mark.parametrize('changed, expected', [
    ({'authenticate': 'SIGNED'}, 'bad value for authenticate: "SIGNED" is not supported; DYNAMIC'),
    ({'authenticate': '-'}, 'bad value for authenticate: "-" is not supported; DYNAMIC'),
    ({'authenticate': 'dynamic'}, '<ssl>: authenticate dynamic: No such file'),
    ({'authenticate': None}, '<ssl> needs a value for "authenticate"'),
    ({'certificate': None}, '<ssl> needs a value for "certificate"'),
    ({'check-hostname': 'true'}, '"check-hostname" is not a known key of <ssl>'),
    ({'password-function': 'ZEO.tests.testssl.pwfunc'},
     'password-function ZEO.tests.testssl.pwfunc: no Python code is run here; leave the key '
     f'out and give the password by {OPTIONS}'),
])
def test_settings_that_are_refused(changed, expected, made, tmp_path):
    lines = {'certificate': made.path('both'), 'authenticate': made.path('client.pem'), **changed}
    code, output = started(tmp_path, {k: v for k, v in lines.items() if v})
    assert code == 2 and output.startswith('Error: ' + expected) and output.count('\n') == 1, output


@pytest.fixture
def locked(made):
    """The settings of a server whose key needs the password `secret`."""
    return {'certificate': made.path('server.pem'), 'key': made.path('locked.key'),
            'authenticate': made.path('client.pem')}


@ours_only
@pytest.mark.parametrize('args, env, expected', [
    ([], {'RZEO_TLS_PASSWORD': 'wrong'}, 'the private key can\'t be decrypted; is it the right password? ('),
    ([], {'RZEO_TLS_PASSWORD': 'x' * 1025},
     'the variable RZEO_TLS_PASSWORD gives more than 1024 bytes'),
    (['--tls-password-file', '/no/such/file'], {},
     'can\'t read the password file /no/such/file: No such file or directory'),
    (['--tls-password-command', 'exit 7'], {},
     'the password command "exit 7" has failed (exit status: 7)'),
    (['--tls-password-command', 'echo'], {}, 'the private key can\'t be decrypted'),
])
def test_passwords_that_are_wrong(args, env, expected, locked, tmp_path):
    code, output = started(tmp_path, locked, *args, env=env)
    assert code == 2, output
    assert output.startswith(f'Error: <ssl>: key {locked["key"]}: {expected}'), output
    assert output.count('\n') == 1, output


@ours_only
def test_only_one_password(locked, tmp_path):
    code, output = started(tmp_path, locked, '--tls-password-command', 'echo secret',
                           env={'RZEO_TLS_PASSWORD': 'secret'})
    assert code == 2 and output.startswith(
        'Error: give only one of --tls-password-file, --tls-password-command and RZEO_TLS_PASSWORD')
