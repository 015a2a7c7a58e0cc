#!/usr/bin/env bash
# appendonly: what a resolved conflict pushes out of an AppendStack never gets to its archive.
#
# Expected: push(item, pruner=archive.addLayer) hands each layer that falls off the stack to the archive, so that
# stack and archive together have every item.
# Seen: two transactions each push an item for which there is room. The conflict is resolved: the second item goes
# into a new layer, and the oldest one is cut off, within the storage, where there is no pruner. Its items are in
# neither. Both commits succeed.
# Why it matters: the archive of an activity stream loses a hundred entries at a time (the default length of a layer),
# under load only; what a pruner would have freed, as files or entries of a catalog, stays for ever.
# Versions: appendonly 1.2, ZODB 6.4, Python 3.11.
#
# Output:
# 7 items pushed one by one: stack [3, 4, 5, 6], archive [0, 1, 2]
# the last two at the same time: stack [3, 4, 5, 6], archive []
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 appendonly==1.2
venv/bin/python -W ignore - <<'END'
import transaction
import ZODB
from appendonly import AppendStack, Archive
from ZODB.DemoStorage import DemoStorage

db = ZODB.DB(DemoStorage())


def push(connection, item):
    root = connection.root()
    root["stack"].push(item, pruner=root["archive"].addLayer)


def tried(title, together):
    with db.transaction() as connection:
        connection.root()["stack"] = AppendStack(max_layers=2, max_length=3)
        connection.root()["archive"] = Archive()
    for item in range(7 - together):
        with db.transaction() as connection:
            push(connection, item)
    managers = [transaction.TransactionManager() for _ in range(together)]
    for item, manager in enumerate(managers, 7 - together):
        push(db.open(manager), item)
    for manager in managers:
        manager.commit()
    with db.transaction() as connection:
        seen = [sorted(item for *_, item in connection.root()[name]) for name in ("stack", "archive")]
    print("{}: stack {}, archive {}".format(title, *seen))
    return seen


assert tried("7 items pushed one by one", 0) == [[3, 4, 5, 6], [0, 1, 2]]
assert tried("the last two at the same time", 2) == [[3, 4, 5, 6], []]
END
