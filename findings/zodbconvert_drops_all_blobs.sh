#!/usr/bin/env bash
# zodbconvert to a FileStorage without blob-dir drops all blobs, and says nothing.
#
# Expected: what is copied is complete, or the copy is refused. The other way round, a RelStorage without blob-dir
# refuses with "No blob directory is configured", and a source without one with "Blobs are not supported".
# Seen: exit code 0, no warning, and the number of transactions is right. The records of the blobs are copied, their
# files are not, from a FileStorage and from a RelStorage alike. FileStorage.copyTransactionsFrom does the same.
# Why it matters: it is found when somebody opens a document, by when the source may be gone.
# Versions: RelStorage 4.3.0 (sqlite3), ZODB 6.4, Python 3.11.
#
# Output:
# from filestorage, to filestorage without blob-dir: copied; blob: BlobError
# from relstorage, to filestorage without blob-dir: copied; blob: BlobError
# from filestorage, to relstorage without blob-dir: Unsupported
# from relstorage, to filestorage with blob-dir: copied; blob: b'content'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'RelStorage[sqlite3]==4.3.0' ZODB==6.4
venv/bin/python -W ignore - <<'END'
import logging

import ZODB.config
from relstorage.zodbconvert import main
from ZODB.blob import Blob

FILESTORAGE = """
<filestorage ROLE>
  path NAME.fs
  BLOBS
</filestorage>
"""
RELSTORAGE = """
<relstorage ROLE>
  BLOBS
  <sqlite3>
    data-dir NAME
  </sqlite3>
</relstorage>
"""
logging.disable()


def section(kind, role, name, blobs):
    text = kind.replace("ROLE", role).replace("NAME", name)
    return text.replace("BLOBS", f"blob-dir {kind[1:4]}-{name}-blobs" if blobs else "")


def database(kind, name):
    return ZODB.config.databaseFromString(f"%import relstorage\n<zodb>{section(kind, '', name, True)}</zodb>")


def copied(source, target, name, blobs):
    with open("conf", "w") as conf:
        conf.write(section(source, "source", "old", True) + section(target, "destination", name, blobs))
    try:
        main(["zodbconvert", "conf"])
    except Exception as error:
        return type(error).__name__
    db = database(target, name)
    try:
        with db.transaction() as connection, connection.root()["blob"].open() as file:
            return f"copied; blob: {file.read()}"
    except Exception as error:
        return f"copied; blob: {type(error).__name__}"
    finally:
        db.close()


for kind in FILESTORAGE, RELSTORAGE:
    db = database(kind, "old")
    with db.transaction() as connection:
        connection.root()["blob"] = Blob(b"content")
    db.close()
seen = [
    copied(FILESTORAGE, FILESTORAGE, "one", False),
    copied(RELSTORAGE, FILESTORAGE, "two", False),
    copied(FILESTORAGE, RELSTORAGE, "three", False),
    copied(RELSTORAGE, FILESTORAGE, "four", True),
]
print("from filestorage, to filestorage without blob-dir:", seen[0])
print("from relstorage, to filestorage without blob-dir:", seen[1])
print("from filestorage, to relstorage without blob-dir:", seen[2])
print("from relstorage, to filestorage with blob-dir:", seen[3])
assert seen[0] == seen[1] and seen[0].startswith("copied; blob: ") and seen[0].endswith("Error")
assert seen[2:] == ["Unsupported", "copied; blob: b'content'"]
END
