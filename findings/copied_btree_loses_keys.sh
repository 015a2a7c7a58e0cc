#!/usr/bin/env bash
# copy.copy of a BTree of more than 30 keys makes the original lose keys.
#
# Expected: a copy with the same keys and values that can be changed on its own, as of a dict, a
# PersistentMapping, and of a BTree of up to 30 keys.
# Seen: from 31 keys on, the copy has the buckets of the original. A value set in the copy is set in the original,
# and when new keys in the copy split a bucket, the original doesn't learn of the new one: the keys that moved
# there are lost to it. It is committed without an error; from then on its len() counts the copy's keys, too, and
# _check() says that it is damaged.
# Why it matters: it works in each test with a few keys, and `other.tree = copy.copy(self.tree)` looks careful.
# Versions: BTrees 6.5, ZODB 6.4, Python 3.11.
#
# Output:
# 30 keys: original['a00'] is 1, finds 30 of its keys
# 100 keys: original['a00'] is 'changed', finds 90 of its keys
# read from the database: finds 90 of its keys, len 200, Bucket next pointer is damaged
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > try.py <<'END'
import copy

import ZODB
from BTrees.OOBTree import OOBTree

found = {}
for size in 30, 100:
    own = [f"a{number:02}" for number in range(size)]
    original = OOBTree([(key, 1) for key in own])
    other = copy.copy(original)
    other["a00"] = "changed"
    for number in range(100):
        other[f"b{number:02}"] = 2
    found[size] = value, count = original["a00"], sum(key in original for key in own)
    print(f"{size} keys: original['a00'] is {value!r}, finds {count} of its keys")
db = ZODB.DB("Data.fs")
with db.transaction() as connection:
    connection.root().update(original=original, copy=other)
db.close()
db = ZODB.DB("Data.fs")
with db.transaction() as connection:
    original = connection.root()["original"]
    later = sum(key in original for key in own), len(original)
    try:
        original._check()
        complaint = "sound"
    except AssertionError as error:
        complaint = str(error)
print("read from the database: finds {} of its keys, len {}, {}".format(*later, complaint))
assert found == {30: (1, 30), 100: ("changed", 90)}, found
assert later == (90, 200) and complaint == "Bucket next pointer is damaged"
END
venv/bin/python try.py
