#!/usr/bin/env bash
# A commit while the clock is wrong, and no pack removes anything until that time has come.
#
# Expected: db.pack() (and zeopack, zodbpack) removes old revisions up to now. After a machine started with a clock
# that was ten years ahead, and the clock was set right, all is as before.
# Seen: each transaction id is later than the one before, so that all that follows is "committed" in ten years, a
# tiny step after the other. A pack keeps what is later than its time: that is everything, for ten years. It ends
# without an error or a warning, with exit code 0. Only `pack(t)` with a time behind that point helps.
# Why it matters: one commit is enough. The packs go on every night, and the file only grows.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# clock right: 50 changes and a pack, 51 transactions before, 1 after
# one commit with a clock that is ten years ahead, then 50 changes and a pack: 52 transactions before, 52 after
# pack(time in eleven years): 1 transaction
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'END'
import logging
import time
from unittest.mock import patch

import ZODB

logging.disable()
YEAR = 365 * 86400
now = time.time


def change(db, value):
    with db.transaction() as connection:
        connection.root()["value"] = value


def transactions(db):
    return sum(1 for _ in db.storage.iterator())


def changes_and_pack(db):
    for number in range(50):
        change(db, number)
    before = transactions(db)
    db.pack()
    return before, transactions(db)


db = ZODB.DB("right.fs")
right = changes_and_pack(db)
print("clock right: 50 changes and a pack, {} transactions before, {} after".format(*right))
db.close()
db = ZODB.DB("wrong.fs")
with patch("time.time", lambda: now() + 10 * YEAR):
    change(db, "ten years ahead")
wrong = changes_and_pack(db)
print("one commit with a clock that is ten years ahead, then 50 changes and a pack: "
      "{} transactions before, {} after".format(*wrong))
db.pack(now() + 11 * YEAR)
late = transactions(db)
print(f"pack(time in eleven years): {late} transaction")
assert (right, wrong, late) == ((51, 1), (52, 52), 1)
END
