#!/usr/bin/env bash
# A storage or database with a capital in its name is not found under its name.
#
# Expected: `<filestorage Main>` in the configuration of a ZEO server is the storage "Main" of the clients, and
# `<zodb Users>` the database of get_connection("Users").
# Seen: ZConfig turns names of sections into lower case, and leaves values of keys as they are. The storage is
# "main": a client with `storage Main` tries for ever, and reports "timed out waiting for connection", as if there
# were no server. The database is "users", and get_connection("Users") is a KeyError; where its name is given by the
# key database-name, it stays "Users".
# Why it matters: names of databases stand in references from other databases. Who moves from database-name, or
# from DB(database_name=...) in Python, to `<zodb Users>` can't follow those references any more.
# Versions: ZEO 6.2, ZODB 6.4, ZConfig 4.3, Python 3.11.
#
# Output:
# <mappingstorage Main>: as Main ClientDisconnected, as main connected
# <zodb Users>: as Users KeyError, as users found
# <zodb> with database-name Users: as Users found, as users KeyError
# a reference into Users, after the database became <zodb Users>: StateLoadError
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
import socket
import subprocess

import ZEO
import ZODB.config
from persistent.mapping import PersistentMapping

logging.disable()


def outcome(action, done):
    try:
        action()
    except Exception as error:
        return type(error).__name__
    return done


def databases(users):
    return ZODB.config.databaseFromString(f"""
<zodb main>
  <filestorage>
    path main.fs
  </filestorage>
</zodb>
{users}
  <filestorage>
    path users.fs
  </filestorage>
</zodb>
""")


def found(users):
    db = databases(users)
    with db.transaction() as connection:
        names = [outcome(lambda: connection.get_connection(name), "found") for name in ("Users", "users")]
    for database in db.databases.values():
        database.close()
    return "as Users {}, as users {}".format(*names)


with socket.create_server(("127.0.0.1", 0)) as free:
    address = free.getsockname()
with open("zeo.conf", "w") as conf:
    conf.write(f"<zeo>\naddress 127.0.0.1:{address[1]}\n</zeo>\n<mappingstorage Main>\n</mappingstorage>\n")
server = subprocess.Popen(["venv/bin/runzeo", "-C", "zeo.conf"], stderr=subprocess.DEVNULL)
try:
    lower = outcome(lambda: ZEO.client(address, storage="main", wait_timeout=60).close(), "connected")
    upper = outcome(lambda: ZEO.client(address, storage="Main", wait_timeout=5).close(), "connected")
finally:
    server.terminate()
    server.wait()
print(f"<mappingstorage Main>: as Main {upper}, as main {lower}")
by_section, by_key = found("<zodb Users>"), found("<zodb>\ndatabase-name Users")
print("<zodb Users>:", by_section)
print("<zodb> with database-name Users:", by_key)

db = databases("<zodb>\ndatabase-name Users")
with db.transaction() as connection:
    user = PersistentMapping(name="jim")
    connection.get_connection("Users").root()["jim"] = user
    connection.get_connection("Users").add(user)
    connection.root()["user"] = user
for database in db.databases.values():
    database.close()
with databases("<zodb Users>").transaction() as connection:
    reference = outcome(lambda: connection.root()["user"]["name"], "found")
print("a reference into Users, after the database became <zodb Users>:", reference)
assert (upper, lower, reference) == ("ClientDisconnected", "connected", "StateLoadError")
assert by_section == "as Users KeyError, as users found" and by_key == "as Users found, as users KeyError"
END
