"""With `RZEO_RACE_TLS` in the environment, clients and the server speak TLS. With `RZEO_RACE_POSTGRES`,
`history` or `free`, the objects are in a PostgreSQL database, with or without history."""
import os

import pytest
from postgres.conftest import Database, cluster  # noqa: F401
from support.certificates import Certificates, client_context, ssl_section
from support.configuration import filestorage
from ZODB.FileStorage import FileStorage


class Plain:
    section = None

    def options(self):
        """Of a client; may be called in another process."""
        return {}

    def arguments(self):
        """Of zeo-load."""
        return []


class Secure:
    def __init__(self, directory):
        made = Certificates(directory)
        self.server, self.client = made.self_signed('server'), made.self_signed('client')
        self.section = ssl_section(self.server, self.client)

    def options(self):
        return {'ssl': client_context(self.client, self.server), 'ssl_server_hostname': 'localhost'}

    def arguments(self):
        return ['--tls-certificate', self.client.file, '--tls-key', self.client.key,
                '--tls-trust', self.server.file]


@pytest.fixture
def transport(tmp_path):
    return Secure(tmp_path) if os.environ.get('RZEO_RACE_TLS') else Plain()


class File:
    """Where the objects are, unless something else is asked for."""
    section = filestorage()

    def open(self):
        """Behind the server's end."""
        return FileStorage('Data.fs', read_only=True)


@pytest.fixture
def objects(request):
    kind = os.environ.get('RZEO_RACE_POSTGRES')
    if not kind:
        return File()
    database = Database(request.getfixturevalue('cluster'), kind == 'history')
    database.section = database.section()
    return database
