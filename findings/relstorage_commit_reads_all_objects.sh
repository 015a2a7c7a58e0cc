#!/usr/bin/env bash
# A RelStorage commit of one object reads the table of all objects from end to end, twice.
#
# Expected: the serial of the object is looked up in the primary key of current_object, and as much is read in a
# database of thirty thousand objects as in one of three.
# Seen: after 30,000 objects were added in transactions of 1,000, and ANALYZE, each of 20 commits that change one
# object makes two sequential scans of current_object. The statements join it with the temporary table temp_store,
# for which PostgreSQL has no statistics, so that it plans for many hundreds of rows.
# Why it matters: each commit gets slower as the database grows, until PostgreSQL thinks the index cheaper (seen
# at 1,000,000 objects and not yet at 100,000); so a measurement on a small database tells little of a large one.
# Versions: RelStorage 4.3.0, ZODB 6.4, psycopg2 2.9.13, PostgreSQL 16.2 (pgserver 0.1.4), Python 3.11.
#
# Output:
# 20 commits of one object: 40 sequential scans of current_object, 1200040 rows
set -euo pipefail
work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check RelStorage==4.3.0 ZODB==6.4 psycopg2-binary==2.9.13 pgserver==0.1.4
venv/bin/python -W ignore - <<'PYTHON'
import importlib.util
import os
import pathlib
import shutil
import subprocess
import time

import psycopg2
import transaction
from persistent.mapping import PersistentMapping
from relstorage.adapters.postgresql import PostgreSQLAdapter
from relstorage.options import Options
from relstorage.storage import RelStorage
from ZODB.DB import DB

OBJECTS = 30000
COMMITS = 20
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


def open_db():
    options = Options(keep_history=True, cache_local_mb=0)
    return DB(RelStorage(PostgreSQLAdapter(dsn=dsn, options=options), options=options))


run("initdb", "-D", data, "-U", "zodb", "-A", "trust", "-E", "UTF8")
run("pg_ctl", "-D", data, "-w", "-l", f"{here}/log", "-o", f"-k {here} -c listen_addresses=''", "start")
try:
    dsn = f"host={here} user=zodb dbname=postgres"
    db = open_db()
    connection = db.open()
    for number in range(1, OBJECTS + 1):
        connection.add(PersistentMapping(number=number))
        if number % 1000 == 0:
            transaction.commit()
    connection.root()["count"] = 0
    transaction.commit()
    connection.close()
    db.close()
    statistics = psycopg2.connect(dsn)
    statistics.autocommit = True
    cursor = statistics.cursor()
    cursor.execute("ANALYZE")

    def scans():
        time.sleep(2)  # until what each connection has counted is known
        cursor.execute("SELECT seq_scan, seq_tup_read FROM pg_stat_user_tables "
                       "WHERE relname = 'current_object'")
        return cursor.fetchone()

    db = open_db()
    connection = db.open()
    before = scans()
    for number in range(COMMITS):
        connection.root()["count"] = number + 1
        transaction.commit()
    connection.close()
    db.close()
    count, rows = (after - earlier for after, earlier in zip(scans(), before))
    print(f"{COMMITS} commits of one object: {count} sequential scans of current_object, {rows} rows")
    assert count == 2 * COMMITS and rows == count * (OBJECTS + 1), (count, rows)
finally:
    run("pg_ctl", "-D", data, "-m", "immediate", "stop")
PYTHON
