#!/usr/bin/env bash
# A weak reference to a new object is dead for ever after a savepoint was rolled back.
#
# Expected: persistent.wref.WeakRef(page) refers to the page. If the page is added again after a rollback of the
# savepoint that had stored it, and commits, the weak reference that was made before leads to it.
# Seen: the savepoint gives the page an oid, and the weak reference remembers it. The rollback takes it back from
# the page, not from the weak reference. The page is then committed with another oid, the weak reference with the
# old one: it is None for everybody, and for the program itself as soon as it is loaded again. Without the savepoint
# in between it is right.
# Why it matters: "try with the picture, roll back, try without" is what savepoints are for. In the program that
# wrote it, the reference works.
# Versions: persistent 6.9, ZODB 6.4, transaction 5.1, Python 3.11.
#
# Output:
# no rollback: in the program the page, in the database the page
# after a rollback: in the program the page, in the database None
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'END'
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from persistent.wref import WeakRef


def add(root):
    root["page"], root["recent"] = page, [recent]


def told(root):
    target = root["recent"][0]()
    return "the page" if target is not None and target is root["page"] else target


for rollback in False, True:
    db = ZODB.DB(None)
    root = db.open().root()
    page = PersistentMapping(title="new")
    recent = WeakRef(page)
    if rollback:
        savepoint = transaction.savepoint()
        add(root)
        transaction.savepoint()
        savepoint.rollback()
    add(root)
    transaction.commit()
    here = told(root)
    with db.transaction() as connection:
        there = told(connection.root())
        assert connection.root()["page"]["title"] == "new"
    print(f"{'after a' if rollback else 'no'} rollback: in the program {here}, in the database {there}")
    assert (here, there) == ("the page", None if rollback else "the page")
END
