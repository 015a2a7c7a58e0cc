#!/usr/bin/env bash
# RelStorage's undo resolves no conflicts.
#
# Expected: a transaction that added a key to a BTree can be undone after others have added other keys, as with a
# FileStorage (and as DB.undo's documentation says: "or if any modifications can be resolved by conflict resolution").
# The commits of a RelStorage do resolve such conflicts.
# Seen: UndoError "Some data were modified by a later transaction". A FileStorage takes the key out and leaves the
# others; so it does with a change of a Length.
# Why it matters: catalogs and folders are BTrees, whose objects change in every second transaction: after a move
# from FileStorage to RelStorage hardly anything but the very last transaction can be undone.
# Versions: RelStorage 4.3.0 (sqlite3; the same with PostgreSQL 16.2), ZODB 6.4, BTrees 6.5, Python 3.11.
#
# Output:
# FileStorage: two commits at once keep 0, a, b; undo of a leaves 0, b
# RelStorage: two commits at once keep 0, a, b; undo of a: UndoError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check BTrees==6.5 'RelStorage[sqlite3]==4.3.0' ZODB==6.4
venv/bin/python -W ignore - <<'END'
import logging

import transaction
import ZODB.config
from BTrees.OOBTree import OOBTree
from ZODB.POSException import UndoError

FILESTORAGE = "<filestorage>\npath Data.fs\n</filestorage>"
RELSTORAGE = "<relstorage>\nkeep-history true\n<sqlite3>\ndata-dir data\n</sqlite3>\n</relstorage>"
logging.disable()


def tried(storage):
    db = ZODB.config.databaseFromString(f"%import relstorage\n<zodb>\n{storage}\n</zodb>")
    with db.transaction() as connection:
        connection.root()["tree"] = OOBTree({"0": True})
    managers = [transaction.TransactionManager(), transaction.TransactionManager()]
    trees = [db.open(manager).root()["tree"] for manager in managers]
    for tree, key in zip(trees, "ab"):
        tree[key] = True
    for manager, key in zip(managers, "ab"):
        manager.get().note(f"add {key}")
        manager.commit()
    managers[0].begin()
    kept = ", ".join(trees[0])
    (addition,) = [found["id"] for found in db.undoLog(0, 9) if found["description"] == "add a"]
    try:
        db.undo(addition)
        transaction.commit()
        managers[0].begin()
        return f"two commits at once keep {kept}; undo of a leaves {', '.join(trees[0])}"
    except UndoError as error:
        transaction.abort()
        assert "modified by a later transaction" in str(error)
        return f"two commits at once keep {kept}; undo of a: {type(error).__name__}"


seen = tried(FILESTORAGE), tried(RELSTORAGE)
print("FileStorage:", seen[0])
print("RelStorage:", seen[1])
assert seen[0] == "two commits at once keep 0, a, b; undo of a leaves 0, b"
assert seen[1] == "two commits at once keep 0, a, b; undo of a: UndoError"
END
