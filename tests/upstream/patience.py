"""Longer deadlines for ZEO's own tests, and fewer switches between their threads.

They wait for what comes soon, and give up after a few seconds; a busy machine may take longer,
whichever server it runs. Here they wait for the same, only longer at most, so that a test fails
when something does not come, and not when it comes late. A wait of less than a second is meant as
a pause, and stays one.

The race tests make Python switch threads every 5 microseconds, to find faults of the client, and
burn two thirds of their time by it. The server is another process, which this does not change:
every millisecond, five times as often as usual, is enough here; tests/race keeps their rate.
($RZEO_SWITCH_SECONDS says otherwise.)
"""
import functools
import logging
import os
import sys
import threading
import time
import types
from unittest import mock

SECONDS = 120
# For clients that are to reconnect. Some tests let it pass.
RECONNECT = 30
# What a client waits for the end of its connection, when it closes it.
CLOSING = 10
# For the threads of a race test to come to their ends.
RACE = 600
# How long a thread runs at least, in seconds.
SWITCH = float(os.environ.get('RZEO_SWITCH_SECONDS') or 1e-3)
# Tests in which a client is started that its server refuses.
REFUSED = []


def install():
    """Lengthens the waits. Call before the test modules are imported."""
    import ZEO.asyncio.futures
    import ZEO.ClientStorage
    import ZEO.tests.forker
    import ZODB.tests.racetest
    import zope.testing.wait
    lengthen(threading.Thread, 'join')
    lengthen(ZEO.asyncio.futures.ConcurrentFuture, 'result')
    lengthen(ZODB.tests.racetest.WaitGroup, 'wait', RACE)
    ZEO.tests.forker.wait_until = _patient_wait_until(ZEO.tests.forker.wait_until)
    _lengthen_polling(type(zope.testing.wait.wait))
    _lengthen_reconnecting(ZEO.ClientStorage.ClientStorage)
    _lengthen_events()
    _await_timeouts()
    _lengthen_polls()
    lengthen_closing()
    _switch_less()
    logging.setLogRecordFactory(_Record)


class _Record(logging.LogRecord):
    """Has a message at once: client-config.test reads it, and others have it when somebody has formatted it."""

    def __getattr__(self, name):
        if name == 'message':
            return self.getMessage()
        raise AttributeError(name)


def _switch_less():
    original = sys.setswitchinterval
    sys.setswitchinterval = lambda seconds: original(max(seconds, SWITCH))


def lengthen(owner, name, seconds=SECONDS):
    """Lengthens the waits of the method `name`, which takes a time-out."""
    original = getattr(owner, name)

    def wait(self, timeout=None):
        return original(self, timeout if timeout is None or timeout < 1 else max(timeout, seconds))

    setattr(owner, name, wait)


def lengthen_closing():
    """The wait is within the client's own event loop, which may not get its turn for so long."""
    from ZEO.asyncio import client
    if hasattr(client, 'await_with_timeout'):
        owner, name = client, 'await_with_timeout'
    else:  # ZEO 5
        owner, name = types.SimpleNamespace(**vars(client.asyncio)), 'wait_for'
        client.asyncio = owner
    original = getattr(owner, name)

    def wait(future, timeout, *rest):
        return original(future, SECONDS if timeout == CLOSING else timeout, *rest)

    setattr(owner, name, wait)


def _lengthen_polling(wait_class):
    original = wait_class.__call__

    def call(self, func=None, timeout=None, wait=None, message=None):
        return original(self, func, max(timeout or 0, SECONDS), wait, message)

    wait_class.__call__ = call


def _patient_wait_until(original):
    def wait_until(label=None, func=None, timeout=SECONDS, onfail=None):
        if callable(label):
            label, func = label.__name__, label
        return original(label, func and _or_not_yet(func), max(timeout, SECONDS), onfail)

    return wait_until


def _or_not_yet(func):
    """A file that a condition reads may be one of those that come soon: runzeo's new log is
    opened by another thread than that which serves the test's client."""
    @functools.wraps(func)
    def condition():
        try:
            return func()
        except FileNotFoundError:
            return False

    return condition


def _lengthen_reconnecting(client_storage):
    """Tests of connections give a client four seconds (or two) to find its server again."""
    original = client_storage.__init__

    @functools.wraps(original)
    def init(self, *args, wait_timeout=None, **options):
        if wait_timeout and wait_timeout < 10 and not REFUSED:
            wait_timeout = RECONNECT
        original(self, *args, wait_timeout=wait_timeout, **options)

    client_storage.__init__ = init


def hurry_refusals():
    """Clients of the tests of SSL that wait shortly are to be refused. Call when the helpers that
    start a server are replaced, since this imports one of the test modules."""
    from ZEO.tests.testConfig import ZEOConfigTestBase
    original = ZEOConfigTestBase.start_client

    def start_client(self, addr, settings='', **options):
        if 'SSLConfigTest' not in type(self).__name__ or options.get('wait_timeout') != 1:
            return original(self, addr, settings, **options)
        REFUSED.append(self)
        try:
            return original(self, addr, settings, **options)
        finally:
            REFUSED.pop()

    ZEOConfigTestBase.start_client = start_client


def _lengthen_events():
    """Elsewhere, such a wait is a pause."""
    from ZEO.tests import CommitLockTests, ThreadTests

    class Event(threading.Event):
        pass

    lengthen(Event, 'wait')
    for module in CommitLockTests, ThreadTests:
        module.threading = types.SimpleNamespace(**{**vars(threading), 'Event': Event})


def _await_timeouts():
    """Where a test sleeps until its transaction has taken too long for the server, the server has
    said so afterwards, and the client knows it."""
    from ZEO.tests import ConnectionTests, forker

    def patiently(test):
        @functools.wraps(test)
        def run(self):
            def has_timed_out():
                with open('server.log') as f:
                    logged = 'Transaction timeout after' in f.read()
                storage = self._storage
                return logged and (storage.connection_count_for_tests > 1
                                   or not storage.is_connected())

            def sleep(seconds):
                time.sleep(seconds)
                forker.wait_until(has_timed_out)

            patient = types.SimpleNamespace(time=time.time, sleep=sleep)
            with mock.patch.object(ConnectionTests, 'time', patient):
                test(self)

        return run

    tests = ConnectionTests.TimeoutTests
    for name in 'checkTimeout', 'checkTimeoutAfterVote':
        setattr(tests, name, patiently(getattr(tests, name)))


def _lengthen_polls():
    """One test gives the client two seconds, of which its own pause before it tries again may
    take nearly all."""
    from ZEO.tests.ConnectionTests import CommonSetupTearDown
    poll_up, poll_down = CommonSetupTearDown.pollUp, CommonSetupTearDown.pollDown

    def patient_poll_up(self, timeout=SECONDS, storage=None):
        poll_up(self, max(timeout, SECONDS), storage)

    CommonSetupTearDown.pollUp = patient_poll_up
    CommonSetupTearDown.pollDown = lambda self: poll_down(self, SECONDS)
