#!/usr/bin/env bash
# copy.copy of a PersistentMapping or PersistentList is a KeyError if it has not been looked at before.
#
# Expected: copy.copy loads the object if it has to, as len(), copy.deepcopy, .copy() and [:] do, and as copy.copy
# itself does for an OOBTree or another persistent class.
# Seen: both classes copy their __dict__, and the __dict__ of an object that is not loaded is empty, without being
# loaded: KeyError: 'data'.
# Why it matters: whether it works depends on what the cache of the connection holds: in tests it always does,
# and in production not after a restart, a sweep of the cache, or another client's change of the object.
# Versions: persistent 6.9, ZODB 6.4, Python 3.11.
#
# Output:
# PersistentMapping: copy.copy KeyError('data'), after len() ok; copy.deepcopy ok; .copy() ok
# PersistentList: copy.copy KeyError('data'), after len() ok; copy.deepcopy ok; .copy() ok
# OOBTree: copy.copy ok, after len() ok; copy.deepcopy ok
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'END'
import copy

import ZODB
from BTrees.OOBTree import OOBTree
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping

db = ZODB.DB(None)


def outcome(name, function, look=False):
    "What the function does with the object in a new connection."
    with db.transaction() as connection:
        connection.cacheMinimize()
        stored = connection.root()[name]
        if look:
            len(stored)
        try:
            function(stored)
        except KeyError as error:
            return repr(error)
        return "ok"


for made in PersistentMapping(a=1), PersistentList([1]), OOBTree({"a": 1}):
    name = type(made).__name__
    with db.transaction() as connection:
        connection.root()[name] = made
    first = outcome(name, copy.copy)
    seen = f"copy.copy {first}, after len() {outcome(name, copy.copy, look=True)}"
    seen += f"; copy.deepcopy {outcome(name, copy.deepcopy)}"
    if not isinstance(made, OOBTree):
        seen += f"; .copy() {outcome(name, lambda stored: stored.copy())}"
    print(f"{name}: {seen}")
    assert seen.count("ok") == 3, seen
    assert (first == "KeyError('data')") == (name != "OOBTree")
END
