"""RelStorage's own tests, with a client of a server in the place of a RelStorage.

Those that it has from ZODB run elsewhere (tests/upstream/run.py --postgres). Of the others, those that look
into the objects of a RelStorage can't be run.
"""
import fnmatch
import itertools
import os
import unittest

import pytest
from relstorage.tests import hftestbase, hptestbase
from support.server import is_python
from ZODB.mvccadapter import MVCCAdapterInstance

from postgres.conftest import Database
from postgres.in_place import InPlace

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')

_CACHE = 'is about the cache of a RelStorage'
_CONNECTION = 'closes the connections of a RelStorage, or counts them'
_TABLES = 'changes the tables by the code of RelStorage'
_CLASS = 'needs the class of an application, which the server does not have, for a conflict'
_LOCKS = 'calls the functions of RelStorage that lock, or expects its exceptions'
_ZODB = 'changes a test of ZODB that has another name now, and skips itself'

SKIPS = {
    'checkCurrentObjectTidsRoot': 'asks the tables by the code of RelStorage',
    'checkLen': 'expects an estimate by PostgreSQL at once; a server asks for it once a minute',
    'checkDropAndPrepare': _TABLES,
    'checkResolveConflictBetweenConnections': _CLASS,
    'checkResolveConflictBetweenConnectionsNoCache': _CLASS,
    'checkRSResolve': _CLASS,
    'checkNoDuplicateOIDsManyThreads': _CONNECTION,
    'checkUseCache': _CACHE,
    'checkAutoReconnect': _CONNECTION,
    'checkAutoReconnectOnSync': _CONNECTION,
    'checkCachePolling': _CONNECTION,
    'checkPackBatchLockNoWait': 'packs while somebody commits; a server waits for him',
    'checkPackBrokenPickle': 'expects an exception of the test\'s own process',
    'checkBackwardTimeTravelWithoutRevertWhenStale': _TABLES,
    'checkBackwardTimeTravelWithRevertWhenStale': _TABLES,
    'checkAfterCompletion': _CONNECTION,
    'checkConfigureViaZConfig': 'configures a RelStorage',
    'checkGeventSwitchesOnOpen': 'is about drivers of Python',
    'checkPrefetch': _CACHE,
    'checkPackGCReusePrePackData': 'uses what zodbpack has prepared; a server has no such pack',
    'checkMigrateTransactionEmpty': _TABLES,
    'checkImplementsIExternalGC': 'expects of a deletion what RelStorage answers, not FileStorage',
    'checkIteratorIsConsistent': 'expects that an iterator sees nothing that a client knows already',
    'checkHistoricalConnection': 'expects that a historical connection has a storage of its own; all before that passes',
    'check_record_iternext_too_large_oid': 'expects a StopIteration; a server raises the ValueError of FileStorage',
    'checkSetMinOid': 'calls the allocator of a RelStorage',
    'checkNoConflict*': _CACHE,
    'checkTL_*': _LOCKS,
    'checkResolve': _CLASS,
    **{name: _ZODB for name in (
        'checkLoadBefore', 'checkLoadBeforeOld', 'checkPackUndoLog', 'checkPackUnlinkedFromRoot', 'checkSimpleHistory',
        'checkTransactionalUndoAfterPack*', 'checkUndoMultipleConflictResolution', 'check_checkCurrentSerial*',
        'check_tid_ordering_w_commit')},
}
# These have them changed.
KEPT = {name: 'expects no old revisions before a pack; a server has them in memory'
        for name in ('checkPackAllRevisions', 'checkPackJustOldRevisions', 'checkPackOnlyOneObject')}
KINDS = {
    'history': (hptestbase.HistoryPreservingRelStorageTests, {**SKIPS, **dict.fromkeys(KEPT, _ZODB)}),
    'history-to-file': (hptestbase.HistoryPreservingToFileStorage, {}),
    'history-from-file': (hptestbase.HistoryPreservingFromFileStorage, {}),
    'free': (hftestbase.HistoryFreeRelStorageTests, {**SKIPS, **KEPT}),
    'free-to-file': (hftestbase.HistoryFreeToFileStorage, {}),
    'free-from-file': (hftestbase.HistoryFreeFromFileStorage, {}),
}


# Those that are always run; the others take a minute, with RZEO_RELSTORAGE_CHECKS in the environment.
ALWAYS = [
    ('history', 'checkPackKeepNewObjects'),
    ('history', 'checkTransactionalUndoIterator'),
    ('history-to-file', 'checkRestoreWithMultipleObjectsInUndoRedo'),
    ('free', 'checkCanVoteAndCommitWhileOtherStorageVotes'),
    ('free', 'checkPackKeepNewObjects'),
    ('free-from-file', 'checkRestoreAcrossPack'),
]


def checks():
    """All that can be run, and the skips of which there is no check."""
    found, idle = [], []
    for kind, (base, skips) in KINDS.items():
        names = [name for name in dir(base) if name.startswith('check')]
        skipped = {pattern: fnmatch.filter(names, pattern) for pattern in skips}
        idle += [(kind, pattern) for pattern in skipped if not skipped[pattern]]
        found += [(kind, name) for name in names if name not in itertools.chain(*skipped.values())]
    return found, idle


def test_skips_and_checks_are_there():
    found, idle = checks()
    assert {*ALWAYS} <= {*found}
    # One kind may lack what the other has.
    assert not {pattern for kind, pattern in idle if kind == 'free'} & {
        pattern for kind, pattern in idle if kind == 'history'}


@pytest.mark.parametrize('kind, name', checks()[0] if 'RZEO_RELSTORAGE_CHECKS' in os.environ else ALWAYS)
def test_check(kind, name, serve, cluster, tmp_path, monkeypatch):
    def attribute(self, attribute):
        """A connection's storage has everything that RelStorage's instances have."""
        if attribute == '_storage':
            raise AttributeError(attribute)
        return getattr(self._storage, attribute)

    monkeypatch.setattr(MVCCAdapterInstance, '__getattr__', attribute)
    case = type(kind, (InPlace, KINDS[kind][0]), {})(name)
    case.use(lambda keep_history: Database(cluster, keep_history), serve, tmp_path)
    result = unittest.TestResult()
    case.run(result)
    assert not result.skipped
    for _, text in result.errors + result.failures:
        pytest.fail(text, pytrace=False)
