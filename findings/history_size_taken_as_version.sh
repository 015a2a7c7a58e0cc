#!/usr/bin/env bash
# DB.history(oid, size=9) gives one revision on RelStorage, and fails on zc.beforestorage.
#
# Expected: the newest nine revisions, or all if there are fewer, from every storage that keeps
# history, as from FileStorage.
# Seen: DB.history hands the size on by position. RelStorage and zc.beforestorage still have
# the parameter `version` in that place, which ZODB gave up long ago. RelStorage takes 9 for a
# version, ignores it, and answers one revision as if there were no more; zc.beforestorage
# ends in a bare AssertionError. By name both give all.
# Why it matters: pages of an object's history show one entry, with no sign of an error. A
# storage's history must take the size as its second argument.
# Versions: RelStorage 4.3.0 (sqlite3), zc.beforestorage 1.0, ZODB 6.4, Python 3.11.
#
# Output (six revisions were written):
# FileStorage: DB.history 6, by name 6
# zc.beforestorage: DB.history AssertionError, by name 6
# RelStorage: DB.history 1, by name 6
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 RelStorage==4.3.0 zc.beforestorage==1.0 \
    perfmetrics==4.3.0 ZEO==6.2
venv/bin/python - <<'EOF'
import logging
import ZODB
from relstorage.adapters.sqlite.adapter import Sqlite3Adapter
from relstorage.options import Options
from relstorage.storage import RelStorage
from zc.beforestorage import Before
from ZODB.FileStorage import FileStorage
from ZODB.utils import z64

logging.disable(logging.CRITICAL)


def fill(storage):
    db = ZODB.DB(storage)  # writes the first revision of the root
    for number in range(5):
        with db.transaction() as conn:
            conn.root.number = number
    return db


def ask(name, db):
    try:
        positional = len(db.history(z64, size=9))
    except Exception as error:
        positional = type(error).__name__
    by_name = len(db.storage.history(z64, size=9))
    print(f"{name}: DB.history {positional}, by name {by_name}")
    db.close()
    return positional, by_name


seen = [ask("FileStorage", fill(FileStorage("data.fs")))]
seen.append(ask("zc.beforestorage", ZODB.DB(Before(FileStorage("data.fs")))))
options = Options(keep_history=True)
adapter = Sqlite3Adapter("sqlite", {}, options=options)
seen.append(ask("RelStorage", fill(RelStorage(adapter, options=options))))
assert seen == [(6, 6), ("AssertionError", 6), (1, 6)], seen
EOF
