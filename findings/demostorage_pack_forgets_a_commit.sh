#!/usr/bin/env bash
# A DemoStorage whose pack fails has lost a committed change.
#
# Expected: a pack of a DemoStorage over a base either works or changes nothing; what was
# committed stays readable whatever becomes of the pack.
# Seen: with changes in memory (the default) pack collects garbage in the changes alone, as if
# there were no base. It follows the root's references to an object that only the base has,
# raises a plain KeyError, and by then has taken the root's record out of the changes: every
# connection now reads the base's old root. The change of the deeper object is still there, so
# half of one transaction is gone. There is no error for the next reader.
# Why it matters: test servers run over a DemoStorage, and a nightly pack job reaches them, too.
# Whoever writes a DemoStorage must pack its changes without garbage collection.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# committed: new 2
# pack: KeyError
# after the failed pack: old 2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'EOF'
import logging
import ZODB, transaction
from persistent.mapping import PersistentMapping
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage

logging.disable(logging.CRITICAL)  # DB.pack logs what it raises

db = ZODB.DB(FileStorage("base.fs"))
with db.transaction() as conn:
    conn.root.word = "old"
    conn.root.middle = PersistentMapping(leaf=PersistentMapping(value=1))
db.close()

db = ZODB.DB(DemoStorage(base=FileStorage("base.fs", read_only=True)))
with db.transaction() as conn:
    conn.root.word = "new"
    conn.root.middle["leaf"]["value"] = 2


def read():
    conn = db.open(transaction.TransactionManager())
    conn.cacheMinimize()
    try:
        return conn.root.word, conn.root.middle["leaf"]["value"]
    finally:
        conn.close()


before = read()
print("committed:", *before)
try:
    db.pack()
    outcome = "no error"
except Exception as error:
    outcome = type(error).__name__
print("pack:", outcome)
after = read()
print("after the failed pack:", *after)
assert (before, outcome, after) == (("new", 2), "KeyError", ("old", 2))
EOF
