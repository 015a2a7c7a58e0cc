#!/usr/bin/env bash
# The past of two databases shows half of a transaction.
#
# Expected: db.open(at=tid), with the tid of a transaction that changed objects of two databases, shows both as they
# were after it; connection.get_connection(name) takes the moment over to the other database.
# Seen: each database gives the transaction a tid of its own, some microseconds apart. With that of the first, the
# second database is shown as it was before: what was moved from one to the other is in neither. With that of the
# second, the first can't be opened ("in the future") if nothing was committed to it since.
# Why it matters: tids come from an object's _p_serial, from history and undoLog; with those of one database, a move
# to another (as by zc.zodbdgc's setups, with a database for each part of a site) looks like a loss.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# now: first [], second ['document']
# at the move's tid in the first database: first [], second []
# at the move's tid in the second database: ValueError
# after another commit in the first: first [], second ['document']
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

import ZODB

logging.disable()
databases = {}
first = ZODB.DB("first.fs", database_name="first", databases=databases)
second = ZODB.DB("second.fs", database_name="second", databases=databases)


def shown(tid=None):
    try:
        connection = first.open(at=tid)
    except ValueError as error:
        return type(error).__name__
    try:
        parts = connection, connection.get_connection("second")
        return "first {}, second {}".format(*(sorted(part.root()) for part in parts))
    finally:
        connection.close()


with first.transaction() as connection:
    connection.root()["document"] = "text"
with first.transaction() as connection:
    one, two = connection.root(), connection.get_connection("second").root()
    two["document"] = one.pop("document")
tids = one._p_serial, two._p_serial
seen = [shown(), *map(shown, tids)]
with first.transaction() as connection:
    connection.root()._p_changed = True
seen.append(shown(tids[1]))
print("now:", seen[0])
print("at the move's tid in the first database:", seen[1])
print("at the move's tid in the second database:", seen[2])
print("after another commit in the first:", seen[3])
assert seen == ["first [], second ['document']", "first [], second []", "ValueError", seen[0]]
END
