"""A storage in Rust and one of Python on one server, in turns: each sees what the other does."""
import io
import pickle
import random

import pytest
from BTrees.Length import Length
from support.certificates import Certificates, client_context, ssl_section
from support.configuration import filestorage, zeo
from support.contest import python_server
from support.server import Server, wait_until
from ZEO.ClientStorage import ClientStorage
from ZODB.Connection import TransactionMetaData
from ZODB.POSException import ConflictError
from ZODB.serialize import ObjectWriter
from ZODB.utils import p64, u64, z64

from client.console import Client, Failed

OBJECTS = 8
STEPS = 80
KINDS = ['ours', 'ours msgpack', 'ours tls', 'python', 'python msgpack', 'python tls']


class Pair:
    """A server, a client of Python's and one in Rust, whose cache is kept."""

    def __init__(self, kind, monkeypatch, directory):
        self.is_python = kind.startswith('python')
        self.monkeypatch = monkeypatch
        self.ssl, self.context = ('', ''), None
        if kind.endswith('tls'):
            made = Certificates(directory)
            own, client = made.self_signed('server'), made.self_signed('client')
            self.ssl = ssl_section(own, client), ssl_section(client, own)
            self.context = client_context(client, own)
        self.msgpack = kind.endswith('msgpack') or None
        self.server = self.rust = self.python = None

    def start(self, address='127.0.0.1:0'):
        config = zeo(address, ssl=self.ssl[0], msgpack=self.msgpack) + filestorage()
        self.server = (python_server(self.monkeypatch, config) if self.is_python
                       else Server(config))

    def open(self):
        address = '%s:%s' % self.server.address
        with open('zodb.conf', 'w') as f:
            f.write(f'%import ZEO\n<zodb>\n  <clientstorage>\n    server {address}\n'
                    f'    cache-path rust.zec\n{self.ssl[1]}  </clientstorage>\n</zodb>\n')
        self.rust = Client(config='zodb.conf')
        self.python = ClientStorage(self.server.address, ssl=self.context, wait_timeout=60)

    def close(self):
        self.python.close()
        self.rust.close()
        self.rust.end()

    def sync(self):
        """Both have heard of all that was committed."""
        self.python.ping()
        self.rust.ping()
        return self.rust.last_tid()


