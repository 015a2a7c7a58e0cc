#!/usr/bin/env bash
# FileStorage.copyTransactionsFrom can't copy a MappingStorage or a DemoStorage.
#
# Expected: both offer iterator() and declare IStorageIteration, and that is all that
# copyTransactionsFrom asks for: a database in memory can be saved into a file, and a
# DemoStorage's base and changes be made one file.
# Seen: AttributeError for `extension_bytes`, which the transactions of MappingStorage's iterator
# lack, at the first transaction from memory. What precedes it (the base of the DemoStorage)
# has been copied and stays, so the target looks like a sound database without the changes.
# Why it matters: a server that reads a storage by its iterator must not count on
# `extension_bytes`, even with ZODB's own storages; and half a copy is easily taken for a whole.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# MappingStorage: declares iteration True, AttributeError extension_bytes, copied 0 of 2
# DemoStorage: declares iteration True, AttributeError extension_bytes, copied 2 of 3
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'EOF'
import ZODB
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.interfaces import IStorageIteration
from ZODB.MappingStorage import MappingStorage


def commit(storage, number):
    with ZODB.DB(storage).transaction() as conn:
        conn.root.number = number


def copy(name, source):
    target = FileStorage(name + ".fs")
    try:
        target.copyTransactionsFrom(source)
        outcome = "no error"
    except AttributeError as error:
        outcome = f"AttributeError {error.name}"
    count = len(list(target.iterator()))
    declares = IStorageIteration.providedBy(source)
    total = len(list(source.iterator()))
    print(f"{name}: declares iteration {declares}, {outcome}, copied {count} of {total}")
    return declares, outcome, count, total


memory = MappingStorage()
commit(memory, 1)
base = FileStorage("base.fs")
commit(base, 1)
demo = DemoStorage(base=base)
commit(demo, 2)
seen = copy("MappingStorage", memory), copy("DemoStorage", demo)
wanted = True, "AttributeError extension_bytes"
assert seen == (wanted + (0, 2), wanted + (2, 3)), seen
EOF
