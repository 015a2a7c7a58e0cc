#!/usr/bin/env bash
# Rolling back to a savepoint leaves blobs at a later savepoint's content.
#
# Expected: savepoint.rollback() takes every object of the transaction back to its state at
# that savepoint, blobs as well as others (a blob that changed after the LAST savepoint is
# indeed taken back).
# Seen: with two savepoints, a rollback to the first gives the mapping's first state and the
# blob's second content, and the commit stores that mixture. The savepoint's blob file is named
# by object and by the serial that it had before the transaction, so the second savepoint's
# file replaces the first one's.
# Why it matters: wrong bytes are committed without any error, and no server can notice: it
# gets a blob and a record that look as good as any. An upload that is retried inside of one
# transaction is the usual way to get there.
# Versions: ZODB 6.4, transaction 5.1, Python 3.11.
#
# Output:
# mapping: two, blob: three
# committed blob: three
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'EOF'
import ZODB, transaction
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage

db = ZODB.DB(FileStorage("data.fs", blob_dir="blobs"))
conn = db.open()
conn.root.blob = Blob(b"one")
conn.root.mapping = PersistentMapping(text="one")
transaction.commit()


def write(text):
    conn.root.mapping["text"] = text
    with conn.root.blob.open("w") as file:
        file.write(text.encode())


def blob(conn):
    with conn.root.blob.open("r") as file:
        return file.read().decode()


write("two")
first = transaction.savepoint()
write("three")
transaction.savepoint()
first.rollback()
text, content = conn.root.mapping["text"], blob(conn)
print(f"mapping: {text}, blob: {content}")
transaction.commit()
committed = blob(db.open(transaction.TransactionManager()))
print("committed blob:", committed)
assert (text, content, committed) == ("two", "three", "three")
EOF
