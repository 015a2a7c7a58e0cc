#!/usr/bin/env bash
# Within `with transaction.manager:`, a second one throws away what was changed so far.
#
# Expected: a function that uses `with transaction.manager:` calls another one that does so, too. The inner block
# commits what is there, or joins the outer one, or fails.
# Seen: it begins a transaction, and begin() aborts the one that is going on, without a word. So the changes
# before the inner block are lost, those in it are committed, and those behind it are committed too, in a third
# transaction; if the outer block fails at its end, the inner changes stay. Only a manager with explicit=True
# raises AlreadyInTransaction.
# Why it matters: the outer function ends well, and half of its work is missing. Each function alone is as
# documented.
# Versions: transaction 5.1, ZODB 6.4, Python 3.11.
#
# Output:
# implicit: committed inner, behind
# implicit, outer block fails: committed inner
# explicit: AlreadyInTransaction
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


def committed(manager, fails=False):
    with db.transaction() as connection:
        connection.root().clear()
    root = db.open(manager).root

    def inner():
        with manager:
            root().update(inner=1)

    try:
        with manager:
            root().update(before=1)
            inner()
            root().update(behind=1)
            if fails:
                raise KeyError("at the end of the outer block")
    except KeyError:
        pass
    except transaction.interfaces.AlreadyInTransaction as error:
        return type(error).__name__
    with db.transaction() as connection:
        return "committed " + ", ".join(sorted(connection.root(), reverse=True))


seen = [committed(transaction.TransactionManager()), committed(transaction.TransactionManager(), fails=True),
        committed(transaction.TransactionManager(explicit=True))]
for name, outcome in zip(("implicit", "implicit, outer block fails", "explicit"), seen):
    print(f"{name}: {outcome}")
assert seen == ["committed inner, behind", "committed inner", "AlreadyInTransaction"]
END
venv/bin/python try.py
