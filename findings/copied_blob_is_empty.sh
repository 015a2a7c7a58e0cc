#!/usr/bin/env bash
# A deep copy of an object with a blob is committed with an empty blob.
#
# Expected: copy.deepcopy copies the content, too, as exportFile and importFile do, or it fails.
# Seen: the copy has a blob of its own without a byte in it. zope.copy's clone gives the same. Neither raises an
# error, and the empty blob is committed.
# Why it matters: "duplicate this document" loses the file, and keeps its name and size.
# Versions: ZODB 6.4, zope.copy 6.0, Python 3.11.
#
# Output:
# original: report.pdf b'content'
# deepcopy: report.pdf b''
# zope.copy: report.pdf b''
# export and import: report.pdf b'content'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 zope.copy==6.0
cat > try.py <<'END'
import copy
import io

import transaction
import ZODB
import zope.copy
from persistent.mapping import PersistentMapping
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage

db = ZODB.DB(FileStorage("Data.fs", blob_dir="blobs"))
connection = db.open()
root = connection.root()
root["original"] = original = PersistentMapping(name="report.pdf", file=Blob(b"content"))
transaction.commit()
root["deepcopy"] = copy.deepcopy(original)
root["zope.copy"] = zope.copy.clone(original)
exported = io.BytesIO()
connection.exportFile(original._p_oid, exported)
exported.seek(0)
root["export and import"] = connection.importFile(exported)
transaction.commit()
db.close()
db = ZODB.DB(FileStorage("Data.fs", blob_dir="blobs"))
contents = {}
with db.transaction() as connection:
    for way, document in connection.root().items():
        with document["file"].open() as file:
            contents[way] = file.read()
        print(f"{way}: {document['name']} {contents[way]!r}")
assert contents == {"original": b"content", "export and import": b"content", "deepcopy": b"", "zope.copy": b""}
END
venv/bin/python try.py
