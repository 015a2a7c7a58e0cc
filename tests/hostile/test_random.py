"""Clients that send whatever comes to mind, in any order, without waiting for answers.

`RZEO_HOSTILE_SEEDS` is how many random sequences are tried (they are told apart by their numbers)."""
import base64
import os
import random

import pytest
from support.configuration import filestorage
from support.server import PATIENCE, wait_until
from support.wire import Disconnected
from ZODB.utils import p64, z64

from hostile.clients import TXN, record

SEEDS = int(os.environ.get('RZEO_HOSTILE_SEEDS', 4))
CLIENTS, STEPS = 6, 150
NOW = b'\x7f' + b'\xff' * 7


class Fool:
    """One client, replaced by a new one when it is closed or has had enough."""

    def __init__(self, target, chance):
        self.target, self.chance = target, chance
        self.tids = [z64]  # of transactions of others of its kind
        self.client = target.hostile()

    def step(self):
        """Sends something, reads something, or goes."""
        chance, client = self.chance, self.client
        try:
            if chance.random() < 0.05:
                getattr(client, chance.choice(['close', 'reset', 'finish_sending']))()
                self.client = self.target.hostile()
            elif chance.random() < 0.15:
                self.read()
            else:
                for name, args in self.calls():
                    number = chance.choice([1, 1, 2, 3, 'text', None])
                    client.send_value((number, chance.random() < 0.2, name, args))
        except (OSError, Disconnected):
            client.close()
            self.client = self.target.hostile()

    def read(self):
        """What is there, up to a number of messages."""
        self.client.socket.settimeout(0.01)
        try:
            for _ in range(self.chance.randrange(40)):
                _number, _flag, name, args = self.client.receive_message()
                if name == 'invalidateTransaction' and p64(1) not in args[1]:
                    self.tids.append(args[0])
        finally:
            self.client.socket.settimeout(PATIENCE)

    def calls(self):
        """One call, or a transaction in one piece, which is sound or is not."""
        chance = self.chance
        txn, oid = chance.randrange(3), p64(chance.randrange(100, 105))
        serial = chance.choice([z64, *self.tids[-5:]])
        begin = ('tpc_begin', (txn, b'', b'', {}, None, ' '))
        store = ('storea', (oid, serial, record('x' * chance.randrange(3000)), txn))
        check = ('checkCurrentSerialInTransaction', (oid, serial, txn))
        vote, finish, abort = (((name), (txn,)) for name in ('vote', 'tpc_finish', 'tpc_abort'))
        blob = [('storeBlobStart', ()), ('storeBlobChunk', (b'x' * chance.randrange(9000),)),
                ('storeBlobEnd', (oid, serial, record(), txn))]
        undo = ('undoa', (base64.b64encode(serial), txn))
        single = [begin, store, check, vote, finish, abort, undo, *blob,
                  ('loadBefore', (oid, NOW)), ('undoLog', (0, 20)), ('history', (oid, 50)),
                  ('iterator_start', (None, None)), ('iterator_next', (chance.randrange(4),)),
                  ('iterator_gc', ([0, 1],)), ('getInvalidations', (serial,)), ('new_oids', ()),
                  ('sendBlob', (oid, serial)), ('deleteObject', (oid, serial, txn)),
                  ('restorea', (oid, NOW, record(), None, txn)), ('server_status', ()), ('ping', ())]
        return chance.choice([
            [chance.choice(single)], [chance.choice(single)], [begin, store, vote, finish],
            [begin, *blob, vote, finish], [begin, store, check, vote, abort],
            chance.sample(single, 4), [begin, undo, vote, finish]])


@pytest.mark.ours_only('it never releases the locks of some clients that it closes')
@pytest.mark.options(storages=filestorage(blob_dir='blobs'), transaction_timeout=5)
@pytest.mark.parametrize('seed', range(SEEDS))
def test_anything(target, seed):
    """Whatever they do, others commit, and all is given back."""
    chance = random.Random(seed)
    fools = [Fool(target, chance) for _ in range(CLIENTS)]
    for number in range(STEPS):
        for fool in fools:
            fool.step()
        if number % 50 == 0:
            tid = target.bystander.commit({p64(1): record(str(number))})
            assert target.bystander.load(p64(1)) == (record(str(number)), tid, None)
    for client in target.clients:
        client.close()
    wait_until(lambda: target.bystander.call('server_status')['active_txns'] == 0)
    sane = target.hostile()
    sane.begin()
    for number in range(100, 105):
        sane.store(p64(number), record())
    # Maybe a conflict, but nobody's locks.
    assert sane.attempt('vote', TXN)[0] in ('ok', 'error')
    assert sane.call('server_status')['waiting'] == 0
