#!/usr/bin/env bash
# zc.queue: when a conflict is resolved, a job that is equal to one in the queue is lost, or is there once more.
#
# Expected: zc.queue resolves conflicts of transactions that put or pull different items; all that was put is in the
# queue afterwards, and nothing that was pulled. If it can't be sure, it raises a ConflictError.
# Seen: the merge compares sets of items. An item that is put while an equal one waits is not in the difference: it is
# dropped. One of two equal items that is pulled is not in the difference either: it stays. Both commits succeed.
# Without another transaction at the same time both work.
# Why it matters: queues hold ids of documents or (name, id) pairs, and a document that is changed twice is put twice.
# Under load, and only then, the second change is never indexed, or a mail is sent twice.
# Versions: zc.queue 2.0.0, ZODB 6.4, Python 3.11.
#
# Output:
# [5, 6]: put(5) alone: [5, 6, 5]; beside put(7): [5, 6, 7]
# [5, 5, 6]: pull() alone: [5, 6]; beside put(7): [5, 5, 6, 7]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 zc.queue==2.0.0
venv/bin/python -W ignore - <<'END'
import transaction
import ZODB
from ZODB.DemoStorage import DemoStorage
from zc.queue import Queue

db = ZODB.DB(DemoStorage())


def result(items, change, other=None):
    with db.transaction() as connection:
        queue = connection.root()["queue"] = Queue()
        for item in items:
            queue.put(item)
    manager = transaction.TransactionManager()
    connection = db.open(manager)
    change(connection.root()["queue"])
    if other is not None:
        with db.transaction() as second:
            second.root()["queue"].put(other)
    manager.commit()
    connection.close()
    with db.transaction() as connection:
        return list(connection.root()["queue"])


def shown(items, name, change):
    seen = result(items, change), result(items, change, 7)
    print("{}: {} alone: {}; beside put(7): {}".format(items, name, *seen))
    return seen


assert shown([5, 6], "put(5)", lambda queue: queue.put(5)) == ([5, 6, 5], [5, 6, 7])
assert shown([5, 5, 6], "pull()", lambda queue: queue.pull()) == ([5, 6], [5, 5, 6, 7])
END
