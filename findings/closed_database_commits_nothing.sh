#!/usr/bin/env bash
# db.close() throws away what was changed, and the commit after it says nothing.
#
# Expected: with changes that are not committed, closing fails, as connection.close() does ("Cannot close a
# connection joined to a transaction"), or the commit after it does.
# Seen: db.close() aborts the transactions of all its connections; transaction.commit() then commits a new, empty
# one, and succeeds. At the end of a `with transaction.manager:` it is the same.
# Why it matters: a script that closes the database one line too early ends well, and nothing is stored.
# Versions: ZODB 6.4, transaction 5.1, Python 3.11.
#
# Output:
# connection.close(): ConnectionStateError
# db.close(), commit: no error, stored []
# db.close() within `with transaction.manager`: no error, stored []
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > try.py <<'END'
import transaction
import ZODB
from ZODB.POSException import ConnectionStateError


def change(name):
    db = ZODB.DB(name)
    connection = db.open()
    connection.root()["value"] = 1
    return db, connection


def stored(name):
    db = ZODB.DB(name)
    with db.transaction() as connection:
        keys = list(connection.root())
    db.close()
    return keys


db, connection = change("connection.fs")
try:
    connection.close()
    closing = "closed"
except ConnectionStateError as error:
    closing = type(error).__name__
print("connection.close():", closing)
transaction.abort()

db, connection = change("commit.fs")
db.close()
transaction.commit()
first = stored("commit.fs")
print("db.close(), commit: no error, stored", first)

with transaction.manager:
    db, connection = change("with.fs")
    db.close()
second = stored("with.fs")
print("db.close() within `with transaction.manager`: no error, stored", second)
assert (closing, first, second) == ("ConnectionStateError", [], [])
END
venv/bin/python try.py
