#!/usr/bin/env bash
# Two storages with one blob-dir, and a pack of one deletes the blobs of the other.
#
# Expected: a second FileStorage that is given a blob directory in use is refused, as a second one on the same Data.fs
# is (there is a lock for that), or keeps its files apart.
# Seen: both start, commit and read their blobs side by side, since the files of an object have the transaction in
# their names. But the directory is that of an oid, and both databases count their oids from 1: when one packs away
# an object, the directory goes, with the blobs that the other one's object of the same oid has.
# Why it matters: nothing is wrong for as long as nobody packs; then the blobs of documents that were never touched
# are gone.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# both open, blobs: main b'main', archive b'archive'
# main deletes its blob, and packs; archive: POSKeyError
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

import ZODB.config
from ZODB.blob import Blob
from ZODB.POSException import POSKeyError

logging.disable()
main = ZODB.config.databaseFromString("".join(f"""
<zodb {name}>
  <filestorage>
    path {name}.fs
    blob-dir blobs
  </filestorage>
</zodb>
""" for name in ("main", "archive")))
archive = main.databases["archive"]


def store(db, content):
    with db.transaction() as connection:
        connection.root()["file"] = Blob(content)


def content(db):
    try:
        with db.transaction() as connection, connection.root()["file"].open() as file:
            return file.read()
    except POSKeyError as error:
        return type(error).__name__


store(main, b"main")
store(archive, b"archive")
before = content(main), content(archive)
print("both open, blobs: main {}, archive {}".format(*before))
with main.transaction() as connection:
    del connection.root()["file"]
main.pack()
after = content(archive)
print("main deletes its blob, and packs; archive:", after)
assert before == (b"main", b"archive") and after == "POSKeyError"
END
