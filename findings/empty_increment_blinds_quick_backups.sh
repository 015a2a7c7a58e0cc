#!/usr/bin/env bash
# One empty increment, and repozo's quick backups add to a file that has since been packed.
#
# Expected: repozo -B -Q compares the last increment with the database; after a pack it doesn't fit, and a full
# backup is made. (-Q is said to be probabilistic, "theoretical".)
# Seen: if a client is between vote and finish while repozo runs, and nothing else was committed since the last
# backup, repozo writes an increment of 0 bytes. An increment of 0 bytes fits every file, so that from then on
# nothing is compared. A pack, and as many commits that the file is longer than before, and the next quick backup
# appends the end of the new file to the beginning of the old one. Verify (-V) and recovery with verification
# (-R -w) are content, with exit code 0; the recovered database is that of the first backup, if it can be opened.
# Why it matters: nightly quick backups and a weekly pack are usual, and a long vote on a quiet night is enough for
# a backup of which all that came after it is lost, which no check finds.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# increment while a transaction votes: 0 bytes
# next quick backup after a pack: incremental
# repozo -V: exit code 0; repozo -R -w: exit code 0
# database: after the pack; recovered: before the pack
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
mkdir repository
venv/bin/python - <<'END'
import logging
import pathlib
import subprocess
import time

import ZODB
from persistent.mapping import PersistentMapping
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import z64

logging.disable()


def repozo(*options):
    return subprocess.run(["venv/bin/repozo", "-r", "repository", *options],
                          stderr=subprocess.PIPE, text=True)


def backup():
    time.sleep(1.1)  # the names of the files are of the second
    done = repozo("-B", "-Q", "-v", "-f", "Data.fs")
    assert done.returncode == 0, done.stderr
    return done.stderr


def change(value):
    with db.transaction() as connection:
        connection.root()["page"] = PersistentMapping(text=f"{value}. " * 20)


storage = FileStorage("Data.fs")
db = ZODB.DB(storage)
for _ in range(20):
    change("before the pack")
backup()
voting = TransactionMetaData()
data, serial = storage.load(z64)
storage.tpc_begin(voting)
storage.store(z64, serial, data, "", voting)
storage.tpc_vote(voting)
backup()
storage.tpc_abort(voting)
(increment,) = pathlib.Path("repository").glob("*.deltafs")
empty = increment.stat().st_size
print(f"increment while a transaction votes: {empty} bytes")
size = db.getSize()
db.pack()
while db.getSize() <= size:
    change("after the pack")
kind = "incremental" if "writing incremental" in backup() else "full"
print("next quick backup after a pack:", kind)
db.close()
verify, recover = repozo("-V").returncode, repozo("-R", "-w", "-o", "Recovered.fs").returncode
print(f"repozo -V: exit code {verify}; repozo -R -w: exit code {recover}")


def text(name):
    db = ZODB.DB(name)
    try:
        with db.transaction() as connection:
            return connection.root()["page"]["text"].partition(".")[0]
    finally:
        db.close()


# Its index is that of the packed file: with it, it depends on the sizes whether it can be opened at all.
pathlib.Path("Recovered.fs.index").unlink()
now, recovered = text("Data.fs"), text("Recovered.fs")
print(f"database: {now}; recovered: {recovered}")
assert (empty, kind, verify, recover) == (0, "incremental", 0, 0)
assert (now, recovered) == ("after the pack", "before the pack")
END
