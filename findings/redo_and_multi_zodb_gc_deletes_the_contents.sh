#!/usr/bin/env bash
# multi-zodb-gc deletes living objects below one whose creation was undone and redone.
#
# Expected: multi-zodb-gc (zc.zodbdgc) deletes what can't be reached from a root.
# Seen: it goes through all transactions, and takes an object that has a record without data for deleted from then
# on. An undo of its creation writes such a record; the undo of that undo brings the object back, but its records are
# skipped: what they refer to counts as unreachable, and is deleted. The object itself stays. Exit code 0. If it
# happened within the days that are kept (--days, default 1), it ends with AssertionError "Non-deleted record after
# deleted" instead. A pack before, up to behind the undo, prevents both.
# Why it matters: undo and redo are two clicks. What was put into the folder since is gone, and as other databases
# may refer to it, multi-zodb-gc is the only garbage collection that such sites have.
# Versions: zc.zodbdgc 1.1.0, ZODB 6.4, Python 3.11.
#
# Output:
# ten days ago: folder created, page put into it; today: multi-zodb-gc exit code 0, page 'text'
# ten days ago: folder created, undone, redone, page put into it; today: multi-zodb-gc exit code 0, page POSKeyError
# the same today: multi-zodb-gc exit code 1, page 'text'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    zc.zodbdgc==1.1.0 ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'END'
import logging
import subprocess
import time
from unittest.mock import patch

import transaction
import ZODB.config
from persistent.mapping import PersistentMapping
from ZODB.POSException import POSKeyError

logging.disable()
now = time.time


def tried(title, name, days, undo):
    config = f"<zodb main>\n<filestorage>\npath {name}.fs\npack-gc false\n</filestorage>\n</zodb>\n"
    with open("zodb.conf", "w") as conf:
        conf.write(config)
    with patch("time.time", lambda: now() - days * 86400):
        db = ZODB.config.databaseFromString(config)
        connection = db.open()
        root = connection.root()
        root["folder"] = PersistentMapping()
        transaction.commit()
        for _ in range(2 if undo else 0):
            db.undo(db.undoLog(0, 1)[0]["id"])
            transaction.commit()
        root["folder"]["page"] = PersistentMapping(text="text")
        transaction.commit()
        db.close()
    code = subprocess.run(["venv/bin/multi-zodb-gc", "zodb.conf"], stderr=subprocess.DEVNULL).returncode
    db = ZODB.config.databaseFromString(config)
    with db.transaction() as connection:
        try:
            page = repr(connection.root()["folder"]["page"]["text"])
        except POSKeyError as error:
            page = type(error).__name__
    db.close()
    print(f"{title}: multi-zodb-gc exit code {code}, page {page}")
    return code, page


assert tried("ten days ago: folder created, page put into it; today", "plain", 10, False) == (0, "'text'")
undone = "ten days ago: folder created, undone, redone, page put into it; today"
assert tried(undone, "undone", 10, True) == (0, "POSKeyError")
assert tried("the same today", "today", 0, True) == (1, "'text'")
END
