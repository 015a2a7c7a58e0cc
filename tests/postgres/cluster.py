"""A PostgreSQL of the test's own: from the package pgserver, or the one below $RZEO_POSTGRES.

With RZEO_POSTGRES_TLS, all connections by TCP are encrypted, and `dsn` leads there.
"""
import copy
import importlib.util
import itertools
import os
import pathlib
import shutil
import subprocess
import tempfile

from support.certificates import SIGNER, Certificates
from support.ports import free_port

# PostgreSQL refuses to run as root.
NOBODY = 65534


class Cluster:
    """A running PostgreSQL, with a socket in a directory of its own and a port on 127.0.0.1."""

    def __init__(self, *settings, initdb=(), programs=None, tls=None):
        """`settings` are more lines of postgresql.conf, `initdb` more options of that program.

        `programs` is the directory above PostgreSQL's bin; with `tls`, connections by TCP are encrypted.
        """
        self.directory = tempfile.mkdtemp(prefix='rzeo-postgres-')
        self.data = f'{self.directory}/data'
        self.programs = programs or os.environ.get('RZEO_POSTGRES')
        self.authority = None
        self.tls = 'RZEO_POSTGRES_TLS' in os.environ if tls is None else tls
        # For names of databases.
        self.numbers = itertools.count(1)
        try:
            self._begin(settings, initdb)
        except BaseException:
            self.remove()
            raise

    def _begin(self, settings, initdb):
        os.chmod(self.directory, 0o755)
        self.user = {'user': NOBODY, 'group': NOBODY} if os.getuid() == 0 else {}
        if self.user:
            os.chown(self.directory, NOBODY, NOBODY)
        if not self.programs:
            self.programs = self._of_pgserver()
        self.port = free_port()
        self.run('initdb', '-D', self.data, '-U', 'zodb', '-A', 'trust', '-E', 'UTF8', *initdb)
        with open(f'{self.data}/postgresql.conf', 'a') as f:
            f.write(f"unix_socket_directories = '{self.directory}'\nport = {self.port}\n"
                    "listen_addresses = '127.0.0.1'\nmax_connections = 200\n")
            f.writelines(f'{line}\n' for line in settings)
        if self.tls:
            self._encrypt()
        self.start()

    def _of_pgserver(self):
        packages = pathlib.Path(importlib.util.find_spec('pgserver').origin).parents[1]
        if self.user:
            # Others may not read below root's directories.
            for name in 'pgserver', 'pgserver.libs':
                shutil.copytree(packages / name, f'{self.directory}/{name}')
            packages = self.directory
        return f'{packages}/pgserver/pginstall'

    def _encrypt(self):
        self.made = Certificates(self.directory)
        self.authority = self.made.self_signed('authority', SIGNER)
        self.certify(self.made.signed('server', self.authority))
        self.put('root.crt', self.authority.text())
        with open(f'{self.data}/postgresql.conf', 'a') as f:
            f.write("ssl = on\nssl_ca_file = 'root.crt'\n")
        # The dsn asks for TLS; proxies come without.
        self.allow('local all,replication all trust', 'host all,replication all all trust')

    def certify(self, certificate):
        """The certificate that it shows by TLS, from its next start or reload on."""
        for name, source in (('crt', certificate.file), ('key', certificate.key)):
            with open(source) as f:
                self.put(f'server.{name}', f.read())

    def allow(self, *lines):
        """The lines of pg_hba.conf, from its next start or reload on."""
        self.put('pg_hba.conf', ''.join(f'{line}\n' for line in lines))

    def put(self, name, text):
        """A file of its data, which only it may read."""
        path = f'{self.data}/{name}'
        with open(path, 'w', opener=lambda path, flags: os.open(path, flags, 0o600)) as f:
            f.write(text)
        if self.user:
            os.chown(path, NOBODY, NOBODY)

    def run(self, program, *args):
        """Runs one of PostgreSQL's programs; what it prints."""
        done = subprocess.run([f'{self.programs}/bin/{program}', *map(str, args)], text=True,
                              cwd=self.directory, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self.user)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def start(self):
        # Its processes would keep a pipe open.
        subprocess.run([f'{self.programs}/bin/pg_ctl', '-D', self.data, '-w', '-t', '120', '-l',
                        f'{self.directory}/log', 'start'], cwd=self.directory, check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, **self.user)

    def is_running(self):
        status = [f'{self.programs}/bin/pg_ctl', '-D', self.data, 'status']
        return subprocess.run(status, stdout=subprocess.DEVNULL, **self.user).returncode == 0

    def stop(self, mode='fast'):
        self.run('pg_ctl', '-D', self.data, '-w', '-t', '120', '-m', mode, 'stop')

    def remove(self):
        if os.path.exists(f'{self.data}/postmaster.pid'):
            self.stop('immediate')
        shutil.rmtree(self.directory)

    def standby(self):
        """A copy that follows this one, in the same directory."""
        other = copy.copy(self)
        other.port = free_port()
        other.data = f'{self.directory}/standby'
        self.run('pg_basebackup', *self.connect('-D', other.data, '-R', '-c', 'fast'))
        with open(f'{other.data}/postgresql.conf', 'a') as f:
            f.write(f'port = {other.port}\n')
        other.start()
        return other

    def set(self, name, value):
        self.sql('postgres', f"ALTER SYSTEM SET {name} = '{value}'")
        self.reload()

    def reload(self):
        self.sql('postgres', 'SELECT pg_reload_conf()')

    def connect(self, *args):
        """Arguments of PostgreSQL's programs that lead here."""
        return ['-h', self.directory, '-p', self.port, '-U', 'zodb', *args]

    def create(self, name):
        self.run('createdb', *self.connect(name))

    def sql(self, database, text):
        """The rows that psql prints, a column behind the other with | between."""
        printed = self.run('psql', *self.connect('-Atq', '-v', 'ON_ERROR_STOP=1', '-d', database, '-c', text))
        return printed.splitlines()

    def schema(self, database):
        """The statements that make the tables, in any order, without functions of RelStorage."""
        text = self.run('pg_dump', *self.connect('-s', '-O', database))
        lines = [line for line in text.splitlines() if line and not line.startswith(('--', 'SET ', '\\'))]
        statements = '\n'.join(lines).split(';\n')
        keywords = 'CREATE TABLE', 'CREATE VIEW', 'CREATE INDEX', 'CREATE SEQUENCE', 'CREATE TRIGGER', 'ALTER TABLE'
        return {statement for statement in statements if statement.startswith(keywords)}

    @property
    def where(self):
        """The part of the dsn that leads here."""
        if self.authority:
            return (f"host='localhost' port='{self.port}' sslmode='verify-full' "
                    f"sslrootcert='{self.authority.file}'")
        return f"host='{self.directory}' port='{self.port}'"

    def dsn(self, database):
        return f"{self.where} user='zodb' dbname='{database}'"
