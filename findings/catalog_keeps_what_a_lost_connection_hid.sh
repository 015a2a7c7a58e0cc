#!/usr/bin/env bash
# An index of a catalog goes on when the database can't be reached, and its transaction commits.
#
# Expected: ClientDisconnected ends the request, which is tried again, as with every other object that can't
# be loaded.
# Seen: while a document is taken out of a FieldIndex, the set of the documents with its value can't be loaded,
# as the ZEO server is away for a moment. The index takes each exception but ConflictError for a document that
# is not in the set: it logs "This should not happen", and goes on. The server is back at the commit, which succeeds.
# The index then answers with a document that it does not know any more.
# Why it matters: a restart of the ZEO server under load leaves catalogs with results that raise KeyError, for
# ever; no transaction was lost, and nothing tells the user. So with KeywordIndex and all others that are
# made from the same class.
# Versions: Products.ZCatalog 7.4 with Zope 6.3, ZEO 6.2, ZODB 6.4, Python 3.11.
#
# Output:
# unindex_object raised nothing; the log: FieldIndex: unindex_object could not remove documentId 3 from index 'author'.
# the commit raised nothing
# documents that the index knows: [1, 2]; documents of the author: [1, 2, 3]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Zope==6.3 Products.ZCatalog==7.4 ZEO==6.2 ZODB==6.4
venv/bin/python -W ignore - <<'EOF'
import logging
import socket
import subprocess
import time
from types import SimpleNamespace

import transaction
import ZEO
from Products.PluginIndexes.FieldIndex.FieldIndex import FieldIndex


class Told(logging.Handler):
    lines = []

    def emit(self, record):
        self.lines.append(record.getMessage().split("  ")[0])


logging.getLogger("Zope.UnIndex").addHandler(Told())
logging.getLogger("Zope.UnIndex").propagate = False
logging.getLogger("ZODB").addHandler(logging.NullHandler())
logging.getLogger("ZODB").propagate = False
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]


def server():
    return subprocess.Popen(["venv/bin/runzeo", "-a", f"127.0.0.1:{port}", "-f", "Data.fs"], stderr=subprocess.DEVNULL)


running = server()
db = ZEO.DB(("127.0.0.1", port), wait_timeout=60)
with db.transaction() as connection:
    index = connection.root()["index"] = FieldIndex("author")
    for number in 1, 2, 3:
        index.index_object(number, SimpleNamespace(author="A"))
db.close()

db = ZEO.DB(("127.0.0.1", port), wait_timeout=1)
connection = db.open(transaction.TransactionManager())
index = connection.root()["index"]
# The index and its trees are in memory; the set is not, and not in the client's cache either.
index._counter()
assert index._unindex[3] == "A" and index._index["A"]._p_changed is None
running.terminate()
running.wait()
while db.storage.is_connected():
    time.sleep(0.01)
index.unindex_object(3)
print("unindex_object raised nothing; the log:", *Told.lines)
running = server()
while not db.storage.is_connected():
    time.sleep(0.01)
connection.transaction_manager.commit()
print("the commit raised nothing")
connection.close()
with db.transaction() as connection:
    index = connection.root()["index"]
    known, found = sorted(index._unindex), sorted(index._index["A"])
    print(f"documents that the index knows: {known}; documents of the author: {found}")
db.close()
running.terminate()
running.wait()
assert len(Told.lines) == 1 and (known, found) == ([1, 2], [1, 2, 3])
EOF
