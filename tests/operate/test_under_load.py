"""Signals and restarts while clients work as fast as they can: what was acknowledged is there."""
import os
import re
import signal
import threading
import time

import pytest
import ZEO
from persistent.mapping import PersistentMapping
from support.configuration import eventlog
from support.ports import free_port
from support.server import PATIENCE, wait_until
from support.wire import Disconnected, Wire
from ZEO.Exceptions import ClientDisconnected
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError
from ZODB.utils import p64, z64

from exchange.writer import pickle_of


class Committer(threading.Thread):
    """Commits one number after the other to an object of its own, until the server has gone."""

    def __init__(self, address, number):
        super().__init__(daemon=True)
        self.address, self.oid = address, p64(number)
        self.acknowledged, self.serial, self.sent = 0, z64, 0
        self.start()

    def run(self):
        try:
            with Wire(self.address) as wire:
                while True:
                    self.commit(wire, self.acknowledged + 1)
        except (Disconnected, ConnectionError):
            pass

    def commit(self, wire, number):
        wire.send_async('tpc_begin', 1, b'', b'', {}, None, ' ')
        wire.send_async('storea', self.oid, self.serial, pickle_of(number), 1)
        wire.call('vote', 1)
        self.sent = number
        self.serial = wire.call('tpc_finish', 1)
        self.acknowledged = number
        wire.notifications.clear()


@pytest.mark.parametrize('number, code', [
    (signal.SIGTERM, 0), (signal.SIGHUP, 1), (signal.SIGKILL, -signal.SIGKILL)])
def test_ends_in_the_middle_of_commits(number, code, serve):
    """What a client was told is in the file, and what it was not told is there whole or not."""
    server = serve()
    clients = [Committer(server.address, number) for number in range(1, 9)]
    wait_until(lambda: all(client.acknowledged > 3 for client in clients))
    assert server.signal(number) == code
    for client in clients:
        client.join()
    storage = FileStorage('Data.fs')
    for client in clients:
        assert storage.loadSerial(client.oid, client.serial) == pickle_of(client.acknowledged)
        found, _tid = storage.load(client.oid)
        assert found in (pickle_of(client.acknowledged), pickle_of(client.sent))
    storage.close()


class Application(threading.Thread):
    """Counts in a mapping of its own, by the real client, through whatever happens to the server."""

    def __init__(self, address, name):
        super().__init__(daemon=True)
        self.address, self.name = address, name
        self.acknowledged, self.wrong, self.stopped = 0, None, False
        self.start()

    def run(self):
        db = ZEO.DB(self.address, wait_timeout=PATIENCE)
        try:
            while not (self.stopped or self.wrong):
                try:
                    self.count(db)
                except (ClientDisconnected, ConflictError):
                    time.sleep(0.05)
        except Exception as why:
            self.wrong = why
        db.close()

    def count(self, db):
        with db.transaction() as connection:
            counter = connection.root()[self.name]
            # One more than it knows of: its last commit, which it was not told of.
            if counter['n'] not in (self.acknowledged, self.acknowledged + 1):
                self.wrong = f"{counter['n']} after {self.acknowledged}"
            number = counter['n'] = counter['n'] + 1
        self.acknowledged = number


def test_restarts_under_clients_that_reconnect(serve):
    """A stop and a kill; nobody but the server is restarted."""
    address = f'127.0.0.1:{free_port()}'
    server = serve(address=address)
    with ZEO.DB(server.address).transaction() as connection:
        for name in 'abc':
            connection.root()[name] = PersistentMapping({'n': 0})
    applications = [Application(server.address, name) for name in 'abc']
    try:
        for number in signal.SIGTERM, signal.SIGKILL, None:
            before = [each.acknowledged for each in applications]
            wait_until(lambda: all(each.wrong or each.acknowledged > count + 5
                                   for each, count in zip(applications, before)))
            if number is not None:
                server.signal(number)
                server = serve(address=address)
    finally:
        for each in applications:
            each.stopped = True
        for each in applications:
            each.join()
    assert [each.wrong for each in applications] == [None] * 3


def test_reopens_the_log_in_a_storm(serve):
    """No line is lost or torn while the log is rotated under many that are written; those that
    the disk is too slow for are counted."""
    calls = 3000
    server = serve(extra=eventlog('server.log'))

    def ask():
        with Wire(server.address) as wire:
            for _ in range(calls):
                wire.call('getInvalidations', b'\x7f' * 8)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    files = []
    while any(thread.is_alive() for thread in threads) or len(files) < 5:
        files.append(f'old-{len(files)}.log')
        os.rename('server.log', files[-1])
        server.process.send_signal(signal.SIGUSR2)
        wait_until(lambda: os.path.exists('server.log') and 'Log files' in read('server.log'))
    server.stop()
    text = ''.join(read(name) for name in [*files, 'server.log'])
    assert all(line == '------' or re.match(r'20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d [A-Z]+ ZEO', line)
               for line in text.splitlines())
    dropped = sum(map(int, re.findall(r'(\d+) log lines were dropped', text)))
    assert text.count('invalidations up to') + dropped == 4 * calls


def read(path):
    with open(path) as f:
        return f.read()
