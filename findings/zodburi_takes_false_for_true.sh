#!/usr/bin/env bash
# zodburi's demostorage does the reverse of what the address says.
#
# Expected: file:///Data.fs?demostorage=false is the file itself, as `read_only=false` is;
# file:///Data.fs?demostorage, as well as ?demostorage=true, puts a DemoStorage before it, so that nothing is
# written to the file.
# Seen: with =false all commits go to a DemoStorage in memory, and are gone when the process ends. With
# ?demostorage alone they go into the file. Only the presence of the argument counts, and one without a value is
# dropped when the address is taken apart.
# Why it matters: the first loses what a server has stored since its start; the second writes a trial run into the
# real database. Neither says so. The argument is deprecated in favour of demo:, which is told by a warning that
# Python doesn't show by default.
# Versions: zodburi 3.0.0, ZODB 6.4, Python 3.11.
#
# Output:
# no argument: the file has 1
# ?demostorage=true: the file has nothing
# ?demostorage=false: the file has nothing
# ?demostorage: the file has 1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 zodburi==3.0.0
cat > try.py <<'END'
import os

import ZODB
import zodburi

seen = []
for number, query in enumerate(("", "?demostorage=true", "?demostorage=false", "?demostorage")):
    path = os.path.abspath(f"{number}.fs")
    ZODB.DB(path).close()
    factory, arguments = zodburi.resolve_uri(f"file://{path}{query}")
    db = ZODB.DB(factory(), **arguments)
    with db.transaction() as connection:
        connection.root()["value"] = 1
    db.close()
    db = ZODB.DB(path)
    with db.transaction() as connection:
        seen.append(connection.root().get("value", "nothing"))
    db.close()
    print(f"{query or 'no argument'}: the file has {seen[-1]}")
assert seen == [1, "nothing", "nothing", 1]
END
venv/bin/python try.py
