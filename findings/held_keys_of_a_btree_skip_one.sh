#!/usr/bin/env bash
# The keys() of a BTree, taken before an insert, list the new key and leave out an old one.
#
# Expected: tree.keys() is either a view, as of a dict, and lists what is there when it is read; or it lists what
# was there when it was taken.
# Seen: neither. It remembers the places of the first and the last key in their buckets. When a key has come in
# before them, the last one is not listed any more, and values("b", "c"), a range, gives the value of "a" and not
# that of "c". When a key has gone, len() still counts it, and list() does not. There is no error. In pure Python
# (PURE_PYTHON=1) it is a view.
# Why it matters: `keys = tree.keys()` at the top of a function, a setdefault, a loop: one key is left out, and
# only where both are in one bucket.
# Versions: BTrees 6.5, Python 3.11.
#
# Output:
# C: after an insert of a: keys a b, values of b to c: 1 2; after a delete of b: len 3, keys a c
# Python: after an insert of a: keys a b c, values of b to c: 2 3; after a delete of b: len 2, keys a c
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

from BTrees.OOBTree import OOBTree

where = "Python" if os.environ.get("PURE_PYTHON") else "C"
tree = OOBTree({"b": 2, "c": 3})
keys, values = tree.keys(), tree.values("b", "c")
tree["a"] = 1
seen = " ".join(keys), " ".join(map(str, values))
whole = tree.keys()
del tree["b"]
seen += len(whole), " ".join(whole)
print(where + ": after an insert of a: keys {}, values of b to c: {}; after a delete of b: len {}, keys {}".format(*seen))
assert " ".join(tree.keys()) == "a c"
assert seen == (("a b c", "2 3", 2, "a c") if where == "Python" else ("a b", "1 2", 3, "a c"))
END
venv/bin/python try.py
PURE_PYTHON=1 venv/bin/python try.py
