"""Servers that serve what an upstream server has, ours or Python's: all that clients do."""
import os

import pytest
import transaction
from BTrees.OOBTree import OOBTree
from persistent.mapping import PersistentMapping
from support.certificates import Certificates, ssl_section
from support.fan_out import (  # noqa: F401
    Database, FanOut, Upstream, client, encoding, fan_out, kind, loaded, python, started, upstream)
from support.ports import free_port
from support.server import is_python, run, wait_until
from support.steps import begin, commit, told
from support.wire import Wire, WireError
from ZODB.blob import Blob
from ZODB.POSException import ConflictError, POSKeyError
from ZODB.utils import p64, z64

from exchange.writer import pickle_of

pytestmark = pytest.mark.skipif(is_python(), reason='Python\'s server is the upstream one here')

LATEST = b'\x7f' + b'\xff' * 7


def test_all_that_clients_do(upstream, fan_out):
    one, other, direct = Database(fan_out, blob_dir='b1'), Database(fan_out, blob_dir='b2'), \
        Database(upstream, blob_dir='b3')
    one.root['map'], one.root['tree'] = PersistentMapping(), OOBTree()
    one.root['blob'] = Blob(b'blob' * 50_000)
    one.commit()
    wait_until(lambda: direct.begin() or 'blob' in direct.root)
    assert direct.root['blob'].open().read() == b'blob' * 50_000
    direct.root['map']['direct'] = 1
    direct.commit()
    direct.root['second'] = Blob(b'second')
    direct.commit()
    wait_until(lambda: other.begin() or 'second' in other.root)
    assert other.root['map']['direct'] == 1
    assert other.root['blob'].open().read() == b'blob' * 50_000
    assert other.root['second'].open().read() == b'second'

    # Histories and iterators.
    oid = other.root['map']._p_oid
    for size in 1, 10:
        assert other.storage.history(oid, size) == direct.storage.history(oid, size)
    with_tids = [info['id'] for info in direct.storage.undoInfo(0, -20)]
    assert [info['id'] for info in other.storage.undoInfo(0, -20)] == with_tids
    assert [info['id'] for info in other.storage.undoInfo(1, 3)] == with_tids[1:3]
    assert transactions(other.storage) == transactions(direct.storage)
    start = transactions(direct.storage)[1][0]
    assert transactions(other.storage, start, start) == transactions(direct.storage, start, start)
    assert records(other.storage) == records(direct.storage)
    serial = direct.storage.getTid(oid)
    assert other.storage.getTid(oid) == serial
    assert other.storage.loadSerial(oid, serial) == direct.storage.loadSerial(oid, serial)

    # Undo.
    one.begin()
    one.db.undo(with_tids[1], one.manager.get())
    one.commit()
    assert 'direct' not in one.root['map']
    wait_until(lambda: direct.begin() or 'direct' not in direct.root['map'])

    # Conflicts.
    wait_until(lambda: direct.begin() or direct.connection._storage.lastTransaction()
               == one.storage.lastTransaction())
    one.begin()
    one.root['tree']['a'], one.root['map']['a'] = 1, 1
    direct.root['tree']['b'], direct.root['map']['b'] = 2, 2
    direct.commit()
    with pytest.raises(ConflictError):
        one.commit()
    wait_until(lambda: one.begin() or 'b' in one.root['tree'])
    one.root['tree']['c'] = 3
    direct.root['tree']['d'] = 4
    direct.commit()
    one.commit()
    wait_until(lambda: one.begin() or list(one.root['tree']) == ['b', 'c', 'd'])

    one.db.pack()
    assert len(direct.storage.history(oid, 10)) < 4
    for database in one, other, direct:
        database.close()

    # Uploads leave nothing, be it behind a stop or at the next start behind a kill.
    left = os.path.join(fan_out.directory, 'blobs', 'tmp')
    assert len(os.listdir(left)) == 2
    fan_out.kill()
    fan_out.start()
    assert len(os.listdir(left)) == 2
    fan_out.stop()
    assert os.listdir(left) == []


def transactions(storage, start=None, stop=None):
    return [(t.tid, t.user, t.description, t.extension, t.status,
             [(r.oid, r.tid, r.data, r.data_txn) for r in t])
            for t in storage.iterator(start, stop)]


def records(storage):
    found, following = [], None
    while not found or following is not None:
        oid, serial, data, following = storage.record_iternext(following)
        found.append((oid, serial, data))
    return found


def test_objects_are_restored_and_deleted(upstream, fan_out, python):
    storage, direct = client(fan_out), client(upstream)
    meta = transaction.Transaction()
    tid = p64(0x0400_0000_0000_0000)
    storage.tpc_begin(meta, tid, ' ')
    storage.restore(p64(1), tid, pickle_of(1), '', None, meta)
    storage.tpc_vote(meta)
    storage.tpc_finish(meta)
    wait_until(lambda: direct.lastTransaction() == tid)
    assert direct.load(p64(1)) == storage.load(p64(1)) == (pickle_of(1), tid)
    meta = transaction.Transaction()
    storage.tpc_begin(meta)
    storage.deleteObject(p64(1), tid, meta)
    storage.tpc_vote(meta)
    last = storage.tpc_finish(meta)
    wait_until(lambda: direct.lastTransaction() == last)
    for one in storage, direct:
        # Python's server tells nobody but who has deleted it.
        if one is storage or not python:
            with pytest.raises(POSKeyError):
                one.load(p64(1))
        assert one.loadBefore(p64(1), last)[:2] == (pickle_of(1), tid)
        one.close()


