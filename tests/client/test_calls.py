"""Every call of a storage, beside Python's client on the same server."""
import os
import time

import pytest
from exchange.writer import pickle_of
from support.configuration import filestorage
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, p64, u64, z64

from .console import Failed, json_value, python_value

UNKNOWN = p64(12345)


def record(number):
    return pickle_of(number)


def length(number):
    """A record of a class whose conflicts are resolved."""
    return b'\x80\x03cBTrees.Length\nLength\nq\x00.\x80\x03K%c.' % number


def fails(kind, call, *args, **kwargs):
    """Makes a call that must fail with an error of this kind; returns it."""
    with pytest.raises(Failed) as failed:
        call(*args, **kwargs)
    assert failed.value.kind == kind, failed.value.answer
    return failed.value


def test_loads(place):
    server = place.serve()
    ours, pythons = place.ours(server), place.pythons(server)
    assert ours.last_tid() == z64
    first, second = ours.new_oid(), ours.new_oid()
    assert first != second and pythons.new_oid() not in (first, second)
    one = ours.commit((first, z64, record(1)), (second, z64, record(2)), user='u', description='d')
    two = ours.commit((first, one, record(3)))
    assert ours.last_tid() == two > one
    assert ours.load(oid=first) == [record(3), two, None]
    # Loads that the cache answers, and a client that has none.
    for client in ours, place.ours(server):
        assert client.last_tid() == two
        for oid in first, second:
            for before in one, p64(u64(one) + 1), two, p64(u64(two) + 1), maxtid:
                theirs = pythons.loadBefore(oid, before)
                assert client.load_before(oid=oid, before=before) == (theirs and list(theirs)), before
        assert client.load_serial(oid=first, serial=one) == record(1)
        assert fails('NoObject', client.load, oid=UNKNOWN).answer['oid'] == UNKNOWN.hex()
        fails('NoObject', client.load_before, oid=UNKNOWN, before=two)
        fails('NoObject', client.load_serial, oid=second, serial=two)
    info = ours.info()
    assert (info['name'], info['length'], info['supports_undo']) == ('Data.fs', 2, True)


def test_prefetch(place):
    server = place.serve()
    ours, pythons = place.ours(server), place.pythons(server)
    oids = [ours.new_oid() for _ in range(300)]
    tid = ours.commit(*((oid, z64, record(u64(oid))) for oid in oids))
    other = place.ours(server)
    other.prefetch(oids=[*oids, UNKNOWN], before=maxtid)
    assert [other.load(oid=oid) for oid in oids] == [[record(u64(oid)), tid, None] for oid in oids]
    fails('NoObject', other.load, oid=UNKNOWN)
    # What is there is not lost by what comes behind.
    pythons_commit(pythons, (oids[0], tid, record(1000)))
    other.wait_for('invalidated', oids=oids[:1])
    assert other.load(oid=oids[0])[0] == record(1000)
    assert other.load(oid=oids[1])[0] == record(u64(oids[1]))


def test_both_clients_hear_of_each_other(place):
    server = place.serve()
    ours, pythons = place.ours(server), place.pythons(server)
    oid, other = ours.new_oid(), ours.new_oid()
    tid = ours.commit((oid, z64, record(1)), (other, z64, record(1)))
    assert ours.wait_for('committed', tid=tid)['oids'] == [oid, other]
    assert ours.load(oid=oid)[1] == tid
    later = pythons_commit(pythons, (oid, tid, record(2)))
    assert ours.wait_for('invalidated')['tid'] == later == ours.last_tid()
    assert ours.load(oid=oid) == [record(2), later, None]
    assert ours.load_before(oid=oid, before=later) == [record(1), tid, later]
    latest = ours.commit((oid, later, record(3)))
    # Python's client has what it is told in its next sync, or by a call to the server.
    pythons.ping()
    assert pythons.load(oid) == (record(3), latest)


