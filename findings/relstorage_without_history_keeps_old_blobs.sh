#!/usr/bin/env bash
# A RelStorage without history keeps every old revision of its blobs for ever.
#
# Expected: without history there is one revision of an object, and at the latest a pack removes the files of the
# others, as it does with history.
# Seen: in a shared blob directory each commit adds a file, and none is ever removed while the object lives: not by
# the commit, not by a pack, not by the next one. Nothing can read them. With keep-history true, the pack removes
# them. (Blobs of objects that are packed away go in both.)
# Why it matters: keep-history false is chosen because the database would grow, and blobs are the most of it: a log
# or an index in a blob that is written each hour fills the disk.
# Versions: RelStorage 4.3.0 (sqlite3), ZODB 6.4, Python 3.11.
#
# Output:
# keep-history true: 10 revisions, 10 files; after a pack 1, after another 1
# keep-history false: 10 revisions, 10 files; after a pack 10, after another 10
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'RelStorage[sqlite3]==4.3.0' ZODB==6.4
venv/bin/python -W ignore - <<'END'
import logging
import pathlib

import ZODB.config
from ZODB.blob import Blob

logging.disable()


def tried(history):
    db = ZODB.config.databaseFromString(f"""
%import relstorage
<zodb>
  <relstorage>
    keep-history {history}
    blob-dir {history}-blobs
    shared-blob-dir true
    <sqlite3>
      data-dir {history}-data
    </sqlite3>
  </relstorage>
</zodb>
""")
    with db.transaction() as connection:
        connection.root()["file"] = Blob(b"0")
    for number in range(1, 10):
        with db.transaction() as connection, connection.root()["file"].open("w") as file:
            file.write(b"%d" % number)
    counts = []
    for _ in range(2):
        counts.append(len(list(pathlib.Path(f"{history}-blobs").rglob("*.blob"))))
        db.pack()
    counts.append(len(list(pathlib.Path(f"{history}-blobs").rglob("*.blob"))))
    db.close()
    print("keep-history {}: 10 revisions, {} files; after a pack {}, after another {}".format(history, *counts))
    return counts


assert tried("true") == [10, 1, 1]
assert tried("false") == [10, 10, 10]
END
