#!/usr/bin/env bash
# FileStorage: a pack loses what is below an object that an undo has brought back, if its removal had changed it, too.
#
# Expected: a page is removed, the removal is undone, and later the file is packed to a time between the two. The page
# and all that is below it is there: the packer keeps what later back-pointers lead to, with what that refers to.
# Seen: so it is when only the folder was changed. If the transaction that removed the page has also written the page
# (a state, a parent pointer), the undo writes a second back-pointer, to the page's record of before. The packer
# takes an object's first such record without what it refers to if the object was out of reach at the pack time: the
# page is there, and what only it refers to is gone for good.
# Why it matters: a removal that marks the object as removed is quite usual, and so are packs that leave some days. The
# pack succeeds; the loss shows when somebody opens the page.
# Versions: ZODB 6.4 (FileStorage), Python 3.11.
#
# Output:
# removed: before the pack 'hello', after it 'hello'
# removed and marked: before the pack 'hello', after it POSKeyError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > try.py <<'END'
import logging
import time

import transaction
import ZODB
from persistent.mapping import PersistentMapping
from ZODB.POSException import POSKeyError

logging.disable(logging.CRITICAL)


def text(db):
    with db.transaction() as connection:
        try:
            return repr(connection.root()["page"]["text"]["body"])
        except POSKeyError:
            return "POSKeyError"


for what, marked in ("removed", False), ("removed and marked", True):
    db = ZODB.DB(f"{what}.fs")
    with db.transaction() as connection:
        connection.root()["page"] = PersistentMapping(text=PersistentMapping(body="hello"))
    with db.transaction() as connection:
        page = connection.root().pop("page")
        if marked:
            page["state"] = "removed"
    time.sleep(0.1)
    between = time.time()
    time.sleep(0.1)
    [removal] = db.undoInfo(0, 1)
    db.undo(removal["id"])
    transaction.commit()
    before = text(db)
    db.pack(between)
    db.close()
    after = text(ZODB.DB(f"{what}.fs"))
    print(f"{what}: before the pack {before}, after it {after}")
    assert (before, after) == ("'hello'", "POSKeyError" if marked else "'hello'")
END
venv/bin/python try.py
