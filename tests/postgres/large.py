"""A large database: copied into PostgreSQL and back, interrupted and resumed, and packed beside clients.

usage: scripts/postgres-large [--objects N] [--kinds history,free] [--relstorage] [--keep]

Makes a Data.fs with N objects (a million by default, half of them garbage), later revisions, a tree, blobs,
an undo and a transaction of many objects. `fstool copy` copies it, is killed or loses its
connections at several places, and is resumed; the copy back must have what the source has. Then a server
packs it while clients load and commit: it tells times and memory, and which tables PostgreSQL has read
through. With --relstorage, its zodbpack packs another copy of the database, for comparison.

PostgreSQL is the package pgserver's, in a cluster of its own in $TMPDIR.
"""
import argparse
import glob
import itertools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / 'tests'), str(ROOT / 'tests' / 'load')]

import transaction  # noqa: E402
from BTrees.IOBTree import IOBTree  # noqa: E402
from driver import Load, Server  # noqa: E402
from persistent.mapping import PersistentMapping  # noqa: E402
from support import fstool  # noqa: E402
from support.server import binary  # noqa: E402
from ZODB import DB  # noqa: E402
from ZODB.blob import Blob  # noqa: E402
from ZODB.FileStorage import FileStorage  # noqa: E402
from ZODB.utils import p64  # noqa: E402

from postgres.cluster import Cluster  # noqa: E402
from postgres.conftest import Database  # noqa: E402

CUTS = 4
TABLES = 'transaction', 'object_state', 'current_object'
PACK = '--clients', 4, '--pace', 50, '--writers', 2, '--writer-pace', 25, '--first', 0, '--step', 2


def main():
    parser = argparse.ArgumentParser(prog='scripts/postgres-large', description=__doc__.splitlines()[0])
    parser.add_argument('--objects', type=int, default=1_000_000, help='default: %(default)s')
    parser.add_argument('--kinds', default='history,free', help='default: %(default)s')
    parser.add_argument('--relstorage', action='store_true', help='pack a copy with zodbpack, too')
    parser.add_argument('--keep', action='store_true', help='keep the files, and the database running')
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix='rzeo-large-')
    os.chdir(directory)
    cluster = Cluster('max_wal_size = 2GB', 'log_temp_files = 0', 'log_checkpoints = off',
                      'log_min_duration_statement = 1s')
    try:
        timed('making the source', make, options.objects)
        for kind in options.kinds.split(','):
            database = Database(cluster, kind == 'history')
            print(f'-- {kind}', flush=True)
            timed('copying into it, interrupted', copy_in, database)
            timed('copying back', copy_back, database)
            timed('comparing', compare, database.keep_history)
            if options.relstorage:
                cluster.run('createdb', *cluster.connect('-T', database.name, f'{database.name}r'))
            pack(database, options.objects)
            if options.relstorage:
                timed('zodbpack of RelStorage', pack_with_relstorage, database)
        with open(f'{cluster.directory}/log') as f:
            temporary = [int(size) for size in re.findall('temporary file: .* size ([0-9]+)', f.read())]
        print(f'temporary files of PostgreSQL: {len(temporary)}, {sum(temporary) >> 20} MB')
    finally:
        if options.keep:
            print(f'kept in {directory} and {cluster.directory}; {cluster.programs}/bin/psql',
                  *cluster.connect('-l'))
        else:
            cluster.remove()
            shutil.rmtree(directory)


def timed(what, call, *args):
    began = time.monotonic()
    result = call(*args)
    print(f'{what}: {time.monotonic() - began:.1f} s', flush=True)
    return result


def program(name):
    return os.path.join(os.path.dirname(binary()), name)


