"""RelStorage's own tests of blobs, with a client of a server in the place of a RelStorage.

Some are always run; all, with RZEO_RELSTORAGE_CHECKS in the environment.
"""
import os
import random
import sys
import types
import unittest

import pytest
from relstorage.blobhelper.interfaces import ICachedBlobHelper
from support.server import is_python
from ZODB.blob import FilesystemHelper
from zope.interface import implementer

from postgres.conftest import Database
from postgres.in_place import InPlace


class Layer:
    """In the place of a clock of which no two readings are equal."""

    def testSetUp(self):
        pass

    testTearDown = testSetUp


# These packages are not there.
sys.modules['random2'] = random
sys.modules['nti.testing.time'] = types.SimpleNamespace(MonotonicallyIncreasingTimeLayerMixin=Layer)
sys.modules['nti'] = sys.modules['nti.testing'] = types.ModuleType('nti')
from relstorage.tests.blob import testblob  # noqa: E402

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')


class PackingFree(testblob.TestBlobPackingHF):
    """The files of blobs that were replaced go with a pack, too."""

    __test__ = False

    def _checkFirstCountNotExist(self, count, fns):
        if count == self.BLOB_REVISION_COUNT - 1:
            return testblob.TestBlobPackingHP._checkFirstCountNotExist(self, count, fns)
        return super()._checkFirstCountNotExist(count, fns)


# Left out are those of the cache of a RelStorage, and of restored blobs, which clients of servers can't do.
CLASSES = {
    'transaction': testblob.TestBlobTransaction,
    'connection': testblob.TestConnectionBlob,
    'export': testblob.TestBlobImportExport,
    'various': testblob.TestThingsPreviouslyDocTests,
    'large': type('LargeBlobTest', (testblob.LargeBlobTest,), {'testsize': 20 << 20}),
    'undo': testblob.BlobUndoTests,
    'packing-history': testblob.TestBlobPackingHP,
    'packing-free': PackingFree,
}
SKIPS = {
    **{(kind, 'test_committed_cannot_open_for_write'): 'root may write to files that nobody may write to'
       for kind in ('history', 'free')},
    ('free', 'test_multiple_blobs'): 'counts files of the client, which keeps those of blobs that it has replaced',
}
ALWAYS = 'testPack', 'testRedo', 'test_write_conflict'


def found():
    for kind in 'history', 'free':
        for name, base in CLASSES.items():
            if name == 'undo' and kind == 'free' or name.startswith('packing') and not name.endswith(kind):
                continue
            for method in unittest.TestLoader().getTestCaseNames(base):
                is_wanted = 'RZEO_RELSTORAGE_CHECKS' in os.environ or method in ALWAYS
                if is_wanted and (kind, method) not in SKIPS:
                    yield kind, name, method


@implementer(ICachedBlobHelper)
class BlobHelper:
    """Where files of blobs are: those of a client, or those of the server if these count."""

    def __init__(self, directory):
        self.blob_dir = directory
        self.fshelper = FilesystemHelper(directory)


@pytest.mark.parametrize('kind, name, method', found())
def test_blobs(kind, name, method, serve, cluster, tmp_path):
    base = CLASSES[name]
    storages = InPlace()
    storages.keep_history = kind == 'history'
    storages.use(lambda keep_history: Database(cluster, keep_history), serve, tmp_path)

    def create_storage(*_, **options):
        storage = storages.make_storage(**options)
        directory = storage.place[1]
        if name.startswith('packing'):
            # Packs are to times right before a tid.
            storage.slack = -1e-6
            directory = directory.replace('-client', '-server/rzeo')
        storage.blobhelper = BlobHelper(directory)
        return storage

    case = type(name, (base,), {'create_storage': staticmethod(create_storage)})(method)
    result = unittest.TestResult()
    case.run(result)
    for _, text in result.errors + result.failures:
        pytest.fail(text, pytrace=False)
    assert not result.skipped
