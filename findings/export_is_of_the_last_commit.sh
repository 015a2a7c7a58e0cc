#!/usr/bin/env bash
# exportFile copies an object as it was before the transaction.
#
# Expected: within one connection, exportFile(oid) and importFile make a copy of the object as this connection
# shows it, as copy.deepcopy does, and as connection.get(oid) returns it.
# Seen: the copy has the committed state, of the object and of all that belongs to it; what this transaction has
# changed is left out without a word. Of an object that is new in this transaction, an empty export is written,
# and its import is None. After transaction.savepoint(), the same call copies the new state.
# Why it matters: "save and duplicate" in one request duplicates what was there before the saving. Whether it
# does, depends on code elsewhere that makes a savepoint or not.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# the connection: title new, chapter 2
# copy: title old, chapter 1
# copy of a new object: None
# copy after a savepoint: title new, chapter 2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > try.py <<'END'
import io

import transaction
import ZODB
from persistent.mapping import PersistentMapping

db = ZODB.DB("Data.fs")
connection = db.open()
root = connection.root()
root["book"] = PersistentMapping(title="old", part=PersistentMapping(chapter=1))
transaction.commit()


def copied(value):
    exported = io.BytesIO()
    connection.exportFile(value._p_oid, exported)
    exported.seek(0)
    copy = connection.importFile(exported)
    return copy and state(copy)


def state(book):
    return book["title"], book["part"]["chapter"]


book = root["book"]
book["title"] = "new"
book["part"]["chapter"] = 2
seen = [state(connection.get(book._p_oid)), copied(book)]
print("the connection: title {}, chapter {}".format(*seen[0]))
print("copy: title {}, chapter {}".format(*seen[1]))
new = root["new"] = PersistentMapping(title="x", part=PersistentMapping(chapter=0))
connection.add(new)
unsaved = copied(new)
print("copy of a new object:", unsaved)
transaction.savepoint()
seen.append(copied(book))
print("copy after a savepoint: title {}, chapter {}".format(*seen[2]))
assert seen == [("new", 2), ("old", 1), ("new", 2)] and unsaved is None
END
venv/bin/python try.py
