"""fstool recover and ZODB's fsrecover on the same damaged files."""
import json
import os
import random
import shutil
import subprocess
import sys
import time

import pytest
from support import fstool
from ZODB.FileStorage import FileStorage
from ZODB.scripts import fstest
from ZODB.utils import oid_repr, p64, u64

from exchange import files, histories
from exchange.writer import Writer, pickle_of
from tools.damage import DAMAGES

SCRIPT = 'import sys; from ZODB.fsrecover import main; main()'


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def history(w):
    """Every kind of record, in transactions of one and of many."""
    histories.undo_of_creation(w)
    histories.several_undos(w)
    histories.deleted(w)
    histories.restored(w)
    tids = [w.commit(*((n, pickle_of(f'{i} {n}' * 9)) for n in range(i % 5, 12, 1 + i % 3)),
                     user='max', description=f'number {i}', extension={'number': i})
            for i in range(30)]
    w.undo(tids[-1])
    w.commit((50, pickle_of('x' * 20000)))
    w.commit(description='empty')
    w.undo(w.undo(tids[-2]))
    w.commit((51, pickle_of('the last')))


def make(kind):
    """Writes Data.fs without seals, or with them, or with both after a pack by Python."""
    files.write('Data.fs', history)
    if kind != 'python':
        fstool.check('recover', 'Data.fs', 'sealed.fs')
        shutil.copy('sealed.fs', 'Data.fs')
        os.remove('Data.fs.index')
    if kind == 'mixed':
        files.append('Data.fs', 5, first=300)


def read(path, with_extension=True):
    """All transactions: position, end, tid, texts, records (oid, data)."""
    storage = FileStorage(path, read_only=True)
    found = []
    for txn in storage.iterator():
        records = [(r.oid, r.data) for r in txn]
        found.append((txn._tpos, txn._tend + 8, txn.tid,
                      (txn.status, txn.user, txn.description,
                       with_extension and txn.extension), records))
    storage.close()
    return found


def touched(path, places):
    """The tids of the transactions that were damaged, or lead to such by back-pointers."""
    storage, found = FileStorage(path, read_only=True), set()
    for txn in storage.iterator():
        if any(txn._tpos < stop and begin < txn._tend + 8 for begin, stop in places) or any(
                r.data_txn in found for r in txn):
            found.add(txn.tid)
    storage.close()
    return found


def records(transactions):
    return {(tid, oid, data) for *_, tid, _texts, records in transactions for oid, data in records}


def upstream(partial):
    """What fsrecover makes of the file; nothing when it fails or hangs."""
    for path in 'upstream.fs', 'upstream.fs.index':
        if os.path.exists(path):
            os.remove(path)
    try:
        subprocess.run([sys.executable, '-c', SCRIPT, *['-p'] * partial, 'Data.fs', 'upstream.fs'],
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=10, check=True)
        return records(read('upstream.fs', with_extension=False))
    except (subprocess.SubprocessError, OSError):
        return set()


def recover(*options):
    """Recovers Data.fs into out.fs, which then is clean; returns what was told."""
    before = open('Data.fs', 'rb').read()
    code, out, err = fstool.run('recover', '-f', '--json', *options, 'Data.fs', 'out.fs')
    assert code in (0, 1) and not err, err
    told = json.loads(out)
    assert code == bool(told['damages'] or told['magic'])
    assert open('Data.fs', 'rb').read() == before
    fstest.check('out.fs')
    fstool.check('test', 'out.fs')
    storage = FileStorage('out.fs')
    for oid in storage._index:
        try:
            storage.load(oid)
        except KeyError:
            pass
    storage.close()
    return told


@pytest.mark.parametrize('kind', ['python', 'ours', 'mixed'])
def test_without_damage(kind):
    """Everything is the same afterwards."""
    make(kind)
    told = recover()
    assert told['damages'] == [] and told['lost_bytes'] == 0
    assert [txn[2:] for txn in read('out.fs')] == [txn[2:] for txn in read('Data.fs')]


@pytest.mark.parametrize('partial', [False, True], ids=['whole', 'partial'])
@pytest.mark.parametrize('kind', ['python', 'ours', 'mixed'])
@pytest.mark.parametrize('damage', DAMAGES)
def test_damage(damage, kind, partial):
    """All that upstream salvages, and all that is sound, is there; what is not was told."""
    make(kind)
    good, whole = open('Data.fs', 'rb').read(), read('Data.fs')
    for seed in range(int(os.environ.get('RECOVER_SEEDS', 2))):
        bad, places = DAMAGES[damage](random.Random(f'{damage} {kind} {seed}'), good)
        with open('Data.fs', 'wb') as f:
            f.write(bad)
        told = recover(*['-p'] * partial)
        mine = read('out.fs')
        found = records(mine)
        lost = {(p64(int(tid, 16)), p64(int(oid, 16)))
                for damage_ in told['damages'] for oid, tid in damage_['records']}
        with open('good.fs', 'wb') as f:
            f.write(good)
        bad_tids = touched('good.fs', places)
        sound = [txn[2:] for txn in whole if txn[2] not in bad_tids]
        assert sound == [txn[2:] for txn in mine if txn[2] in {txn[0] for txn in sound}], seed
        missing = [(tid, oid) for tid, oid, data in upstream(partial) - found
                   if (tid, oid) not in lost]
        # Upstream also keeps records under names that damage gave them.
        known = {(tid, oid) for tid, oid, _data in records(whole)}
        assert not [record for record in missing if record in known], seed
        if told['lost_bytes'] == 0 and kind == 'ours' and not told['damages']:
            assert found == records(whole)


