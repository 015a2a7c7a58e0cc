"""Outputs of fstool that are symbolic links: they stay, and lead to the new file."""
import os

import pytest
from ZODB.FileStorage import FileStorage

from exchange import files, histories
from tools.program import fstool


@pytest.fixture(autouse=True)
def directories(tmp_path, monkeypatch):
    """A file, a backup of it, and the link out/Data.fs to a file on a volume that is empty yet."""
    monkeypatch.chdir(tmp_path)
    files.write('Data.fs', histories.many_revisions)
    for name in 'out', 'volume', 'R':
        os.mkdir(name)
    fstool('repozo', '-B', '-r', 'R', '-f', 'Data.fs')
    os.symlink('../volume/Data.fs', 'out/Data.fs')


TOOLS = {
    'copy': ['copy', 'Data.fs', 'out/Data.fs'],
    'recover': ['recover', '-f', 'Data.fs', 'out/Data.fs'],
    'repozo': ['repozo', '-R', '-r', 'R', '-o', 'out/Data.fs'],
}


def content(path):
    """The data of all records."""
    storage = FileStorage(path, read_only=True)
    try:
        return [(record.oid, record.data) for txn in storage.iterator() for record in txn]
    finally:
        storage.close()


@pytest.mark.parametrize('name', TOOLS)
@pytest.mark.parametrize('is_there', [False, True])
def test_output(name, is_there):
    if is_there and name != 'copy':
        files.write('volume/Data.fs', histories.deleted)
        for stale in 'volume/Data.fs.index', 'out/Data.fs.index':
            with open(stale, 'w') as f:
                f.write('of another file')
    fstool(*TOOLS[name])
    assert os.path.islink('out/Data.fs') and os.path.isfile('volume/Data.fs')
    assert content('out/Data.fs') == content('Data.fs')
    assert fstool('index', '--check', 'out/Data.fs').out.startswith('the index is right')
    assert not os.path.exists('volume/Data.fs.index')
    assert not any(name.endswith('.part') for name in os.listdir('volume'))


@pytest.mark.parametrize('name', ['recover', 'repozo'])
def test_output_in_use(name):
    """By Python, which locks only the name that it was given."""
    for held, given in ('out', 'out'), ('volume', 'out'), ('volume', 'volume'):
        storage = FileStorage(f'{held}/Data.fs')
        arguments = [a.replace('out/', f'{given}/') for a in TOOLS[name]]
        assert 'in use' in fstool(*arguments, code=2).err
        storage.close()


def test_index():
    fstool('copy', 'Data.fs', 'out/Data.fs')
    os.remove('out/Data.fs.index')
    os.symlink('../volume/Data.fs.index', 'out/Data.fs.index')
    fstool('index', 'out/Data.fs')
    assert os.path.islink('out/Data.fs.index') and os.path.isfile('volume/Data.fs.index')
    fstool('index', '--check', 'out/Data.fs')
