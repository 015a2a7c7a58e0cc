"""TLS between a server and PostgreSQL itself: who is believed, and what is said when that fails.

The PostgreSQL of pgserver has no TLS: this takes the one below $RZEO_POSTGRES, or Debian's.
"""
import os

import pytest
from support.certificates import LEAF, SIGNER, Certificates, openssl
from support.installed import postgres
from support.server import is_python, wait_until

from postgres.cluster import Cluster
from postgres.conftest import Database
from postgres.test_hanging import is_done
from postgres.test_refused import SECRET, home, starts, told
from postgres.test_rows import open_db, read, write

pytestmark = [pytest.mark.skipif(is_python(), reason='the storage is one of ours'),
              pytest.mark.usefixtures(home.__name__)]


@pytest.fixture(scope='module')
def cluster():
    running = Cluster(programs=postgres(), tls=True)
    running.certificate = running.made.signed('first', running.authority)
    running.sql('postgres', f"CREATE ROLE secretive LOGIN SUPERUSER PASSWORD '{SECRET}'; "
                            'CREATE ROLE plain LOGIN SUPERUSER')
    yield running
    running.remove()


@pytest.fixture
def database(cluster):
    admit(cluster, 'hostssl all all all trust')
    certify(cluster, cluster.certificate)
    return Database(cluster, False)


def admit(cluster, *lines):
    """The lines of pg_hba.conf, besides that of the test itself."""
    cluster.allow('local all zodb trust', *lines)
    reload(cluster)


def certify(cluster, certificate):
    cluster.certify(certificate)
    reload(cluster)


def reload(cluster):
    """Returns when new connections go by the files."""
    loaded = 'SELECT pg_conf_load_time()'
    before = cluster.sql('postgres', loaded)
    cluster.reload()
    wait_until(lambda: cluster.sql('postgres', loaded) != before)


def way(database, mode, more=''):
    return f'host=localhost port={database.cluster.port} dbname={database.name} user=plain sslmode={mode} {more}'


def verified(database, more=''):
    return way(database, 'verify-full', f'sslrootcert={database.cluster.authority.file} {more}')


def serve_by(serve, database, dsn):
    return serve(storages=database.section().replace(database.dsn, dsn))


def connections(database):
    """Those of servers: their processes, and whether each is encrypted."""
    return set(database.sql('SELECT pid, ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) '
                            "WHERE application_name LIKE 'rzeo: %' AND datname = current_database()"))


@pytest.mark.parametrize('admitted, encrypted, refused', [
    ('host', {'disable': 'f', 'allow': 'f', 'prefer': 't', 'require': 't', 'verify-ca': 't'}, []),
    ('hostssl', {'allow': 't', 'prefer': 't', 'require': 't'}, ['disable']),
    ('hostnossl', {'disable': 'f', 'allow': 'f', 'prefer': 'f'}, ['require', 'verify-ca']),
])
def test_modes(serve, database, admitted, encrypted, refused):
    admit(database.cluster, f'{admitted} all all all trust')
    root = f'sslrootcert={database.cluster.authority.file}'
    for mode, expected in encrypted.items():
        server = serve_by(serve, database, way(database, mode, root))
        found = {line.split('|')[1] for line in connections(database)}
        assert found == {expected}, mode
        server.stop()
        wait_until(lambda: not connections(database))
    for mode in refused:
        text = told(serve, database, way(database, mode, root))
        assert f'localhost port {database.cluster.port}: no pg_hba.conf entry' in text
        assert ('ask for TLS (sslmode=require)' in text) == (mode == 'disable')


def test_sockets_have_none(serve, database, tmp_path):
    (tmp_path / '.postgresql').mkdir()
    (tmp_path / '.postgresql' / 'postgresql.crt').write_text('not looked at')
    for mode in 'prefer', 'verify-full':
        starts(serve, database, f'{database.dsn.replace(database.cluster.where, of_socket(database))} sslmode={mode}')


def of_socket(database):
    return f'host={database.cluster.directory} port={database.cluster.port}'


def test_certificates_of_servers(serve, database, tmp_path):
    cluster = database.cluster

    def signed(name, **options):
        return cluster.made.signed(name, cluster.authority, **options)

    certify(cluster, signed('elsewhere', extensions=(*LEAF, 'subjectAltName=DNS:db.example.org')))
    text = told(serve, database, verified(database))
    assert 'not believed: hostname mismatch (sslmode verify-full); name the host as' in text.replace('H', 'h')
    starts(serve, database, verified(database).replace('localhost', 'db.example.org hostaddr=127.0.0.1'))
    certify(cluster, signed('expired', days=(-30, -1)))
    assert ('not believed: certificate has expired (sslmode verify-full); renew it, or correct the clock'
            in told(serve, database, verified(database)))
    other = Certificates(tmp_path).self_signed('other', SIGNER)
    certify(cluster, cluster.certificate)
    text = told(serve, database, way(database, 'verify-ca', f'sslrootcert={other.file}'))
    assert 'its certificate is not believed: ' in text and '(sslmode verify-ca); sslrootcert is to hold' in text


