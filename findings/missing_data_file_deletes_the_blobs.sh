#!/usr/bin/env bash
# A FileStorage that is opened without its Data.fs deletes every blob.
#
# Expected: a new, empty Data.fs is made beside the blobs, or the start is refused. `create`, which says that
# existing data is to be removed, is off by default.
# Seen: a missing data file turns `create` on, and then the blob directory is removed with all that is in it, and
# made again. The log has only a line at level INFO, which says that there was no blob directory.
# Why it matters: whoever restores a database copies the blobs first, as they take hours, and starts the server
# too early; or mistypes the path of Data.fs, or its disk isn't mounted yet. Then the blobs, which repozo doesn't
# save, are gone from the production directory itself.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# before: 100 blobs
# after Data.fs was moved away, opened by ZODB.config without create, closed: 0 blobs
# log: Blob directory ... does not exist. Created new directory.
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
import os
import pathlib

import transaction
import ZODB.config
from ZODB.blob import Blob

CONFIG = """
<filestorage>
  path data/Data.fs
  blob-dir blobs
</filestorage>
"""


class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())


def blobs():
    return len(list(pathlib.Path("blobs").rglob("*.blob")))


os.mkdir("data")
db = ZODB.DB(ZODB.config.storageFromString(CONFIG))
connection = db.open()
for number in range(100):
    connection.root()[number] = Blob(b"content")
transaction.commit()
db.close()
before = blobs()
print("before:", before, "blobs")

os.rename("data", "not-mounted")
os.mkdir("data")
lines = []
logging.basicConfig(level=logging.DEBUG, handlers=[Lines()])
ZODB.config.storageFromString(CONFIG).close()
after = blobs()
print("after Data.fs was moved away, opened by ZODB.config without create, closed:", after, "blobs")
said = next(line for line in lines if line.endswith("/blobs/' does not exist. Created new directory."))
print("log: Blob directory ... does", said.split(" does ")[1])
assert (before, after) == (100, 0)
END
