"""`zeo-load check`: clients that trust nothing, against the server under load.

They fail when a tid does not grow on a connection, when data is called current
behind its invalidation, and when a transaction is left out.
"""
import os
import subprocess

import pytest
from support.server import REPOSITORY, binary, is_python

# Of the same build as the server.
BUILT = os.path.join(REPOSITORY, 'target', 'release') if is_python() else os.path.dirname(binary())
LOAD = os.path.join(BUILT, 'zeo-load')
SECONDS = str(5 * int(os.environ.get('RZEO_RACE_ROUNDS') or 1))


@pytest.mark.timeout(600)
@pytest.mark.parametrize('clients', [8, 32])
def test_order(clients, transport, serve, encoding, objects):
    server = serve(storages=objects.section, encoding=encoding, ssl=transport.section)
    host, port = server.address
    done = subprocess.run(
        [LOAD, '--address', f'{host}:{port}', '--clients', str(clients), '--seconds', SECONDS,
         *transport.arguments(), 'check'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode()
    assert server.process.poll() is None
