"""Records with codes of `copyreg.add_extension`, which an application gives its classes: what
they stand for is not known here, and is not needed."""
import copyreg
import time

import pytest
import transaction
import ZODB
from persistent import Persistent
from support import fstool
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage
from ZODB.POSException import ConflictError, POSKeyError
from ZODB.scripts import fstest


class Node(Persistent):
    """Of an object; its code takes one byte."""


class Value:
    """In a state, as an instance and as a class."""


class Rare(Persistent):
    """Of an object; its code takes two bytes."""


class Far(Persistent):
    """Of an object; its code takes four bytes."""


CODES = [(Node, 240), (Value, 241), (Rare, 4000), (Far, 70_000)]


@pytest.fixture(autouse=True)
def codes():
    for class_, code in CODES:
        copyreg.add_extension(class_.__module__, class_.__name__, code)
    yield
    for class_, code in CODES:
        copyreg.remove_extension(class_.__module__, class_.__name__, code)


def fill(storage):
    """Objects with all of the codes, and garbage. Returns the oids of what stays and of the garbage."""
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        root = connection.root()
        node = root['node'] = Node()
        node.value, node.kind = Value(), Value
        node.rare, node.far = Rare(), Far()
        garbage = root['garbage'] = Node()
        garbage.rare = Rare()
    kept = [o._p_oid for o in (root, node, node.rare, node.far)]
    lost = [garbage._p_oid, garbage.rare._p_oid]
    with db.transaction() as connection:
        del connection.root()['garbage']
    data = b''.join(storage.load(oid)[0] for oid in kept)
    assert {b'\x82\xf0', b'\x82\xf1', b'\x83\xa0\x0f', b'\x84\x70\x11\x01\x00'} <= {
        data[at:at + length] for at in range(len(data)) for length in (2, 3, 5)}
    return db, kept, lost


def test_packs(serve, encoding):
    server = serve(encoding=encoding)
    db, kept, lost = fill(ClientStorage(server.address))
    db.pack()
    db.close()
    client = ClientStorage(server.address)
    for oid in kept:
        client.load(oid)
    for oid in lost:
        with pytest.raises(POSKeyError):
            client.load(oid)
    client.close()
    server.stop()
    fstest.check('Data.fs')


def test_packs_as_python(serve, tmp_path):
    """What Python's packer keeps of the same file, to the byte."""
    storage = FileStorage('Python.fs')
    db, _kept, _lost = fill(storage)
    (tmp_path / 'Data.fs').write_bytes((tmp_path / 'Python.fs').read_bytes())
    when = time.time()
    storage.pack(when, ZODB.serialize.referencesf)
    db.close()
    server = serve()
    client = ClientStorage(server.address)
    client.pack(when, wait=True)
    client.close()
    server.stop()
    assert (tmp_path / 'Data.fs').read_bytes() == (tmp_path / 'Python.fs').read_bytes()


def test_conflicts_stay_conflicts(serve, encoding):
    server = serve(encoding=encoding)
    db, _kept, _lost = fill(ClientStorage(server.address))
    managers = [transaction.TransactionManager() for _ in range(2)]
    nodes = [db.open(manager).root()['node'] for manager in managers]
    for number, node in enumerate(nodes):
        node.number = number
    managers[0].commit()
    with pytest.raises(ConflictError):
        managers[1].commit()
    managers[1].abort()
    assert nodes[1].number == 0
    db.close()


def test_tools_name_the_codes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    db, kept, _lost = fill(FileStorage('Data.fs'))
    db.close()
    for command in ('test', 'refs'):
        fstool.check(command, 'Data.fs')
    shown = {command: fstool.check(*command).decode() for command in (
        ('size', 'Data.fs'), ('dump', 'Data.fs'), ('oids', 'Data.fs', '0x' + kept[2].hex()))}
    for command, text in shown.items():
        assert 'extension code 4000' in text, (command, text)
