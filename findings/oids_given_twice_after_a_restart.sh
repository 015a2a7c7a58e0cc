#!/usr/bin/env bash
# After a restart of the ZEO server, two clients are given the same oids for new objects.
#
# Expected: an oid that new_oid has returned, or will return, at one client is never given to another.
# Seen: a client asks the server for a hundred oids at a time and keeps the rest for later, also when its
# connection is lost. The restarted server knows only the oids that are in its file, and gives those that
# the first client still has to the next one. Both clients then add a new object, to two containers that have
# nothing in common, and the later commit gets a ConflictError about the new object.
# Why it matters: a server's orderly restart, with its clients left running, is enough, and the error names
# an object that no one else can have touched.
# Versions: ZEO 6.2 with ZODB 6.4, ZEO 5.4.1 with ZODB 5.8.1, Python 3.11.
#
# Output:
# ZEO 6.2: first client's next oids 3 4 5, second client's 3 4 5
# ZEO 6.2: ConflictError, the new object is the second client's too: oid 3
# ZEO 5.4.1: first client's next oids 3 4 5, second client's 3 4 5
# ZEO 5.4.1: ConflictError, the new object is the second client's too: oid 3
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > try.py <<'END'
import os
import socket
import subprocess
import sys
import time

import ZEO
from persistent.mapping import PersistentMapping
from ZODB.POSException import ConflictError
from ZODB.utils import u64

name = "ZEO " + sys.argv[1]
with socket.create_server(("127.0.0.1", 0)) as free:
    address = free.getsockname()


def start():
    runzeo = os.path.join(os.path.dirname(sys.executable), "runzeo")
    return subprocess.Popen([runzeo, "-a", "%s:%s" % address, "-f", "Data.fs"], stderr=subprocess.DEVNULL)


def wait_until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def three(database):
    "The next oids of the client, put back for its next calls."
    oids = [database.storage.new_oid() for _ in range(3)]
    database.storage._oids.extend(reversed(oids))
    return " ".join(str(u64(oid)) for oid in oids)


server = start()
try:
    first = ZEO.DB(address, wait_timeout=60)
    with first.transaction() as connection:
        connection.root()["one"] = PersistentMapping()
        connection.root()["two"] = PersistentMapping()
    server.terminate()
    server.wait()
    wait_until(lambda: not first.storage.is_connected())
    server = start()
    wait_until(first.storage.is_connected)
    second = ZEO.DB(address, wait_timeout=60)
    of_first, of_second = three(first), three(second)
    print(f"{name}: first client's next oids {of_first}, second client's {of_second}")
    with second.transaction() as connection:
        connection.root()["two"]["new"] = new = PersistentMapping()
    oid = new._p_oid
    conflict = None
    try:
        with first.transaction() as connection:
            connection.root()["one"]["new"] = PersistentMapping()
    except ConflictError as error:
        conflict = error.oid
    first.close()
    second.close()
finally:
    server.terminate()
    server.wait()
assert of_first == of_second and conflict == oid
print(f"{name}: ConflictError, the new object is the second client's too: oid {u64(conflict)}")
END
for versions in "6.2 6.4 1.2.4" "5.4.1 5.8.1 0.6.2"; do
    read -r zeo zodb msgpack <<< "$versions"
    mkdir "$zeo"
    cd "$zeo"
    python3 -m venv venv
    venv/bin/pip install --quiet --disable-pip-version-check \
        ZEO==$zeo ZODB==$zodb BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
        ZConfig==4.3 zdaemon==5.2.1 zope.interface==8.7 msgpack==$msgpack six==1.17.0
    venv/bin/python ../try.py "$zeo"
    cd ..
done
