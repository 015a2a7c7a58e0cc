"""Files made to hurt: no tool panics, hangs, or takes memory by what they claim.

Bytes are changed at random, and fields of the formats get the values that break programs. The
memory of each run is limited. `FUZZ_ROUNDS=1000` makes a long run of it.
"""
import gzip
import os
import pickle
import random
import resource
import shutil
import subprocess
import zlib
from importlib.metadata import version

import pytest
from exchange import files, histories
from support import fstool
from ZODB.blob import BlobStorage
from ZODB.FileStorage import FileStorage

from .blob_history import change, paths
from .test_damaged import DAMAGES

ROUNDS = int(os.environ.get('FUZZ_ROUNDS', 3))
MEMORY = 1 << 30
NUMBERS = [0, 1, 4, 22, 23, 41, 42, 255, 2**15, 2**31 - 1, 2**32 - 1, 2**47, 2**48, 2**62, 2**63,
           2**64 - 43, 2**64 - 8, 2**64 - 1]
READING = [['test'], ['test', '-vv'], ['refs'], ['refs', '--all', '--json'], ['dump'],
           ['dump', '-v'], ['tail', '-n', '1000'], ['size'], ['oids'], ['index', '--check'],
           ['blobs']]

pytestmark = pytest.mark.skipif(version('ZODB').startswith('5'),
                                reason='what Python does here does not depend on its version')


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments, memory=MEMORY):
    """Runs it to one of its own exit codes, in so much memory."""
    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        code, out, err = fstool.run(*arguments, preexec_fn=limit)
    except subprocess.TimeoutExpired:
        code, err = 'no end', ''
    if code not in (0, 1, 2) or 'panicked' in err or 'overflow' in err:
        raise AssertionError(f'{arguments}: {code}\n{err[-2000:]}')
    return code, out, err


def run_all():
    """Every subcommand on Data.fs and its blobs."""
    for command in READING:
        more = {'oids': ['0', '1', '2'], 'blobs': ['blobs']}.get(command[0], [])
        run(*command, 'Data.fs', *more)
    for options in [], ['-p'], ['-p', '-P', '0', '-v', '2']:
        run('recover', '-f', *options, 'Data.fs', 'recovered.fs')
        if os.path.exists('recovered.fs'):
            fstool.check('test', 'recovered.fs')
    run('recover', '-f', '--input-blobs', 'blobs', '--output-blobs', 'new', 'Data.fs', 'out.fs')
    shutil.rmtree('copied', ignore_errors=True)
    for name in 'copy.fs', 'copy.fs.index':
        if os.path.exists(name):
            os.remove(name)
    run('copy', '--source-blobs', 'blobs', '--destination-blobs', 'copied', 'Data.fs', 'copy.fs')
    run('repozo', '-B', '-F', '-r', 'R', '-f', 'Data.fs', '--blobs', 'blobs')
    run('index', 'Data.fs')


def fields(data):
    """(position, length) of all numbers in transaction and record headers, and at their ends."""
    found, at = [], 4
    while at + 31 <= len(data):
        length = int.from_bytes(data[at + 8:at + 16], 'big')
        texts = [int.from_bytes(data[at + n:at + n + 2], 'big') for n in (17, 19, 21)]
        found += [(at, 8), (at + 8, 8), (at + 16, 1), (at + 17, 2), (at + 19, 2), (at + 21, 2),
                  (at + length, 8)]
        record = at + 23 + sum(texts)
        while record + 42 <= at + length:
            found += [(record + n, 8) for n in (0, 8, 16, 24, 34)] + [(record + 32, 2)]
            plen = int.from_bytes(data[record + 34:record + 42], 'big')
            if not plen:
                found.append((record + 42, 8))
            record += 42 + (plen or 8)
        at += length + 8
    return found


def history(w):
    histories.undo_of_creation(w)
    histories.several_undos(w)
    histories.deleted(w)
    histories.restored(w)


def make(kind):
    """Data.fs with an index and blobs, written by Python, or with checksums."""
    if kind == 'blobs':
        change(BlobStorage('blobs', FileStorage('Data.fs')))
    else:
        os.mkdir('blobs')
        files.write('Data.fs', history)
    if kind == 'sealed':
        fstool.check('recover', 'Data.fs', 'sealed.fs')
        for suffix in '', '.index':
            os.replace('sealed.fs' + suffix, 'Data.fs' + suffix)
    os.mkdir('R')


