#!/usr/bin/env bash
# One lastTransaction(), and PostgreSQL can't vacuum a RelStorage's tables while that process lives.
#
# Expected: a connection to PostgreSQL that is not in use has no open transaction: RelStorage ends it when a ZODB
# connection goes back into the pool.
# Seen: db.lastTransaction() reads through the DB's own connection, and that transaction is never ended. A connection
# of db.open(at=...) leaves one open too when it has been closed. Both show as "idle in transaction", with a
# snapshot, for days; nothing that was deleted or replaced since can be removed, in no table of the database. A
# process that does neither has none.
# Why it matters: lastTransaction() is what monitors and cache keys ask for. Tables and indexes grow without limit,
# autovacuum runs in vain, and the cause is a connection that does nothing.
# Versions: RelStorage 4.3.0, ZODB 6.4, psycopg2 2.9.13, PostgreSQL 16.2 (pgserver 0.1.4), Python 3.11.
#
# Output:
# 50 commits: 0 idle in transaction, dead rows that VACUUM can't remove: none
# db.lastTransaction(), 50 commits: 1 idle in transaction, dead rows that VACUUM can't remove: some
# db.open(at=...) and close, 50 commits: 2 idle in transaction, dead rows that VACUUM can't remove: some
set -euo pipefail
work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check RelStorage==4.3.0 ZODB==6.4 psycopg2-binary==2.9.13 pgserver==0.1.4
venv/bin/python -W ignore - <<'PYTHON'
import importlib.util
import logging
import os
import pathlib
import re
import shutil
import subprocess

import psycopg2
import ZODB.config

logging.disable()
# PostgreSQL does not run as root.
user = {"user": 65534, "group": 65534} if os.getuid() == 0 else {}
packages = pathlib.Path(importlib.util.find_spec("pgserver").origin).parents[1]
for name in "pgserver", "pgserver.libs":
    shutil.copytree(packages / name, name, symlinks=True)
os.mkdir("cluster")
os.chmod("cluster", 0o777)
data, here = os.path.abspath("cluster/data"), os.path.abspath("cluster")
dsn = f"host={here} user=zodb dbname=postgres"


def run(program, *args):
    subprocess.run([f"pgserver/pginstall/bin/{program}", *args], check=True, stdout=subprocess.DEVNULL, **user)


def nothing(db):
    pass


def last_transaction(db):
    db.lastTransaction()


def historical(db):
    with db.transaction() as connection:
        serial = connection.root()._p_serial
    connection = db.open(at=serial)
    connection.root()["value"]
    connection.close()


def tried(title, action):
    db = ZODB.config.databaseFromString(
        f"%import relstorage\n<zodb>\n<relstorage>\n<postgresql>\ndsn {dsn}\n</postgresql>\n</relstorage>\n</zodb>")
    with db.transaction() as connection:
        connection.root()["value"] = -1
    action(db)
    for number in range(50):
        with db.transaction() as connection:
            connection.root()["value"] = number
    cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'")
    (idle,) = cursor.fetchone()
    monitor.notices.clear()
    cursor.execute("VACUUM (VERBOSE) current_object")
    kept = int(re.search(r"(\d+) are dead but not yet removable", "".join(monitor.notices))[1])
    db.close()
    dead = "some" if kept else "none"
    print(f"{title}50 commits: {idle} idle in transaction, dead rows that VACUUM can't remove: {dead}")
    return idle, dead


run("initdb", "-D", data, "-U", "zodb", "-A", "trust", "-E", "UTF8")
run("pg_ctl", "-D", data, "-w", "-l", f"{here}/log", "-o", f"-k {here} -c listen_addresses='' -c autovacuum=off", "start")
try:
    monitor = psycopg2.connect(dsn)
    monitor.autocommit = True
    cursor = monitor.cursor()
    seen = [
        tried("", nothing),
        tried("db.lastTransaction(), ", last_transaction),
        tried("db.open(at=...) and close, ", historical),
    ]
    assert seen == [(0, "none"), (1, "some"), (2, "some")], seen
finally:
    run("pg_ctl", "-D", data, "-m", "immediate", "stop")
PYTHON
