#!/usr/bin/env bash
# After a backup was restored, a ZEO client goes on with what the database no longer has, and commits it.
#
# Expected: a client whose cache is newer than the server's last transaction refuses the server, and logs "Client
# cache is out of sync with the server" (CRITICAL), until its cache is removed: the check is for restored backups.
# Seen: it refuses only until somebody else commits. Then the server's last transaction is the later one, the
# server finds that since the client's own last one only that commit has come, and the client keeps all it has in
# its caches: also what was committed between the backup and the accident. It shows this as current, and copies it
# into other objects, without a ConflictError; only a change of a lost object itself conflicts, once.
# Why it matters: after a restore in which the clients were left running (or start with persistent caches), some
# of them see one database and some another, and what is written is a mixture that nobody can take apart.
# Versions: ZEO 6.2, ZODB 6.4, Python 3.11.
#
# Output:
# backup with balance 100, then balance 1 is committed; the backup is restored
# running client: not connected
# new client: balance 100; it commits something else
# running client: connected, balance 1; it commits a report: balance 1
# new client: balance 100, report 1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZEO==6.2 ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zdaemon==5.2.1 zope.interface==8.7 msgpack==1.2.4
venv/bin/python - <<'END'
import logging
import os
import shutil
import socket
import subprocess
import time

import ZEO
from persistent.mapping import PersistentMapping

with socket.create_server(("127.0.0.1", 0)) as free:
    address = free.getsockname()
refusals = []


class Refusals(logging.Handler):
    def emit(self, record):
        refusals.extend([record] if "out of sync" in record.getMessage() else [])


logging.getLogger("ZEO").addHandler(Refusals())
logging.lastResort = None


def start():
    return subprocess.Popen(["venv/bin/runzeo", "-a", "%s:%s" % address, "-f", "Data.fs"],
                            stderr=subprocess.DEVNULL)


def wait_until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def value(database, name):
    with database.transaction() as connection:
        return connection.root()[name]["value"]


def change(database, name, number):
    with database.transaction() as connection:
        connection.root()[name]["value"] = number


server = start()
try:
    running = ZEO.DB(address, wait_timeout=60)
    with running.transaction() as connection:
        for name, number in (("balance", 100), ("report", 0), ("else", 0)):
            connection.root()[name] = PersistentMapping(value=number)
    shutil.copy("Data.fs", "backup.fs")
    change(running, "balance", 1)
    value(running, "balance"), value(running, "report")
    server.terminate()
    server.wait()
    wait_until(lambda: not running.storage.is_connected())
    shutil.copy("backup.fs", "Data.fs")
    os.remove("Data.fs.index")
    print("backup with balance 100, then balance 1 is committed; the backup is restored")
    server = start()
    wait_until(lambda: refusals)
    refused = not running.storage.is_connected()
    print("running client:", "not connected" if refused else "connected")
    new = ZEO.DB(address, wait_timeout=60)
    restored = value(new, "balance")
    change(new, "else", 1)
    print(f"new client: balance {restored}; it commits something else")
    wait_until(running.storage.is_connected)
    lost = value(running, "balance")
    with running.transaction() as connection:
        root = connection.root()
        root["report"]["value"] = root["balance"]["value"]
    print(f"running client: connected, balance {lost}; it commits a report: balance {lost}")
    wait_until(lambda: value(new, "report"))
    seen = value(new, "balance"), value(new, "report")
    print("new client: balance {}, report {}".format(*seen))
    running.close()
    new.close()
finally:
    server.terminate()
    server.wait()
assert refused and (restored, lost) == (100, 1) and seen == (100, 1)
END
