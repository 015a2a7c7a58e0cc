#!/usr/bin/env bash
# The value of a cached_property gets into the database, and stays there when it is wrong.
#
# Expected: functools.cached_property on a persistent class keeps its value in the memory of one connection:
# reading it doesn't mark the object as changed, and each process computes it anew.
# Seen: the value is put into the object's __dict__, past ZODB. So it is not stored when it is computed, but with
# the next change of any other attribute. From then on each process loads it, and the property never computes
# again: the total of a cart with three lines is that of the two that it once had, after a restart as well.
# Why it matters: there is no error, and each process alone looks right; it depends on whether a page read the
# total before it wrote something else.
# Versions: persistent 6.9, ZODB 6.4, Python 3.11.
#
# Output:
# first reading: total 30, changed False
# in the database: lines, note, total
# after one more line and a restart: lines [10, 20, 30], total 30
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > shop.py <<'END'
from functools import cached_property

from persistent import Persistent


class Cart(Persistent):
    lines = ()

    @cached_property
    def total(self):
        return sum(self.lines)
END
cat > try.py <<'END'
import ZODB

import shop

db = ZODB.DB("Data.fs")
with db.transaction() as connection:
    cart = connection.root()["cart"] = shop.Cart()
    cart.lines = [10, 20]
with db.transaction() as connection:
    cart = connection.root()["cart"]
    first = cart.total, cart._p_changed
    print("first reading: total {}, changed {}".format(*first))
    cart.note = "gift"
db.close()
db = ZODB.DB("Data.fs")
with db.transaction() as connection:
    cart = connection.root()["cart"]
    cart._p_activate()
    stored = sorted(vars(cart))
    print("in the database:", ", ".join(stored))
    cart.lines = [10, 20, 30]
db.close()
db = ZODB.DB("Data.fs")
with db.transaction() as connection:
    cart = connection.root()["cart"]
    later = cart.lines, cart.total
    print("after one more line and a restart: lines {}, total {}".format(*later))
assert first == (30, False) and stored == ["lines", "note", "total"]
assert later == ([10, 20, 30], 30)
END
venv/bin/python try.py
