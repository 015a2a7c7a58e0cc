"""Clients that read slowly, by TCP and by a Unix socket, which tells of room by another rule: they
get all, in its order, and no thread of the server spins meanwhile."""
import glob
import os
import random
import time

import pytest
from support.configuration import mappingstorage
from support.server import wait_until
from support.wire import Wire
from ZODB.utils import p64, u64, z64

pytestmark = pytest.mark.ours_only('it has one thread, which waits for nobody')

SIZES = [100, 30_000, 300_000]
NOTICES, LOADS = 1500, 60


@pytest.fixture(params=['tcp', 'unix'])
def server(request, serve):
    where = '127.0.0.1:0' if request.param == 'tcp' else os.path.abspath('zeo.sock')
    return serve(mappingstorage(), address=where)


def commit(wire, oid, data, serial=z64):
    wire.send_async('tpc_begin', 1, b'', b'', b'', None, b' ')
    wire.send_async('storea', p64(oid), serial, data, 1)
    assert wire.call('vote', 1) == []
    return wire.call('tpc_finish', 1)


def effort(server):
    """How often threads went to sleep, and for how many ticks (10 ms) they have worked."""
    sleeps = ticks = 0
    for task in glob.glob(f'/proc/{server.pid}/task/*'):
        with open(f'{task}/status') as f:
            sleeps += next(int(line.split()[1]) for line in f if line.startswith('voluntary'))
        with open(f'{task}/stat') as f:
            ticks += sum(map(int, f.read().rpartition(')')[2].split()[11:13]))
    return sleeps, ticks


def becomes_calm(server):
    """Nothing comes or goes, soon: all sleep, but for what looks around now and then."""
    found = []

    def is_calm():
        before = effort(server)
        time.sleep(1)
        found[:] = (now - then for now, then in zip(effort(server), before))
        sleeps, ticks = found
        return sleeps < 100 and ticks < 20

    wait_until(is_calm, lambda: f'{found}')


class Slow(Wire):
    """Reads by small pieces."""
    pieces = random.Random(5)

    def _read(self, size):
        data = bytearray()
        while len(data) < size:
            part = self.socket.recv(min(size - len(data), self.pieces.randint(1, 20_000)))
            assert part
            data += part
        return bytes(data)


def read_tids(wire, tids):
    """Notices up to the last of these tids: they are all of them."""
    read = []
    while len(read) < len(tids):
        message = wire.receive_message()
        if message[2] == 'invalidateTransaction':
            read.append(message[3][0])
    assert read == tids


def test_small_messages(server):
    """Which those who commit send, until there is no room, and the slow client's thread then."""
    with Wire(server.address) as other, Slow(server.address) as slow:
        tids = [commit(other, n, b'some') for n in range(NOTICES)]
        becomes_calm(server)
        read_tids(slow, tids[:NOTICES // 3])
        becomes_calm(server)
        more = [commit(other, n, b'some') for n in range(NOTICES, NOTICES + 10)]
        read_tids(slow, tids[NOTICES // 3:] + more)
        becomes_calm(server)


def test_large_messages(server):
    """Of several megabytes, with small ones between them."""
    with Wire(server.address) as other, Slow(server.address) as slow:
        serials = [commit(other, n, bytes([n]) * size) for n, size in enumerate(SIZES)]
        read_tids(slow, serials)
        before = p64(u64(serials[-1]) + 1)
        asked = [slow.request('loadBefore', p64(n % len(SIZES)), before) for n in range(LOADS)]
        tids = [commit(other, 100 + n, b'some') for n in range(100)]
        becomes_calm(server)
        answers, read = [], []
        while len(answers) < LOADS or len(read) < len(tids):
            message = slow.receive_message()
            if message[2] == 'invalidateTransaction':
                read.append(message[3][0])
            elif message[2] == '.reply':
                n = len(answers) % len(SIZES)
                assert message[3][0] == bytes([n]) * SIZES[n]
                answers.append(message[0])
            if len(answers) == LOADS // 2 and message[2] == '.reply':
                becomes_calm(server)
        assert (answers, read) == (asked, tids)
        becomes_calm(server)
