#!/usr/bin/env bash
# `tree |= mapping` replaces a BTree by the set of its keys.
#
# Expected: as for dict and PersistentMapping, `a |= b` merges b's items into a, in place; or else
# a TypeError, since BTrees have an update method for that.
# Seen: no mapping BTree has an in-place operator, so `a |= b` is `a = a | b`, and `|` is the set
# operation on keys: an OOSet of all keys without any value. Assigned to an item of a persistent
# mapping, it is committed in place of the tree, and all values are gone from the database's graph; the
# next pack removes those that are objects. (TreeSets have `|=`, in place, as expected.)
# Versions: BTrees 6.5, persistent 6.9, ZODB 6.4, Python 3.11.
#
# Output:
# PersistentMapping {'a': 1, 'b': 2}
# OOBTree -> OOSet ['a', 'b']
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'EOF'
import transaction
import ZODB
from BTrees.OOBTree import OOBTree
from persistent.mapping import PersistentMapping

db = ZODB.DB(None)
with db.transaction() as connection:
    connection.root()["mapping"] = PersistentMapping(a=1)
    connection.root()["tree"] = OOBTree({"a": 1})
with db.transaction() as connection:
    root = connection.root()
    root["mapping"] |= {"b": 2}
    root["tree"] |= OOBTree({"b": 2})
with db.transaction() as connection:
    mapping, tree = connection.root()["mapping"], connection.root()["tree"]
    print("PersistentMapping", dict(mapping))
    print("OOBTree ->", type(tree).__name__, list(tree))
    assert dict(mapping) == {"a": 1, "b": 2}
    assert type(tree).__name__ == "OOSet" and list(tree) == ["a", "b"]
EOF
