#!/usr/bin/env bash
# Taking the first key out of a BTree conflicts with every new key in the same bucket.
#
# Expected: one transaction adds a key at the end and another one deletes a key at the beginning: BTrees resolve
# that, as different keys are concerned. So a BTree with growing integer keys is a queue that producers and a
# consumer use at the same time.
# Seen: as long as the queue has no more keys than one bucket, each of 200 such pairs is a ConflictError; it
# doesn't matter who commits first. If the consumer takes the second key and leaves the first, none of the 200 is.
# The delete of a bucket's first key is never resolved, since the parent could have to change; also if there is no
# parent.
# Why it matters: a short queue is the normal one, and the busier it is, the more often all have to try again. A
# first key that is never taken (-1, say) ends it.
# Versions: BTrees 6.5, ZODB 6.4 (FileStorage), Python 3.11.
#
# Output:
# consumer takes the first key: 200 conflicts
# consumer takes the second key: 0 conflicts
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
from BTrees.LOBTree import LOBTree
from ZODB.POSException import ConflictError


def conflicts(position):
    """How many of 200 takings fail, each with one job added at the same time; 20 jobs are waiting."""
    db = ZODB.DB(f"{position}.fs")
    with db.transaction() as connection:
        connection.root()["jobs"] = LOBTree({number: "job" for number in range(20)})
    producer, consumer = (transaction.TransactionManager() for _ in range(2))
    added, taken = (db.open(manager).root()["jobs"] for manager in (producer, consumer))

    def take():
        del taken[taken.keys()[position]]
        consumer.commit()

    count = 0
    for _ in range(200):
        producer.begin()
        consumer.begin()
        taken.keys()[position]
        added[added.maxKey() + 1] = "job"
        producer.commit()
        try:
            take()
        except ConflictError:
            count += 1
            consumer.abort()
            take()
    return count


found = [conflicts(0), conflicts(1)]
for name, count in zip(("first", "second"), found):
    print(f"consumer takes the {name} key: {count} conflicts")
assert found == [200, 0]
END
venv/bin/python try.py
