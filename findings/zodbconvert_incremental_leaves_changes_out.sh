#!/usr/bin/env bash
# zodbconvert --incremental to a RelStorage without history leaves out changes and whole objects.
#
# Expected: zodbconvert copies a database that is in use, and `zodbconvert --incremental` then "resumes copying from
# the last transaction", to catch up before the change-over, or after the first copy was interrupted.
# Seen: without history, the first copy goes by oid, not by transaction. The last transaction of the copy is that of
# the latest object it met, though earlier ones may have changed behind its back, or the later oids were never
# reached. --incremental goes on behind that transaction only. A second run finds nothing to do either; both end
# with 0. (With keep-history true, both cases are copied right.)
# Why it matters: this is how one moves to RelStorage with a short downtime, and the lost changes are those of users
# who worked during the copy; after an interruption half of the objects are missing.
# Versions: RelStorage 4.3.0 (sqlite3), ZEO 6.2, ZODB 6.4, Python 3.11.
#
# Output:
# source: page 1 'new', page 9 'new'
# copied in use, then twice --incremental: page 1 'old', page 9 'new'
# interrupted after half of it, then twice --incremental: 10 pages in the list, 5 can be read
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'RelStorage[sqlite3]==4.3.0' ZEO==6.2 ZODB==6.4
venv/bin/python -W ignore - <<'END'
import logging
import socket
import subprocess
from unittest.mock import patch

import ZEO
import ZODB.config
from persistent.mapping import PersistentMapping
from relstorage.storage.copy import _ProgressLogger
from relstorage.zodbconvert import main
from ZEO.ClientStorage import ClientStorage
from ZODB.POSException import POSKeyError

PAGES = range(10)
logging.disable()
with socket.create_server(("127.0.0.1", 0)) as free:
    address = free.getsockname()


def relstorage(name, role=""):
    return f"<relstorage {role}>\nkeep-history false\n<sqlite3>\ndata-dir {name}\n</sqlite3>\n</relstorage>\n"


def change(number):
    with db.transaction() as connection:
        connection.root()[number]["text"] = "new"


def copy(name, at_half):
    "One copy, in which at_half happens when half of the objects were read; then two that catch up."
    with open(name + ".conf", "w") as conf:
        conf.write(f"<zeoclient source>\nserver 127.0.0.1:{address[1]}\n</zeoclient>\n")
        conf.write(relstorage(name, "destination"))
    calls = []

    def record_iternext(storage, next=None):
        calls.append(next)
        if len(calls) == 6:
            at_half()
        return original(storage, next)

    original = ClientStorage.record_iternext
    # What was read is committed each minute; here after each object.
    with patch.object(ClientStorage, "record_iternext", record_iternext), \
            patch.object(_ProgressLogger, "log_interval", 0):
        try:
            main(["zodbconvert", name + ".conf"])
        except KeyboardInterrupt:
            pass
    for _ in range(2):
        main(["zodbconvert", "--incremental", name + ".conf"])


def texts(db):
    found = {}
    with db.transaction() as connection:
        root = connection.root()
        for number in root:
            try:
                found[number] = root[number]["text"]
            except POSKeyError:
                found[number] = None
    db.close()
    return found


def changes():
    change(1)
    change(9)


def interrupt():
    raise KeyboardInterrupt


server = subprocess.Popen(["venv/bin/runzeo", "-a", "%s:%s" % address, "-f", "Data.fs"], stderr=subprocess.DEVNULL)
try:
    db = ZEO.DB(address, wait_timeout=60)
    with db.transaction() as connection:
        for number in PAGES:
            connection.root()[number] = page = PersistentMapping(text="old")
            connection.add(page)
    copy("used", changes)
    copy("interrupted", interrupt)
    source = texts(db)
finally:
    server.terminate()
    server.wait()
used, interrupted = (texts(ZODB.config.databaseFromString(f"%import relstorage\n<zodb>\n{relstorage(name)}</zodb>"))
                     for name in ("used", "interrupted"))
print(f"source: page 1 {source[1]!r}, page 9 {source[9]!r}")
print(f"copied in use, then twice --incremental: page 1 {used[1]!r}, page 9 {used[9]!r}")
read = sum(text is not None for text in interrupted.values())
print(f"interrupted after half of it, then twice --incremental: {len(interrupted)} pages in the list, "
      f"{read} can be read")
assert (source[1], source[9]) == ("new", "new") and (used[1], used[9]) == ("old", "new")
assert (len(interrupted), read) == (10, 5)
END
