"""What a client does when its connection is lost, and comes back."""
import contextlib
import os
import shutil
import socket
import threading

import pytest
from support.configuration import filestorage
from support.ports import free_port
from support.server import wait_until
from ZODB.utils import maxtid, p64, u64, z64

from .test_calls import fails, pythons_commit, record


def back(client, **fields):
    """Waits until a client is connected again. Its listeners are told first."""
    told = client.wait_for('connected', **fields)
    wait_until(client.is_connected)
    return told


def test_a_server_goes_away_and_comes_back(place):
    address = f'127.0.0.1:{free_port()}'
    server = place.serve(address=address)
    ours = place.impatient(server)
    cached, other = ours.new_oid(), ours.new_oid()
    tid = ours.commit((cached, z64, record(1)), (other, z64, record(2)))
    ours.load(oid=cached)
    ours.wait_for('committed')
    ours.begin()
    ours.store(oid=other, serial=tid, data=record(3))
    server.kill()
    ours.wait_for('disconnected')
    assert not ours.is_connected() and ours.is_read_only()
    assert ours.load(oid=cached) == [record(1), tid, None]
    ours.prefetch(oids=[cached, p64(77)], before=maxtid)
    assert ours.last_tid() == tid
    for call, arguments in [('load', {'oid': p64(77)}), ('load_serial', {'oid': cached, 'serial': tid}),
                            ('store', {'oid': other, 'serial': tid, 'data': record(4)}), ('vote', {})]:
        why = fails('Disconnected', ours.call, call, **arguments)
        assert why.answer['retryable'], call
    server = place.serve(address=address)
    back(ours)
    # Begun before the loss: also now it is no more.
    why = fails('Disconnected', ours.store, oid=other, serial=tid, data=record(4))
    assert 'disconnected transaction' in why.message
    fails('Disconnected', ours.vote)
    ours.abort()
    later = ours.commit((other, tid, record(5)))
    assert ours.load(oid=other) == [record(5), later, None]


def test_what_was_missed_is_not_answered_from_the_cache(place):
    address = f'127.0.0.1:{free_port()}'
    server = place.serve(address=address)
    ours = place.ours(server)
    changed, same = ours.new_oid(), ours.new_oid()
    tid = ours.commit((changed, z64, record(1)), (same, z64, record(1)))
    for oid in changed, same:
        ours.load(oid=oid)
    server.stop()
    ours.wait_for('disconnected')
    # Somewhere else, so that this client does not come.
    server = place.serve()
    later = pythons_commit(place.pythons(server), (changed, tid, record(2)))
    server.stop()
    server = place.serve(address=address)
    back(ours)
    assert ours.last_tid() == later
    assert ours.load(oid=changed) == [record(2), later, None]
    assert ours.load(oid=same) == [record(1), tid, None]
    assert ours.load_before(oid=changed, before=later) == [record(1), tid, later]


def test_a_cache_is_kept_in_a_file(place):
    server = place.serve()
    ours, pythons = place.ours(server, cache='ours.zec'), place.pythons(server)
    oids = [ours.new_oid() for _ in range(20)]
    tid = ours.commit(*((oid, z64, record(u64(oid))) for oid in oids))
    for oid in oids:
        ours.load(oid=oid)
    why = fails('Cache', place.ours, server, cache='ours.zec')
    assert 'ours.zec' in why.message
    ours.close()
    later = pythons_commit(pythons, (oids[0], tid, record(1000)))
    ours = place.impatient(server, cache='ours.zec')
    assert ours.last_tid() == later
    assert ours.load(oid=oids[0]) == [record(1000), later, None]
    server.kill()
    ours.wait_for('disconnected')
    assert ours.load(oid=oids[0])[0] == record(1000)
    for oid in oids[1:]:
        assert ours.load(oid=oid) == [record(u64(oid)), tid, None]
    ours.close()


