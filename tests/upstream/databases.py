"""Runs upstream's tests on `<relstorage>` in place of `<filestorage>`: each file is a database."""
import os
import re

_FILE_STORAGE = re.compile(r'<filestorage\s*(\S*?)>(.*?)</filestorage>', re.DOTALL)
_PATH = re.compile(r'^\s*path\s+(\S+)', re.MULTILINE)
_BLOB_DIR = re.compile(r'^\s*blob-dir\s+(\S+)', re.MULTILINE)
_DATABASE = re.compile(r"dbname='(\w+)'")
_KEPT = re.compile(r'^\s*read-only\s.*', re.MULTILINE)
_names = {}


def in_use():
    return 'RZEO_UPSTREAM_DSN' in os.environ


def section(config, blob_dir):
    """The configuration of a storage, with databases in place of files."""
    def replace(found):
        name, keys = found.groups()
        path = _PATH.search(keys)[1]
        directory = blob_dir or (found := _BLOB_DIR.search(keys)) and found[1]
        lines = _KEPT.findall(keys)
        if directory:
            lines.append(f'blob-dir {directory}')
        dsn = f"{os.environ['RZEO_UPSTREAM_DSN']} dbname='{_database(os.path.abspath(path))}'"
        return '\n'.join([f'<relstorage {name or 1}>', *lines, '<postgresql>', f'dsn {dsn}',
                          '</postgresql>', '</relstorage>'])
    return '%import relstorage\n' + _FILE_STORAGE.sub(replace, config)


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
    connection = psycopg2.connect(f"{os.environ['RZEO_UPSTREAM_DSN']} dbname='postgres'")
    connection.autocommit = True
    connection.cursor().execute(statement)
    connection.close()
