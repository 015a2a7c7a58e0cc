"""fstool copy from and to databases of RelStorage, beside RelStorage and ZODB, which read the results."""
import os
import signal

import pytest
from exchange import files, histories
from exchange.reading import as_bytes, as_text, as_tuples
from exchange.writer import pickle_of
from support import fstool
from support.server import is_python, wait_until
from ZEO.ClientStorage import ClientStorage
from ZODB import DB
from ZODB.blob import is_blob_record
from ZODB.FileStorage import FileStorage
from ZODB.utils import p64, u64

from postgres.test_blobs import write

pytestmark = pytest.mark.skipif(is_python(), reason='the tool is one of ours')


# Histories that RelStorage copies, too.
LIKE_RELSTORAGE = 'undo_of_undo', 'deleted', 'packed'


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def section(database, name='to.conf'):
    with open(name, 'w') as f:
        f.write(database.section())
    return name


def transactions(storage):
    """All that is in it: of several records of an object in a transaction, the last one."""
    found = []
    for txn in storage.iterator():
        texts = as_bytes(txn.user), as_bytes(txn.description), as_tuples(txn.extension)
        packed = as_text(txn.status) == 'p'
        found.append((txn.tid, packed, texts, sorted({r.oid: r.data for r in txn}.items())))
    storage.close()
    return found


def in_file(path):
    return transactions(FileStorage(path, read_only=True))


def current(found):
    """What of these transactions is there without history."""
    states = {oid: (tid, data) for tid, *_, records in found for oid, data in records}
    result = {}
    for oid, (tid, data) in sorted(states.items()):
        if data is not None:
            result.setdefault(tid, []).append((oid, data))
    return [(tid, True, (b'', b'', {}), records) for tid, records in sorted(result.items())]


def expected(database, found):
    return found if database.keep_history else current(found)


def test_every_history(database):
    """Both ways; with history, the rows are those that RelStorage makes."""
    section(database)
    other = type(database)(database.cluster, database.keep_history)
    for name, history in histories.HISTORIES.items():
        if history is histories.oids:
            continue
        path = f'{name}.fs'
        files.write(path, history)
        fstool.check('copy', path, 'to.conf')
        wanted = expected(database, in_file(path))
        assert transactions(database.open()) == wanted, name
        fstool.check('copy', 'to.conf', f'back-{path}')
        assert in_file(f'back-{path}') == wanted, name
        if database.keep_history and name in LIKE_RELSTORAGE:
            source, storage = FileStorage(path, read_only=True), other.open()
            storage.copyTransactionsFrom(source)
            storage.close()
            source.close()
            assert rows(database) == rows(other), name
            clear(other)
        clear(database)


def clear(database):
    if database.keep_history:
        database.sql('TRUNCATE transaction, current_object, object_state, blob_chunk; INSERT INTO transaction'
                     " (tid, username, description) VALUES (0, 'system', '')")
    else:
        database.sql('TRUNCATE object_state, blob_chunk')


def test_oids_that_do_not_fit(database):
    """What is before them stays."""
    files.write('Data.fs', histories.oids)
    code, _, err = fstool.run('copy', 'Data.fs', section(database))
    assert code == 2 and "object 0x8000000000000000: PostgreSQL can't store an oid" in err
    assert transactions(database.open()) == expected(database, in_file('Data.fs')[:2])


def rows(database):
    names = {'transaction': 'tid', 'object_state': 'zoid, tid', 'current_object': 'zoid'}
    return {name: database.sql(f'SELECT * FROM {name} WHERE tid > 0 ORDER BY {key}') for name, key in names.items()}


def large(w):
    """Several batches, and a transaction that is larger than one and has an object three times."""
    w.commit((0, pickle_of('root')), description='first')
    for number in range(25):
        w.commit(*((1 + (number * 7 + i) % 300, pickle_of('x' * 4000 + str(number))) for i in range(100)))
    huge = [(i, pickle_of('y' * 100_000 + str(i))) for i in range(1, 100)]
    w.commit(huge[0], *huge, huge[0], user='huge')
    w.commit((5, pickle_of('after')), (1 << 40, pickle_of('far')))


def test_large_transactions_and_use_by_a_server(serve, database):
    files.write('Data.fs', large)
    fstool.check('copy', 'Data.fs', section(database))
    found = in_file('Data.fs')
    assert transactions(database.open()) == expected(database, found)
    fstool.check('copy', 'to.conf', 'back.fs')
    assert in_file('back.fs') == expected(database, found)
    server = serve(storages=database.section())
    storage = ClientStorage(server.address)
    assert storage.load(p64(5))[0] == pickle_of('after')
    assert u64(storage.new_oid()) > 1 << 40
    storage.close()


