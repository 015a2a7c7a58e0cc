"""fstool repozo and ZODB's repozo on the same repositories."""
import glob
import os
import random
import shutil
import threading
import time

import pytest
import transaction
from support import fstool
from ZEO.ClientStorage import ClientStorage
from ZODB.blob import Blob
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage
from ZODB.fsIndex import fsIndex
from ZODB.scripts import repozo
from ZODB.serialize import referencesf
from ZODB.utils import p64

from exchange import files, histories
from exchange.writer import Writer, pickle_of


def ours(*args):
    fstool.check('repozo', *args)


def python(*args):
    """Upstream's repozo. It can't make two backups in one second, so wait for the next one."""
    if '-B' in args:
        last = max(data_files('R'), default='')[:19]
        while time.strftime('%Y-%m-%d-%H-%M-%S', time.gmtime()) <= last:
            time.sleep(0.05)
    repozo.main([str(arg) for arg in args])


BOTH = [ours, python]


@pytest.fixture(autouse=True)
def repository(tmp_path, monkeypatch):
    """Works in a directory with an empty repository R and a Data.fs."""
    monkeypatch.chdir(tmp_path)
    os.mkdir('R')
    files.write('Data.fs', histories.many_revisions)


def data_files(directory):
    return sorted(filter(repozo.is_data_file, os.listdir(directory)))


def content(path):
    with open(path, 'rb') as f:
        return f.read()


def back_up_all(tool, *options):
    """Backs the file up, and sees to it that all of it was."""
    tool('-B', '-r', 'R', '-f', 'Data.fs', *options)
    check_last()


def check_last():
    """Both programs verify and recover the last backup, which is all of the file."""
    for tool in BOTH:
        tool('-V', '-r', 'R')
        tool('-V', '-Q', '-r', 'R')
        tool('-R', '-w', '-r', 'R', '-o', 'out.fs')
        assert content('out.fs') == content('Data.fs')
        index = fsIndex.load('out.fs.index')
        assert index['pos'] == os.path.getsize('Data.fs')
        storage = FileStorage('out.fs', read_only=True)
        assert sorted(index['index'].items()) == sorted(storage._index.items())
        storage.close()
        os.remove('out.fs.index')
    assert fstool.check('repozo', '-R', '-r', 'R') == content('Data.fs')


def pack():
    storage = FileStorage('Data.fs')
    storage.pack(time.time(), referencesf)
    storage.close()


@pytest.mark.parametrize('seed', range(3))
def test_either_goes_on_with_what_the_other_wrote(seed):
    random_ = random.Random(seed)
    states = {}
    for step in range(6):
        action = random_.choice(['append', 'append', 'append', 'pack', 'nothing'])
        before = content('Data.fs')
        if action == 'append':
            files.append('Data.fs', random_.randint(1, 5), first=100 + 10 * step)
        elif action == 'pack':
            pack()
        options = random_.sample(['-z', '-Q', '-F'], random_.randint(0, 2))
        known = data_files('R')
        back_up_all(random_.choice(BOTH), *options)
        new = [name for name in data_files('R') if name not in known]
        if content('Data.fs') == before and known and '-F' not in options:
            assert not new
        else:
            name, = new
            assert name.endswith('z') == ('-z' in options)
            only_new = action == 'append' and known and '-F' not in options
            assert ('.delta' in name) == bool(only_new)
            states[name[:19]] = content('Data.fs')
    for date, state in states.items():
        for tool in BOTH:
            tool('-R', '-r', 'R', '-D', date, '-o', 'out.fs')
            assert content('out.fs') == state
    assert fstool.run('repozo', '-R', '-r', 'R', '-D', '2001-01-01')[0] == 2


@pytest.mark.parametrize('tool', BOTH)
def test_the_same_files(tool):
    """Names, lines and indexes are as upstream writes them; old backups go when asked to."""
    back_up_all(tool)
    files.append('Data.fs', 1)
    back_up_all(tool)
    full, delta = data_files('R')
    assert sorted(os.listdir('R')) == sorted([
        full, delta, full[:19] + '.dat', full[:19] + '.index', delta[:19] + '.index'])
    lines = [line.split() for line in open(f'R/{full[:19]}.dat')]
    sizes = os.path.getsize(f'R/{full}'), os.path.getsize('Data.fs')
    assert [line[:3] for line in lines] == [
        [f'R/{full}', '0', str(sizes[0])], [f'R/{delta}', str(sizes[0]), str(sizes[1])]]
    back_up_all(tool, '-F', '-k', '-z')
    full, = data_files('R')
    assert sorted(os.listdir('R')) == [full[:19] + '.dat', full, full[:19] + '.index']