@pytest.mark.parametrize('kind', ['python', 'sealed', 'blobs'])
def test_fields(kind):
    """Each number of the format gets values at its limits, some at once."""
    make(kind)
    good = open('Data.fs', 'rb').read()
    index, places = open('Data.fs.index', 'rb').read(), fields(good)
    rng = random.Random(f'fields {kind}')
    positions = [place for place, length in places if length == 8]
    for _ in range(ROUNDS):
        data = bytearray(good)
        for place, length in rng.sample(places, rng.choice([1, 1, 2, 3])):
            number = rng.choice([rng.choice(NUMBERS), rng.choice(positions), len(good),
                                 len(good) - place, len(good) - place + 1])
            data[place:place + length] = (number % 256**length).to_bytes(length, 'big')
        files.write_bytes('Data.fs', data)
        if rng.random() < .5:
            files.write_bytes('Data.fs.index', index)
        run_all()


@pytest.mark.parametrize('target', ['Data.fs', 'Data.fs.index', 'blobs/.layout', 'blobs/.removed'])
def test_bytes(target):
    """Anything anywhere."""
    make('blobs')
    files.write_bytes('blobs/.removed', b'%032x\n%016x\n' % (7, 9))
    kept = {path: open(path, 'rb').read() for path in (
        'Data.fs', 'Data.fs.index', 'blobs/.layout', 'blobs/.removed')}
    rng = random.Random(f'bytes {target}')
    for _ in range(ROUNDS):
        for path, good in kept.items():
            files.write_bytes(path, good)
        data = bytearray(kept[target])
        for _ in range(rng.choice([1, 1, 2])):
            rng.choice(DAMAGES)(rng, data or bytearray(b'\0'))
        files.write_bytes(target, data)
        run_all()


class Nested:
    """A pickle that is deep, or asks for much."""

    @staticmethod
    def all():
        deep = b'(' * 100_000 + b'.'
        lists = b']' * 50_000 + b'a' * 49_999 + b'.'
        class_ = b'cm\nC\n.'
        return [
            deep, lists, class_ + deep, class_ + lists, class_ + b'(' * 10 + b't' * 10 + b'.',
            class_ + b'\x8e' + b'\xff' * 8, class_ + b'T\xff\xff\xff\x7fx', class_ + b'\x8a\xff.',
            class_ + b'r\xff\xff\xff\xff.', class_ + b'N' + b'2' * 100_000 + b'.',
            class_ + b'(' + b'N' * 200_000 + b'd.', class_ + b'\x80\x05\x95' + b'\xff' * 8 + b'N.',
            class_ + b'I' + b'9' * 100_000 + b'\n.', class_ + b'L' + b'9' * 100_000 + b'L\n.',
            class_ + b'(lp0\n' + b'(lp1\nh0\n' * 1000 + b'.', b'c' + b'm' * 100_000 + b'\nC\n.N.',
            b'.z' + zlib.compress(bytes(50_000_000)), b'.z', b'.zgarbage', b'',
            b'.z' + zlib.compress(class_ + deep), b'cm\x1b[2J\nC\n.N.',
            b'(cZODB.blob\nBlob\nN' + b't.N.', pickle.dumps('x' * 100_000, 3),
        ]


def test_records():
    """Of one object each, referred to by the root; and in the extension of the transaction."""
    os.mkdir('blobs')
    os.mkdir('R')

    def write(w):
        hostile = [data for data in Nested.all() if data]
        w.commit((0, histories.pickle_of('root', [
            histories.Reference(n) for n in range(len(hostile) + 1)])))
        for number, data in enumerate(hostile, 1):
            w.commit((number, data))
    files.write('Data.fs', write)
    run_all()
    for command in 'dump', 'size', 'refs', 'oids':
        out = fstool.run(command, 'Data.fs', *['0'] * (command == 'oids'))[1]
        assert b'\x1b' not in out   # which would be for the terminal


