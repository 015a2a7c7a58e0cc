"""fstool blobs, and the blobs of fstool recover."""
import os
import shutil
import socket
import threading
import time

import pytest
import transaction
from exchange import files
from support.configuration import filestorage
from ZEO.ClientStorage import ClientStorage
from ZODB.blob import Blob, BlobStorage
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from .blob_history import change, contents, paths
from .program import fstool


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(layout='bushy'):
    change(BlobStorage('blobs', FileStorage('Data.fs'), layout=layout))


def check(code=0, *options):
    """What `fstool blobs` tells in JSON, which has to fit its words."""
    told = fstool('blobs', '--json', *options, 'Data.fs', 'blobs', code=code).json
    assert (code == 1) == bool(told['errors'])
    words = fstool('blobs', *options, 'Data.fs', 'blobs', code=code)
    assert ('no errors detected' in words.out) == (not told['errors'])
    return told


@pytest.mark.parametrize('layout', ['bushy', 'lawn'])
def test_all_is_well(layout):
    make(layout)
    told = check()
    assert (told['layout'], told['blobs']) == (layout, len(paths('blobs')))
    assert told['bytes'] == sum(map(os.path.getsize, paths('blobs')))
    assert not os.path.exists('blobs/.removed')


def test_compressed_records():
    """A `<zlibstorage>` keeps blobs as well."""
    make()
    with open('zlib.conf', 'w') as f:
        f.write(f'<zlibstorage>\n{filestorage("zlib.fs", blob_dir="new")}</zlibstorage>\n')
    fstool('copy', '--source-blobs', 'blobs', 'Data.fs', 'zlib.conf')
    told = fstool('blobs', '--json', 'zlib.fs', 'new').json
    assert told['blobs'] == len(paths('blobs')) and not told['errors']


def test_what_is_missing():
    """Each in its own way, and why."""
    make()
    gone, unreadable, no_file, no_directory = paths('blobs')[:4]
    os.remove(gone)
    os.remove(unreadable)
    os.symlink(os.path.basename(unreadable), unreadable)   # to itself
    os.remove(no_file)
    os.mkdir(no_file)
    place = os.path.dirname(paths('blobs')[-1])
    count = len(paths(place))
    shutil.rmtree(place)
    files.write_bytes(place, b'')
    told = check(1)
    why = {found['path']: found['why'] for found in told['missing']['first']}
    assert told['missing']['count'] == len(why) == 3 + count
    def at(path):
        return why[os.path.abspath(path)]
    assert 'No such file' in at(gone) and 'symbolic links' in at(unreadable)
    assert 'directory' in at(no_file)
    assert any('Not a directory' in reason for reason in why.values())
    words = fstool('blobs', 'Data.fs', 'blobs', code=1).out
    assert f'missing: {os.path.abspath(gone)}, object 0x' in words


def test_a_named_pipe_is_not_waited_for():
    make()
    path = paths('blobs')[0]
    os.remove(path)
    os.mkfifo(path)
    told = check(1)
    assert told['missing']['count'] == 1 and told['no_blob']['count'] == 1
    os.remove(path)
    with socket.socket(socket.AF_UNIX) as s:
        os.chdir(os.path.dirname(path))
        s.bind(os.path.basename(path))


def test_files_without_a_record():
    """Those of an older Data.fs; other files and uploads count for nothing."""
    make()
    good = open('Data.fs', 'rb').read()
    size = files.last_transaction('Data.fs')
    os.truncate('Data.fs', size)
    told = check(1)
    assert told['no_record']['count'] == told['errors'] == 1
    files.write_bytes('Data.fs', good)
    for name in 'notes.txt', 'tmp/upload.tmp', '.hidden', '0x00/x.tmp':
        files.write_bytes('blobs/' + name, b'')
    told = check()
    assert sorted(os.path.basename(f['path']) for f in told['no_blob']['first']) == [
        'notes.txt', 'x.tmp']
    empty = paths('blobs')[0]
    os.chmod(empty, 0o600)
    os.truncate(empty, 0)
    assert check()['empty']['first'][0]['path'] == os.path.abspath(empty)
    # What a killed pack has listed: the next start of a server removes it.
    os.truncate('Data.fs', size)
    oid, name = next(iter(contents('blobs').keys() - known('Data.fs')))
    files.write_bytes('blobs/.removed', b'%016x%s\n' % (oid, name[2:-5].encode()))
    told = check()
    assert told['to_be_removed'] == 1


def known(path):
    """(oid, file name) of all records."""
    storage = FileStorage(path, read_only=True)
    found = {(int.from_bytes(r.oid, 'big'), f'0x{r.tid.hex()}.blob')
             for txn in storage.iterator() for r in txn}
    storage.close()
    return found


def test_the_wrong_layout():
    make()
    count = len(paths('blobs'))
    files.write_bytes('blobs/.layout', b'lawn')
    told = check(1)
    assert told['missing']['count'] == told['other_layout']['count'] == count
    assert 'is .layout right?' in fstool('blobs', 'Data.fs', 'blobs', code=1).out
    files.write_bytes('blobs/.layout', b'\0\0\0\0\0')
    for command in (['blobs', 'Data.fs', 'blobs'],
                    ['recover', '--input-blobs', 'blobs', '--output-blobs', 'new', 'Data.fs', 'o']):
        err = fstool(*command, code=2).err
        assert '.layout names the unknown layout' in err and 'bushy' in err
    assert not os.path.exists('new') and not os.path.exists('o')
    fstool('blobs', 'Data.fs', 'no', code=2)