def test_invalidations_come_in_order(upstream, fan_out):
    one, other, direct, listener = (
        Wire(fan_out.address), Wire(fan_out.address), Wire(upstream.address), Wire(fan_out.address))
    tids, serials = [], {}
    for number in range(30):
        for wire, oid in (direct, p64(1)), (one, p64(2)), (other, p64(3)):
            serials[oid] = commit(wire, (oid, serials.get(oid, z64), number))
            tids.append(serials[oid])
    listener.call('ping')
    assert told(listener) == tids == sorted(tids)
    for oid, serial in serials.items():
        assert listener.call('loadBefore', oid, LATEST)[1:] == (serial, None)


def test_a_ping_tells_of_all_that_was_committed_before(upstream, fan_out):
    wire, direct = Wire(fan_out.address), Wire(upstream.address)
    serial = z64
    for number in range(20):
        serial = commit(direct, (p64(1), serial, number))
        wire.call('ping')
        assert told(wire)[-1] == serial == wire.call('lastTransaction')
        assert wire.call('loadBefore', p64(1), LATEST)[1:] == (serial, None)


def test_a_conflict_comes_behind_its_invalidation(upstream, fan_out):
    wire, direct = Wire(fan_out.address), Wire(upstream.address)
    serial = commit(wire, (p64(1), z64, 0))
    for number in range(10):
        newer = commit(direct, (p64(1), serial, number))
        wire.send_async('tpc_begin', 1, b'', b'', {}, None, ' ')
        wire.send_async('storea', p64(1), serial, pickle_of(-number), 1)
        with pytest.raises(WireError) as error:
            wire.call('vote', 1)
        assert error.value.name == 'ZODB.POSException.ConflictError'
        assert told(wire)[-1] == newer
        serial = newer


def test_a_vote_that_waits_holds_up_no_other(tmp_path, started):
    upstream = Upstream(tmp_path)
    fan_out = FanOut(tmp_path / 'fan', upstream.address)
    started += [upstream, fan_out]
    direct, waiting, other = (
        Wire(upstream.address), Wire(fan_out.address), Wire(fan_out.address))
    serial = commit(other, (p64(1), z64, 0))
    begin(direct, (p64(1), serial, 1))
    waiting.send_async('tpc_begin', 1, b'', b'', {}, None, ' ')
    waiting.send_async('checkCurrentSerialInTransaction', p64(1), serial, 1)
    waiting.send_async('storea', p64(2), z64, pickle_of(2), 1)
    vote = waiting.request('vote', 1)
    before = z64
    for number in range(5):
        before = commit(other, (p64(3), before, number))
    # It is answered only when the object is free.
    serial = direct.call('tpc_finish', 1)
    with pytest.raises(WireError) as error:
        waiting.answer(vote)
    assert error.value.name == 'ZODB.POSException.ReadConflictError'
    assert told(waiting)[-1] == serial


def test_one_behind_another(upstream, fan_out, tmp_path, started, encoding):
    second = FanOut(tmp_path / 'second', fan_out.address, encoding, 'blob-dir blobs\nwait-timeout 2')
    started.append(second)
    far, direct = Database(second, blob_dir='b1'), Database(upstream, blob_dir='b2')
    far.root['blob'] = Blob(b'far')
    far.commit()
    wait_until(lambda: direct.begin() or 'blob' in direct.root)
    assert direct.root['blob'].open().read() == b'far'
    direct.root['near'] = 1
    direct.commit()
    wait_until(lambda: far.begin() or 'near' in far.root)
    fan_out.stop()
    fan_out.start()
    wait_until(lambda: loaded(far.storage, z64))
    far.close()
    direct.close()


def test_an_upstream_server_with_tls(tmp_path, started, python):
    certificates = Certificates(str(tmp_path))
    server = certificates.self_signed('server')
    own = certificates.self_signed('client')
    section = ssl_section(server, own)
    started.append(Upstream(tmp_path, python, options=section))
    mine = ssl_section(own, server)
    started.append(FanOut(tmp_path / 'fan', started[0].address, settings=mine))
    wire = Wire(started[1].address)
    serial = commit(wire, (p64(1), z64, 0))
    assert wire.call('loadBefore', p64(1), LATEST)[1] == serial


def test_the_configuration_is_checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = '<zeo>\n address 0\n</zeo>\n<clientstorage>\n {}\n</clientstorage>\n'
    for key, expected in (('server 1', 0), ('cache-path x', 'server'), ('server 1\ncache-sise 1', 'cache-sise')):
        (tmp_path / 'zeo.conf').write_text(config.format(key))
        code, text = run('-C', 'zeo.conf', '--check')
        if expected == 0:
            assert code == 0, text
        else:
            assert code != 0 and expected in text, text


def test_no_upstream_server(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'zeo.conf').write_text(
        f'<zeo>\naddress 0\n</zeo>\n<clientstorage>\nserver 127.0.0.1:{free_port()}\n'
        'wait-timeout 1\n</clientstorage>\n')
    code, text = run('-C', 'zeo.conf')
    assert code != 0 and "can't open storage '1'" in text, text
