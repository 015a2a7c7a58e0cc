#!/usr/bin/env bash
# The checkers of databases end with 0, whatever they find.
#
# Expected: fsrefs, multi-zodb-check-refs and zodbverify, of three projects, tell by their exit code whether the
# database is sound, as other checkers do; so that a script may go on after `fsrefs Data.fs && ...`.
# Seen: with a reference to an object that is missing, and an object whose class is gone, each reports what it looks
# for, and ends with 0. Two report on standard output, zodbverify on standard error (also that all is well).
# Why it matters: the nightly check of backups is always green.
# Versions: ZODB 6.4, zc.zodbdgc 1.1.0, zodbverify 1.2.1, Python 3.11.
#
# Output:
# fsrefs: reports it, exit code 0
# multi-zodb-check-refs: reports it, exit code 0
# zodbverify: reports it, exit code 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    zc.zodbdgc==1.1.0 zodbverify==1.2.1 ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 \
    zc.lockfile==4.0 ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'END'
import subprocess
import sys
import types

import ZODB
from persistent.mapping import PersistentMapping
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage

# A module that exists here only.
gone = sys.modules["gone"] = types.ModuleType("gone")
gone.Size = type("Size", (), {"__module__": "gone"})
storage = FileStorage("Data.fs", pack_gc=False)
db = ZODB.DB(storage)
with db.transaction() as connection:
    root = connection.root()
    root["missing"] = missing = PersistentMapping()
    connection.add(missing)
    root["size"] = PersistentMapping(size=gone.Size())
deletion = TransactionMetaData()
storage.tpc_begin(deletion)
storage.deleteObject(missing._p_oid, storage.load(missing._p_oid)[1], deletion)
storage.tpc_vote(deletion)
storage.tpc_finish(deletion)
db.pack()
db.close()
with open("zodb.conf", "w") as conf:
    conf.write("<zodb main>\n<filestorage>\npath Data.fs\n</filestorage>\n</zodb>\n")


def check(expected, tool, *arguments):
    done = subprocess.run([f"venv/bin/{tool}", *arguments], capture_output=True, text=True)
    reports = "reports it" if expected in done.stdout + done.stderr else "does not report it"
    print(f"{tool}: {reports}, exit code {done.returncode}")
    return reports == "reports it" and done.returncode == 0


assert check("oid 0x01 missing", "fsrefs", "Data.fs")
assert check("POSKeyError: 0x01", "multi-zodb-check-refs", "zodb.conf")
assert check("Found 1 records that could not be loaded", "zodbverify", "-f", "Data.fs")
END
