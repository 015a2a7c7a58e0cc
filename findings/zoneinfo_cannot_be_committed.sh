#!/usr/bin/env bash
# A datetime with a zone of zoneinfo can't be committed.
#
# Expected: datetime.now(ZoneInfo("Europe/Berlin")) is stored as any datetime; pickle takes it with each protocol
# from 0 to 5, also with 3, which ZODB uses. Zones of datetime.timezone are stored.
# Seen: PicklingError at the commit ("attribute lookup __main__._unpickle failed"). ZoneInfo names a method of its
# class as what is to be called at loading; zodbpickle doesn't write methods of a class as pickle has done for
# years, but looks for them in the main module. Classes that are defined within a class fail in the same way.
# Why it matters: zoneinfo is what Python documents for time zones, and what libraries hand out; the value gets as
# far as the commit of whatever object holds it, and that transaction is lost.
# Versions: zodbpickle 4.5, ZODB 6.4, Python 3.11.
#
# Output:
# pickle, protocol 3: the same
# zodbpickle, protocol 3: PicklingError
# commit of datetime.timezone: the same
# commit of zoneinfo.ZoneInfo: PicklingError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > try.py <<'END'
import pickle
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import ZODB
import zodbpickle.pickle

berlin = datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))
plus_two = datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=2)))


def by(module):
    return lambda value: module.loads(module.dumps(value, 3))


def by_commit(value):
    db = ZODB.DB(None)
    with db.transaction() as connection:
        connection.root()["value"] = value
    connection = db.open()
    connection.cacheMinimize()
    return connection.root()["value"]


def outcome(store, value):
    try:
        return "the same" if store(value) == value else "another"
    except (pickle.PicklingError, zodbpickle.pickle.PicklingError) as error:
        return type(error).__name__


seen = []
for name, store, value in ("pickle, protocol 3", by(pickle), berlin), \
        ("zodbpickle, protocol 3", by(zodbpickle.pickle), berlin), \
        ("commit of datetime.timezone", by_commit, plus_two), ("commit of zoneinfo.ZoneInfo", by_commit, berlin):
    seen.append(outcome(store, value))
    print(f"{name}: {seen[-1]}")
assert seen == ["the same", "PicklingError", "the same", "PicklingError"]
END
venv/bin/python try.py
