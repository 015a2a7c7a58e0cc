"""A disk that can't read some pages of the file: played by a library that is preloaded."""
import json
import os
import random
import subprocess
import sys

import pytest
from exchange import files
from support import fstool
from ZODB.FileStorage import FileStorage
from ZODB.scripts import fstest

from .blob_history import change, paths
from .test_recover import history, read

PAGE = 4096

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='needs /proc and LD_PRELOAD')


@pytest.fixture(scope='module')
def library(tmp_path_factory):
    path = str(tmp_path_factory.mktemp('library') / 'failing_disk.so')
    source = os.path.join(os.path.dirname(__file__), 'failing_disk.c')
    subprocess.run(['cc', '-shared', '-fPIC', '-O1', '-o', path, source, '-ldl'], check=True)
    return path


@pytest.fixture
def failing(library, tmp_path, monkeypatch):
    """A function that runs fstool beside a disk that can't read these ranges of the file."""
    monkeypatch.chdir(tmp_path)

    def run(ranges, *args, name='/Data.fs'):
        ranges = ','.join(f'{start}-{end}' for start, end in ranges)
        env = {**os.environ, 'LD_PRELOAD': library, 'FAILING_FILE': name,
               'FAILING_RANGES': ranges}
        code, out, err = fstool.run(*args, env=env)
        assert 'panicked' not in err, err
        return code, out.decode(), err
    return run


def pages(places):
    return {place // PAGE for start, end in places for place in range(start, end)}


@pytest.mark.parametrize('kind', ['python', 'sealed'])
@pytest.mark.parametrize('partial', [False, True], ids=['whole', 'partial'])
def test_recover(failing, kind, partial):
    """What does not touch a bad page is there; nothing is there that was not."""
    files.write('plain.fs', history)
    if kind == 'sealed':
        fstool.check('recover', 'plain.fs', 'Data.fs')
    else:
        os.rename('plain.fs', 'Data.fs')
    whole, size = read('Data.fs'), os.path.getsize('Data.fs')
    good = {(tid, oid, data) for *_, tid, _texts, records in whole for oid, data in records}
    random_ = random.Random(3)
    for round_ in range(6):
        places = [(at, at + 1) for at in random_.sample(range(size), 1 + round_ % 3)]
        options = ['-p'] * partial
        code, out, err = failing(places, 'recover', '-f', '--json', *options, 'Data.fs', 'out.fs')
        assert code == 1 and not err
        told = json.loads(out)
        bad = pages(places)
        assert pages(told['unreadable']) == bad
        assert any("the disk can't read" in d['what'] for d in told['damages'])
        fstest.check('out.fs')
        found = read('out.fs')
        assert {(tid, oid, data) for *_, tid, _texts, records in found
                for oid, data in records} <= good
        # Back-pointers to what is lost cost their transactions.
        lost = {tid for start, end, tid, *_ in whole if pages([(start, end)]) & bad}
        tids = {txn[2] for txn in found}
        storage = FileStorage('Data.fs', read_only=True)
        for txn in storage.iterator():
            leads = {r.data_txn for r in txn} & lost
            assert txn.tid in tids | lost or leads, (round_, txn.tid)
            if leads:
                lost.add(txn.tid)
        storage.close()
    code, out, err = failing([(0, 1)], 'recover', '-f', 'Data.fs', 'out.fs')
    assert code == 1 and f'the disk could not read 0 to {PAGE}' in out


def test_what_is_told(failing):
    """`test` goes on as well; others stop, name the place, and say what helps."""
    files.write('Data.fs', history)
    transactions = read('Data.fs')
    start, end = next(txn[:2] for txn in transactions if txn[1] - txn[0] > 3 * PAGE)
    at = (start // PAGE + 2) * PAGE
    code, out, err = failing([(at, at + 10)], 'test', 'Data.fs')
    assert code == 1 and not err
    assert f"at {at}: the disk can't read {at} to {at + PAGE}" in out
    assert f'lost: {start} to {end}' in out and '1 error detected' in out
    os.remove('Data.fs.index')
    for command in ['refs'], ['dump'], ['size'], ['index'], ['copy']:
        arguments = ['Data.fs', 'copy.fs'] if command == ['copy'] else ['Data.fs']
        code, out, err = failing([(at, at + 10)], *command, *arguments)
        if code:
            assert 'Input/output error (os error 5), at' in err, (command, err)
            assert '`fstool recover` copies what is whole' in err, (command, err)
        else:
            assert command[0] in ('size', 'dump')   # which need not read all of the data
    code, out, err = failing([(at, at + 10)], 'repozo', '-B', '-r', '.', '-f', 'Data.fs')
    assert code == 2 and 'os error 5' in err
    assert not [name for name in os.listdir('.') if name.endswith(('.dat', '-00.fs'))]


def test_blobs(failing):
    """The file of a blob that can't be read is named, and all others are copied."""
    from ZODB.blob import BlobStorage
    change(BlobStorage('blobs', FileStorage('Data.fs')))
    bad = paths('blobs')[3]
    options = ['--input-blobs', 'blobs', '--output-blobs', 'new']
    # A second name is no way out on another disk.
    other = os.environ.get('OTHER_DISK', '/dev/shm')
    if os.path.isdir(other) and os.stat(other).st_dev != os.stat('.').st_dev:
        import tempfile
        with tempfile.TemporaryDirectory(dir=other) as there:
            options[-1] = there + '/new'
            code, out, err = failing([(0, 1)], 'recover', *options, 'Data.fs', there + '/out.fs',
                                     name=os.path.basename(bad))
            assert code == 1 and f'its blob {os.path.abspath(bad)} is lost: Input/output' in out
            assert len(paths(options[-1])) == len(paths('blobs')) - 1
            assert not os.listdir(options[-1] + '/tmp')
