"""Damaged files: each tool says something and ends, and test finds what there is to find."""
import os
import random
import shutil

import pytest
from exchange import files, histories
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage
from ZODB.scripts import fstest

from . import random_history
from .program import fstool

ROUNDS = 15
COMMANDS = [['test'], ['refs'], ['dump'], ['dump', '-v'], ['tail'], ['size'], ['oids'],
            ['index', '--check'], ['index']]


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def flip_bits(rng, data):
    for _ in range(rng.choice([1, 1, 1, 3, 20])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def overwrite(rng, data):
    size = rng.choice([1, 8, 64, 512])
    at = rng.randrange(len(data))
    filling = rng.choice([bytes(size), b'\xff' * size, rng.randbytes(size)])
    data[at:at + size] = filling[:len(data) - at]


def truncate(rng, data):
    del data[rng.randrange(len(data)):]


def cut_out(rng, data):
    at = rng.randrange(len(data))
    del data[at:at + rng.choice([1, 16, 100, 1000])]


def swap_blocks(rng, data):
    size = rng.choice([8, 64, 512])
    one, other = (rng.randrange(max(1, len(data) // size)) * size for _ in range(2))
    data[one:one + size], data[other:other + size] = (
        data[other:other + size], data[one:one + size])


def repeat_block(rng, data):
    size = rng.choice([8, 64, 512])
    at = rng.randrange(len(data))
    data[at:at] = data[at:at + size]


DAMAGES = [flip_bits, overwrite, truncate, cut_out, swap_blocks, repeat_block]


@pytest.mark.parametrize('damage', DAMAGES)
def test_python_file(damage):
    random_history.write('good.fs', 5)
    check_rounds(damage, sealed=False)


@pytest.mark.parametrize('damage', DAMAGES)
def test_file_with_checksums(damage, serve):
    """Whatever changes in the file, is found."""
    server = serve()
    storage = ClientStorage(server.address)
    histories.several_undos(files.Writer(storage))
    storage.close()
    server.stop()
    for suffix in '', '.index':
        os.rename('Data.fs' + suffix, 'good.fs' + suffix)
    check_rounds(damage, sealed=True)


def check_rounds(damage, sealed):
    rng = random.Random(damage.__name__)
    good = open('good.fs', 'rb').read()
    for _ in range(ROUNDS):
        data = bytearray(good)
        damage(rng, data)
        files.write_bytes('Data.fs', data)
        index = rng.random()
        if os.path.exists('Data.fs.index'):
            os.remove('Data.fs.index')
        if index < .7:
            shutil.copy('good.fs.index', 'Data.fs.index')
        if index < .2:
            broken = bytearray(open('Data.fs.index', 'rb').read())
            rng.choice(DAMAGES)(rng, broken)
            files.write_bytes('Data.fs.index', broken)
        check(good, data, sealed)


def check(good, data, sealed):
    results = {}
    for command in COMMANDS:
        arguments = ['Data.fs', '1', '2'] if command == ['oids'] else ['Data.fs']
        result = fstool(*command, *arguments, code=(0, 1))
        assert result.out or result.err or not data[4:], (command, result)
        results[' '.join(command)] = result
    found = results['test']
    if fstest_fails('Data.fs'):
        assert found.code == 1, found
    whole = not sealed or good.startswith(data) and data  # cut between transactions, perhaps
    if data != good and not whole:
        assert found.code == 1, found
    if found.code == 1 and len(data) > 4:
        assert 'error' in found.out


def fstest_fails(path):
    try:
        fstest.check(path)
    except Exception:  # of all kinds, where the file is damaged
        return True
    return False


def test_the_rest_is_shown():
    """Behind damage in the middle, every tool goes on."""
    files.write('Data.fs', files.base)
    storage = FileStorage('Data.fs', read_only=True)
    transactions = [(txn._tpos, txn._tend + 8) for txn in storage.iterator()]
    storage.close()
    start, end = transactions[10]
    files.patch('Data.fs', start + 8, b'\xff' * 8)
    found = fstool('test', '--json', 'Data.fs', code=1).json
    (problem,) = found['problems']
    assert problem['lost'] == [start, end]
    assert found['transactions'] == len(transactions) - 1
    shown = fstool('dump', 'Data.fs', code=1)
    assert shown.out.count('Trans #') == len(transactions) - 1
    assert f'left out: {start} to {end}' in shown.err
    sizes = fstool('size', '--json', 'Data.fs', code=1).json
    assert sizes['transactions'] == len(transactions) - 1


def test_wrong_index():
    """Objects that a wrong index leads nowhere can't be loaded, as fsrefs says."""
    files.write('Data.fs', histories.plain)
    storage = FileStorage('Data.fs')
    index = storage._index
    one, two = index[b'\0' * 7 + b'\1'], index[b'\0' * 7 + b'\2']
    storage.close()
    data = open('Data.fs.index', 'rb').read()
    right, wrong = (position.to_bytes(6, 'big') for position in (two, two + 1))
    assert data.count(right) == 1
    files.write_bytes('Data.fs.index', data.replace(right, wrong))
    found = fstool('refs', '--json', 'Data.fs', code=1).json
    assert [o['oid'] for o in found['unreadable']] == ['0x02']
    assert found['unreadable'][0]['path'][0]['oid'] == '0x00'
    (dangling,) = found['dangling']
    assert dangling['oid'] == '0x00'
    assert [to['why'] for to in dangling['refers_to']] == ['failed to load']
    checked = fstool('index', '--check', '--json', 'Data.fs', code=1).json
    assert checked['differences'] == [{'oid': '0x02', 'index': two + 1, 'file': two}]
    # The record of another object, twice in the index.
    wrong = one.to_bytes(6, 'big')
    files.write_bytes('Data.fs.index', data.replace(right, wrong))
    found = fstool('refs', '--json', 'Data.fs', code=1).json
    assert [o['oid'] for o in found['unreadable']] == ['0x02']
    fstool('index', 'Data.fs')
    fstool('refs', 'Data.fs')


def test_unreadable_record():
    """A record that is no pickle: which object, where, and who refers to it."""
    def history(w):
        histories.root(w)
        w.commit((1, histories.pickle_of('one')), (2, b'no pickle at all'))
    files.write('Data.fs', history)
    result = fstool('refs', 'Data.fs', code=1)
    assert 'oid 0x2\nfailed to load: its record at ' in result.out
    assert '\toid 0x02 failed to load: ' in result.out
    assert '2 of 3 objects have errors' in result.out
    assert 'class=<unknown>' in fstool('dump', 'Data.fs').out


def test_refs_of_what_is_left():
    """In a damaged file, what is lost is missing."""
    files.write('Data.fs', histories.plain)
    files.append('Data.fs', 3)
    os.remove('Data.fs.index')
    # The transaction of all three objects goes; a later one of object 1 stays.
    files.patch('Data.fs', 4 + 8, b'\xff')
    result = fstool('refs', '--json', 'Data.fs', code=1)
    assert 'Damaged at 4: ' in result.err
    assert result.json['damaged'] and result.json['objects'] == 4
    assert 'others may be lost' in fstool('refs', 'Data.fs', code=1).out


def test_many_problems():
    """Only the first ones are shown, unless all are asked for."""
    count = 1500
    def history(w):
        w.commit((0, histories.pickle_of('root', [histories.Reference(n) for n in (1, 5000)])))
        w.commit(*((n, b'no pickle') for n in range(1, count + 1)))
        for n in range(1100):
            w.commit((2000 + n, histories.pickle_of(n, [histories.Reference(1)])))
    files.write('Data.fs', history)
    found = fstool('refs', '--json', 'Data.fs', code=1).json
    shown = len(found['unreadable']), len(found['dangling']), found['hidden']
    assert shown == (1000, 1000, 500 + 101) and found['errors'] == count + 1101
    assert 'and 601 more; --all shows them' in fstool('refs', 'Data.fs', code=1).out
    found = fstool('refs', '--all', '--json', 'Data.fs', code=1).json
    shown = len(found['unreadable']), len(found['dangling']), found['hidden']
    assert shown == (count, 1101, 0)


def test_long_path():
    """Of a long way, begin and end are shown."""
    length = 100
    def history(w):
        w.commit(*((n, histories.pickle_of(n, [histories.Reference(n + 1)]))
                   for n in range(length)))
    files.write('Data.fs', history)
    (dangling,) = fstool('refs', '--json', 'Data.fs', code=1).json['dangling']
    path = [place and int(place['oid'], 16) for place in dangling['path']]
    assert path == [*range(10), None, *range(length - 10, length)]
    assert ' -> ... 80 more ... -> ' in fstool('refs', 'Data.fs', code=1).out
