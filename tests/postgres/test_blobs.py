"""Blobs in the database, beside those of Python's RelStorage."""
import os
import threading

import pytest
import transaction
from persistent.mapping import PersistentMapping
from relstorage.adapters.postgresql import PostgreSQLAdapter
from relstorage.options import Options
from relstorage.storage import RelStorage
from support.server import is_python, wait_until
from support.wire import Wire, WireError
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ServerException
from ZODB import DB
from ZODB.blob import Blob
from ZODB.POSException import ConflictError, POSKeyError, ReadConflictError, Unsupported
from ZODB.utils import p64

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

# Several pieces, and a rest.
LARGE = os.urandom(1 << 16) * 55 + b'end'


def open_db(server, directory):
    return DB(ClientStorage(server.address, server_sync=True, blob_dir=str(directory)))


def open_python(database, directory, **more):
    options = Options(keep_history=database.keep_history, blob_dir=str(directory), shared_blob_dir=False, **more)
    return DB(RelStorage(PostgreSQLAdapter(database.dsn, options=options), options=options))


def write(db, **blobs):
    with db.transaction() as connection:
        for name, data in blobs.items():
            blob = connection.root().setdefault(name, Blob())
            with blob.open('w') as f:
                f.write(data)


def read(db):
    with db.transaction() as connection:
        found = {}
        for name, blob in connection.root().items():
            with blob.open() as f:
                found[name] = f.read()
        return found


def vote_for_blob(wire, db):
    wire.call('tpc_begin', 1, b'', b'', {}, None, ' ')
    wire.send_async('storeBlobStart')
    wire.send_async('storeBlobChunk', b'some bytes')
    wire.send_async('storeBlobEnd', p64(77777), p64(0), db.storage.load(p64(1))[0], 1)
    wire.call('vote', 1)


def orphans(database):
    """How many large objects there are that no blob has, and how many that are missing."""
    [line] = database.sql(
        'SELECT (SELECT count(*) FROM pg_largeobject_metadata WHERE oid NOT IN (SELECT chunk FROM blob_chunk)),'
        ' (SELECT count(*) FROM blob_chunk WHERE chunk NOT IN (SELECT oid FROM pg_largeobject_metadata))')
    return line


def test_blobs(serve, database, tmp_path, encoding):
    """What one writes, the others read: clients of two servers, and RelStorage."""
    section = [database.section(f'blob-dir {tmp_path}/server{n}') for n in (1, 2)]
    servers = [serve(storages=text, encoding=encoding) for text in section]
    dbs = [open_db(server, tmp_path / f'client{n}') for n, server in enumerate(servers)]
    python = open_python(database, tmp_path / 'python')
    write(dbs[0], large=LARGE, empty=b'', small=b'1')
    write(python, python=LARGE[:-1])
    expected = {'large': LARGE, 'empty': b'', 'small': b'1', 'python': LARGE[:-1]}
    for db in *dbs, python:
        assert read(db) == expected
    write(dbs[1], small=b'2', python=b'other')
    write(python, empty=b'not empty')
    expected.update(small=b'2', python=b'other', empty=b'not empty')
    for db in *dbs, python:
        assert read(db) == expected
        db.close()
    assert orphans(database) == '0|0'
    kept = 7 if database.keep_history else 4
    assert database.sql('SELECT count(*) FROM blob_chunk') == [str(kept)]


def test_what_is_not_committed_leaves_nothing(serve, database, tmp_path):
    server = serve(storages=database.section(f'blob-dir {tmp_path}/server'))
    db = open_db(server, tmp_path / 'client')
    write(db, blob=LARGE)
    managers = [transaction.TransactionManager() for _ in range(2)]
    connections = [db.open(manager) for manager in managers]
    for connection, data in zip(connections, (b'first', b'second')):
        with connection.root()['blob'].open('w') as f:
            f.write(data)
    managers[0].commit()
    with pytest.raises(ConflictError):
        managers[1].commit()
    managers[1].abort()
    for connection in connections:
        connection.close()
    assert read(db) == {'blob': b'first'}

    # Voted for, and then gone.
    with Wire(server.address) as wire:
        vote_for_blob(wire, db)
        assert orphans(database) == '0|0'
    # Voted for, and then the connection is gone that has it.
    with Wire(server.address) as wire:
        vote_for_blob(wire, db)
        database.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'")
        with pytest.raises(WireError, match='PostgreSQL'):
            wire.call('tpc_finish', 1)
    with pytest.raises(POSKeyError):
        db.storage.load(p64(77777))
    wait_until(lambda: not database.sql("SELECT 1 FROM pg_stat_activity WHERE state LIKE 'idle in%'"))
    assert orphans(database) == '0|0'
    assert database.sql('SELECT count(*) FROM pg_largeobject_metadata') == \
        [str(1 + database.keep_history)]
    db.close()


@pytest.mark.parametrize('database', [True], indirect=True)
def test_undo(serve, database, tmp_path):
    server = serve(storages=database.section(f'blob-dir {tmp_path}/server'))
    db = open_db(server, tmp_path / 'client')
    write(db, blob=b'1')
    write(db, blob=b'2')
    db.undo(db.undoInfo(0, 1)[0]['id'])
    transaction.commit()
    assert read(db) == {'blob': b'1'}
    # Two at once, of the same blob.
    write(db, blob=b'3')
    write(db, blob=b'4')
    db.undoMultiple([entry['id'] for entry in db.undoInfo(0, 2)])
    transaction.commit()
    assert read(db) == {'blob': b'1'}
    db.close()
    for db in open_python(database, tmp_path / 'python'), open_db(server, tmp_path / 'client2'):
        assert read(db) == {'blob': b'1'}
        db.close()
    assert orphans(database) == '0|0'


