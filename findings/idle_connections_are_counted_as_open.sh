#!/usr/bin/env bash
# prometheus-zodb counts every connection that ever was as open, and says that none is available.
#
# Expected: zodb_connection_pool_count is the "current number of open connections", and
# zodb_connection_pool_available the number of free places: 0 and 7 when no request is running.
# Seen: it counts what the pool knows, which includes all connections that were closed and wait in the pool for the
# next open(). Both numbers only ever follow the largest number of connections that were open at once.
# Why it matters: an alarm on "no connection available" goes off after the first busy moment and stays on; a leak of
# connections, which these two numbers are there to show, looks the same.
# Versions: prometheus-zodb 0.1.0, ZODB 6.4, Python 3.12.
#
# Output:
# at the start, none open: count 1, available 6
# 7 open: count 7, available 0
# all closed: count 7, available 0
# 1 of them open again: count 7, available 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3.12 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 prometheus-zodb==0.1.0 prometheus-client==0.26.0
venv/bin/python - <<'END'
import ZODB
from prometheus_zodb import ZODBCollector

db = ZODB.DB(None)
collector = ZODBCollector(db, registry=None)


def shown(title):
    metrics = {family.name: int(family.samples[0].value) for family in collector.collect()}
    seen = metrics["zodb_connection_pool_count"], metrics["zodb_connection_pool_available"]
    print("{}: count {}, available {}".format(title, *seen))
    return seen


start = shown("at the start, none open")
connections = [db.open() for _ in range(7)]
busy = shown("7 open")
for connection in connections:
    connection.close()
idle = shown("all closed")
connection = db.open()
again = shown("1 of them open again")
assert (start, busy, idle, again) == ((1, 6), (7, 0), (7, 0), (7, 0))
END
