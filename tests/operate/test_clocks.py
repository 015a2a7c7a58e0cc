"""A server whose clock is set while it runs: a year ahead, and back."""
import os
import time

import pytest
from exchange.writer import pickle_of
from support.configuration import eventlog
from support.installed import faketime
from support.monitor import Monitor
from support.programs import ours, pythons, run
from support.server import PATIENCE, is_python, wait_until
from support.wire import Wire
from ZODB.FileStorage import FileStorage
from ZODB.utils import z64

YEAR = 365 * 86400
AHEAD, BACK = '+365d', '-1h'


class Clock:
    """Of a server that is started with `env`. Only its wall clock is another one."""

    def __init__(self):
        self.set('+0')
        self.env = {'LD_PRELOAD': faketime(), 'FAKETIME_TIMESTAMP_FILE': os.path.abspath('clock'),
                    'FAKETIME_NO_CACHE': '1', 'FAKETIME_DONT_FAKE_MONOTONIC': '1'}

    def set(self, offset):
        with open('clock.new', 'w') as f:
            f.write(offset)
        os.replace('clock.new', 'clock')


def vote(wire, serial):
    """A transaction with a new revision of the root, whose current one is `serial`."""
    wire.send_async('tpc_begin', 1, b'', b'', b'', None, b' ')
    wire.send_async('storea', z64, serial, pickle_of(serial), 1)
    assert wire.call('vote', 1) == []


def commit(wire, serial):
    """The same to its end; returns its tid."""
    vote(wire, serial)
    return wire.call('tpc_finish', 1)


@pytest.mark.ours_only('it has no monitor')
def test_ages_are_true(serve):
    clock = Clock()
    server = serve(args=['--monitor', '127.0.0.1:0'], extra=eventlog(), env=clock.env)
    monitor = Monitor(server)
    with Wire(server.address) as wire:
        started = monitor.status()['server']['started']
        for offset in AHEAD, BACK:
            clock.set(offset)
            status = monitor.status()
            assert 0 < status['server']['uptime'] < PATIENCE
            assert status['server']['started'] == started
            assert abs(status['time'] - time.time()) > 3000
            client, = status['clients']
            assert 0 < client['age'] < status['server']['uptime']
            assert 0 < monitor.metrics()['zeo_server_uptime_seconds', ()] < PATIENCE
            wire.call('ping')


def test_tids_rise(serve):
    clock = Clock()
    server = serve(transaction_timeout=600, extra=eventlog(), env=clock.env)
    tids = []
    with Wire(server.address) as wire:
        for offset in '+0', AHEAD, '+0', BACK:
            clock.set(offset)
            for _ in range(3):
                tids.append(commit(wire, tids[-1] if tids else z64))
        # A transaction that is under way has its time, whatever the clock says.
        vote(wire, tids[-1])
        clock.set(AHEAD)
        wire.call('ping')
        tids.append(wire.call('tpc_finish', 1))
        assert wire.call('lastTransaction') == tids[-1]
    assert tids == sorted(set(tids))
    server.stop()
    if not is_python():
        assert server.log().count('WARNING ZEO.StorageServer the clock is 315') == 1
    with_python = FileStorage('Data.fs')
    assert [txn.tid for txn in with_python.iterator()] == tids
    with_python.close()


@pytest.mark.parametrize('program', [ours('zeopack'), pythons('zeopack')], ids=['ours', 'python'])
def test_what_is_from_the_future_is_not_packed(serve, program):
    """Until its time has come; and what is older is."""
    clock = Clock()
    server = serve(extra=eventlog(), env=clock.env)
    with Wire(server.address) as wire:
        tid = z64
        for offset in '+0', '+0', AHEAD, '+0', '+0':
            clock.set(offset)
            tid = commit(wire, tid)

        def revisions():
            return len(wire.call('history', z64, 100))

        for days, left in (1, 5), (0, 4):
            result = run(program, '-d', days, '%s:%s' % server.address)
            assert result.code == 0, result
            # Of the first two revisions, the second is the one of now.
            wait_until(lambda: revisions() == left)
        wire.call('pack', time.time() + YEAR + 3600, True)
        assert revisions() == 1
