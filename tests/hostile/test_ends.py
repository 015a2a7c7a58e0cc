"""Clients that end their sending half: what they have asked for before is answered, and then the
connection ends."""
import time

import pytest
from support.configuration import filestorage
from support.server import wait_until
from support.wire import Disconnected
from ZODB.utils import p64, z64

from hostile.clients import TXN, record
from hostile.test_blobs import OID, commit_blob

MB = 1 << 20
NOW = b'\x7f' + b'\xff' * 7


def everything(client):
    """All messages up to the end."""
    messages = []
    while True:
        try:
            messages.append(client.receive_message())
        except Disconnected:
            return messages


def replies(client):
    """The replies up to the end, by their numbers."""
    return {number: args for number, flag, name, args in everything(client) if name == '.reply'}


@pytest.mark.parametrize('size', [10, 100_000, 700_000])
def test_loads(target, size):
    """More than the buffers of sockets hold; read only after the end. As Python's."""
    target.bystander.commit({p64(77): b'x' * size})
    client = target.hostile()
    numbers = [client.request('loadBefore', p64(77), NOW) for _ in range(40)]
    client.finish_sending()
    time.sleep(0.1)
    found = replies(client)
    assert list(found) == numbers
    assert all(len(args[0]) == size for args in found.values())


def test_a_commit(target):
    """Sent as a whole, without waiting for an answer. As Python's."""
    client = target.hostile()
    client.send_async('tpc_begin', TXN, b'', b'', {}, None, ' ')
    client.store(p64(77), record('sent at once'))
    vote, finish = client.request('vote', TXN), client.request('tpc_finish', TXN)
    client.finish_sending()
    found = replies(client)
    assert list(found[vote]) == []
    assert target.bystander.load(p64(77)) == (record('sent at once'), found[finish], None)


@pytest.mark.ours_only('what runs on a thread is lost')
@pytest.mark.options(storages=filestorage(blob_dir='blobs'))
def test_answers_that_take_longer(target):
    """Walks through the history on helper threads, and a blob in many pieces."""
    client = target.hostile()
    blob = commit_blob(client, b'x' * 3 * MB)
    for number in range(50):
        target.bystander.commit({p64(77): b'%d' % number})
    client = target.hostile()
    numbers = []
    for _ in range(5):
        numbers += [client.request('undoLog', 0, 20), client.request('history', p64(77), 1000),
                    client.request('iterator_start', None, None),
                    client.request('getInvalidations', blob),
                    client.request('sendBlob', OID, blob), client.request('ping')]
    client.finish_sending()
    messages = everything(client)
    assert sorted(m[0] for m in messages if m[2] == '.reply') == numbers
    chunks = [m[3][2] for m in messages if m[2] == 'receiveBlobChunk']
    assert sum(map(len, chunks)) == 5 * 3 * MB


def test_half_a_request(target):
    """What is behind the last whole request is no request."""
    client = target.hostile()
    number = client.request('ping')
    client.send_bytes(b'\0\0\x10\0' + b'x' * 1000)
    client.finish_sending()
    assert list(replies(client)) == [number]


def test_a_vote_that_waits(target):
    """It is not waited for without end: nobody could finish it any more."""
    holder, client = target.hostile(), target.hostile()
    for each in holder, client:
        each.begin()
        each.store(p64(77), record())
    holder.call('vote', TXN)
    client.request('vote', TXN)
    client.finish_sending()
    assert client.is_closed()
    holder.call('tpc_abort', TXN)
    assert target.hostile().commit({p64(77): record()})


@pytest.mark.ours_only('it waits for as long as the client is there')
@pytest.mark.parametrize('transport', ['plain', pytest.param('TLS', marks=pytest.mark.tls)])
def test_answers_that_nobody_reads(transport, target):
    """A client that sends no more and reads nothing is not waited for without end. With TLS, it
    sends close_notify, and TCP stays open."""
    target.bystander.commit({p64(77): b'x' * MB})
    threads = target.resources()[2]
    clients = [target.hostile() for _ in range(5)]
    for client in clients:
        for _ in range(30):
            client.request('loadBefore', p64(77), NOW)
        client.finish_sending()
    wait_until(lambda: target.resources()[2] <= threads)
    target.serves_as_before()
