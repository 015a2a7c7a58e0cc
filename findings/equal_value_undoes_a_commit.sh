#!/usr/bin/env bash
# The commit of another key takes back a committed value of a BTree if old and new value are equal.
#
# Expected: two transactions set two keys of one bucket; the conflict is resolved, and both changes are there.
# That is so for each value, and whichever commits first.
# Seen: what a transaction has changed is found by comparing the values. One that was replaced by one that is
# equal, but not the same, counts as unchanged; then the state of the transaction that commits last is taken, and
# that still has the old value. Both commits succeed. In the other order nothing is lost.
# Why it matters: equal is not the same for decimals (1.0 and 1.00), moments in two time zones, True and 1, and
# for all classes whose __eq__ compares an id. A committed change vanishes without a word.
# Versions: BTrees 6.5, ZODB 6.4 (FileStorage), Python 3.11; the pure Python BTrees do the same.
#
# Output:
# C, key a first: Decimal('1.0') and 2
# C, key a last: Decimal('1.00') and 2
# Python, key a first: Decimal('1.0') and 2
# Python, key a last: Decimal('1.00') and 2
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
from decimal import Decimal

import transaction
import ZODB
from BTrees.OOBTree import OOBTree

where = "Python" if os.environ.get("PURE_PYTHON") else "C"
for order, indexes in ("first", (0, 1)), ("last", (1, 0)):
    db = ZODB.DB(f"{where}-{order}.fs")
    with db.transaction() as connection:
        connection.root()["tree"] = OOBTree({"a": Decimal("1.0"), "b": 1})
    managers = [transaction.TransactionManager() for _ in range(2)]
    trees = [db.open(manager).root()["tree"] for manager in managers]
    trees[0]["a"] = Decimal("1.00")
    trees[1]["b"] = 2
    for index in indexes:
        managers[index].commit()
    with db.transaction() as connection:
        a, b = (connection.root()["tree"][key] for key in "ab")
    print(f"{where}, key a {order}: {a!r} and {b}")
    assert (str(a), b) == ("1.0" if order == "first" else "1.00", 2)
END
venv/bin/python try.py
PURE_PYTHON=1 venv/bin/python try.py
