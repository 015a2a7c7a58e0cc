#!/usr/bin/env bash
# undoInfo's specification, filled with what undoInfo returned, finds nothing.
#
# Expected: DB.undoInfo(specification={"description": d}) returns the transactions with the
# description d, for any d that undoInfo shows; ZopeUndo's Prefix finds all below a path.
# Seen: on a FileStorage, nothing is found. The filter sees the bytes of the file, the caller gets
# text, and bytes never equal text in Python 3. The same specification in bytes finds the transaction.
# With a Prefix, the class that exists for this argument, it is a TypeError.
# Why it matters: an undo form that searches by user or path shows an empty list, which looks like
# "nothing was changed", not like an error.
# Versions: ZODB 6.4, ZopeUndo 6.1, Python 3.11.
#
# Output:
# undoInfo shows '/site/front-page'
# found by text: 0
# found by bytes: 1
# found by Prefix: TypeError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 ZopeUndo==6.1
venv/bin/python - <<'EOF'
import transaction
import ZODB
from ZODB.FileStorage import FileStorage
from ZopeUndo.Prefix import Prefix

db = ZODB.DB(FileStorage("Data.fs"))
with db.transaction(note="/site/front-page") as connection:
    connection.root()["page"] = 1


def found(specification):
    try:
        return len(db.undoInfo(specification=specification))
    except TypeError as e:
        return type(e).__name__


shown = db.undoInfo()[0]["description"]
print("undoInfo shows", repr(shown))
seen = [found({"description": shown}), found({"description": shown.encode()}),
        found({"description": Prefix("/site")})]
for name, outcome in zip(("text", "bytes", "Prefix"), seen):
    print(f"found by {name}: {outcome}")
assert shown == "/site/front-page" and seen == [0, 1, "TypeError"]
EOF