def test_conflicts(place):
    server = place.serve()
    ours, pythons = place.ours(server), place.pythons(server)
    oid, counter = ours.new_oid(), ours.new_oid()
    tid = ours.commit((oid, z64, record(1)), (counter, z64, length(1)))
    newer = pythons_commit(pythons, (oid, tid, record(2)), (counter, tid, length(4)))
    why = fails('Conflict', ours.commit, (oid, tid, record(3)))
    assert why.answer['oid'] == oid.hex() and why.answer['retryable']
    assert ours.load(oid=oid) == [record(2), newer, None]
    # One that is resolved: 1 + 3 + 2.
    ours.begin()
    ours.store(oid=counter, serial=tid, data=length(3))
    assert ours.vote() == [counter]
    resolved = ours.finish()
    assert ours.load(oid=counter) == [length(6), resolved, None]
    pythons.ping()
    assert pythons.loadBefore(counter, maxtid) == (length(6), resolved, None)
    ours.begin()
    ours.check_current(oid=oid, serial=tid)
    ours.store(oid=counter, serial=resolved, data=length(9))
    why = fails('ReadConflict', ours.vote)
    assert why.answer['oid'] == oid.hex() and why.answer['retryable']
    ours.abort()
    ours.begin()
    ours.check_current(oid=oid, serial=newer)
    ours.store(oid=counter, serial=resolved, data=length(9))
    assert ours.vote() == []
    assert ours.load(oid=counter)[0] == length(6), 'seen before the end'
    ours.finish()
    assert ours.load(oid=counter)[0] == length(9)


def test_transactions_that_are_none(place):
    server = place.serve()
    ours = place.ours(server)
    oid = ours.new_oid()
    ours.begin()
    ours.store(oid=oid, serial=z64, data=record(1))
    fails('Transaction', ours.finish)
    ours.begin()
    ours.store(oid=oid, serial=z64, data=record(1))
    ours.vote()
    fails('Transaction', ours.store, oid=oid, serial=z64, data=record(2))
    ours.abort()
    fails('NoObject', ours.load, oid=oid)
    tid = ours.commit((oid, z64, record(3)))
    # An empty one is one, too.
    assert ours.commit() > tid
    ours.close()


def test_what_is_told_of_transactions(place):
    server = place.serve(filestorage(pack_gc=False))
    ours, pythons = place.ours(server), place.pythons(server)
    oids = [ours.new_oid() for _ in range(150)]
    tids = [ours.commit(*((oid, z64, record(u64(oid))) for oid in oids), user='u', description='all')]
    for number in range(2, 6):
        tids.append(ours.commit((oids[0], tids[-1], record(number)), description=f'{number}'))
    ours.begin()
    ours.undo(undo_id=pythons.undoLog(0, 10)[0]['id'])
    ours.vote()
    tids.append(ours.finish())
    assert ours.history(oid=oids[0], size=3) == same(pythons.history(oids[0], 3))
    fails('NoObject', ours.history, oid=UNKNOWN, size=3)
    assert ours.undo_log() == same(pythons.undoLog(0, -20))
    assert ours.undo_info() == same(pythons.undoInfo(0, -20))
    assert ours.get_tid(oid=oids[1]) == pythons.getTid(oids[1]) == tids[0]
    assert ours.server_last_tid() == tids[-1]
    for start, stop in [(None, None), (tids[1], None), (None, tids[1]), (tids[1], tids[3]), (tids[3], tids[1])]:
        theirs = [[txn.tid, txn.status, txn.user, txn.description,
                   [[found.oid, found.tid, found.data, found.data_txn] for found in txn]]
                  for txn in pythons.iterator(start, stop)]
        assert ours.iterate(start=start, stop=stop) == same(theirs), (start, stop)
    found, oid = [], None
    while oid is not None or not found:
        next_oid, serial, data, oid = ours.record_iternext(oid=oid)
        found.append([next_oid, data, serial])
    theirs, oid = [], None
    while oid is not None or not theirs:
        next_oid, serial, data, oid = pythons.record_iternext(oid)
        theirs.append([next_oid, data, serial])
    assert found == theirs
    assert len(found) == 150
    assert ours.server_status()['commits'] == 6
    ours.pack(time=time.time() + 1)
    assert len(list(pythons.iterator())) == len(ours.iterate()) < 6
    # What it has in its cache stays right; a client without one can't see it any more.
    assert place.ours(server).load_before(oid=oids[0], before=tids[1]) == same(
        pythons.loadBefore(oids[0], tids[1]))


def same(value):
    """As the console of our client shows it."""
    return python_value(json_value(value))


def test_sync(place):
    server = place.serve()
    ours, pythons = place.ours(server, server_sync=True), place.pythons(server)
    oid = ours.new_oid()
    for number in range(3):
        tid = pythons_commit(pythons, (oid, z64 if not number else tid, record(number)))
        ours.sync()
        assert ours.last_tid() == tid
        assert ours.load(oid=oid)[0] == record(number)
    ours.ping()