def test_revocation_lists(serve, database, tmp_path):
    cluster = database.cluster
    bad = cluster.made.signed('revoked', cluster.authority)
    old, some = (cluster.made.crl(cluster.authority, revoked, days, name)
                 for revoked, days, name in (([], -1, 'old'), ([bad], 30, 'some')))
    elsewhere = Certificates(tmp_path)
    foreign, nothing = elsewhere.crl(elsewhere.self_signed('other', SIGNER)), tmp_path / 'nothing'
    nothing.write_text('no list')
    starts(serve, database, verified(database, f'sslcrl={some}'))
    for path, words in ((old, 'CRL has expired (sslmode verify-full); sslcrl (or root.crl)'),
                        (foreign, 'unable to get certificate CRL (sslmode verify-full); sslcrl (or root.crl)'),
                        (nothing, f'sslcrl {nothing}: it holds no revocation list'),
                        ('/nowhere', 'sslcrl /nowhere: No such file')):
        assert words in told(serve, database, verified(database, f'sslcrl={path}'))

    certify(cluster, bad)
    directory = tmp_path / 'lists'
    directory.mkdir()
    name = openssl('crl', '-in', some, '-noout', '-hash').strip()
    os.symlink(some, directory / f'{name}.r0')
    (tmp_path / '.postgresql').mkdir()
    for more in f'sslcrl={some}', f'sslcrldir={directory}', '':
        if not more:
            # Where libpq looks for one.
            starts(serve, database, verified(database))
            os.symlink(some, tmp_path / '.postgresql' / 'root.crl')
        assert ('not believed: certificate revoked (sslmode verify-full); it needs a new one'
                in told(serve, database, verified(database, more)))


def test_certificates_of_clients(serve, database, tmp_path):
    cluster, elsewhere = database.cluster, Certificates(tmp_path)
    admit(cluster, 'hostssl all all all cert')
    ours, stranger = (cluster.made.signed(name, cluster.authority) for name in ('plain', 'stranger'))
    foreign = elsewhere.signed('plain', elsewhere.self_signed('other', SIGNER))
    for each in ours, stranger, foreign:
        os.chmod(each.key, 0o600)

    def shown(certificate, key=None, more=''):
        return verified(database, f'sslcert={certificate.file} sslkey={key or certificate.key} {more}')

    starts(serve, database, shown(ours))
    assert 'requires a valid client certificate (28000); give sslcert and sslkey' in told(
        serve, database, verified(database))
    assert 'authentication failed for user "plain" (28000); who we are there (the name in sslcert' in told(
        serve, database, shown(stranger))
    for version in 2, 3:
        assert 'it does not accept our certificate (sslcert): tlsv1 alert unknown ca' in told(
            serve, database, shown(foreign, more=f'ssl_max_protocol_version=TLSv1.{version}'))

    secret, der = f'{tmp_path}/secret.key', f'{tmp_path}/der.key'
    openssl('pkcs8', '-topk8', '-in', ours.key, '-passout', f'pass:{SECRET}', '-out', secret)
    openssl('pkcs8', '-topk8', '-nocrypt', '-in', ours.key, '-outform', 'DER', '-out', der)
    for key in secret, der:
        os.chmod(key, 0o600)
    starts(serve, database, shown(ours, secret, f'sslpassword={SECRET}'))
    starts(serve, database, shown(ours, der))
    assert 'sslpassword is not its password' in told(serve, database, shown(ours, secret, 'sslpassword=no'))
    assert 'it has a password: give it as sslpassword' in told(serve, database, shown(ours, secret))
    assert 'sslkey is missing, and there is no ' in told(
        serve, database, verified(database, f'sslcert={ours.file}'))


def test_passwords_bound_to_tls(serve, database):
    cluster = database.cluster
    dsn = verified(database, f'channel_binding=require password={SECRET}').replace('=plain', '=secretive')
    admit(cluster, 'hostssl all all all scram-sha-256')
    starts(serve, database, dsn)
    assert 'password authentication failed for user "secretive" (28P01)' in told(
        serve, database, dsn.replace(SECRET, 'no'))
    for method in 'password', 'trust':
        admit(cluster, f'hostssl all all all {method}')
        assert 'channel_binding is require: that takes TLS and scram-sha-256' in told(serve, database, dsn)
        starts(serve, database, dsn.replace('require', 'prefer'))


def test_versions(serve, database):
    cluster = database.cluster
    cluster.set('ssl_max_protocol_version', 'TLSv1.2')
    reload(cluster)
    try:
        starts(serve, database, verified(database, 'ssl_max_protocol_version=tlsv1.2'))
        assert 'it and we have no version of TLS in common' in told(
            serve, database, verified(database, 'ssl_min_protocol_version=TLSv1.3'))
        assert 'ssl_max_protocol_version is below ssl_min_protocol_version' in told(
            serve, database, verified(database, 'ssl_max_protocol_version=TLSv1.1'))
    finally:
        cluster.set('ssl_max_protocol_version', '')
        reload(cluster)


def test_all_certificates_are_renewed_under_a_server(serve, database, tmp_path):
    """By another authority, while nothing can be read for a moment."""
    cluster, renewed = database.cluster, Certificates(tmp_path)
    other = renewed.self_signed('other', SIGNER)
    root = tmp_path / 'root.pem'
    root.write_text(cluster.authority.text())
    server = serve_by(serve, database, way(database, 'verify-full', f'sslrootcert={root}'))
    db = open_db(server)
    write(db, n=1)

    def go_on(number):
        """Over new connections."""
        database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'rzeo: %' "
                     'AND datname = current_database()')
        wait_until(lambda: is_done(lambda: write(db, n=number)))
        assert read(db, 'n') == number

    certify(cluster, renewed.signed('server', other))
    root.write_text(other.text())
    go_on(2)
    root.unlink()
    go_on(3)
    server.wait_for_log(f'what was read before is used: sslrootcert {root}: No such file')
    db.close()
