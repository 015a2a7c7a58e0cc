#!/usr/bin/env bash
# What is set in a committed PersistentWeakKeyDictionary is lost.
#
# Expected: setting and deleting keys marks the dictionary as changed, as with a PersistentMapping, and the next
# commit stores it.
# Seen: neither setting nor deleting a key, nor update(), marks it. The connection shows the changes until the
# object leaves its cache; no commit ever writes them, unless somebody sets _p_changed. Only what was in the
# dictionary when it was created is stored, so that a test that fills and commits it in one go passes.
# Why it matters: no error, and the process that wrote the entry sees it for hours.
# Versions: persistent 6.9, ZODB 6.4, Python 3.11; pure Python does the same.
#
# Output:
# C: by the writer after its commit: second; in the database: first
# Python: by the writer after its commit: second; in the database: first
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > try.py <<'END'
import os

import transaction
import ZODB
from persistent import Persistent
from persistent.wref import PersistentWeakKeyDictionary


class Page(Persistent):
    def __init__(self, name):
        self.name = name


def names(connection):
    return " ".join(page.name for page in connection.root()["notes"])


db = ZODB.DB(None)
writer = db.open()
root = writer.root()
root["pages"] = pages = [Page("first"), Page("second")]
root["notes"] = notes = PersistentWeakKeyDictionary()
notes[pages[0]] = "old"
transaction.commit()
notes[pages[1]] = "new"
del notes[pages[0]]
transaction.commit()
seen = names(writer)
with db.transaction() as reader:
    stored = names(reader)
where = "Python" if os.environ.get("PURE_PYTHON") else "C"
print(f"{where}: by the writer after its commit: {seen}; in the database: {stored}")
assert (seen, stored) == ("second", "first")
END
venv/bin/python try.py
PURE_PYTHON=1 venv/bin/python try.py
