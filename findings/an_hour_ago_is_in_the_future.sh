#!/usr/bin/env bash
# A database that was idle for a day can't be opened as it was an hour ago.
#
# Expected: db.open(at=an hour ago) gives a read-only connection to the state that was current then, which
# is that of the last commit, yesterday.
# Seen: ValueError "cannot open an historical connection in the future." The time is compared with the last
# transaction, not with the clock: any moment behind the last commit is the future, though nothing can be
# committed there any more. The same call works as soon as anything is committed.
# Why it matters: a nightly report "as of midnight" fails on the quiet days only.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# an hour ago, last commit yesterday: ValueError
# an hour ago, after another commit: root of 0 items
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > try.py <<'END'
import datetime

import ZODB
from persistent.TimeStamp import TimeStamp
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.utils import z64

now = datetime.datetime.now(datetime.timezone.utc)


def ago(hours):
    return now - datetime.timedelta(hours=hours)


def tid(moment):
    return TimeStamp(moment.year, moment.month, moment.day, moment.hour, moment.minute,
                     float(moment.second)).raw()


# What was committed yesterday.
ZODB.DB("first.fs").close()
first = FileStorage("first.fs", read_only=True)
state = first.load(z64)[0]
first.close()
storage = FileStorage("Data.fs")
transaction = TransactionMetaData()
storage.tpc_begin(transaction, tid(ago(24)), " ")
storage.store(z64, z64, state, "", transaction)
storage.tpc_vote(transaction)
storage.tpc_finish(transaction)

db = ZODB.DB(storage)


def opened():
    try:
        connection = db.open(at=ago(1))
    except ValueError as error:
        assert "in the future" in str(error)
        return type(error).__name__
    found = f"root of {len(connection.root())} items"
    connection.close()
    return found


before = opened()
print("an hour ago, last commit yesterday:", before)
with db.transaction() as connection:
    connection.root()["n"] = 1
after = opened()
print("an hour ago, after another commit:", after)
assert before == "ValueError"
assert after == "root of 0 items"
END
venv/bin/python try.py
