#!/usr/bin/env bash
# ZODB.fsrecover keeps the beginning of a damaged transaction, and its result can't be packed.
#
# Expected: without the option -p ("copy partial transactions"), "transactions with any bad data are skipped".
# Seen: if the header of a record is damaged, the reader stops there as if the transaction ended: what came before
# is copied as a whole transaction of status ' ', what comes behind is dropped. Of a transfer from one account to
# another, one half is left. The exit code is 0, and the output has no error, only "N bytes removed". If the
# dropped part held a new object, the reference to it stays, and pack fails with a KeyError: nothing is
# packed any more.
# Why it matters: the repaired database looks sound, and is inconsistent.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# before: from 100, to 100; the transfer makes it from 70, to 130, receipt 30
# fsrecover without -p: exit code 0, 242 bytes removed
# recovered: from 70, to 100, receipt POSKeyError
# transfer in the recovered file: status ' ', 2 of 4 records
# pack: KeyError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'END'
import logging
import re
import subprocess
import sys

import ZODB
from persistent.mapping import PersistentMapping
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError

logging.disable()
db = ZODB.DB("Data.fs")
with db.transaction() as connection:
    root = connection.root()
    root["book"], root["from"], root["to"] = (PersistentMapping(value=100) for _ in range(3))
with db.transaction(note="transfer") as connection:
    root = connection.root()
    root["from"]["value"] -= 30
    root["book"]["receipt"] = PersistentMapping(value=30)
    root["to"]["value"] += 30
transfer = db.lastTransaction()
with db.transaction() as connection:
    connection.root()["later"] = True
db.close()
print("before: from 100, to 100; the transfer makes it from 70, to 130, receipt 30")


def records(path):
    for transaction in FileStorage(path, read_only=True).iterator():
        if transaction.tid == transfer:
            return transaction.status, [record.pos for record in transaction]


whole = records("Data.fs")[1]
with open("Data.fs", "r+b") as file:
    # The first byte of the position of its transaction, in the header of the third record.
    file.seek(whole[2] + 24)
    file.write(b"\1")
done = subprocess.run([sys.executable, "-m", "ZODB.fsrecover", "Data.fs", "Out.fs"], capture_output=True, text=True)
removed = int(re.search(r"(\d+) bytes removed", done.stdout)[1])
assert "error" not in done.stdout, done.stdout
print(f"fsrecover without -p: exit code {done.returncode}, {removed} bytes removed")
db = ZODB.DB("Out.fs")
with db.transaction() as connection:
    root = connection.root()
    values = [root["from"]["value"], root["to"]["value"]]
    try:
        values.append(root["book"]["receipt"]["value"])
    except (KeyError, POSKeyError) as error:
        values.append(type(error).__name__)
print("recovered: from {}, to {}, receipt {}".format(*values))
status, left = records("Out.fs")
print(f"transfer in the recovered file: status {status!r}, {len(left)} of {len(whole)} records")
try:
    db.pack()
    packed = "done"
except KeyError as error:
    packed = type(error).__name__
print("pack:", packed)
assert done.returncode == 0 and values == [70, 100, "POSKeyError"] and packed == "KeyError"
assert (status, len(left), len(whole)) == (" ", 2, 4)
END
