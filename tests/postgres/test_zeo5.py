"""Clients of ZEO 5 and servers on PostgreSQL, beside ZEO 6 and RelStorage."""
import os
import subprocess

import pytest
from support.server import REPOSITORY, is_python
from ZODB import DB

from postgres.test_relstorage import open_db

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

VENV = os.environ.get('RZEO_VENV5') or os.path.join(REPOSITORY, '.venv', 'z5')


def test_what_clients_do(serve, database, tmp_path):
    encoding = 'Z' if database.keep_history else 'M'
    servers = [serve(storages=database.section(f'blob-dir {tmp_path}/server{n}'), encoding=encoding) for n in range(2)]
    script = os.path.join(os.path.dirname(__file__), 'zeo5_client.py')
    addresses = ['%s:%s' % server.address for server in servers]
    done = subprocess.run([f'{VENV}/bin/python', script, *addresses, str(database.keep_history).lower()],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    # ZEO 6 and RelStorage read what it has written.
    for db in open_db(servers[0]), DB(database.open()):
        with db.transaction() as connection:
            root = connection.root()
            assert root['length']() == 1111 and root['last'] == 1
            assert {name: counter['n'] for name, counter in root['counters'].items()} == {'a': 30, 'b': 30}
        db.close()
