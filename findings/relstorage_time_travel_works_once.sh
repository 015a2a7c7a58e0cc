#!/usr/bin/env bash
# With RelStorage, the first look into the past is the latest that a process can ever see.
#
# Expected: with history, db.open(at=tid) shows the database as of any transaction, and db.lastTransaction() is the
# last commit, as with a FileStorage.
# Seen: the first db.open(at=...) or db.lastTransaction() of a process pins what the DB's own storage knows: the
# connections of the pool go on, that one never does. From then on, all that is committed, by this process or
# another, is "in the future" for db.open (ValueError), also hours later, and lastTransaction() stays where it was.
# A DB that is opened afterwards shows all, once.
# Why it matters: "show the page as of this morning" works in tests and for the first visitor after a restart of
# the server, and fails for the others.
# Versions: RelStorage 4.3.0 (sqlite3; the same with PostgreSQL 16.2), ZODB 6.4, Python 3.11.
#
# Output:
# after 2 commits, states at the commits: 1 2; lastTransaction is the last one
# after 2 more, states at the commits: 1 2 ValueError ValueError; lastTransaction is not the last one
# by a DB that was opened now, states at the commits: 1 2 3 4; lastTransaction is the last one
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'RelStorage[sqlite3]==4.3.0' ZODB==6.4
venv/bin/python -W ignore - <<'END'
import logging

import ZODB.config

logging.disable()


def database():
    return ZODB.config.databaseFromString("""
%import relstorage
<zodb>
  <relstorage>
    keep-history true
    <sqlite3>
      data-dir data
    </sqlite3>
  </relstorage>
</zodb>
""")


def commit(db, value):
    with db.transaction() as connection:
        root = connection.root()
        root["value"] = value
    return root._p_serial


def state(db, tid):
    try:
        connection = db.open(at=tid)
    except ValueError as error:
        assert "in the future" in str(error)
        return "ValueError"
    try:
        return str(connection.root()["value"])
    finally:
        connection.close()


def report(title, db):
    states = " ".join(state(db, tid) for tid in tids)
    last = "is" if db.lastTransaction() == tids[-1] else "is not"
    line = f"states at the commits: {states}; lastTransaction {last} the last one"
    print(f"{title}, {line}")
    return line


running = database()
tids = [commit(running, number) for number in (1, 2)]
first = report("after 2 commits", running)
tids += [commit(running, number) for number in (3, 4)]
with running.transaction() as connection:
    assert connection.root()["value"] == 4
second = report("after 2 more", running)
third = report("by a DB that was opened now", database())
assert first == "states at the commits: 1 2; lastTransaction is the last one"
assert second == "states at the commits: 1 2 ValueError ValueError; lastTransaction is not the last one"
assert third == "states at the commits: 1 2 3 4; lastTransaction is the last one"
END
