#!/usr/bin/env bash
# One undo of a creation, and the database can't be packed any more.
#
# Expected: a transaction that created an object can't be undone when a later one has put that object somewhere else
# too: undo looks at whether later transactions depend on it. And pack leaves out what can't be reached.
# Seen: undo looks at the records of the undone transaction only, none of which was changed since. It succeeds, and
# the second place refers to nothing (POSKeyError). That reference stops every pack from then on: KeyError with the
# bytes of an oid, for which neither the message nor the log has an explanation. `pack-gc false` helps, or deleting
# the reference and waiting until a pack's time is behind that.
# Why it matters: the editor who clicked on "undo" sees no error, and the nightly packs fail.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# undo of the creation: done
# in its own folder: gone; in the other one: POSKeyError
# pack: KeyError b'\x00\x00\x00\x00\x00\x00\x00\x03'
# pack without garbage collection: done
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'END'
import logging

import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError

logging.disable()


def outcome(action):
    try:
        action()
        return "done"
    except (KeyError, POSKeyError) as error:
        return f"{type(error).__name__} {error.args[0]}"


db = ZODB.DB(FileStorage("Data.fs"))
connection = db.open()
root = connection.root()
root["news"], root["start"] = PersistentMapping(), PersistentMapping()
transaction.commit()
root["news"]["page"] = PersistentMapping(text="Hello")
transaction.commit()
root["start"]["first"] = root["news"]["page"]
transaction.commit()

db.undo(db.undoLog(0, 2)[1]["id"])
transaction.commit()
undone = "page" not in root["news"]
print("undo of the creation:", "done" if undone else "nothing")
connection.cacheMinimize()
linked = outcome(lambda: root["start"]["first"]["text"]).partition(" ")[0]
print("in its own folder: gone; in the other one:", linked)
pack = outcome(db.pack)
print("pack:", pack)
db.close()
db = ZODB.DB(FileStorage("Data.fs", pack_gc=False))
without = outcome(db.pack)
print("pack without garbage collection:", without)
db.close()
assert undone and linked == "POSKeyError" and without == "done"
assert pack == r"KeyError b'\x00\x00\x00\x00\x00\x00\x00\x03'"
END
