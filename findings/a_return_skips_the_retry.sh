#!/usr/bin/env bash
# A function that returns from within a retry loop says that it has committed, and has not.
#
# Expected: `with attempt: ...; return result` in `for attempt in manager.attempts():` returns when the commit has
# succeeded. When the commit fails by a conflict, the block is run again, as it is without the `return`.
# Seen: after a conflict, the function returns its result at once, without any error, and nothing is committed.
# The attempt's __exit__ commits, takes the ConflictError for itself and asks for the next round of the loop; but
# no exception was raised in the block, so Python goes on with the `return`. `break` does the same.
# Why it matters: a function with a retry loop in it has a result more often than not. It works until two requests
# meet; then changes are lost that the caller was told of.
# Versions: transaction 5.1, ZODB 6.4, Python 3.11.
#
# Output:
# return behind the loop: returned 11, committed 11
# return within the block: returned 1, committed 10
# break within the block: returned 1, committed 10
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

db = ZODB.DB("Data.fs")
manager = transaction.TransactionManager()
mine = db.open(manager)


def increment_once(others):
    mine.root()["n"] += 1
    if others:  # another process commits in the meantime, once
        others.pop()
        with db.transaction() as connection:
            connection.root()["n"] += 10
    return mine.root()["n"]


def return_behind():
    others = [1]
    for attempt in manager.attempts():
        with attempt:
            result = increment_once(others)
    return result


def return_within():
    others = [1]
    for attempt in manager.attempts():
        with attempt:
            return increment_once(others)


def break_within():
    others = [1]
    for attempt in manager.attempts():
        with attempt:
            result = increment_once(others)
            break
    return result


def outcome(function):
    with db.transaction() as connection:
        connection.root()["n"] = 0
    returned = function()
    with db.transaction() as connection:
        return returned, connection.root()["n"]


found = {}
for place, function in ("return behind the loop", return_behind), \
        ("return within the block", return_within), ("break within the block", break_within):
    found[function] = returned, committed = outcome(function)
    print(f"{place}: returned {returned}, committed {committed}")
assert found == {return_behind: (11, 11), return_within: (1, 10), break_within: (1, 10)}
END
venv/bin/python try.py