def make(objects):
    Load(program('zeo-load')).run('make-fs', 'Data.fs', '--objects', objects, '--size', 300, '--links', 'half')
    db = DB(FileStorage('Data.fs', blob_dir='blobs'))
    connection = db.open()
    root = connection.root()
    root['tree'] = IOBTree()
    root['blobs'] = PersistentMapping()
    for first in range(0, 50_000, 5_000):
        root['tree'].update({number: f'value {number}' for number in range(first, first + 5_000)})
        transaction.commit()
    for number in range(30):
        for size in (number ** 3 * 100, number):
            root['blobs'][number] = Blob(b'b' * size)
            transaction.commit()
    for number in range(200):
        transaction.get().note(f'revisions {number}')
        for oid in range(number * 2, min(objects, 40_000), 400):
            connection.get(p64(oid))['n'] = number
        transaction.commit()
        connection.cacheMinimize()
    db.undo(db.undoLog(0, 1)[0]['id'])
    transaction.commit()
    root['many'] = [PersistentMapping(n=number) for number in range(objects // 10)]
    transaction.commit()
    root['last'] = 1
    transaction.commit()
    db.close()


def section(database, name, directory):
    with open(name, 'w') as f:
        f.write(database.section(f'blob-dir {os.path.abspath(directory)}'))
    return name


def copy_in(database):
    """Killed, or without its connections, at several places."""
    to = section(database, 'to.conf', 'cache')
    total = os.path.getsize('Data.fs')
    arguments = 'copy', '--continue', '--source-blobs', 'blobs', 'Data.fs', to
    for number in range(1, CUTS + 1):
        running = fstool.start(*arguments)
        while running.poll() is None and size(database) < total * number / (CUTS + 1):
            time.sleep(0.05)
        assert running.poll() is None, 'it has ended before it was interrupted'
        if number % 2:
            running.send_signal(signal.SIGKILL)
        else:
            database.sql("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name LIKE "
                         "'rzeo: %' AND datname = current_database()")
        running.wait()
        # That of the killed one may still be there.
        while database.sql("SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'rzeo: %' "
                           'AND datname = current_database()'):
            time.sleep(0.05)
    with peak_of(fstool.start(*arguments)) as memory:
        pass
    print(f'memory of the last part: {memory[0] >> 20} MB')
    again = timed('copying again, with nothing to do', fstool.run, *arguments)
    assert again[0] == 0, again


def size(database):
    """How much of the source is there, about."""
    tables = database.sql("SELECT count(*) FROM pg_tables WHERE tablename = 'object_state' AND schemaname = 'public'")
    return int(*database.sql("SELECT pg_total_relation_size('object_state')")) if tables == ['1'] else 0


class peak_of:
    """The most resident bytes of a process until it has ended well."""

    def __init__(self, process):
        self.process, self.found = process, [0]

    def __enter__(self):
        while self.process.poll() is None:
            try:
                with open(f'/proc/{self.process.pid}/status') as f:
                    found = re.search('VmHWM:\\s*([0-9]+) kB', f.read())
                    self.found[0] = int(found[1]) * 1024 if found else self.found[0]
            except OSError:
                break
            time.sleep(0.05)
        assert self.process.wait() == 0
        return self.found

    def __exit__(self, *_):
        pass


def copy_back(database):
    for name in glob.glob('back*'):
        shutil.rmtree(name) if os.path.isdir(name) else os.remove(name)
    section(database, 'from.conf', 'cache')
    with peak_of(fstool.start('copy', '--destination-blobs', 'back-blobs', 'from.conf', 'back.fs')) as memory:
        print(f'memory: {memory[0] >> 20} MB')


def compare(keep_history):
    """All transactions; without history, the last revisions."""
    source, copy = FileStorage('Data.fs', read_only=True), FileStorage('back.fs', read_only=True)
    if keep_history:
        for wanted, found in itertools.zip_longest(source.iterator(), copy.iterator()):
            for name in 'tid', 'status', 'user', 'description', 'extension':
                assert getattr(wanted, name) == getattr(found, name), (wanted.tid, name)
            assert records(wanted) == records(found), wanted.tid
    else:
        wanted = {oid: (txn.tid, hash(data)) for txn in source.iterator() for oid, data in records(txn)}
        found = [(oid, (txn.tid, hash(data))) for txn in copy.iterator() for oid, data in records(txn)]
        assert len(found) == len(wanted) and dict(found) == wanted
    source.close()
    copy.close()
    blobs, copied = files('blobs'), files('back-blobs')
    assert copied and all(blobs[name] == data for name, data in copied.items())
    assert not keep_history or len(blobs) == len(copied)


def records(txn):
    return sorted({record.oid: record.data for record in txn}.items())


def files(directory):
    found = {}
    for path in glob.glob(f'{directory}/**/*.blob', recursive=True):
        with open(path, 'rb') as f:
            found[os.path.relpath(path, directory)] = f.read()
    return found


def pack(database, objects):
    """By a server, while clients load and commit."""
    server = Server(program('runzeo'), os.path.abspath(f'server-{database.name}'), True)
    with open(server.configuration) as f:
        text = re.sub('<filestorage 1>.*</filestorage>\n', '', f.read(), flags=re.S)
    with open(server.configuration, 'w') as f:
        f.write(text + database.section(f'blob-dir {server.directory}/blobs'))
    before = scans(database)
    print(f'start: {server.start():.2f} s, {server.memory() >> 20} MB')
    server.reset_peak()
    report = Load(program('zeo-load')).run('mixed', '--pack', *PACK, '--objects', objects // 2, '--size', 1000,
                                           server=server, timeout=3600)
    peak = server.peak()
    server.stop()
    with open(f'{server.directory}/server.log') as f:
        told = re.findall('a pack has removed .*|commits were held .*', f.read())
    print(f'pack: peak {peak >> 20} MB; {told}; {report}')
    after = scans(database)
    print('tables read through:', {name: after[name] - before.get(name, 0) for name in after})


def scans(database):
    rows = database.sql('SELECT relname, seq_scan FROM pg_stat_user_tables')
    return {name: int(count) for name, count in (row.split('|') for row in rows)}


def pack_with_relstorage(database):
    name = f'{database.name}r'
    dsn = database.cluster.dsn(name)
    with open('zodbpack.conf', 'w') as f:
        f.write(database.section(f'blob-dir {os.path.abspath("python-cache")}').replace(database.dsn, dsn))
    command = [os.path.join(os.path.dirname(sys.executable), 'zodbpack'), '--days=-1', 'zodbpack.conf']
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    for table in TABLES if database.keep_history else TABLES[1:2]:
        ours, theirs = (database.cluster.sql(of, f'SELECT count(*) FROM {table}') for of in (database.name, name))
        print(f'rows of {table} behind the packs: {ours[0]}, RelStorage: {theirs[0]}')


if __name__ == '__main__':
    main()
