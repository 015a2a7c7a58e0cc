#!/usr/bin/env bash
# `mapping.pop("message", None)` writes the mapping also if there is no message.
#
# Expected: a pop that finds nothing is a read: nothing is stored, and two transactions that do it don't conflict,
# as with an OOBTree, and as with setdefault() of a key that is there, and clear() of what is empty.
# Seen: PersistentMapping.pop marks the mapping as changed before it looks. The mapping is stored as it was with
# each commit, the file grows, each client's copy is invalidated, and of two such transactions at once one is
# a ConflictError. PersistentMapping.update() without anything and PersistentList.extend([]) do the same.
# Why it matters: "is there a message for the visitor?" on each page makes each page view a write of the session.
# Versions: persistent 6.9, ZODB 6.4, BTrees 6.5, Python 3.11.
#
# Output:
# PersistentMapping: 100 pops of nothing: 100 transactions stored; two at once: ConflictError
# OOBTree: 100 pops of nothing: 0 transactions stored; two at once: ok
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'END'
import transaction
import ZODB
from BTrees.OOBTree import OOBTree
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping
from ZODB.POSException import ConflictError

for session_class in PersistentMapping, OOBTree:
    db = ZODB.DB(None)
    with db.transaction() as connection:
        connection.root.session = session_class(user="me")
    managers = [transaction.TransactionManager() for _ in range(2)]
    sessions = [db.open(manager).root.session for manager in managers]
    transactions = len(list(db.storage.iterator()))
    for _ in range(100):
        sessions[0].pop("message", None)
        managers[0].commit()
    stored = len(list(db.storage.iterator())) - transactions
    for manager, session in zip(managers, sessions):
        manager.begin()
        assert session.pop("message", None) is None
    managers[0].commit()
    try:
        managers[1].commit()
        both = "ok"
    except ConflictError as error:
        both = type(error).__name__
    name = session_class.__name__
    print(f"{name}: 100 pops of nothing: {stored} transactions stored; two at once: {both}")
    assert (stored, both) == ((100, "ConflictError") if session_class is PersistentMapping else (0, "ok"))

with db.transaction() as connection:
    connection.root.others = others = [PersistentMapping(), PersistentList(), PersistentMapping()]
with db.transaction() as connection:
    others = connection.root.others
    others[0].update()
    others[1].extend([])
    others[2].clear()
    assert [other._p_changed for other in others] == [True, True, False]
END
