#!/usr/bin/env bash
# ZEO: a pack removes the last transaction; after a restart of the server no client with a cache file is let in.
#
# Expected: a pack removes old revisions and garbage. The last tid of the database stays what it was, so clients that come
# back with their cache files find them up to date.
# Seen: if the last transaction has written nothing but garbage, its header goes, too. The server remembers the tid until
# it is restarted; then it takes the one before for the last one. Every client whose cache knows of the later
# one finds the server "out of sync", and tries again for ever, until somebody without such a cache commits.
# Why it matters: the database is sound. The message speaks of a cache that is to be removed by hand, as behind a backup
# that was restored.
# Versions: ZEO 6.2, ZODB 6.4 (FileStorage), Python 3.11.
#
# Output:
# packed: last transaction as before
# server restarted: last transaction earlier; with the cache file: ClientDisconnected; without it: True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZEO==6.2 ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zdaemon==5.2.1 zope.interface==8.7
cat > try.py <<'END'
import logging
import subprocess
import sys
import time

import ZEO
import ZODB
from persistent.mapping import PersistentMapping
from ZEO.ClientStorage import ClientStorage
from ZEO.Exceptions import ClientDisconnected

logging.disable(logging.CRITICAL)
PATH = "./socket"


def client(timeout=60, **options):
    return ClientStorage(PATH, wait_timeout=timeout, **options)


def server():
    return subprocess.Popen(["venv/bin/runzeo", "-a", PATH, "-f", "Data.fs"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


first = server()
try:
    db = ZODB.DB(client(client="cache", var="."))
    with db.transaction() as connection:
        connection.root()["a"] = 1
    with db.transaction() as connection:
        connection.add(PersistentMapping())
    last = db.lastTransaction()
    db.storage.pack(time.time() + 1, wait=True)
    assert db.lastTransaction() == last
    print("packed: last transaction as before")
    db.close()
finally:
    first.terminate()
    first.wait()
second = server()
try:
    without = client()
    assert without.lastTransaction() < last
    try:
        client(5, client="cache", var=".")
        told = "let in"
    except ClientDisconnected:
        told = "ClientDisconnected"
    print("server restarted: last transaction earlier; with the cache file:", told + "; without it:",
          without.is_connected())
    assert told == "ClientDisconnected"
    without.close()
finally:
    second.terminate()
    second.wait()
END
venv/bin/python try.py
