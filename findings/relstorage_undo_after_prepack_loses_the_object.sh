#!/usr/bin/env bash
# An undo between the two steps of zodbpack deletes the object that it brought back.
#
# Expected: `zodbpack --prepack` finds what can go, and `zodbpack --use-prepack-state` removes it, of that what still
# can go. The first takes long and may run at any time; it says nothing of a database that must not change.
# Seen: what the first step found is removed, whatever has happened since. A document is deleted, the prepack runs,
# the editor undoes the deletion and sees the document again; after the second step it is a POSKeyError.
# Both steps end with 0, and --check-refs-only is what tells, afterwards.
# Why it matters: undo of a deletion is what undo is used for, and the object is gone for good.
# Versions: RelStorage 4.3.0 (sqlite3), ZODB 6.4, Python 3.11.
#
# Output:
# after prepack and undo: {'text': 'Hello'}
# after the pack: POSKeyError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'RelStorage[sqlite3]==4.3.0' ZODB==6.4
venv/bin/python -W ignore - <<'END'
import logging
import subprocess

import transaction
import ZODB.config
from persistent.mapping import PersistentMapping
from ZODB.POSException import POSKeyError

RELSTORAGE = """
<relstorage>
  keep-history true
  <sqlite3>
    data-dir data
  </sqlite3>
</relstorage>
"""
logging.disable()
with open("pack.conf", "w") as conf:
    conf.write(RELSTORAGE)


def zodbpack(option):
    subprocess.run(["venv/bin/zodbpack", "--days", "0", option, "pack.conf"], check=True,
                   stderr=subprocess.DEVNULL)


def document():
    db = ZODB.config.databaseFromString(f"%import relstorage\n<zodb>{RELSTORAGE}</zodb>")
    try:
        with db.transaction() as connection:
            return str(connection.root()["document"])
    except POSKeyError as error:
        return type(error).__name__
    finally:
        db.close()


db = ZODB.config.databaseFromString(f"%import relstorage\n<zodb>{RELSTORAGE}</zodb>")
with db.transaction() as connection:
    connection.root()["document"] = PersistentMapping(text="Hello")
with db.transaction() as connection:
    del connection.root()["document"]
zodbpack("--prepack")
db.undo(db.undoLog(0, 1)[0]["id"])
transaction.commit()
db.close()
undone = document()
print("after prepack and undo:", undone)
zodbpack("--use-prepack-state")
packed = document()
print("after the pack:", packed)
assert (undone, packed) == ("{'text': 'Hello'}", "POSKeyError")
END
