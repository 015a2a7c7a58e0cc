"""ZODB's race tests against the server.

A run takes them once, on a file storage. RZEO_RACE_ROUNDS=N takes each N times
and adds the in-memory storage, where other delays let other races show. RZEO_RACE_TLS=1 takes
them over TLS (also the other tests here).
"""
import os
import unittest

import pytest
from support.configuration import mappingstorage
from support.server import PATIENCE
from ZEO.ClientStorage import ClientStorage
from upstream import patience
from ZODB.tests.racetest import RaceTests, T2ObjectsInc, T2ObjectsInc2Phase, WaitGroup

ROUNDS = int(os.environ.get('RZEO_RACE_ROUNDS') or 0)
STORAGES = {'objects': None}
if ROUNDS:
    STORAGES['mapping'] = mappingstorage()

patience.lengthen(WaitGroup, 'wait', patience.RACE)
patience.lengthen_closing()
CHECKS = {
    'loadopen_vs_local_invalidate': T2ObjectsInc,
    'load_vs_external_invalidate': T2ObjectsInc,
    'external_invalidate_vs_disconnect': T2ObjectsInc2Phase,
}


class Race(RaceTests, unittest.TestCase):
    """Lets ZODB's race tests run on a server's address."""

    __test__ = False  # pytest shall not collect it

    def __init__(self, address, transport):
        super().__init__('runTest')
        self._address, self._transport = address, transport
        self._storage = self._new_storage_client()

    def _new_storage_client(self):
        return ClientStorage(self._address, wait_timeout=PATIENCE, **self._transport.options())

    def runTest(self):
        """unittest wants one; the checks are called by name."""


@pytest.mark.timeout(2 * patience.RACE)
@pytest.mark.parametrize('round_', range(max(ROUNDS, 1)))
@pytest.mark.parametrize('storage', STORAGES)
@pytest.mark.parametrize('check', CHECKS)
def test_race(check, storage, round_, transport, serve, encoding, objects):
    server = serve(storages=STORAGES[storage] or objects.section, encoding=encoding, ssl=transport.section)
    case = Race(server.address, transport)
    getattr(case, f'_check_race_{check}')(CHECKS[check]())
    case._storage.close()
    server.stop()
