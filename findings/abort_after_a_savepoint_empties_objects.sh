#!/usr/bin/env bash
# After a savepoint, an abort empties new objects, and they can't be committed again.
#
# Expected: new objects that are not committed stay what they are in memory, and the next attempt can add them
# again. That is so without a savepoint.
# Seen: with a savepoint in between, of 1000 new objects the 600 last ones have no attributes any more. A
# savepoint stores the objects aside and then keeps only as many in memory as the connection's cache may have (400
# by default, DB(cache_size=...)). The abort throws away what was stored aside, and leaves objects without state
# and without connection; when they are added again, the commit fails with a POSKeyError. A new blob is empty in
# any case then.
# Why it matters: a savepoint is what a large import makes to save memory; and the code that builds objects once
# and tries the commit several times works in each test with fewer than 400 objects.
# Versions: ZODB 6.4, persistent 6.9, Python 3.11.
#
# Output:
# without a savepoint: after the abort 1000 of 1000 objects have a number; added again: committed
# with a savepoint: after the abort 400 of 1000 objects have a number; added again: POSKeyError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > numbers_.py <<'END'
from persistent import Persistent


class Number(Persistent):
    def __init__(self, n):
        self.n = n
END
cat > try.py <<'END'
import logging

import transaction
import ZODB
from ZODB.POSException import POSKeyError

from numbers_ import Number

logging.disable(logging.CRITICAL)
found = []
for how in "without", "with":
    db = ZODB.DB(f"{how}.fs")
    root = db.open().root()
    numbers = {str(n): Number(n) for n in range(1000)}
    root.update(numbers)
    if how == "with":
        transaction.savepoint()
    transaction.abort()
    kept = sum(hasattr(number, "n") for number in numbers.values())
    root.update(numbers)
    try:
        transaction.commit()
        again = "committed"
    except POSKeyError as error:
        again = type(error).__name__
        transaction.abort()
    print(f"{how} a savepoint: after the abort {kept} of 1000 objects have a number; added again: {again}")
    found.append((kept, again))
assert found == [(1000, "committed"), (400, "POSKeyError")]
END
venv/bin/python try.py
