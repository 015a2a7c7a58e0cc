#!/usr/bin/env bash
# Two threads of one process on RelStorage, another process that commits: a thread sees half of a transaction.
#
# Expected: within a transaction a ZODB connection sees one state of the database. What was moved from one folder to
# another is in one of them.
# Seen: it is in both, or in none: one folder is as it was before, for as long as the transaction lasts. There is no
# error, and the database is right. It takes another RelStorage that commits (of another process; here, a second one
# in this process), and two threads that each have a connection of the same RelStorage, so that they share its cache
# and its index of revisions; one of them must commit as well. With `cache-local-mb 0`, or one RelStorage alone, it was
# not seen.
# How often: once in some thousand transactions with Python's default of 5 ms between thread switches, on two
# processors. They are 10 us here, so that it takes seconds.
# Why it matters: code that only reads and reports, or writes elsewhere what it has read, is wrong without a trace. A
# write to the folder that is old would be a conflict.
# Versions: RelStorage 4.3.0, ZODB 6.4, psycopg2 2.9.13, PostgreSQL 16.2 (pgserver 0.1.4), Python 3.11.
#
# Output:
# cache-local-mb 10: 20 things are in two folders: not always
# cache-local-mb 0: 20 things are in two folders: always
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
import random
import shutil
import subprocess
import sys
import threading

import transaction
import ZODB.config
from persistent.mapping import PersistentMapping
from ZODB.POSException import ConflictError

logging.disable()
# PostgreSQL does not run as root.
user = {"user": 65534, "group": 65534} if os.getuid() == 0 else {}
packages = pathlib.Path(importlib.util.find_spec("pgserver").origin).parents[1]
for name in "pgserver", "pgserver.libs":
    shutil.copytree(packages / name, name, symlinks=True)
os.mkdir("cluster")
os.chmod("cluster", 0o777)
data, here = os.path.abspath("cluster/data"), os.path.abspath("cluster")
THINGS = 20


def run(program, *args):
    subprocess.run([f"pgserver/pginstall/bin/{program}", *args], check=True, stdout=subprocess.DEVNULL, **user)


def opened(megabytes):
    return ZODB.config.databaseFromString(
        f"%import relstorage\n<zodb>\n<relstorage>\ncache-local-mb {megabytes}\n"
        f"<postgresql>\ndsn host={here} user=zodb dbname=postgres\n</postgresql>\n</relstorage>\n</zodb>")


def move(root, chance):
    source, target = chance.sample(["one", "other"], 2)
    if root[source]:
        name = chance.choice(sorted(root[source]))
        root[target][name] = root[source].pop(name)


def tried(megabytes, seconds):
    dbs = [opened(megabytes), opened(megabytes)]
    with dbs[0].transaction() as connection:
        root = connection.root()
        root["one"], root["other"] = PersistentMapping((n, n) for n in range(THINGS)), PersistentMapping()
        root["counts"] = PersistentMapping((n, PersistentMapping(n=0)) for n in range(len(dbs)))
    over = threading.Event()
    wrong = []

    def work(db, number, moves):
        chance = random.Random(number)
        while not over.is_set():
            manager = transaction.TransactionManager()
            connection = db.open(manager)
            try:
                manager.begin()
                root = connection.root()
                if moves:
                    move(root, chance)
                else:
                    found = sorted([*root["one"], *root["other"]])
                    if found != list(range(THINGS)):
                        wrong.append(found)
                        over.set()
                    root["counts"][number]["n"] += 1
                manager.commit()
            except ConflictError:
                pass
            finally:
                manager.abort()
                connection.close()

    threads = [threading.Thread(target=work, args=(db, number, moves))
               for number, db in enumerate(dbs) for moves in (True, False)]
    for thread in threads:
        thread.start()
    over.wait(seconds)
    over.set()
    for thread in threads:
        thread.join()
    with dbs[1].transaction() as connection:
        root = connection.root()
        assert sorted([*root["one"], *root["other"]]) == list(range(THINGS))
    for db in dbs:
        db.close()
    print(f"cache-local-mb {megabytes}: {THINGS} things are in two folders: {'not always' if wrong else 'always'}")
    return bool(wrong)


run("initdb", "-D", data, "-U", "zodb", "-A", "trust", "-E", "UTF8")
run("pg_ctl", "-D", data, "-w", "-l", f"{here}/log", "-o", f"-k {here} -c listen_addresses='' -c fsync=off", "start")
sys.setswitchinterval(0.00001)
try:
    seen = [tried(10, 300), tried(0, 60)]
    assert seen == [True, False], seen
finally:
    run("pg_ctl", "-D", data, "-m", "immediate", "stop")
PYTHON