def test_killed_and_continued(database):
    files.write('Data.fs', large)
    section(database)
    running = fstool.start('copy', 'Data.fs', 'to.conf')
    wait_until(lambda: database.sql("SELECT 1 FROM pg_tables WHERE tablename = 'object_state'") != [] and
               database.sql('SELECT 1 FROM object_state LIMIT 1') != [] or running.poll() is not None)
    running.send_signal(signal.SIGKILL)
    running.wait()
    code, _, err = fstool.run('copy', 'Data.fs', 'to.conf')
    assert code == 2 and 'is not empty; use --continue to resume' in err
    # The killed one's connection may still end.
    wait_until(lambda: fstool.run('copy', '--continue', 'Data.fs', 'to.conf')[0] == 0)
    assert transactions(database.open()) == expected(database, in_file('Data.fs'))
    fstool.check('copy', '--continue', 'Data.fs', 'to.conf')


def test_another_history_is_not_continued(database):
    for path, text in ('Data.fs', 'one'), ('other.fs', 'two'):
        files.write(path, lambda w: w.commit((0, pickle_of(text))))
    fstool.check('copy', 'Data.fs', section(database))
    code, _, err = fstool.run('copy', '--continue', 'other.fs', 'to.conf')
    assert code == 2 and "can't be continued" in err


def test_a_source_is_not_changed(database):
    code, _, err = fstool.run('copy', section(database), 'Data.fs')
    assert code == 2 and 'has no tables' in err
    assert database.sql("SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []


def test_what_is_not_empty_is_refused(database):
    """It is seen, and nothing of the copy comes behind it."""
    files.write('Data.fs', large)
    DB(database.open()).close()     # with a root
    before = transactions(database.open())
    code, _, err = fstool.run('copy', 'Data.fs', section(database))
    assert code == 2 and 'is not empty' in err
    assert transactions(database.open()) == before


def test_a_pack_keeps_a_copy_away(database):
    files.write('Data.fs', large)
    database.open().close()
    import psycopg2
    connection = psycopg2.connect(database.dsn)
    connection.cursor().execute('SELECT pg_advisory_lock(-2)')
    code, _, err = fstool.run('copy', 'Data.fs', section(database))
    assert code == 2 and 'a pack, an undo or another copy is in progress' in err
    connection.close()


def test_of_two_copies_into_one_database_one_is_refused(database):
    files.write('Data.fs', large)
    files.write('other.fs', lambda w: [w.commit((n, pickle_of('z' * 100_000))) for n in range(200)])
    section(database)
    copies = {name: fstool.start('copy', name, 'to.conf') for name in ('Data.fs', 'other.fs')}
    codes = {copy.wait(): name for name, copy in copies.items()}
    assert sorted(codes) == [0, 2]
    assert transactions(database.open()) == expected(database, in_file(codes[0]))


def test_the_configuration_of_zodbconvert(database):
    files.write('Data.fs', large)
    to = database.section().replace('<relstorage 1>', '<relstorage destination>')
    with open('convert.conf', 'w') as f:
        f.write(f'{to}<filestorage source>\npath Data.fs\n</filestorage>\n')
    fstool.check('copy', 'convert.conf')
    assert transactions(database.open()) == expected(database, in_file('Data.fs'))


def read_blobs(storage):
    """All revisions: (oid, tid) and what is in the file."""
    found = {}
    for txn in storage.iterator():
        for record in txn:
            if record.data is not None and is_blob_record(record.data):
                with open(storage.loadBlob(record.oid, record.tid), 'rb') as f:
                    found[record.oid, record.tid] = f.read()
    storage.close()
    return found


def test_blobs(database, tmp_path):
    db = DB(FileStorage('Data.fs', blob_dir='blobs'))
    write(db, a=b'first', b=b'b' * 3_000_000)
    write(db, a=b'second')
    write(db, a=b'', c=b'third')
    db.close()
    wanted = read_blobs(FileStorage('Data.fs', blob_dir='blobs'))
    if not database.keep_history:
        wanted = dict({oid: ((oid, tid), data) for (oid, tid), data in sorted(wanted.items())}.values())
    with open('to.conf', 'w') as f:
        f.write(database.section(f'blob-dir {tmp_path}/cache'))
    code, _, err = fstool.run('copy', '--source-blobs', 'blobs', 'Data.fs', section(database, 'none.conf'))
    assert code == 2 and 'has no blob directory' in err
    fstool.check('copy', '--source-blobs', 'blobs', 'Data.fs', 'to.conf')
    assert read_blobs(database.open(blob_dir=f'{tmp_path}/python', shared_blob_dir=False)) == wanted
    fstool.check('copy', '--destination-blobs', 'back', 'to.conf', 'back.fs')
    assert read_blobs(FileStorage('back.fs', blob_dir='back')) == wanted
    assert os.listdir('cache') == ['rzeo']
