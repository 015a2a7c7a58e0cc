"""Two changes of one object at once, and what a server makes of them."""
import os
import sys

import transaction

import ZODB
from support.server import Server
from ZEO.ClientStorage import ClientStorage
from ZODB.POSException import ConflictError, POSKeyError, UndoError
from ZODB.utils import p64

PYTHONS = os.path.join(os.path.dirname(sys.executable), 'runzeo')


def python_server(monkeypatch, config, **options):
    """Python's own server, out of the environment that runs the tests."""
    with monkeypatch.context() as context:
        context.setenv('RUNZEO', PYTHONS)
        return Server(config, **options)


def contest(address, make, first, second, storage='1', key='x', undo=True):
    """What becomes of the object that `make` returns, when `first` and `second` change it at the
    same time, and then the first change is undone: whether the conflict was resolved, whether the
    undo was, and the records of all objects after each step. A second change that fails is made
    again after the first."""
    db = ZODB.DB(ClientStorage(address, storage=storage))
    managers = [transaction.TransactionManager(explicit=False) for _ in range(2)]
    connections = [db.open(manager) for manager in managers]
    try:
        connections[0].root()[key] = make()
        managers[0].commit()
        for manager in managers:
            manager.begin()
        results = []
        first(connections[0].root()[key])
        second(connections[1].root()[key])
        managers[0].commit()
        undone = undo and db.undoInfo(0, 1)[0]['id']
        results.append(committed(managers[1], ConflictError))
        results.append(records(db.storage))
        if not undo:
            return results
        if not results[0]:
            second(connections[1].root()[key])
            managers[1].commit()
        db.undo(undone, managers[0].get())
        results.append(committed(managers[0], UndoError))
        results.append(records(db.storage))
        return results
    finally:
        for manager, connection in zip(managers, connections):
            manager.abort()
            connection.close()
        db.close()


def committed(manager, error):
    """Whether a commit succeeds, or fails with this error."""
    try:
        manager.commit()
        return True
    except error:
        manager.abort()
        return False


def records(storage, most=50):
    """The current records of the objects with the first oids."""
    found = []
    for oid in map(p64, range(most)):
        try:
            found.append(storage.load(oid)[0])
        except POSKeyError:
            break
    return found
