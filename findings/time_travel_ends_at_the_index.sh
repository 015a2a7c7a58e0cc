#!/usr/bin/env bash
# FileStorage's time travel shows the present if there is an index file.
#
# Expected: FileStorage(path, read_only=True, stop=tid) shows the database as it was before that transaction
# ("Time-travel transaction id").
# Seen: without Data.fs.index it does; with it, `stop` has no effect, and all is as of today: the index is loaded,
# which is of the whole file, and nothing behind it is left to stop at. So it depends on whether the database was
# ever closed properly. Even where time travel works, iterator() goes on to the end of the file.
# Why it matters: who looks up what was there before an accident, or copies it out, gets today's data without a
# warning. DB.open(before=tid) gives the right ones.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# stop at the third of 4 changes, with index: value 4
# stop at the third of 4 changes, without index: value 2, iterator to 4
# DB.open(before): value 2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > try.py <<'END'
import logging
import os

import ZODB
from ZODB.FileStorage import FileStorage

logging.disable(logging.CRITICAL)
db = ZODB.DB("Data.fs")
tids = {}
for number in range(1, 5):
    with db.transaction() as connection:
        connection.root()["value"] = number
    tids[db.lastTransaction()] = number
db.close()
third = list(tids)[2]


def travelled():
    storage = FileStorage("Data.fs", read_only=True, stop=third)
    last = [tids[transaction.tid] for transaction in storage.iterator() if transaction.tid in tids][-1]
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        seen = connection.root()["value"], last
    db.close()
    return seen


indexed = travelled()
print("stop at the third of 4 changes, with index: value {}".format(*indexed))
os.remove("Data.fs.index")
scanned = travelled()
print("stop at the third of 4 changes, without index: value {}, iterator to {}".format(*scanned))
db = ZODB.DB("Data.fs")
opened = db.open(before=third).root()["value"]
print("DB.open(before): value", opened)
assert (indexed, scanned, opened) == ((4, 4), (2, 4), 2)
END
venv/bin/python try.py
