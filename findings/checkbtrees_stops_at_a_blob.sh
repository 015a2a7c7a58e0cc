#!/usr/bin/env bash
# ZODB's own checker of BTrees can't be used on a database that has a blob.
#
# Expected: `python -m ZODB.scripts.checkbtrees Data.fs` walks the database and reports damaged
# BTrees, whatever else is referred to; blobs hold no BTrees.
# Seen: it opens the file without a blob directory, loads each object that it meets, and ends with
# "TypeError: Blobs are not supported" at the first Blob, before it has checked what comes behind it;
# netspace does the same. There is no option that names a blob directory.
# Why it matters: every site with uploaded files has blobs, so the documented check for broken
# trees is not available there, and the way out is a program that opens the storage with its blobs.
# Versions: ZODB 6.4, BTrees 6.5, Python 3.11.
#
# Output:
# without a blob: exit code 0
# with a blob: exit code 1, TypeError: Blobs are not supported
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > make.py <<'EOF'
import sys

import ZODB
from BTrees.OOBTree import OOBTree
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage

db = ZODB.DB(FileStorage(sys.argv[1] + ".fs", blob_dir=sys.argv[1] + ".blobs"))
with db.transaction() as connection:
    connection.root()["tree"] = OOBTree({1: 2})
    if sys.argv[1] == "with":
        connection.root()["blob"] = Blob(b"content")
db.close()
EOF
venv/bin/python make.py without
venv/bin/python make.py with
venv/bin/python -m ZODB.scripts.checkbtrees without.fs
echo "without a blob: exit code 0"
code=0
venv/bin/python -m ZODB.scripts.checkbtrees with.fs 2> errors || code=$?
echo "with a blob: exit code $code, $(tail -n 1 errors)"
[ "$code" = 1 ] && [ "$(tail -n 1 errors)" = "TypeError: Blobs are not supported" ]