def test_a_long_chain_of_back_pointers():
    """Each leads to the one before: not by a recursion, and not anew for each record."""
    os.mkdir('blobs')
    os.mkdir('R')
    with open('Data.fs', 'wb') as f:
        f.write(b'FS30')
        at, prev = 4, 0
        for number in range(1, 1500):
            data = histories.pickle_of('x') if number == 1 else prev.to_bytes(8, 'big')
            plen = len(data) if number == 1 else 0
            record = (bytes(8) + number.to_bytes(8, 'big') + prev.to_bytes(8, 'big')
                      + at.to_bytes(8, 'big') + b'\0\0' + plen.to_bytes(8, 'big') + data)
            length = (23 + len(record)).to_bytes(8, 'big')
            f.write(number.to_bytes(8, 'big') + length + b' ' + bytes(6) + record + length)
            prev, at = at + 23, at + 31 + len(record)
    run_all()


@pytest.mark.parametrize('options', [[], ['-z']], ids=['plain', 'zipped'])
def test_repository(options):
    """Whatever stands in a repository."""
    make('blobs')
    back_up = ['repozo', '-B', '-r', 'R', '-f', 'Data.fs', '--blobs', 'blobs', *options]
    fstool.check(*back_up)
    files.append('Data.fs', 2)
    fstool.check(*back_up)
    shutil.copytree('R', 'good')
    rng = random.Random(f'repository {options}')
    for _ in range(ROUNDS):
        shutil.rmtree('R')
        shutil.copytree('good', 'R')
        names = sorted(name for name in os.listdir('R') if os.path.isfile('R/' + name))
        for name in rng.sample(names, rng.choice([1, 1, 2])):
            data = bytearray(open('R/' + name, 'rb').read())
            if data and name.endswith(('.dat', '.blobs')) and rng.random() < .6:
                words = bytes(data).split(b' ')
                words[rng.randrange(len(words))] = rng.choice(
                    [b'%d' % rng.choice(NUMBERS), b'-1', b'../../x', b'', b'\n', b'\xff', b'x'])
                data = b' '.join(words)
            elif data:
                rng.choice(DAMAGES)(rng, data)
            files.write_bytes('R/' + name, data)
        shutil.rmtree('restored', ignore_errors=True)
        run('repozo', '-V', '-r', 'R')
        run('repozo', '-V', '-Q', '-r', 'R')
        run('repozo', '-R', '-r', 'R', '-o', 'out.fs', '--blobs', 'restored')
        run('repozo', '-R', '-w', '-r', 'R', '-o', 'out.fs', '--blobs', 'restored')
        how = rng.choice([[], ['-Q'], ['-F', '-k']])
        code, _out, err = run(*back_up, *how)
        if code == 0 and how != ['-Q']:   # which believes what is there
            code, _out, err = run('repozo', '-R', '-r', 'R', '-o', 'out.fs')
            assert code == 0, err


def test_a_bomb_in_a_repository():
    """Zeros without end are not kept in memory."""
    make('python')
    fstool.check('repozo', '-B', '-z', '-r', 'R', '-f', 'Data.fs')
    name, = (name for name in os.listdir('R') if name.endswith('.fsz'))
    with gzip.open('R/' + name, 'wb', compresslevel=1) as f:
        for _ in range(20):
            f.write(bytes(1 << 25))   # more than there is memory
    assert run('repozo', '-V', '-r', 'R', memory=MEMORY // 2)[0] == 1
    assert run('repozo', '-B', '-r', 'R', '-f', 'Data.fs', memory=MEMORY // 2)[0] == 0


def test_odd_files_in_place_of_others():
    """Directories, links to themselves, and pipes, where files belong, and the other way."""
    make('blobs')
    good = paths('blobs')[0]
    os.remove(good)
    index = 'Data.fs.index'
    places = {
        os.mkfifo: [good, index, 'blobs/.removed', 'blobs/.layout'],
        os.mkdir: [good, index],
        lambda path: os.symlink(os.path.basename(path), path): [index, 'blobs/.layout'],
    }
    for odd, paths_ in places.items():
        for path in paths_:
            shutil.rmtree('kept', ignore_errors=True)
            os.mkdir('kept')
            if os.path.lexists(path):
                os.rename(path, 'kept/it')
            odd(path)
            try:
                run_all()
            finally:
                (os.rmdir if os.path.isdir(path) else os.remove)(path)
                if os.path.exists('kept/it'):
                    os.rename('kept/it', path)
