#!/usr/bin/env bash
# appendonly: two transactions consume() the same items of an Accumulator, and both commit.
#
# Expected: an Accumulator collects what many transactions append, without conflicts; consume() takes all out. Of two
# transactions that consume the same items, the second conflicts, as with a zc.queue.Queue.
# Seen: both are given all items, and the conflict is resolved: two cleared lists make an empty list. No retry, no
# error.
# Why it matters: it is made for work that is deferred to one place. With a second worker, or a scheduled job that
# overlaps with itself, each item is worked on twice: two mails, two bookings.
# Versions: appendonly 1.2, zc.queue 2.0.0, ZODB 6.4, Python 3.11.
#
# Output:
# Accumulator: first ['a', 'b'], second ['a', 'b']; second commit: ok; left: []
# Queue: first ['a', 'b'], second ['a', 'b']; second commit: ConflictError; left: []
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 appendonly==1.2 zc.queue==2.0.0
venv/bin/python -W ignore - <<'END'
import transaction
import ZODB
from appendonly import Accumulator
from zc.queue import Queue
from ZODB.DemoStorage import DemoStorage
from ZODB.POSException import ConflictError

db = ZODB.DB(DemoStorage())


def queue(items):
    made = Queue()
    for item in items:
        made.put(item)
    return made


def pull_all(queue):
    return [queue.pull() for _ in range(len(queue))]


def tried(make, take):
    with db.transaction() as connection:
        connection.root()["items"] = make(["a", "b"])
    managers = [transaction.TransactionManager() for _ in range(2)]
    first, second = (take(db.open(manager).root()["items"]) for manager in managers)
    managers[0].commit()
    try:
        managers[1].commit()
        outcome = "ok"
    except ConflictError as error:
        outcome = type(error).__name__
    with db.transaction() as connection:
        left = list(connection.root()["items"])
    print(f"{make.__name__.title()}: first {first}, second {second}; second commit: {outcome}; left: {left}")
    return second, outcome, left


assert tried(Accumulator, Accumulator.consume) == (["a", "b"], "ok", [])
assert tried(queue, pull_all) == (["a", "b"], "ConflictError", [])
END
