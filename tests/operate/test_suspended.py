"""A server that does not run for a while: its process is stopped, or its machine suspended."""
import signal
import time

import pytest
from support.configuration import eventlog
from support.wire import Disconnected, Wire
from ZODB.utils import p64, z64

pytestmark = pytest.mark.ours_only('Python aborts them')

TIMEOUT = 3


def vote(wire, oid):
    """A transaction with a new object, until its vote is answered."""
    wire.send_async('tpc_begin', oid, b'', b'', b'', None, b' ')
    wire.send_async('storea', p64(oid), z64, b'some', oid)
    assert wire.call('vote', oid) == []


def suspend(server, meanwhile=lambda: None):
    """Stops the process for longer than a transaction may take."""
    server.process.send_signal(signal.SIGSTOP)
    result = meanwhile()
    time.sleep(TIMEOUT + 0.5)
    server.process.send_signal(signal.SIGCONT)
    return result


def test_transactions_outlive_it(serve):
    server = serve(transaction_timeout=TIMEOUT, extra=eventlog())
    with Wire(server.address) as wire, Wire(server.address) as other:
        vote(wire, 1)
        vote(other, 2)
        # What was finished meanwhile is committed, and who has not finished has its time once more.
        finished = suspend(server, lambda: wire.request('tpc_finish', 1))
        assert wire.answer(finished)
        assert other.call('tpc_finish', 2)
        # And no longer.
        vote(wire, 3)
        suspend(server)
        wire.call('ping')
        with pytest.raises(Disconnected):
            wire.receive()
    assert 'gets that time once more' in server.log()
