#!/usr/bin/env bash
# OOBTree(a=1) is an empty tree.
#
# Expected: like dict(a=1) and PersistentMapping(a=1), a tree with one key; or else a TypeError,
# which is what the Python implementation of the same class gives.
# Seen: the C implementation, the one in use on CPython, takes any keyword arguments and
# drops them without a word; the same for buckets, sets and tree sets.
# Why it matters: a PersistentMapping that outgrew itself is commonly replaced by an OOBTree in
# place, and the data that its constructor was given never get to the server. Code that
# was tested with PURE_PYTHON=1 or PyPy fails there, and loses data on CPython.
# Versions: BTrees 6.5 (C and Python implementation), persistent 6.9, Python 3.11.
#
# Output:
# PersistentMapping {'a': 1}
# OOBTree {}
# OOBucket {}
# OOTreeSet []
# OOSet []
# OOBTreePy TypeError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'EOF'
from BTrees.OOBTree import OOBTree, OOBTreePy, OOBucket, OOSet, OOTreeSet
from persistent.mapping import PersistentMapping

assert OOBTree is not OOBTreePy, "the C implementation is missing"
seen = [dict(PersistentMapping(a=1)), dict(OOBTree(a=1)), dict(OOBucket(a=1)),
        list(OOTreeSet(a=1)), list(OOSet(a=1))]
for name, value in zip(("PersistentMapping", "OOBTree", "OOBucket", "OOTreeSet", "OOSet"), seen):
    print(name, value)
try:
    outcome = OOBTreePy(a=1)
except TypeError:
    outcome = "TypeError"
print("OOBTreePy", outcome)
assert seen == [{"a": 1}, {}, {}, [], []] and outcome == "TypeError"
EOF
