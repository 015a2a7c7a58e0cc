#!/usr/bin/env bash
# zodb-pgjsonb: a pack "older than a week" deletes what was removed yesterday, and the undo of that succeeds.
#
# Expected: with history, a pack as of a time keeps what was reachable then, as a FileStorage does; a removal that came
# later can be undone, which brings the page back.
# Seen: what is not reachable now is deleted, whatever the time of the pack, if it was last changed before that time.
# Only the removal itself is still in the history. Its undo puts the reference back, and reports nothing; the page is
# a POSKeyError.
# Why it matters: a weekly pack that leaves seven days is there so that mistakes of these days can be undone. The undo
# is offered, and leaves a folder that can't be listed.
# Versions: zodb-pgjsonb 1.19.0, psycopg 3.3.9, ZODB 6.4, PostgreSQL 16.2 (pgserver 0.1.4), Python 3.12.
#
# Output:
# FileStorage: page removed, pack as of before that, removal undone: 'hello'
# PGJsonbStorage: page removed, pack as of before that, removal undone: POSKeyError
set -euo pipefail
work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
cd "$work"
python3.12 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 zodb-pgjsonb==1.19.0 zodb-json-codec==1.7.0 \
    'psycopg[binary]==3.3.9' pgserver==0.1.4
venv/bin/python -W ignore - <<'PYTHON'
import importlib.util
import logging
import os
import pathlib
import shutil
import subprocess
import time

import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from zodb_pgjsonb.storage import PGJsonbStorage

logging.disable()
# PostgreSQL does not run as root.
user = {"user": 65534, "group": 65534} if os.getuid() == 0 else {}
packages = pathlib.Path(importlib.util.find_spec("pgserver").origin).parents[1]
for name in "pgserver", "pgserver.libs":
    shutil.copytree(packages / name, name, symlinks=True)
os.mkdir("cluster")
os.chmod("cluster", 0o777)
data, here = os.path.abspath("cluster/data"), os.path.abspath("cluster")


def run(program, *args):
    subprocess.run([f"pgserver/pginstall/bin/{program}", *args], check=True, stdout=subprocess.DEVNULL, **user)


def tried(storage):
    db = ZODB.DB(storage)
    with db.transaction() as connection:
        connection.root()["page"] = PersistentMapping(text="hello")
    time.sleep(0.1)
    last_week = time.time()
    time.sleep(0.1)
    with db.transaction() as connection:
        del connection.root()["page"]
    db.pack(last_week)
    db.undo(db.undoLog(0, 1)[0]["id"])
    transaction.commit()
    db.cacheMinimize()
    with db.transaction() as connection:
        try:
            seen = repr(connection.root()["page"]["text"])
        except POSKeyError as error:
            seen = type(error).__name__
    db.close()
    print(f"{type(storage).__name__}: page removed, pack as of before that, removal undone: {seen}")
    return seen


assert tried(FileStorage("Data.fs")) == "'hello'"
run("initdb", "-D", data, "-U", "zodb", "-A", "trust", "-E", "UTF8")
run("pg_ctl", "-D", data, "-w", "-l", f"{here}/log", "-o", f"-k {here} -c listen_addresses=''", "start")
try:
    seen = tried(PGJsonbStorage(dsn=f"host={here} user=zodb dbname=postgres", history_preserving=True))
finally:
    run("pg_ctl", "-D", data, "-m", "immediate", "stop")
assert seen == "POSKeyError"
PYTHON
