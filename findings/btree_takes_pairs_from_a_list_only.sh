#!/usr/bin/env bash
# A BTree can be made of a list of pairs, but not of the items of a dict, of zip(), or of a generator.
#
# Expected: OOBTree(pairs) and update(pairs) take any iterable of pairs, as dict and PersistentMapping do, and
# as BTrees' own implementation in Python does.
# Seen: AttributeError "object has no attribute 'items'" from the C implementation for everything that is
# neither a mapping nor a list or tuple: it asks for items() as soon as it meets no sequence.
# Why it matters: code that runs with PURE_PYTHON or PyPy, or that has used a dict, fails.
# Versions: BTrees 6.5, Python 3.11.
#
# Output:
# C: list: 2, dict items: AttributeError, zip: AttributeError, generator: AttributeError
# Python: list: 2, dict items: 2, zip: 2, generator: 2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    BTrees==6.5 persistent==6.9 cffi==2.1.1 zope.interface==8.7
cat > try.py <<'END'
from BTrees.OOBTree import OOBTree, OOBTreePy

PAIRS = {
    "list": lambda: [(1, 2), (3, 4)],
    "dict items": lambda: {1: 2, 3: 4}.items(),
    "zip": lambda: zip((1, 3), (2, 4)),
    "generator": lambda: ((n, n + 1) for n in (1, 3)),
}


def outcome(make, pairs):
    try:
        return len(make(pairs))
    except AttributeError as error:
        assert "has no attribute 'items'" in str(error)
        return type(error).__name__


found = {}
for name, make in ("C", OOBTree), ("Python", OOBTreePy):
    found[name] = [outcome(make, pairs()) for pairs in PAIRS.values()]
    print(f"{name}:", ", ".join(f"{kind}: {seen}" for kind, seen in zip(PAIRS, found[name])))
assert found["C"] == [2] + ["AttributeError"] * 3
assert found["Python"] == [2] * 4
END
venv/bin/python try.py
