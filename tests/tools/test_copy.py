"""fstool copy, beside copyTransactionsFrom; Python reads the results."""
import os
import random
import time

import pytest
from support import fstool
from support.configuration import filestorage
from ZEO.ClientStorage import ClientStorage
from ZODB.blob import Blob, BlobStorage, FilesystemHelper, is_blob_record
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage
from ZODB.scripts import fstest
from ZODB.utils import p64

from exchange import files, histories
from exchange.reading import everything, read_transactions, undo_log
from exchange.writer import Writer, pickle_of


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def content(path, **options):
    storage = FileStorage(path, read_only=True, **options)
    found = read_transactions(storage)
    storage.close()
    return found


def positions(path):
    """Where records lead to: (number of the transaction, oid, those of prev and back-pointer)."""
    storage, places, found = FileStorage(path, read_only=True), {0: None}, []
    for number, txn in enumerate(storage.iterator()):
        position = txn._tpos + storage._read_txn_header(txn._tpos).headerlen()
        while position < txn._tend:
            header = storage._read_data_header(position)
            places[position] = (number, header.oid)
            found.append((number, header.oid, places[header.prev], places.get(header.back)))
            position += header.recordlen()
    storage.close()
    return found


@pytest.mark.parametrize('history', histories.HISTORIES.values(),
                         ids=list(histories.HISTORIES))
def test_every_history(history):
    """The copy is what copyTransactionsFrom makes, back-pointers included."""
    files.write('Data.fs', history)
    fstool.check('copy', 'Data.fs', 'ours.fs')
    source, upstream = FileStorage('Data.fs', read_only=True), FileStorage('upstream.fs')
    upstream.copyTransactionsFrom(source)
    source.close()
    upstream.close()
    fstest.check('ours.fs')
    assert positions('ours.fs') == positions('upstream.fs')
    storages = [FileStorage(path) for path in ('ours.fs', 'upstream.fs')]
    answers = [(everything(s), undo_log(s)) for s in storages]
    for answer, log in answers:
        del answer['size']   # there are checksums in ours
    assert answers[0][0] == answers[1][0]
    for storage in storages:
        storage.close()


def test_to_compressed_and_back():
    """By sections of a configuration file, as zc.zlibstorage does."""
    files.write('Data.fs', histories.many_objects)
    storage = FileStorage('Data.fs')
    writer = Writer(storage)
    writer.tids.append(storage.lastTransaction())
    writer.commit((5000, pickle_of('x' * 5000)), (5001, pickle_of('y' * 5000)))
    storage.close()
    with open('zlib.conf', 'w') as f:
        f.write(f'<zlibstorage>\n{filestorage("zlib.fs")}</zlibstorage>\n')
    fstool.check('copy', 'Data.fs', 'zlib.conf')
    zipped = content('zlib.fs')
    assert any(data.startswith(b'.z') for txn in zipped for *_, data, _hint in txn['records'])
    fstool.check('convert', 'zlib.conf', 'back.fs')
    assert content('back.fs') == content('Data.fs')
    with open('several.conf', 'w') as f:
        f.write('<zeo>\n  address 8100\n</zeo>\n' + filestorage('Data.fs', 'main')
                + filestorage('Data2.fs', 'other'))
    assert fstool.run('copy', 'several.conf', 'new.fs')[0] == 2
    assert fstool.run('copy', 'several.conf#wrong', 'new.fs')[0] == 2
    fstool.check('copy', 'several.conf#main', 'several.conf#other')
    assert content('Data2.fs') == content('Data.fs')


def test_beside_a_server(serve):
    """The source may be in use; the destination may not."""
    files.write('Data.fs', histories.many_revisions)
    server = serve()
    client = ClientStorage(server.address)
    writer = Writer(client, explicit_tids=False)
    writer.serials = {p64(n): client.getTid(p64(n)) for n in range(3)}
    for number in range(3):
        writer.commit((number, pickle_of('by the server')))
        fstool.check('copy', '--continue', 'Data.fs', 'copy.fs')
        assert content('copy.fs') == read_transactions(client)
    code, _out, err = fstool.run('copy', 'copy.fs', 'Data.fs')
    assert code == 2 and 'open for writing' in err
    client.close()


