#!/usr/bin/env bash
# A transaction that calls readCurrent on an object which it has not loaded yet fails at every retry.
#
# Expected: readCurrent(b) protects b as it is in this transaction; after a ReadConflictError, a new
# transaction begins from the newest state and commits.
# Seen: when another connection has changed b, b becomes a ghost, but keeps the serial of the state that it
# had. readCurrent notes that serial without loading b, so each attempt checks it against the same old one,
# however often it is tried and although nobody changes b any more. Reading any attribute of b first helps.
# Why it matters: a retry loop, as Zope's, gives up on a request that nothing stands in the way of.
# Versions: ZODB 6.4, persistent 6.9, Python 3.11; any storage.
#
# Output:
# without reading: ['ReadConflictError', 'ReadConflictError', 'ReadConflictError']
# after reading: ['committed']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > try.py <<'END'
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.POSException import ReadConflictError

db = ZODB.DB("Data.fs")
with db.transaction() as connection:
    for name in "ab":
        connection.root()[name] = PersistentMapping(n=0)
manager = transaction.TransactionManager()
mine = db.open(manager)
a, b = (mine.root()[name] for name in "ab")
assert a["n"] == b["n"] == 0
with db.transaction() as connection:
    connection.root()["b"]["n"] = 1


def attempts(prepare):
    outcomes = []
    for _ in range(3):
        manager.begin()
        prepare()
        a["n"] += 1
        mine.readCurrent(b)
        try:
            manager.commit()
            return outcomes + ["committed"]
        except ReadConflictError as error:
            manager.abort()
            outcomes.append(type(error).__name__)
    return outcomes


without = attempts(lambda: None)
print("without reading:", without)
after = attempts(lambda: b["n"])
print("after reading:", after)
assert without == ["ReadConflictError"] * 3
assert after == ["committed"]
END
venv/bin/python try.py