def test_many_at_once(serve, database, tmp_path):
    """Uploads and other commits beside each other, with a cache that is too small."""
    server = serve(storages=database.section(f'blob-dir {tmp_path}/server', 'blob-cache-size 100kb'))
    db = open_db(server, tmp_path / 'client')
    with db.transaction() as connection:
        for n in range(4):
            connection.root()[n] = PersistentMapping(n=0, blob=Blob(b'0'))
    failures = []

    def work(n):
        try:
            own = open_db(server, tmp_path / f'client{n}')
            for round in range(1, 16):
                for attempt in range(50):
                    try:
                        with own.transaction() as connection:
                            item = connection.root()[n]
                            item['n'] = round
                            if round % 3:
                                with item['blob'].open('w') as f:
                                    f.write(b'%d' % round * 10000)
                        break
                    except ConflictError:
                        assert attempt < 40
            own.close()
        except BaseException as failure:
            failures.append(failure)
            raise

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    db.close()
    for db in open_python(database, tmp_path / 'python'), open_db(server, tmp_path / 'last'):
        with db.transaction() as connection:
            for n in range(4):
                item = connection.root()[n]
                assert item['n'] == 15
                with item['blob'].open() as f:
                    assert f.read() == b'14' * 10000
        db.close()
    assert orphans(database) == '0|0'


def test_a_blob_that_others_replace(serve, database, tmp_path):
    """Without history, its old content is gone at once: who needs it is to try again."""
    dbs = [open_db(serve(storages=database.section(f'blob-dir {tmp_path}/server{n}')), tmp_path / f'client{n}')
           for n in range(2)]
    dbs.append(open_python(database, tmp_path / 'python'))
    write(dbs[0], blob=b'first')
    for number, other in enumerate(dbs[1:]):
        # Its content is in nobody's cache.
        reader = open_db(serve(storages=database.section(f'blob-dir {tmp_path}/reading{number}')),
                         tmp_path / f'reader{number}')
        with reader.transaction() as connection:
            blob = connection.root()['blob']
            # What it says of itself is in the caches.
            reader.storage.load(blob._p_oid)
            before = read(other)['blob']
            write(other, blob=b'%d' % number)
            if database.keep_history:
                with blob.open() as f:
                    assert f.read() == before
            else:
                with pytest.raises(ReadConflictError):
                    blob.open()
        assert read(reader) == {'blob': b'%d' % number}
        reader.close()
    for db in dbs:
        db.close()


@pytest.mark.parametrize('losing', ['SELECT lo_unlink(oid) FROM pg_largeobject_metadata', 'DELETE FROM blob_chunk'])
def test_missing(serve, database, losing, tmp_path):
    """What the database has lost is told, and named, when it is asked for."""
    server = serve(storages=database.section(f'blob-dir {tmp_path}/server'))
    db = open_db(server, tmp_path / 'client')
    write(db, blob=b'1')
    db.close()
    server.stop()
    database.sql(losing)
    server = serve(storages=database.section(f'blob-dir {tmp_path}/new'))
    db = open_db(server, tmp_path / 'new_client')
    with db.transaction() as connection, pytest.raises(POSKeyError, match='No blob file'):
        connection.root()['blob'].open()
    db.close()


def test_clients_that_would_share_the_directory(serve, database, tmp_path):
    server = serve(storages=database.section(f'blob-dir {tmp_path}/server'))
    storage = ClientStorage(server.address, blob_dir=f'{tmp_path}/server/rzeo', shared_blob_dir=True)
    db = DB(storage)
    with pytest.raises(ServerException, match='set shared_blob_dir to false'), db.transaction() as connection:
        connection.root()['blob'] = Blob(b'1')
    db.close()


def test_without_blob_dir(serve, database, tmp_path):
    server = serve(storages=database.section())
    db = open_db(server, tmp_path / 'client')
    with pytest.raises(Unsupported), db.transaction() as connection:
        connection.root()['blob'] = Blob(b'1')
    db.close()


def test_blobs_go_one_at_a_time_if_each_takes_long(serve, database, tmp_path):
    """As where RelStorage's trigger has many rows to read: commits wait for each, and for no more."""
    server = serve(storages=database.section(f'blob-dir {tmp_path}/server'))
    db = DB(ClientStorage(server.address, blob_dir=str(tmp_path / 'client')))
    with db.transaction() as connection:
        connection.root()['blobs'] = PersistentMapping((n, Blob(b'blob')) for n in range(9))
    with db.transaction() as connection:
        del connection.root()['blobs']
    database.sql("""CREATE TABLE removed (txn bigint);
        CREATE FUNCTION remove_slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO removed VALUES (txid_current()); PERFORM pg_sleep(0.06); RETURN OLD; END $$;
        CREATE TRIGGER slow BEFORE DELETE ON blob_chunk FOR EACH ROW EXECUTE FUNCTION remove_slowly()""")
    db.pack()
    assert database.sql('SELECT count(*) FROM removed GROUP BY txn') == ['1'] * 9
    db.close()
