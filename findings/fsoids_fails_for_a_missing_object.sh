#!/usr/bin/env bash
# fsoids can't tell who refers to a missing object.
#
# Expected: after a POSKeyError, `fsoids Data.fs OID` lists the objects that refer to the lost one, and says that it
# "was not defined"; for that it has a message of its own.
# Seen: TypeError "'<' not supported between instances of 'NoneType' and 'bytes'": it sorts the message about the
# missing object, which has no transaction, among those about the references, which have one. An object that is
# there, and one to which nobody refers, are shown.
# Why it matters: a missing object to which others refer is the case for which one reaches for this tool.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# fsoids of an object that is there: exit code 0
# fsoids of one that is missing, and referred to: exit code 1, TypeError
# fsoids of one that is missing, and not referred to: exit code 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'END'
import subprocess

import ZODB
from persistent.mapping import PersistentMapping
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage

storage = FileStorage("Data.fs", pack_gc=False)
db = ZODB.DB(storage)
with db.transaction() as connection:
    root = connection.root()
    root["folder"] = folder = PersistentMapping()
    connection.add(folder)
    folder["thing"] = thing = PersistentMapping()
    connection.add(thing)
deletion = TransactionMetaData()
storage.tpc_begin(deletion)
storage.deleteObject(thing._p_oid, storage.load(thing._p_oid)[1], deletion)
storage.tpc_vote(deletion)
storage.tpc_finish(deletion)
db.pack()
db.close()


def fsoids(oid):
    done = subprocess.run(["venv/bin/fsoids", "Data.fs", oid], capture_output=True, text=True)
    return done.returncode, done.stderr.rpartition("\n  ")[2].partition("\n")[2].partition(":")[0]


there, missing, unknown = map(fsoids, ("1", "2", "77"))
print("fsoids of an object that is there: exit code", there[0])
print("fsoids of one that is missing, and referred to: exit code {}, {}".format(*missing))
print("fsoids of one that is missing, and not referred to: exit code", unknown[0])
assert (there, missing, unknown) == ((0, ""), (1, "TypeError"), (0, ""))
END
