"""Runs upstream's tests on `<relstorage>` in place of `<filestorage>`: each file is a database."""
import contextlib
import os
import re

_DSN = 'RZEO_UPSTREAM_DSN'
_KEEP_HISTORY = 'RZEO_UPSTREAM_KEEP_HISTORY'
_BLOB_STORAGE = re.compile(r'<blobstorage\s*(\S*?)>(.*?)<filestorage.*?>(.*?)</blobstorage>', re.DOTALL)
_FILE_STORAGE = re.compile(r'<filestorage\s*(\S*?)>(.*?)</filestorage>', re.DOTALL)
_PATH = re.compile(r'^\s*path\s+(\S+)', re.MULTILINE)
_BLOB_DIR = re.compile(r'^\s*blob-dir\s+(\S+)', re.MULTILINE)
_DATABASE = re.compile(r"dbname='(\w+)'")
_KEPT = re.compile(r'^\s*(?:read-only|pack-gc)\s.*', re.MULTILINE)
_names = {}


@contextlib.contextmanager
def cluster():
    """A PostgreSQL for the workers that are started meanwhile."""
    from postgres.cluster import Cluster
    # What these tests judge is not what a power cut leaves.
    running = Cluster('fsync = off')
    os.environ[_DSN] = running.dsn('').removesuffix(" dbname=''")
    try:
        yield
    finally:
        running.remove()


def environment(kind):
    """What tells a worker to use databases with `history`, or without (`free`)."""
    return {_KEEP_HISTORY: str(kind == 'history').lower()}


def in_use():
    return _DSN in os.environ


def section(config, blob_dir):
    """The configuration of a storage, with databases in place of files."""
    def replace(found):
        name, keys = found.groups()
        path = _PATH.search(keys)[1]
        directory = blob_dir or (found := _BLOB_DIR.search(keys)) and found[1]
        lines = [f'keep-history {os.environ[_KEEP_HISTORY]}', *_KEPT.findall(keys)]
        if directory:
            lines.append(f'blob-dir {directory}')
        dsn = f"{os.environ[_DSN]} dbname='{_database(os.path.abspath(path))}'"
        return '\n'.join([f'<relstorage {name or 1}>', *lines, '<postgresql>', f'dsn {dsn}',
                          '</postgresql>', '</relstorage>'])
    # The directory of blobs is a key of the database's own section.
    config = _BLOB_STORAGE.sub(r'<filestorage \1>\2\3', config)
    return '%import relstorage\n' + _FILE_STORAGE.sub(replace, config)


def install():
    """Tells tests where the server under test keeps the blobs that it has loaded."""
    if in_use():
        import ZEO.tests.testZEO
        ZEO.tests.testZEO.CommonBlobTests.blobdir = os.path.join('blobs', 'rzeo')


def remove(config):
    """The test has ended that used them."""
    gone = _DATABASE.findall(config)
    for path, name in list(_names.items()):
        if name in gone:
            del _names[path]
            _run(f'DROP DATABASE {name} WITH (FORCE)')


def _database(path):
    if path not in _names:
        _names[path] = f'zodb_{os.getpid()}_{len(_names)}_{os.urandom(4).hex()}'
        _run(f'CREATE DATABASE {_names[path]}')
    return _names[path]


def _run(statement):
    import psycopg2
    connection = psycopg2.connect(f"{os.environ[_DSN]} dbname='postgres'")
    connection.autocommit = True
    connection.cursor().execute(statement)
    connection.close()
