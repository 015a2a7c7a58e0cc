#!/usr/bin/env bash
# A BTree is a Mapping for isinstance, but `match` never takes it for one.
#
# Expected: isinstance(tree, collections.abc.Mapping) is true, so `match tree: case {"type": "page"}` is tried as
# with a PersistentMapping or a dict.
# Seen: no mapping pattern ever matches, not even `case {}`; the statement falls through to the last case without
# an error. In pure Python (PURE_PYTHON=1) the same tree matches. Python looks at a flag of the type, which
# registering a class as a Mapping sets on classes written in Python only, not on those of an extension.
# Why it matters: `match` was tested with a dict or a PersistentMapping; for the BTree that took its place the
# default is taken.
# Versions: BTrees 6.5, Python 3.11.
#
# Output:
# PersistentMapping: a Mapping True, matches {"type": "page"}
# OOBTree: a Mapping True, matches nothing
# OOBTree in pure Python: a Mapping True, matches {"type": "page"}
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
from collections.abc import Mapping

from BTrees.OOBTree import OOBTree
from persistent.mapping import PersistentMapping


def matches(value):
    match value:
        case {"type": "page"}:
            return '{"type": "page"}'
        case {}:
            return "{}"
        case _:
            return "nothing"


pure = "PURE_PYTHON" in os.environ
for cls in [OOBTree] if pure else [PersistentMapping, OOBTree]:
    value = cls({"type": "page"})
    seen = isinstance(value, Mapping), matches(value)
    print(cls.__name__ + (" in pure Python" if pure else ""), ": a Mapping {}, matches {}".format(*seen), sep="")
    assert seen == (True, "nothing" if cls is OOBTree and not pure else '{"type": "page"}')
END
venv/bin/python try.py
PURE_PYTHON=1 venv/bin/python try.py
