#!/usr/bin/env bash
# In the hour that is repeated in autumn, a committed datetime is read back as an hour earlier.
#
# Expected: datetime.fromtimestamp(moment) is the same moment after a commit as before.
# Seen: its `fold`, which tells the second 02:30 of that night from the first, is 0 when it is loaded. A datetime
# writes its fold with pickle protocol 4 and later only, and ZODB writes protocol 3 (zodbpickle has no later one).
# The object in memory keeps its fold, so it depends on the cache which moment one gets.
# Why it matters: == says that old and new value are equal, and nothing is logged, but a booking or an expiry of
# that hour is off by one hour after a restart.
# Versions: ZODB 6.4, zodbpickle 4.5, Python 3.11.
#
# Output:
# committed: 2026-10-25 02:30:00 CET, fold 1, timestamp 1792891800
# after a restart: 2026-10-25 02:30:00 CEST, fold 0, timestamp 1792888200
# equal: True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > try.py <<'END'
import os
import time
from datetime import datetime

import ZODB

os.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"  # central Europe, without the system's zone files
time.tzset()
MOMENT = 1792891800


def show(when, value):
    seen = value.astimezone().tzname(), value.fold, int(value.timestamp())
    print("{}: {} {}, fold {}, timestamp {}".format(when, value, *seen))
    return seen


committed = datetime.fromtimestamp(MOMENT)
db = ZODB.DB("Data.fs")
with db.transaction() as connection:
    connection.root()["when"] = committed
before = show("committed", committed)
db.close()
db = ZODB.DB("Data.fs")
with db.transaction() as connection:
    loaded = connection.root()["when"]
after = show("after a restart", loaded)
print("equal:", loaded == committed)
assert before == ("CET", 1, MOMENT) and after == ("CEST", 0, MOMENT - 3600) and loaded == committed
END
venv/bin/python try.py
