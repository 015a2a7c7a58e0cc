#!/usr/bin/env bash
# A FileStorage with a quota takes one more object, however large it is.
#
# Expected: quota is the "maximum allowed size of the storage file": what would make it larger fails with a
# FileStorageQuotaError.
# Seen: a transaction of one object of 10 MB is committed with a quota of 100 KB. Before each object, the size so
# far is compared with the quota; the object itself is not counted. Only the object after it is refused.
# Why it matters: a quota is to keep a disk from getting full, and large objects are what it would be needed for.
# From then on every commit fails, also one that removes the object, so that a pack does not help either.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# quota 100000: file of 10000323 bytes
# the next commit, which removes it: FileStorageQuotaError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'END'
import ZODB
from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.FileStorage import FileStorageQuotaError

QUOTA = 100000
db = ZODB.DB(FileStorage("Data.fs", quota=QUOTA))
with db.transaction() as connection:
    connection.root()["large"] = b"x" * 10000000
size = db.getSize()
print(f"quota {QUOTA}: file of {size} bytes")
assert size > 10000000
try:
    with db.transaction() as connection:
        del connection.root()["large"]
    then = "committed"
except FileStorageQuotaError as error:
    then = type(error).__name__
print("the next commit, which removes it:", then)
assert then == "FileStorageQuotaError"
END