def test_a_name_that_python_could_not_read():
    os.mkdir('a b')
    ours('-B', '-r', 'a b', '-f', 'Data.fs')
    for tool in BOTH:
        tool('-V', '-r', 'a b')
        tool('-R', '-w', '-r', 'a b', '-o', 'out.fs')


def test_a_torn_end_is_left_out():
    whole = content('Data.fs')
    for tail in [b'x' * 10, whole[files.last_transaction('Data.fs'):][:60]]:
        with open('Data.fs', 'ab') as f:
            f.write(tail)
        ours('-B', '-F', '-r', 'R', '-f', 'Data.fs')
        assert fstool.check('repozo', '-R', '-r', 'R') == whole
        os.truncate('Data.fs', len(whole))


@pytest.mark.parametrize('options', [(), ('-Q',)])
@pytest.mark.parametrize('lost', ['last line', 'all lines', 'the .dat file'])
def test_the_line_that_a_killed_backup_did_not_write(lost, options):
    """As it would be after a kill between the data file and its line, of either program."""
    back_up_all(python, '-z')
    files.append('Data.fs', 2)
    back_up_all(python)
    dat, = glob.glob('R/*.dat')
    lines = open(dat).readlines()
    if lost == 'the .dat file':
        os.remove(dat)
    else:
        with open(dat, 'w') as f:
            f.writelines(lines[:-1] if lost == 'last line' else [])
    known = data_files('R')
    code, _out, err = fstool.run('repozo', '-V', '-r', 'R')
    assert code == 1 and f'{known[-1]} has no line' in err
    ours('-B', '-r', 'R', '-f', 'Data.fs', *options)
    check_last()
    if options and lost != 'last line':
        assert not data_files('R')[-1].count('delta')   # as upstream: a full backup
    else:
        assert data_files('R') == known
        assert open(dat).readlines() == lines


@pytest.mark.parametrize('options', [(), ('-z',)])
def test_killed_backups(options):
    """Whatever moment a backup is killed at, either program goes on, and nothing is left behind."""
    storage = FileStorage('Data.fs')
    writer = Writer(storage)
    writer.tids.append(storage.lastTransaction())
    noise = random.Random(1)
    for number in range(20):
        writer.commit((100 + number, noise.randbytes(200_000)))
    storage.close()
    states = [b'']
    for round_ in range(6):
        if round_ == 3:
            pack()
        files.append('Data.fs', 1, first=1000 + round_)
        backup = fstool.start('repozo', '-B', '-r', 'R', '-f', 'Data.fs', *options)
        time.sleep(noise.random() * (0.3 if options else 0.03))
        backup.kill()
        backup.wait()
        states.append(content('Data.fs'))
        code, out, err = fstool.run('repozo', '-R', '-r', 'R')
        assert out in states, err
        assert code == (2 if not data_files('R') else 0)
        if round_ % 2:
            back_up_all(ours, *options)
    back_up_all(ours, *options)
    left = {name[20:] for name in os.listdir('R')}
    assert left <= {'fs', 'deltafs', 'fsz', 'deltafsz', 'dat', 'index'}
    assert len(glob.glob('R/*.index')) == len(data_files('R'))


@pytest.mark.parametrize('options', [(), ('-z',)])
def test_a_damaged_repository(options):
    """Is told of, and made good for by the next backup."""
    back_up_all(ours, *options)
    files.append('Data.fs', 3)
    back_up_all(ours, *options)
    shutil.copytree('R', 'good')
    for number in range(8):
        shutil.rmtree('R')
        shutil.copytree('good', 'R')
        random_ = random.Random(number)
        name = 'R/' + random_.choice(data_files('R'))
        place = random_.randrange(20, os.path.getsize(name) - 1)   # behind the header of gzip
        kind = number % 3
        if kind == 0:
            files.patch(name, place, bytes([content(name)[place] ^ 1 << random_.randrange(8)]))
        elif kind == 1:
            os.truncate(name, place)
        else:
            os.remove(name)
        code, _out, err = fstool.run('repozo', '-V', '-r', 'R')
        assert code == 1
        assert os.path.basename(name) in err or 'there is no full backup before' in err
        assert fstool.run('repozo', '-R', '-w', '-r', 'R', '-o', 'out.fs')[0] == 2
        ours('-B', '-r', 'R', '-f', 'Data.fs')
        check_last()
        assert '.delta' not in data_files('R')[-1] or kind == 2   # what is missing may come again