def test_only_the_first_are_shown():
    make()
    for number in range(120):
        files.write_bytes(f'blobs/0x{number + 1:016x}.blob', b'')
        os.makedirs(f'blobs/0x00/0x00/0x00/0x00/0x00/0x00/0x77/0x{number:02x}')
        files.write_bytes(f'blobs/0x00/0x00/0x00/0x00/0x00/0x00/0x77/0x{number:02x}/0x01.blob', b'')
    told = check(1)
    assert told['no_record']['count'] == 120 and len(told['no_record']['first']) == 100
    assert len(check(1, '--all')['no_record']['first']) == 120
    assert 'no record: 20 more; --all' in fstool('blobs', 'Data.fs', 'blobs', code=1).out


def test_beside_a_server_that_packs(serve):
    """Commits, undos and packs go on meanwhile, and nothing seems wrong."""
    server = serve(filestorage(blob_dir='blobs', pack_keep_old=False))
    os.mkdir('R')
    stop = threading.Event()

    DB(ClientStorage(server.address, blob_dir='cache')).close()

    def work(number):
        storage = ClientStorage(server.address, blob_dir=f'cache{number}')
        db = DB(storage)
        manager = transaction.TransactionManager()
        connection = db.open(manager)
        root = connection.root()
        count = 0
        while not stop.is_set():
            count += 1
            try:
                root[number, count % 3] = blob = Blob()
                with blob.open('w') as f:
                    f.write(os.urandom(500))
                manager.commit()
                if count % 5 == 0 and number == 0:
                    db.pack(time.time())
            except Exception:   # a conflict of the root
                manager.abort()
        connection.close()
        db.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    try:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            result = fstool('blobs', 'Data.fs', 'blobs', code=(0, 1))
            busy = 'again and again' in result.err
            assert result.code == 0 or busy, result
            result = fstool('repozo', '-B', '-r', 'R', '-f', 'Data.fs', '--blobs', 'blobs',
                            code=(0, 2))
            told = [line for line in result.err.splitlines() if 'ignoring the index' not in line]
            assert not told or 'again and again' in result.err, result
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    server.stop()
    fstool('blobs', 'Data.fs', 'blobs')


RECOVER = ['recover', '--input-blobs', 'blobs', '--output-blobs', 'new']


def test_recover():
    """Blobs go with their records: those that are there."""
    make('lawn')
    before = contents('blobs')
    result = fstool(*RECOVER, 'Data.fs', 'out.fs')
    assert f'{len(before)} blobs were copied, and 0 were lost' in result.out
    assert contents('new') == before and not os.listdir('new/tmp')
    fstool('blobs', 'out.fs', 'new')
    BlobStorage('new', FileStorage('out.fs')).close()
    lost, kept = paths('blobs')[:2]
    os.remove(lost)
    # Of the last transaction, neither records nor blobs remain.
    os.truncate('Data.fs', files.last_transaction('Data.fs') + 40)
    result = fstool(*RECOVER, '-f', '--json', 'Data.fs', 'out.fs', code=1)
    told = result.json
    assert [blob['path'] for blob in told['lost_blobs']] == [os.path.abspath(lost)]
    assert 'No such file' in told['lost_blobs'][0]['why']
    assert told['blobs'] == len(before) - 2 == len(contents('new'))
    assert set(contents('new').items()) < set(before.items())
    left = fstool('blobs', '--json', 'out.fs', 'blobs', code=1).json
    assert left['no_record']['count'] == 1 and left['missing']['count'] == 1
    words = fstool(*RECOVER, '-f', 'Data.fs', 'out.fs', code=1).out
    assert f'its blob {os.path.abspath(lost)} is lost: No such file' in words
    assert f'{len(before) - 2} blobs were copied, and 1 were lost' in words


def test_recover_what_clients_wrote(serve):
    """Who store the record of a blob twice; each counts once, and nothing is left in tmp."""
    server = serve(filestorage(blob_dir='blobs'))
    change(ClientStorage(server.address, blob_dir='cache'))
    server.stop()
    count = len(contents('blobs'))
    assert f'{count} blobs were copied' in fstool(*RECOVER, 'Data.fs', 'out.fs').out
    assert contents('new') == contents('blobs') and not os.listdir('new/tmp')
    options = '--source-blobs', 'blobs', '--destination-blobs', 'copied'
    assert f', {count} blobs' in fstool('copy', *options, 'Data.fs', 'copy.fs').out
    assert contents('copied') == contents('blobs') and not os.listdir('copied/tmp')
    fstool('blobs', 'copy.fs', 'copied')


def test_recover_empties_only_blob_directories():
    make()
    shutil.copytree('blobs', 'before')
    for wrong in 'blobs', 'blobs/0x00', '.':
        fstool('recover', '-f', '--input-blobs', 'blobs', '--output-blobs', wrong, 'Data.fs',
               'out.fs', code=2)
    os.mkdir('new')
    files.write_bytes('new/precious', b'text')
    assert 'not empty' in fstool(*RECOVER, 'Data.fs', 'out.fs', code=2).err
    assert 'not a blob directory' in fstool(*RECOVER, '-f', 'Data.fs', 'out.fs', code=2).err
    fstool('recover', '--input-blobs', 'blobs', 'Data.fs', 'out.fs', code=2)
    fstool('recover', '--output-blobs', 'new', 'Data.fs', 'out.fs', code=2)
    fstool('recover', '--input-blobs', 'no', '--output-blobs', 'x', 'Data.fs', 'out.fs', code=2)
    assert os.listdir('new') == ['precious'] and not os.path.exists('out.fs')
    assert contents('blobs') == contents('before')
    os.remove('new/precious')
    fstool(*RECOVER, 'Data.fs', 'out.fs')
    fstool(*RECOVER, '-f', 'Data.fs', 'out.fs')
    assert contents('new') == contents('blobs') == contents('before')
