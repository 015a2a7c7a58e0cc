#!/usr/bin/env bash
# A new RelStorage that Python's runzeo serves can't be opened by any client.
#
# Expected: as with a FileStorage: the first client finds no root (POSKeyError, which DB expects), and makes one.
# Seen: RelStorage's POSKeyError carries its cache and its connections, which can't be pickled. So the server
# answers `ValueError: Couldn't pickle response`, and ZEO.DB raises ServerException. It goes on to do so for each
# object that isn't there, also when the root was made without ZEO.
# Why it matters: RelStorage's and ZEO's documents speak of serving any storage; nothing works until somebody has
# opened the database with RelStorage itself, and nobody is told that. Applications that catch POSKeyError (for
# broken references) get an error that they don't know.
# Versions: RelStorage 4.3.0 (sqlite3), ZEO 6.2, ZODB 6.4, Python 3.11.
#
# Output:
# ZEO.DB on a new database: ServerException ('builtins.ValueError', ("Couldn't pickle response",))
# after RelStorage has made the root, an object that isn't there: ServerException ('builtins.ValueError', ("Couldn't pickle response",))
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'RelStorage[sqlite3]==4.3.0' ZEO==6.2 ZODB==6.4
venv/bin/python -W ignore - <<'EOF'
import logging
import socket
import subprocess

import ZEO
import ZODB.config
from ZODB.utils import p64

RELSTORAGE = """
<relstorage>
  <sqlite3>
    data-dir data
  </sqlite3>
</relstorage>
"""
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = free.getsockname()
with open("zeo.conf", "w") as conf:
    conf.write(f"%import relstorage\n<zeo>\n  address 127.0.0.1:{address[1]}\n</zeo>{RELSTORAGE}")
logging.disable()


def served(action):
    server = subprocess.Popen(["venv/bin/runzeo", "-C", "zeo.conf"], stderr=subprocess.DEVNULL)
    try:
        return f"no error: {action()}"
    except Exception as error:
        return f"{type(error).__name__} {error.args}"
    finally:
        server.terminate()
        server.wait()


def missing():
    storage = ZEO.client(address, wait_timeout=60)
    try:
        return storage.loadBefore(p64(1000), b"\x7f" + b"\xff" * 7)
    finally:
        storage.close()


first = served(lambda: ZEO.DB(address, wait_timeout=60))
print("ZEO.DB on a new database:", first)
ZODB.config.databaseFromString(f"%import relstorage\n<zodb>{RELSTORAGE}</zodb>").close()
second = served(missing)
print("after RelStorage has made the root, an object that isn't there:", second)
assert first == second and "Couldn't pickle response" in first
EOF
