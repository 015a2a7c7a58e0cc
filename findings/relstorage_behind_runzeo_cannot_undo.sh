#!/usr/bin/env bash
# db.undo() on a RelStorage that Python's runzeo serves is a TypeError.
#
# Expected: the RelStorage keeps history, `supportsUndo()` is true at the client, and undoLog() lists the
# transactions: so one of them can be undone, as without ZEO.
# Seen: RelStorage's undo() returns None where ZODB's return a tid and oids, which ZEO's server unpacks. The commit of
# the undo raises `TypeError: cannot unpack non-iterable NoneType object`, each time. Nothing is changed.
# Why it matters: the "Undo" tab of a site behind ZEO does not work, although all that an application can ask says
# that it does.
# Versions: RelStorage 4.3.0 (sqlite3; PostgreSQL as well), ZEO 6.2, ZODB 6.4, Python 3.11.
#
# Output:
# through ZEO: supportsUndo True, 2 entries in the log, undo: TypeError, value 2
# by RelStorage itself: undo: no error, value 1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'RelStorage[sqlite3]==4.3.0' ZEO==6.2 ZODB==6.4
venv/bin/python -W ignore - <<'EOF'
import logging
import socket
import subprocess

import transaction
import ZEO
import ZODB.config

RELSTORAGE = """
<relstorage>
  keep-history true
  <sqlite3>
    data-dir data
  </sqlite3>
</relstorage>
"""
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = free.getsockname()
with open("zeo.conf", "w") as conf:
    conf.write(f"%import relstorage\n<zeo>\n  address 127.0.0.1:{address[1]}\n</zeo>{RELSTORAGE}")
logging.disable()


def relstorage():
    return ZODB.config.databaseFromString(f"%import relstorage\n<zodb>{RELSTORAGE}</zodb>")


def undo_last(db):
    """The outcome, and the value then."""
    db.undo(db.undoLog(0, 1)[0]["id"])
    try:
        transaction.commit()
        outcome = "no error"
    except Exception as error:
        transaction.abort()
        outcome = type(error).__name__
    with db.transaction() as connection:
        return outcome, connection.root()["value"]


db = relstorage()
for value in 1, 2:
    with db.transaction() as connection:
        connection.root()["value"] = value
db.close()
server = subprocess.Popen(["venv/bin/runzeo", "-C", "zeo.conf"], stderr=subprocess.DEVNULL)
db = ZEO.DB(address, wait_timeout=60)
supports, entries = db.supportsUndo(), len(db.undoLog(0, 2))
through = undo_last(db)
db.close()
server.terminate()
server.wait()
print(f"through ZEO: supportsUndo {supports}, {entries} entries in the log, undo: {through[0]}, value {through[1]}")
db = relstorage()
itself = undo_last(db)
db.close()
print(f"by RelStorage itself: undo: {itself[0]}, value {itself[1]}")
assert (supports, through, itself) == (True, ("TypeError", 2), ("no error", 1))
EOF
