#!/usr/bin/env bash
# One undone creation of an object stops the tools that walk over all objects.
#
# Expected: FileStorage.record_iternext() yields each object that exists; an object whose
# creation was undone does not exist (a load of it raises POSKeyError), and is skipped.
# Seen: the walk raises POSKeyError when it comes to that object, and can't go on behind it.
# So zodbverify ends in a traceback instead of a report on a sound database, and a FileStorage can't be
# copied into a history-free RelStorage, until a pack. The history-preserving RelStorage, which
# reads transactions, takes the same file; pack, fsrefs and loads have no trouble with it.
# Why it matters: undo is a normal thing to do, also in Zope's management pages. A storage that
# offers record_iternext should skip such objects; a tool should not rely on it.
# Versions: ZODB 6.4, zodbverify 1.2.1, RelStorage 4.3.0 (sqlite3), Python 3.11.
#
# Output:
# fsrefs: exit 0, output ''
# record_iternext: objects [0] POSKeyError
# zodbverify: exit 1, ZODB.POSException.POSKeyError: 0x01
# copy to RelStorage with history: 4
# copy to RelStorage without history: POSKeyError
# after a pack, record_iternext: objects [0, 2] the end
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 RelStorage==4.3.0 zodbverify==1.2.1 perfmetrics==4.3.0 \
    ZEO==6.2
venv/bin/python - <<'EOF'
import logging, subprocess
import ZODB, transaction
from persistent.mapping import PersistentMapping
from relstorage.adapters.sqlite.adapter import Sqlite3Adapter
from relstorage.options import Options
from relstorage.storage import RelStorage
from ZODB.FileStorage import FileStorage

logging.disable(logging.CRITICAL)

db = ZODB.DB(FileStorage("data.fs"))
with db.transaction() as conn:
    conn.root.undone = PersistentMapping()
db.undo(db.undoLog(0, 1)[0]["id"])
transaction.commit()
with db.transaction() as conn:
    conn.root.kept = PersistentMapping()
db.close()


def walk():
    storage, oids, next_oid = FileStorage("data.fs"), [], None
    try:
        while True:
            oid, _tid, _data, next_oid = storage.record_iternext(next_oid)
            oids.append(oid[-1])
            if next_oid is None:
                return oids, "the end"
    except Exception as error:
        return oids, type(error).__name__
    finally:
        storage.close()


def tool(*args):
    run = subprocess.run(args, capture_output=True, text=True)
    return run.returncode, run.stdout, run.stderr.strip().split("\n")[-1]


def copy(keep_history):
    options = Options(keep_history=keep_history)
    adapter = Sqlite3Adapter(f"sqlite-{keep_history}", {}, options=options)
    target, source = RelStorage(adapter, options=options), FileStorage("data.fs", read_only=True)
    try:
        target.copyTransactionsFrom(source)
        return sum(1 for _ in target.iterator())
    except Exception as error:
        return type(error).__name__
    finally:
        source.close()


refs = tool("venv/bin/fsrefs", "data.fs")
print(f"fsrefs: exit {refs[0]}, output {refs[1]!r}")
first = walk()
print("record_iternext: objects", *first)
verify = tool("venv/bin/zodbverify", "--zodbfile", "data.fs")
print(f"zodbverify: exit {verify[0]}, {verify[2]}")
copies = copy(True), copy(False)
print("copy to RelStorage with history:", copies[0])
print("copy to RelStorage without history:", copies[1])
db = ZODB.DB(FileStorage("data.fs"))
db.pack()
db.close()
second = walk()
print("after a pack, record_iternext: objects", *second)
assert refs[:2] == (0, ""), refs
assert first == ([0], "POSKeyError") and second[1] == "the end" and len(second[0]) == 2
assert verify[0] == 1 and verify[2].startswith("ZODB.POSException.POSKeyError: 0x01")
assert copies == (4, "POSKeyError"), copies
EOF