def test_a_backup_was_restored(place):
    """Our server notices that the client has seen what was lost."""
    server = place.serve()
    with contextlib.closing(place.pythons(server)) as writer:
        first = pythons_commit(writer, (p64(1), z64, record(1)), (p64(2), z64, record(1)))
    server.stop()
    shutil.copy('Data.fs', 'backup.fs')
    server = place.serve()
    ours = place.ours(server, cache='ours.zec')
    ours.commit((p64(1), first, record(2)))
    assert ours.load(oid=p64(1))[0] == record(2)
    ours.close()
    server.stop()
    shutil.copy('backup.fs', 'Data.fs')
    os.remove('Data.fs.index')
    server = place.serve()
    with contextlib.closing(place.pythons(server)) as writer:
        later = pythons_commit(writer, (p64(2), first, record(3)))
    ours = place.ours(server, cache='ours.zec')
    assert ours.last_tid() == later
    assert ours.load(oid=p64(2)) == [record(3), later, None]
    if place.kind.startswith('ours'):
        assert ours.load(oid=p64(1)) == [record(1), first, None]
        server.wait_for_log('the storage has no such transaction')


def test_a_fallback_server_until_one_takes_changes(place):
    first = place.serve()
    oid = place.pythons(first).new_oid()
    tid = place.ours(first).commit((oid, z64, record(1)))
    first.kill()
    address = f'127.0.0.1:{free_port()}'
    with open('Data.fs', 'rb') as source, open('Replica.fs', 'wb') as copy:
        copy.write(source.read())
    replica = place.serve(filestorage('Replica.fs', read_only=True))
    ours = place.ours(replica, address, read_only_fallback=True)
    assert ours.is_read_only()
    fails('ReadOnly', ours.begin)
    assert ours.load(oid=oid) == [record(1), tid, None]
    place.serve(filestorage(), address=address)
    assert back(ours, read_only=False)['address'] == address
    later = ours.commit((oid, tid, record(2)))
    # The replica is behind now: it is told apart from one that is down.
    place.servers[-1].kill()
    told = ours.wait_for('behind')
    assert (told['server'], told['cache']) == (tid, later)
    assert not ours.is_connected()
    # What is known is not answered by what is older.
    assert ours.load(oid=oid) == [record(2), later, None]
    place.serve(filestorage(), address=address)
    back(ours, read_only=False)
    assert ours.load(oid=oid) == [record(2), later, None]


@pytest.mark.parametrize('committed', [True, False])
def test_a_finish_whose_outcome_is_unknown(place, committed):
    if place.certificates:
        pytest.skip('what is cut is read by the test')
    server = place.serve()
    with cutter(server.address, b'tpc_finish', committed) as address:
        ours = place.ours(type('Cut', (), {'address': address}))
        oid, other = ours.new_oid(), ours.new_oid()
        ours.begin(description='outcome')
        ours.store(oid=oid, serial=z64, data=record(1))
        ours.vote()
        why = fails('OutcomeUnknown', ours.finish)
        assert not why.answer['retryable']
        back(ours)
        tid = ours.outcome()
        assert (tid is not None) == committed
        if committed:
            assert ours.load(oid=oid) == [record(1), tid, None]
        else:
            fails('NoObject', ours.load, oid=oid)
        ours.commit((other, z64, record(2)))


@contextlib.contextmanager
def cutter(server, word, pass_on):
    """A way to a server that is cut where a client sends this word; the message reaches the server
    if it is to be passed on. Then all is passed."""
    listener = socket.create_server(('127.0.0.1', 0))
    cut, ends = threading.Event(), []

    def pump(source, target, look):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if look and word in data and not cut.is_set():
                    if pass_on:
                        target.sendall(data)
                        # Its answer, which does not arrive.
                        cut.set()
                        answered.wait(60)
                    cut.set()
                    break
                if not look and cut.is_set() and not answered.is_set():
                    answered.set()
                    break
                target.sendall(data)
        for end in source, target:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    answered = threading.Event()

    def accept():
        with contextlib.suppress(OSError):
            while True:
                client = listener.accept()[0]
                upstream = socket.create_connection(server)
                ends.extend((client, upstream))
                threading.Thread(target=pump, args=(client, upstream, True), daemon=True).start()
                threading.Thread(target=pump, args=(upstream, client, False), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()
    finally:
        listener.close()
        for end in ends:
            end.close()