def test_what_is_there_is_not_overwritten():
    files.write('Data.fs', histories.many_revisions)
    files.write('other.fs', histories.undone)
    before = content('other.fs')
    code, _out, err = fstool.run('copy', 'Data.fs', 'other.fs')
    assert code == 2 and 'not empty' in err
    code, _out, err = fstool.run('copy', '--continue', 'Data.fs', 'other.fs')
    assert code == 2 and 'is not the same' in err
    assert content('other.fs') == before
    assert fstool.run('copy', 'no.fs', 'new.fs')[0] == 2
    assert fstool.run('copy', 'Data.fs', 'no/new.fs')[0] == 2
    files.damaged_length_in_the_middle('Data.fs')
    code, _out, err = fstool.run('copy', 'Data.fs', 'new.fs')
    assert code == 1 and 'damaged at position' in err


def test_killed_and_continued():
    storage = FileStorage('Data.fs')
    writer, random_ = Writer(storage), random.Random(5)
    for number in range(300):
        writer.commit((number % 50, random_.randbytes(30_000)))
    storage.close()
    whole = content('Data.fs')
    for _ in range(6):
        process = fstool.start('copy', '--continue', 'Data.fs', 'copy.fs')
        time.sleep(random_.random() * 0.06)
        process.kill()
        process.wait()
        if os.path.exists('copy.fs'):
            found = content('copy.fs')
            assert found == whole[:len(found)]
    fstool.check('copy', '--continue', 'Data.fs', 'copy.fs')
    assert content('copy.fs') == whole
    assert b'copied 0 transactions' in fstool.check('copy', '--continue', 'Data.fs', 'copy.fs')


def blobs(path, directory):
    """All blobs of a storage: (oid, tid) to content."""
    found = {}
    storage = BlobStorage(directory, FileStorage(path, read_only=True))
    for txn in storage.iterator():
        for record in txn:
            if record.data and is_blob_record(record.data):
                with open(storage.loadBlob(record.oid, record.tid), 'rb') as f:
                    found[record.oid, record.tid] = f.read()
    storage.close()
    return found


def make_blobs(layout='lawn'):
    import transaction
    db = DB(BlobStorage('blobs', FileStorage('Data.fs'), layout=layout))
    connection = db.open()
    root = connection.root()
    for number in range(4):
        root[number % 3] = root.get(number % 3, Blob())
        with root[number % 3].open('w') as f:
            f.write(b'content %d' % number * 1000)
        transaction.commit()
    db.undo(db.undoInfo()[0]['id'])
    transaction.commit()
    db.close()


def test_blobs_to_another_layout():
    """As migrateblobs; what was undone is there as well."""
    make_blobs()
    before = blobs('Data.fs', 'blobs')
    assert len(before) == 5
    options = '--source-blobs', 'blobs', '--destination-blobs', 'bushy'
    out = fstool.check('copy', *options, 'Data.fs', 'copy.fs')
    assert b'5 blobs' in out
    assert blobs('copy.fs', 'bushy') == before
    assert content('copy.fs') == content('Data.fs')
    assert open('bushy/.layout').read().strip() == 'bushy'
    assert FilesystemHelper('bushy').layout_name == 'bushy'
    assert not os.listdir('bushy/tmp')
    code, _out, err = fstool.run('copy', '--source-blobs', 'blobs', 'Data.fs', 'none.fs')
    assert code == 2 and '--destination-blobs' in err


def test_a_blob_that_is_missing():
    make_blobs('bushy')
    paths = [os.path.join(where, name) for where, _dirs, names in os.walk('blobs')
             for name in names if name.endswith('.blob')]
    os.remove(sorted(paths)[0])
    options = '--source-blobs', 'blobs', '--destination-blobs', 'new'
    code, out, err = fstool.run('copy', *options, 'Data.fs', 'copy.fs')
    assert code == 1 and b'4 blobs' in out and 'is missing' in err
    assert content('copy.fs') == content('Data.fs')
    # One that is there, and can't be read.
    os.symlink(os.path.basename(sorted(paths)[0]), sorted(paths)[0])
    code, out, err = fstool.run('copy', *options[:3], 'other', 'Data.fs', 'other.fs')
    assert code == 1 and b'4 blobs' in out and 'is missing' in err