def test_undo(place):
    server = place.serve()
    ours, pythons = place.ours(server), place.pythons(server)
    oid = ours.new_oid()
    tids = [ours.commit((oid, z64, record(1)), user='u')]
    for number in 2, 3:
        tids.append(ours.commit((oid, tids[-1], record(number)), user='u', description=f'{number}'))
    pythons.ping()
    log = pythons.undoLog(0, 10)
    ours.begin()
    ours.undo(undo_id=log[0]['id'])
    assert ours.vote() == [oid]
    undone = ours.finish()
    assert ours.load(oid=oid) == [record(2), undone, None]
    ours.begin()
    ours.undo(undo_id=log[2]['id'])
    fails('Undo', ours.vote)
    ours.abort()


def test_deletion_and_restore(place):
    server = place.serve()
    ours, pythons = place.ours(server), place.pythons(server)
    oid, other = ours.new_oid(), ours.new_oid()
    tid = ours.commit((oid, z64, record(1)))
    ours.begin()
    ours.delete(oid=oid, serial=tid)
    ours.vote()
    ours.finish()
    fails('NoObject', ours.load, oid=oid)
    with pytest.raises(POSKeyError):
        pythons.loadBefore(oid, maxtid)
    # As a copy does it: with the tid that it had.
    wanted = p64(u64(ours.last_tid()) + 1000)
    ours.begin(tid=wanted)
    ours.restore(oid=other, serial=wanted, data=record(7))
    ours.vote()
    assert ours.finish() == wanted
    assert ours.load(oid=other) == [record(7), wanted, None]


def test_read_only(place):
    server = place.serve()
    ours = place.ours(server, read_only=True)
    assert ours.is_read_only() and not place.ours(server).is_read_only()
    fails('ReadOnly', ours.new_oid)
    fails('ReadOnly', ours.begin)
    writer = place.pythons(server)
    oid = writer.new_oid()
    tid = pythons_commit(writer, (oid, z64, record(1)))
    ours.wait_for('invalidated', tid=tid)
    assert ours.load(oid=oid) == [record(1), tid, None]


def test_refusals(place):
    server = place.serve()
    place.refusal(server, 'none', storage='none')
    server.kill()
    place.refusal(server, 'refused')
    waiting = place.ours(server, wait=False, wait_timeout=0.1)
    fails('Disconnected', waiting.load, oid=z64)
    fails('Disconnected', waiting.begin)
    assert not waiting.is_connected()
    waiting.close()


def test_a_server_that_takes_no_changes(place):
    place.serve().stop()
    server = place.serve(filestorage(read_only=True))
    place.refusal(server, 'read-only')
    assert place.ours(server, read_only_fallback=True).is_read_only()


def test_blobs(place):
    server = place.serve()
    ours, pythons = place.ours(server, blob_dir='ours'), place.pythons(server, blob_dir='pythons')
    oid = ours.new_oid()
    content = os.urandom(200_000)
    blob = b'\x80\x03cZODB.blob\nBlob\n.\x80\x03N.'
    with open('content', 'wb') as f:
        f.write(content)
    ours.begin()
    ours.store_blob(oid=oid, serial=z64, data=blob, path=os.path.abspath('content'))
    ours.vote()
    tid = ours.finish()
    assert not os.path.exists('content')
    with open(pythons.loadBlob(oid, tid), 'rb') as f:
        assert f.read() == content
    assert ours.open_blob(oid=oid, serial=tid) == content
    other = place.ours(server, blob_dir='other')
    assert other.open_blob(oid=oid, serial=tid) == content
    fails('NoObject', other.open_blob, oid=oid, serial=p64(1))
    with open('content', 'wb') as f:
        f.write(b'new')
    later = pythons_commit(pythons, (oid, tid, blob, os.path.abspath('content')))
    assert other.open_blob(oid=oid, serial=later) == b'new'
    fails('Unsupported', place.ours(server).open_blob, oid=oid, serial=tid)


def pythons_commit(storage, *stores):
    """A transaction by Python's client; returns its tid."""
    txn = TransactionMetaData()
    storage.tpc_begin(txn)
    for oid, serial, data, *blob in stores:
        if blob:
            storage.storeBlob(oid, serial, data, *blob, '', txn)
        else:
            storage.store(oid, serial, data, '', txn)
    storage.tpc_vote(txn)
    return storage.tpc_finish(txn)
