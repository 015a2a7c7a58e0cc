"""What fstool says about what is no database, has one of a thing, or lacks its blobs."""
import os

import pytest
import transaction
from ZODB.blob import Blob
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

from exchange import files
from exchange.writer import pickle_of
from tools.program import fstool


@pytest.fixture(autouse=True)
def directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('content', [b'This is no database.', os.urandom(5000), b'\0' * 5000])
def test_no_database(content):
    """That is its only fault: nothing of it would be cut off."""
    with open('Data.fs', 'wb') as f:
        f.write(content)
    out = fstool('test', 'Data.fs', code=1).out
    assert out.startswith('at 0: this is not a FileStorage: it does not begin with FS30\n1 error'), out


def test_zeros_at_the_end():
    files.write('Data.fs', lambda writer: writer.commit((0, pickle_of('x'))))
    with open('Data.fs', 'ab') as f:
        f.write(bytes(5000))
    out = fstool('test', 'Data.fs', code=1).out
    assert 'there are zeros in the place of a transaction' in out
    assert 'marked' not in out


def test_one_of_each():
    files.write('Data.fs', lambda writer: writer.commit((0, pickle_of('x'))))
    assert '1 transaction (0 of them with checksums), 1 record, 1 object\n' in \
        fstool('test', 'Data.fs').out
    assert 'no errors detected in 1 object\n' in fstool('refs', 'Data.fs').out
    assert 'saved the index: 1 object in ' in fstool('index', 'Data.fs').out
    assert 'the index is right: 1 object in ' in fstool('index', '--check', 'Data.fs').out
    assert fstool('copy', 'Data.fs', 'copy.fs').out == 'copied 1 transaction, 1 record, 0 blobs\n'
    assert 'recovered 1 transaction with 1 record\n' in \
        fstool('recover', 'Data.fs', 'recovered.fs').out


def test_copy_of_blobs_without_their_directory():
    db = DB(FileStorage('Data.fs', blob_dir='blobs'))
    with db.transaction() as connection:
        connection.root()['blob'] = Blob(b'content')
    transaction.abort()
    db.close()
    result = fstool('copy', 'Data.fs', 'copy.fs')
    assert result.err == ('1 record of blobs copied without the blob files: give the blob '
                          'directory of the source with --source-blobs\n')
    result = fstool('copy', '--source-blobs', 'blobs', '--destination-blobs', 'new', 'Data.fs',
                    'other.fs')
    assert result.err == ''
