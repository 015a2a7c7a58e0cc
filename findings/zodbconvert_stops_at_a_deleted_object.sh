#!/usr/bin/env bash
# zodbconvert can't copy a Data.fs from which an object was deleted to a database without history.
#
# Expected: the object is left out, as a FileStorage's own pack does.
# Seen: zodbconvert goes through the objects of the file's index, where a deleted one still stands until the next
# pack; it ends with POSKeyError, and nothing is copied. To a database with history, the same file is copied.
# Why it matters: who moves a database that zc.zodbdgc (garbage collection over several databases, which deletes
# objects) has cleaned, sees an error that looks like damage, and the file is sound.
# Versions: RelStorage 4.3.0 (sqlite3), ZODB 6.4, Python 3.11.
#
# Output:
# keep-history false: POSKeyError 0x01
# keep-history true: copied
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'RelStorage[sqlite3]==4.3.0' ZODB==6.4
venv/bin/python -W ignore - <<'EOF'
import logging

import ZODB
from persistent.mapping import PersistentMapping
from relstorage.zodbconvert import main
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage

storage = FileStorage("Data.fs")
db = ZODB.DB(storage)
with db.transaction() as connection:
    thing = connection.root()["thing"] = PersistentMapping()
    connection.add(thing)
with db.transaction() as connection:
    del connection.root()["thing"]
deletion = TransactionMetaData()
storage.tpc_begin(deletion)
storage.deleteObject(thing._p_oid, storage.load(thing._p_oid)[1], deletion)
storage.tpc_vote(deletion)
storage.tpc_finish(deletion)
db.close()

logging.disable()
outcomes = []
for keep in "false", "true":
    with open("conf", "w") as conf:
        conf.write(f"""
<filestorage source>
  path Data.fs
</filestorage>
<relstorage destination>
  keep-history {keep}
  <sqlite3>
    data-dir {keep}
  </sqlite3>
</relstorage>
""")
    try:
        main(["zodbconvert", "conf"])
        outcomes.append("copied")
    except Exception as error:
        outcomes.append(f"{type(error).__name__} {error}")
    print(f"keep-history {keep}: {outcomes[-1]}")
assert outcomes == ["POSKeyError 0x01", "copied"]
EOF
