#!/usr/bin/env bash
# A read-only ZEO client or RelStorage can pack.
#
# Expected: a storage that was opened read-only changes nothing; a FileStorage's pack is a ReadOnlyError.
# Seen: commits are refused by all three. But the pack of a read-only ZEO client or RelStorage runs, and removes the
# old revisions and the unreachable objects from the database that the others write. A ZEO server with `read-only
# true` packs at a client's request as well, on purpose, as a comment in its code says.
# Why it matters: reports, debuggers and readers of replicas are configured read-only so that no mistake of theirs can
# do harm; and a pack can't be taken back: with it, all undo is gone.
# Versions: ZEO 6.2, RelStorage 4.3.0 (sqlite3), ZODB 6.4, Python 3.11.
#
# Output:
# FileStorage, read-only: commit ReadOnlyError, pack ReadOnlyError, 6 revisions before, 6 after
# ZEO client, read-only: commit ReadOnlyError, pack done, 6 revisions before, 1 after
# RelStorage, read-only: commit ReadOnlyError, pack done, 6 revisions before, 1 after
# client of a read-only server: pack done, 6 revisions before, 1 after
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check 'RelStorage[sqlite3]==4.3.0' ZEO==6.2 ZODB==6.4
venv/bin/python -W ignore - <<'END'
import logging
import socket
import subprocess

import transaction
import ZODB.config

CONFIG = """
%import relstorage
%import ZEO
<zodb>
  <{kind}>
    {options}
  </{kind}>
</zodb>
"""
logging.disable()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]


def database(kind, options, read_only):
    return ZODB.config.databaseFromString(CONFIG.format(kind=kind, options=f"{options}\nread-only {read_only}"))


def revisions(kind, options):
    db = database(kind, options, "false")
    try:
        return sum(1 for _ in db.storage.iterator())
    finally:
        db.close()


def outcome(action):
    try:
        action()
        return "done"
    except Exception as error:
        return type(error).__name__


def tried(name, kind, options):
    db = database(kind, options, "false")
    for number in range(5):
        with db.transaction() as connection:
            connection.root()["value"] = number
    db.close()
    before = revisions(kind, options)
    db = database(kind, options, "true")
    manager = transaction.TransactionManager()
    db.open(manager).root()["value"] = 99
    commit = outcome(manager.commit)
    manager.abort()
    pack = outcome(db.pack)
    db.close()
    after = revisions(kind, options)
    print(f"{name}, read-only: commit {commit}, pack {pack}, {before} revisions before, {after} after")
    return commit, pack, before, after


def serve(path, read_only):
    with open("zeo.conf", "w") as conf:
        conf.write(f"<zeo>\naddress 127.0.0.1:{port}\nread-only {read_only}\n</zeo>\n"
                   f"<filestorage 1>\npath {path}\n</filestorage>\n")
    return subprocess.Popen(["venv/bin/runzeo", "-C", "zeo.conf"], stderr=subprocess.DEVNULL)


CLIENT = "clientstorage", f"server 127.0.0.1:{port}\nwait-timeout 60"
server = serve("Served.fs", "false")
try:
    seen = [
        tried("FileStorage", "filestorage", "path Data.fs"),
        tried("ZEO client", *CLIENT),
        tried("RelStorage", "relstorage", "<sqlite3>\ndata-dir data\n</sqlite3>"),
    ]
finally:
    server.terminate()
    server.wait()
assert seen[0] == ("ReadOnlyError", "ReadOnlyError", 6, 6)
assert seen[1] == seen[2] == ("ReadOnlyError", "done", 6, 1)

before = revisions("filestorage", "path Data.fs")
server = serve("Data.fs", "true")
try:
    db = database(*CLIENT, "true")
    pack = outcome(db.pack)
    db.close()
finally:
    server.terminate()
    server.wait()
after = revisions("filestorage", "path Data.fs")
print(f"client of a read-only server: pack {pack}, {before} revisions before, {after} after")
assert (pack, before, after) == ("done", 6, 1)
END
