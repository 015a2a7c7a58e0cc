#!/usr/bin/env bash
# One class with __getnewargs__, and multi-zodb-gc and multi-zodb-check-refs stop at every reference to it.
#
# Expected: a persistent class may have __getnewargs__ (ZODB's serialization documents what is stored then: the
# reference is the bare oid), and tools that follow references follow these, as pack, fsrefs and fsoids do.
# Seen: zc.zodbdgc's tools end with an AssertionError without a text. They take a bare oid for one if it is a `str`,
# which it was in Python 2. zodbupdate, where such a reference leads into another database, writes it back in a
# form that can't be loaded (it makes `m`, with a class, of `n`, without one), and ends with 0.
# Why it matters: databases that refer to each other must not be packed with garbage collection, so that zc.zodbdgc
# is the only way to remove garbage; and after zodbupdate the referring object is lost.
# Versions: zc.zodbdgc 1.1.0, zodbupdate 3.0, ZODB 6.4, Python 3.11.
#
# Output:
# fsrefs: exit code 0
# multi-zodb-check-refs: exit code 1, AssertionError
# multi-zodb-gc: exit code 1, AssertionError
# reference into another database: 'key'
# zodbupdate: exit code 0
# reference into another database: StateLoadError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    zc.zodbdgc==1.1.0 zodbupdate==3.0 ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 \
    zc.lockfile==4.0 ZConfig==4.3 zope.interface==8.7
cat > things.py <<'END'
from persistent import Persistent


class Thing(Persistent):
    def __new__(cls, key):
        self = super().__new__(cls)
        self.key = key
        return self

    def __getnewargs__(self):
        return (self.key,)
END
cat > try.py <<'END'
import logging
import os
import subprocess

import ZODB.config
from things import Thing

logging.disable()
environment = {**os.environ, "PYTHONPATH": "."}
CONFIG = "".join(f"<zodb {name}>\n<filestorage>\npath {name}.fs\n</filestorage>\n</zodb>\n" for name in ("one", "two"))
with open("zodb.conf", "w") as conf:
    conf.write(CONFIG)


def run(tool, *arguments):
    done = subprocess.run([f"venv/bin/{tool}", *arguments], env=environment, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    error = f", {lines[-1]}" if done.returncode else ""
    print(f"{tool}: exit code {done.returncode}{error}")
    return done.returncode, error


def with_root(function):
    db = ZODB.config.databaseFromString(CONFIG)
    try:
        with db.transaction() as connection:
            return function(connection.root(), connection.get_connection("two").root())
    finally:
        for database in db.databases.values():
            database.close()


def reference():
    try:
        found = repr(with_root(lambda one, two: one["thing"].key))
    except Exception as error:
        found = type(error).__name__
    print("reference into another database:", found)
    return found


with_root(lambda one, two: two.update(thing=Thing("key")))
with_root(lambda one, two: one.update(thing=two["thing"]))
assert run("fsrefs", "two.fs") == (0, "")
assert run("multi-zodb-check-refs", "zodb.conf") == (1, ", AssertionError")
assert run("multi-zodb-gc", "zodb.conf") == (1, ", AssertionError")
assert reference() == "'key'"
assert run("zodbupdate", "--convert-py3", "-f", "one.fs") == (0, "")
assert reference() == "StateLoadError"
END
venv/bin/python try.py