def test_recovering_over_a_file():
    """The old one stays until the new one is whole; one that is in use is left alone."""
    back_up_all(ours)
    name, = data_files('R')
    shutil.copy('Data.fs', 'out.fs')
    files.append('out.fs', 1)
    old = content('out.fs')
    in_use = FileStorage('out.fs')
    code, _out, err = fstool.run('repozo', '-R', '-r', 'R', '-o', 'out.fs')
    assert code == 2 and 'in use' in err
    in_use.close()
    good = content(f'R/{name}')
    files.patch(f'R/{name}', len(good) // 2, bytes([good[len(good) // 2] ^ 1]))
    code, _out, err = fstool.run('repozo', '-R', '-w', '-r', 'R', '-o', 'out.fs')
    assert code == 2 and 'checksum' in err
    assert content('out.fs') == old


def blob_files(directory):
    """The blobs in a directory, by object and transaction, whatever its layout."""
    found = {}
    for where, _dirs, names in os.walk(directory):
        for name in names:
            if name.endswith('.blob'):
                oid = os.path.relpath(where, directory).replace('/0x', '')
                found[int(oid, 16), name] = content(os.path.join(where, name))
    return found


@pytest.fixture
def blobs():
    """A database with blobs instead of the file: a function that commits some more, or packs."""
    os.remove('Data.fs')
    os.remove('Data.fs.index')
    db = DB(FileStorage('Data.fs', blob_dir='blobs'))
    connection, root = db.open(), None

    def change(number, pack=False):
        root = connection.root()
        for n in range(number):
            blob = root[n % 4] = root.get(n % 4) or Blob()
            with blob.open('w') as f:
                f.write(os.urandom(3000))
            root['plain'] = n
            transaction.commit()
        if pack:
            db.pack(time.time())
    yield change
    connection.close()
    db.close()


def check_blobs():
    """All is verified and recovered, with the blobs as they are now."""
    ours('-V', '-r', 'R')
    python('-V', '-r', 'R')
    shutil.rmtree('restored', ignore_errors=True)
    ours('-R', '-w', '-r', 'R', '-o', 'out.fs', '--blobs', 'restored')
    assert content('out.fs') == content('Data.fs')
    assert blob_files('restored') == blob_files('blobs')
    storage = FileStorage('out.fs', blob_dir='restored')
    assert storage.blob_dir
    storage.close()


def test_blobs(blobs):
    """Are backed up with the transactions, also those that Python backed up without."""
    back_up = ['-B', '-r', 'R', '-f', 'Data.fs', '--blobs', 'blobs']
    states = {}
    for step in range(5):
        blobs(3, pack=step == 3)
        if step == 1:
            python('-B', '-r', 'R', '-f', 'Data.fs')
            code, _out, err = fstool.run('repozo', '-V', '-r', 'R')
            assert code == 1 and 'without blobs' in err
            code, _out, err = fstool.run('repozo', '-R', '-r', 'R', '-o', 'x', '--blobs', 'no')
            assert code == 2 and 'without blobs' in err and not os.path.exists('x')
            ours(*back_up)   # nothing is new but the blobs
            assert len(data_files('R')) == 2
        ours(*back_up)
        check_blobs()
        states[data_files('R')[-1][:19]] = content('Data.fs'), blob_files('blobs')
    for date, (file, files_) in states.items():
        shutil.rmtree('restored')
        ours('-R', '-w', '-r', 'R', '-D', date, '-o', 'out.fs', '--blobs', 'restored')
        assert content('out.fs') == file and blob_files('restored') == files_
    blobs(0, pack=True)
    ours(*back_up, '-F', '-k')
    check_blobs()
    assert blob_files('R/blobs') == blob_files('blobs')


def test_damaged_blobs(blobs):
    """What is missing or changed is named, in the source as well as in the repository."""
    blobs(6)
    paths = sorted(os.path.join(where, name) for where, _dirs, names in os.walk('blobs')
                   for name in names if name.endswith('.blob'))
    os.rename(paths[0], 'kept')
    back_up = ['repozo', '-B', '-r', 'R', '-f', 'Data.fs', '--blobs', 'blobs']
    code, _out, err = fstool.run(*back_up)
    assert code == 1 and os.path.basename(paths[0]) in err and 'is missing' in err
    assert len(data_files('R')) == 1
    os.mkdir(paths[0])
    code, _out, err = fstool.run(*back_up, '-F')
    assert code == 1 and os.path.basename(paths[0]) in err
    os.rmdir(paths[0])
    os.symlink('nowhere', paths[0])
    os.rename(paths[1], 'kept too')
    os.mkfifo(paths[1])   # which nobody waits for
    code, _out, err = fstool.run(*back_up, '-F')
    assert code == 1 and all(os.path.basename(path) in err for path in paths[:2])
    assert len(data_files('R')) == 3
    os.remove(paths[0])
    os.rename('kept', paths[0])
    os.rename('kept too', paths[1])
    fstool.check(*back_up, '-F')
    check_blobs()
    backed_up = [path.replace('blobs', 'R/blobs', 1) for path in paths]
    for path, damage in zip(backed_up, [os.remove, change_a_byte, cut_a_byte], strict=False):
        damage(path)
    code, _out, err = fstool.run('repozo', '-V', '-r', 'R')
    assert code == 1
    for path, what in zip(backed_up, ['missing', 'checksum', '2999 bytes'], strict=False):
        assert os.path.basename(path) in err and what in err
    code, _out, err = fstool.run('repozo', '-R', '-w', '-r', 'R', '-o', 'x', '--blobs', 'new')
    assert code == 2 and not os.path.exists('x')
    code, _out, err = fstool.run('repozo', '-V', '-Q', '-r', 'R')
    assert code == 1 and 'checksum' not in err
    # Without -w, all is restored that is there.
    code, _out, err = fstool.run('repozo', '-R', '-r', 'R', '-o', 'x', '--blobs', 'new')
    assert code == 1 and 'missing' in err and '2999 bytes' in err
    assert content('x') == content('Data.fs')
    assert len(blob_files('new')) == len(paths) - 2


def change_a_byte(path):
    """Of this name only: the original has the same inode."""
    data = content(path)
    os.remove(path)
    files.write_bytes(path, data[:-1] + bytes([data[-1] ^ 1]))


def cut_a_byte(path):
    data = content(path)
    os.remove(path)
    files.write_bytes(path, data[:-1])


def test_killed_backups_with_blobs(blobs):
    back_up = 'repozo', '-B', '-r', 'R', '-f', 'Data.fs', '--blobs', 'blobs'
    random_ = random.Random(2)
    for round_ in range(8):
        blobs(4, pack=round_ == 4)
        process = fstool.start(*back_up)
        time.sleep(random_.random() * 0.05)
        process.kill()
        process.wait()
        if data_files('R'):
            fstool.check('repozo', '-R', '-r', 'R', '-o', 'x',
                         '--blobs', f'restored {round_}')
        if round_ % 3 == 2:
            fstool.check(*back_up)
            check_blobs()
    fstool.check(*back_up)
    check_blobs()
    assert not os.listdir('R/blobs/tmp')


def test_wrong_usage():
    for args in [(), ('-B',), ('-B', '-r', 'R'), ('-B', '-R', '-r', 'R'),
                 ('-R', '-r', 'R', '-D', 'yesterday')]:
        assert fstool.run('repozo', *args)[0] == 2, args
    for args in [('-B', '-r', 'no', '-f', 'Data.fs'), ('-B', '-r', 'Data.fs', '-f', 'Data.fs'),
                 ('-B', '-r', 'R', '-f', 'no.fs'), ('-R', '-r', 'R'), ('-V', '-r', 'R')]:
        code, _out, err = fstool.run('repozo', *args)
        assert code == 2 and err.startswith('Error: '), args
    assert os.listdir('R') == []


def test_beside_a_live_server(serve):
    """Each backup holds all that was committed before it; packs go on meanwhile."""
    server = serve()
    client = ClientStorage(server.address)
    writer = Writer(client, explicit_tids=False)
    writer.tids.append(client.lastTransaction())
    writer.serials[p64(0)] = client.getTid(p64(0))
    writer.commit((0, pickle_of('root')))
    stop = threading.Event()

    def commit():
        number = 0
        while not stop.is_set():
            number += 1
            writer.commit((0, pickle_of(f'revision {number}')),
                          (1000 + number, os.urandom(5000)))
            if number % 200 == 0:
                client.pack(time.time(), referencesf)

    thread = threading.Thread(target=commit)
    thread.start()
    try:
        for number in range(5):
            last = client.lastTransaction()
            ours('-B', '-r', 'R', '-f', 'Data.fs', *random.Random(number).sample(['-z', '-Q'], 1))
            ours('-R', '-w', '-r', 'R', '-o', 'out.fs')
            with open('out.fs', 'rb') as f:
                size = len(f.read())
            storage = FileStorage('out.fs')
            assert storage.getSize() == size
            assert storage.lastTransaction() >= last
            assert storage._index.get(p64(0))
            storage.close()
            python('-V', '-r', 'R')
    finally:
        stop.set()
        thread.join()
        client.close()
        server.stop()
    back_up_all(ours)
