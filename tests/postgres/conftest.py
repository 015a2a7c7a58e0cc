"""One PostgreSQL for all tests of a process, a database for each test."""
import pytest

from postgres.cluster import Cluster


@pytest.fixture(scope='session')
def cluster():
    running = Cluster()
    yield running
    running.remove()


class Database:
    """A database, and whether it keeps history."""

    def __init__(self, cluster, keep_history):
        self.cluster, self.keep_history = cluster, keep_history
        self.name = f'zodb{next(cluster.numbers)}'
        self.dsn = cluster.dsn(self.name)
        cluster.create(self.name)

    def section(self, *lines):
        """A <relstorage> for a server's configuration."""
        keep = str(self.keep_history).lower()
        return '\n'.join(['%import relstorage', '<relstorage 1>', f'keep-history {keep}', *lines,
                          '<postgresql>', f'dsn {self.dsn}', '</postgresql>', '</relstorage>', ''])

    def open(self, **options):
        """The storage of Python's RelStorage."""
        from relstorage.adapters.postgresql import PostgreSQLAdapter
        from relstorage.options import Options
        from relstorage.storage import RelStorage
        options = Options(keep_history=self.keep_history, **options)
        return RelStorage(PostgreSQLAdapter(self.dsn, options=options), options=options)

    def sql(self, text):
        return self.cluster.sql(self.name, text)


@pytest.fixture(params=[True, False], ids=['history', 'free'])
def database(request, cluster):
    return Database(cluster, request.param)
