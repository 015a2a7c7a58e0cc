#!/usr/bin/env bash
# With client-conflict-resolution, undo resolves no conflicts.
#
# Expected: client-conflict-resolution moves the resolution from the server to the client, which has the classes. What
# could be undone before can be undone after.
# Seen: commits that conflict go on being resolved, by the client. An undo is computed by the server, which resolves
# nothing any more, not even BTrees and Length; the client, which could, is not asked. UndoError "Some data were
# modified by a later transaction", where without the option the later additions stay and the undone one goes.
# Why it matters: the option is documented as a matter of where code must be installed. It is switched on for classes
# of one's own, and takes undo away from every folder and catalog.
# Versions: ZEO 6.2, ZODB 6.4, BTrees 6.5, Python 3.11.
#
# Output:
# resolution by the server: commits at once keep 0, a, b; undo of a leaves 0, b
# resolution by the client: commits at once keep 0, a, b; undo of a: MultipleUndoErrors
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

import transaction
import ZEO
from BTrees.OOBTree import OOBTree
from ZODB.POSException import UndoError

logging.disable()


def by_whom(client):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    with open("zeo.conf", "w") as conf:
        conf.write(f"<zeo>\naddress 127.0.0.1:{address[1]}\nclient-conflict-resolution {client}\n</zeo>\n"
                   f"<filestorage 1>\npath {client}.fs\n</filestorage>\n")
    server = subprocess.Popen(["venv/bin/runzeo", "-C", "zeo.conf"], stderr=subprocess.DEVNULL)
    try:
        db = ZEO.DB(address, wait_timeout=60)
        with db.transaction() as connection:
            connection.root()["tree"] = OOBTree({"0": True})
        managers = [transaction.TransactionManager(), transaction.TransactionManager()]
        trees = [db.open(manager).root()["tree"] for manager in managers]
        for tree, key in zip(trees, "ab"):
            tree[key] = True
        for manager, key in zip(managers, "ab"):
            manager.get().note(f"add {key}")
            manager.commit()
        managers[0].begin()
        kept = ", ".join(trees[0])
        (addition,) = [found["id"] for found in db.undoLog(0, 9) if found["description"] == "add a"]
        try:
            db.undo(addition)
            transaction.commit()
            managers[0].begin()
            undone = " leaves " + ", ".join(trees[0])
        except UndoError as error:
            transaction.abort()
            undone = ": " + type(error).__name__
        managers[0].abort()
        managers[1].abort()
        db.close()
    finally:
        server.terminate()
        server.wait()
    return f"commits at once keep {kept}; undo of a{undone}"


seen = by_whom("false"), by_whom("true")
print("resolution by the server:", seen[0])
print("resolution by the client:", seen[1])
assert seen[0] == "commits at once keep 0, a, b; undo of a leaves 0, b"
assert seen[1] == "commits at once keep 0, a, b; undo of a: MultipleUndoErrors"
END
