#!/usr/bin/env bash
# A dict or an Enum among the values of a BTree makes all concurrent changes around it conflicts.
#
# Expected: two transactions set two keys of one bucket, and the conflict is resolved; a third key, which nobody
# touches, has nothing to do with it. It needs no more of its value than that it is equal to itself after a load.
# Seen: with a dict there, also an empty one, or a member of an Enum, a complex number or a NaN, each such pair
# ends in a ConflictError. Resolution compares all values of the bucket, and the C code asks with `<` before it
# asks with `==`; what can't be ordered fails, and so does the resolution. In pure Python (PURE_PYTHON=1) only the
# NaN conflicts. Lists, sets and persistent mappings are fine.
# Why it matters: dicts as records in a BTree are common. All conflict errors of such a database look like the
# usual ones, only that there are many; and the 30 keys around one odd value are concerned, too.
# Versions: BTrees 6.5, ZODB 6.4 (FileStorage), Python 3.11.
#
# Output:
# C: int resolved, list resolved, set resolved, PersistentMapping resolved, dict ConflictError, Enum ConflictError, complex ConflictError, NaN ConflictError
# Python: int resolved, list resolved, set resolved, PersistentMapping resolved, dict resolved, Enum resolved, complex resolved, NaN ConflictError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > colours.py <<'END'
from enum import Enum


class Colour(Enum):
    RED = 1
END
cat > try.py <<'END'
import os

import transaction
import ZODB
from BTrees.OOBTree import OOBTree
from persistent.mapping import PersistentMapping
from ZODB.POSException import ConflictError

from colours import Colour

where = "Python" if os.environ.get("PURE_PYTHON") else "C"
VALUES = {"int": 1, "list": [{}], "set": {1}, "PersistentMapping": PersistentMapping(),
          "dict": {}, "Enum": Colour.RED, "complex": 1j, "NaN": float("nan")}


def outcome(name):
    db = ZODB.DB(f"{where}-{name}.fs")
    with db.transaction() as connection:
        connection.root()["tree"] = OOBTree({"a": 1, "b": 1, "untouched": VALUES[name]})
    managers = [transaction.TransactionManager() for _ in range(2)]
    trees = [db.open(manager).root()["tree"] for manager in managers]
    trees[0]["a"] = 2
    trees[1]["b"] = 2
    managers[0].commit()
    try:
        managers[1].commit()
        return "resolved"
    except ConflictError as error:
        return type(error).__name__


found = {name: outcome(name) for name in VALUES}
print(where + ":", ", ".join(f"{name} {result}" for name, result in found.items()))
conflicts = [name for name, result in found.items() if result == "ConflictError"]
assert conflicts == (["NaN"] if where == "Python" else ["dict", "Enum", "complex", "NaN"])
END
venv/bin/python try.py
PURE_PYTHON=1 venv/bin/python try.py