@pytest.fixture
def pair(request, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    pair = Pair(request.param, monkeypatch, str(tmp_path))
    pair.start()
    pair.open()
    yield pair
    pair.close()
    pair.server.kill()


def record(value):
    """The record of a Length."""
    return ObjectWriter().serialize(Length(value))


def commit(storage, *stores, description='-'):
    """The tid, and the oids of conflicts that were resolved."""
    transaction = TransactionMetaData('', description)
    storage.tpc_begin(transaction)
    try:
        for oid, serial, data in stores:
            storage.store(oid, serial, data, '', transaction)
        resolved = storage.tpc_vote(transaction)
        return storage.tpc_finish(transaction), resolved or []
    except BaseException:
        storage.tpc_abort(transaction)
        raise


@pytest.mark.parametrize('pair', KINDS, indirect=True)
def test_in_turns(pair):
    """A random history: each step by one of both, with what is current or with what was."""
    chance = random.Random(7)
    known = {}  # oid: tids and records, the newest one last
    for step in range(STEPS):
        stores = []
        for number in chance.sample(range(OBJECTS), chance.randint(1, 3)):
            oid = p64(number)
            at = -1 if chance.random() < .7 else chance.randrange(len(known.get(oid, '.')))
            serial = known[oid][at][0] if oid in known else z64
            stores.append((oid, serial, record(chance.randint(0, 1000))))
        by_rust = chance.random() < .5
        tid, resolved = (pair.rust.commit_resolved(*stores, description='-') if by_rust
                         else commit(pair.python, *stores))
        for oid, serial, data in stores:
            stale = oid in known and serial != known[oid][-1][0]
            assert (oid in resolved) == stale, step
            if stale:
                data = pair.python.loadSerial(oid, tid)
            known.setdefault(oid, []).append((tid, data))
        assert pair.sync() == tid
        for oid, revisions in known.items():
            current = revisions[-1][::-1]
            assert pair.python.load(oid) == current
            assert rust_load(pair.rust, oid) == current
            before = chance.choice(revisions)[0]
            expected = pair.python.loadBefore(oid, before)
            assert rust_before(pair.rust, oid, before) == expected
    assert rust_iterate(pair.rust) == iterate(pair.python)
    assert pair.rust.current_records() == [[oid, *known[oid][-1]] for oid in sorted(known)]
    pair.rust.begin()
    pair.rust.undo(undo_id=pair.rust.undo_info()[0]['id'])
    pair.rust.vote()
    pair.rust.finish()
    pair.sync()
    for oid in known:
        assert rust_load(pair.rust, oid) == pair.python.load(oid)
    with pytest.raises(Failed):
        pair.rust.load(oid=p64(OBJECTS))
    assert u64(pair.python.new_oid()) not in range(OBJECTS)
    assert not {pair.python.new_oid(), pair.rust.new_oid()} & set(known)


def rust_load(rust, oid):
    data, serial, _next = rust.load(oid=oid)
    return data, serial


def rust_before(rust, oid, before):
    found = rust.load_before(oid=oid, before=before)
    return found and tuple(found)


def rust_iterate(rust):
    return [(tid, oid, description, data)
            for tid, _status, _user, description, records in rust.iterate()
            for oid, _tid, data, _data_txn in records]


def iterate(storage):
    return [(transaction.tid, r.oid, transaction.description, r.data)
            for transaction in storage.iterator() for r in transaction]


@pytest.mark.parametrize('pair', ['ours', 'python', 'python msgpack'], indirect=True)
def test_both_at_once(pair):
    """Threads of both change one object as fast as they can: nothing is lost."""
    oid, threads, times = p64(1), 3, 10
    commit(pair.python, (oid, z64, record(0)))
    added = pair.rust.background('add', oid=oid, threads=threads, times=times)
    for _ in range(threads * times):
        while True:
            data, serial = pair.python.load(oid)
            assert data == pair.python.loadSerial(oid, serial)
            try:
                commit(pair.python, (oid, serial, record(value(data) + 1)))
                break
            except ConflictError:
                pair.python.sync()
    added()
    pair.sync()
    assert value(pair.python.load(oid)[0]) == 2 * threads * times
    assert rust_load(pair.rust, oid) == pair.python.load(oid)


def value(data):
    """The number in the record of a Length."""
    pickles = io.BytesIO(data)
    pickle.load(pickles)
    return pickle.load(pickles)


def connected(storage):
    """A storage of Python's, once it is connected."""
    wait_until(storage.is_connected)
    storage.ping()
    return storage


@pytest.mark.parametrize('kind', ['ours', 'python'])
def test_a_server_is_started_anew(kind, monkeypatch, tmp_path):
    """What changes while the client in Rust is away, in a process of its own that is killed."""
    monkeypatch.chdir(tmp_path)
    pair = Pair(kind, monkeypatch, str(tmp_path))
    pair.start()
    pair.open()
    oids = [p64(number) for number in range(OBJECTS)]
    first = pair.rust.commit(*((oid, z64, record(1)) for oid in oids))
    for oid in oids:
        assert rust_load(pair.rust, oid) == (record(1), first)
    for round in range(2):
        if round:
            pair.rust.kill()
        else:
            pair.server.kill()
            pair.server.process.wait()
            assert rust_load(pair.rust, oids[0]) == (record(1), first)
            pair.start('%s:%s' % pair.server.address)
        tid, _ = commit(connected(pair.python), (oids[round], first, record(round + 2)))
        if round:
            pair.rust = Client(config='zodb.conf')
        pair.rust.ping()
        assert pair.rust.last_tid() == tid
        for oid in oids:
            assert rust_load(pair.rust, oid) == pair.python.load(oid)
    pair.close()
    pair.server.kill()


def test_one_of_several_databases(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    server = Server(zeo() + filestorage())
    with open('zodb.conf', 'w') as f:
        f.write('%import ZEO\n' + ''.join(
            f'<zodb {name}>\n  <clientstorage>\n    server {address}\n  </clientstorage>\n</zodb>\n'
            for name, address in [('other', 'nobody.invalid:1'), ('ours', '%s:%s' % server.address)]))
    with Client(config='zodb.conf', database='ours') as client:
        assert client.last_tid() == z64
    with pytest.raises(Failed, match='none'):
        Client(config='zodb.conf', database='none')
    server.kill()
