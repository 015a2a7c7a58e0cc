#!/usr/bin/env bash
# A second run of zodb-convert takes back what was committed to the destination since the first.
#
# Expected: a destination that holds transactions is refused, as RelStorage's zodbconvert does, of which zodb-convert
# is made; only --incremental goes on with one.
# Seen: all transactions of the source are appended once more, with their old tids, behind the newer ones. The old
# states are the current ones then; nothing is printed, and the exit code is 0. Data.fs has each tid twice, in an
# order that goes back in time.
# Why it matters: one forgets --incremental, or a job runs the same command again after the site has moved: the pages
# written since are gone from the root, and nobody is told.
# Versions: zodb-convert 1.0.0b12, ZODB 6.4, Python 3.12.
#
# Output:
# zodb-convert: exit code 0; destination {'page': 'old'}, 2 transactions, in the order of time
# then a commit: destination {'page': 'new'}, 3 transactions, in the order of time
# zodb-convert: exit code 0; destination {'page': 'old'}, 5 transactions, not in the order of time
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3.12 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 zodb-convert==1.0.0b12
printf '<filestorage %s>\n  path %s.fs\n</filestorage>\n' source source destination destination > convert.conf
venv/bin/python - <<'END'
import logging
import subprocess

import ZODB
from ZODB.FileStorage import FileStorage

logging.disable(logging.CRITICAL)


def write(path, text):
    db = ZODB.DB(path)
    with db.transaction() as connection:
        connection.root()["page"] = text
    db.close()


def convert():
    done = subprocess.run(["venv/bin/zodb-convert", "convert.conf"], capture_output=True, text=True)
    assert not done.stdout + done.stderr
    return f"zodb-convert: exit code {done.returncode};"


def shown(title):
    storage = FileStorage("destination.fs", read_only=True)
    tids = [transaction.tid for transaction in storage.iterator()]
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        root = dict(connection.root())
    db.close()
    order = "in the order of time" if tids == sorted(tids) else "not in the order of time"
    print(f"{title} destination {root}, {len(tids)} transactions, {order}")
    return root["page"], len(tids)


write("source.fs", "old")
seen = [shown(convert())]
write("destination.fs", "new")
seen.append(shown("then a commit:"))
seen.append(shown(convert()))
assert seen == [("old", 2), ("new", 3), ("old", 5)], seen
END