def test_a_flipped_bit_anywhere():
    """In a file with checksums, whatever bit changes: it is told, and all else is there."""
    def small(w):
        w.commit((0, pickle_of('root')), (1, pickle_of('one')))
        tid = w.commit((1, pickle_of('two')), user='max')
        w.undo(tid)
        w.commit((2, pickle_of('three')))
    files.write('plain.fs', small)
    fstool.check('recover', 'plain.fs', 'Data.fs')
    good, whole = open('Data.fs', 'rb').read(), read('Data.fs')
    random_ = random.Random(7)
    for place in random_.sample(range(4, len(good)), 60):
        bad = bytearray(good)
        bad[place] ^= 1 << random_.randrange(8)
        with open('Data.fs', 'wb') as f:
            f.write(bad)
        code, out, err = fstool.run('recover', '-f', '--json', 'Data.fs', 'out.fs')
        told = json.loads(out)
        assert code == 1 and len(told['damages']) >= 1, place
        found = records(read('out.fs'))
        sound = [txn for txn in whole if not txn[0] <= place < txn[1]]
        for record in records(sound):
            undone = whole[2][2]
            assert record in found or record[0] == undone, place


def test_what_is_told():
    """In words, for people: the place, the objects, and what became of them."""
    files.write('plain.fs', histories.many_revisions)
    fstool.check('recover', 'plain.fs', 'Data.fs')
    whole = read('Data.fs')
    start, end, tid = whole[-1][:3]
    files.patch('Data.fs', start + 30, bytes(end - start - 40))
    code, out, err = fstool.run('recover', 'Data.fs', 'out.fs')
    (oid, _data), = whole[-1][4]
    before = [txn[2] for txn in whole[:-1] if txn[4][0][0] == oid][-1]
    assert code == 1 and not err
    text = out.decode()
    assert f'from {start} to {end}' in text
    assert 'recovered 40 transactions' in text and 'by damage at 1 places' in text
    # The record is there, and the length behind it is not.
    shutil.copy('plain.fs', 'Data.fs')
    last = files.last_transaction('Data.fs')
    os.truncate('Data.fs', os.path.getsize('Data.fs') - 3)
    code, out, err = fstool.run('recover', '-f', 'Data.fs', 'out.fs')
    text = out.decode()
    assert code == 1 and f'at {last}: ' in text
    assert f'object {oid_repr(oid)} of transaction {tid.hex()}' in text
    assert f'object {oid_repr(oid)} is as it was at {before.hex()}' in text
    code, out, err = fstool.run('recover', '-f', '-p', 'Data.fs', 'out.fs')
    assert read('out.fs')[-1][2] == tid and read('out.fs')[-1][3][0] == 'p'


def test_options():
    files.write('Data.fs', histories.many_revisions)
    fstool.check('recover', 'Data.fs', 'out.fs')
    code, _out, err = fstool.run('recover', 'Data.fs', 'out.fs')
    assert code == 2 and 'exists' in err
    assert fstool.run('recover', '-f', 'Data.fs', 'Data.fs')[0] == 2
    os.symlink('Data.fs', 'link.fs')
    assert fstool.run('recover', '-f', 'Data.fs', 'link.fs')[0] == 2
    in_use = FileStorage('out.fs')
    code, _out, err = fstool.run('recover', '-f', 'Data.fs', 'out.fs')
    assert code == 2 and 'out.fs is in use' in err
    in_use.close()
    lines = fstool.check('recover', '-f', '-v', '2', 'Data.fs', 'out.fs').decode()
    assert lines.count('transaction at ') == 41 and lines.count('    object ') == 41
    fstool.check('recover', '-f', '-P', '0', 'Data.fs', 'out.fs')
    assert len(read('out.fs')) == 1   # the last revision of the root
    with open('garbage', 'wb') as f:
        f.write(os.urandom(10000))
    code, _out, err = fstool.run('recover', '-f', 'garbage', 'new.fs')
    assert code == 2 and 'nothing can be recovered' in err and not os.path.exists('new.fs')
    files.patch('Data.fs', 0, b'\0\0\0\0')
    told = recover()
    assert told['magic'] and told['transactions'] == 41


def test_killed_and_done_again():
    storage = FileStorage('Data.fs')
    writer = Writer(storage)
    random_ = random.Random(3)
    for number in range(300):
        writer.commit((number % 50, random_.randbytes(30_000)))
    storage.close()
    whole = read('Data.fs')
    for _ in range(4):
        process = fstool.start('recover', '-f', 'Data.fs', 'out.fs')
        time.sleep(random_.random() * 0.1)
        process.kill()
        process.wait()
        assert not os.path.exists('out.fs') or read('out.fs')[-1][2] == whole[-1][2]
    told = recover()
    assert told['transactions'] == 300
    assert [u64(txn[2]) for txn in read('out.fs')] == [u64(txn[2]) for txn in whole]
