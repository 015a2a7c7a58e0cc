#!/usr/bin/env bash
# A DemoStorage that is given its changes storage can't be packed at all.
#
# Expected: DemoStorage(base=..., changes=FileStorage(...)), the kind that keeps its changes
# over a restart, packs the changes file; pack() has code for just this case (without garbage
# collection), and the changes are the only part that grows.
# Seen: AttributeError for an attribute that is only set when the changes are temporary; the
# changes file keeps its size. Packing the changes storage directly, without garbage
# collection, works and halves the file at least.
# Why it matters: zeopack against a server with such a <demostorage> fails for ever, and the
# error names neither the storage nor the reason. A server that offers DemoStorage has to do
# the pack on its own account.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# pack: AttributeError: 'DemoStorage' object has no attribute '_temporary_changes'
# the changes file shrank: False
# packed directly, it shrank: True
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'EOF'
import logging, os, time
import ZODB
from ZODB.DemoStorage import DemoStorage
from ZODB.FileStorage import FileStorage
from ZODB.serialize import referencesf

logging.disable(logging.CRITICAL)

ZODB.DB(FileStorage("base.fs")).close()
changes = FileStorage("changes.fs")
db = ZODB.DB(DemoStorage(base=FileStorage("base.fs", read_only=True), changes=changes))
for number in range(50):
    with db.transaction() as conn:
        conn.root.number = number
size = os.path.getsize("changes.fs")
try:
    db.pack()
    outcome = "no error"
except Exception as error:
    outcome = f"{type(error).__name__}: {error}"
print("pack:", outcome)
by_demo = os.path.getsize("changes.fs") < size
print("the changes file shrank:", by_demo)
changes.pack(time.time(), referencesf, gc=False)
directly = os.path.getsize("changes.fs") * 2 < size
print("packed directly, it shrank:", directly)
db.close()
assert "AttributeError" in outcome and "_temporary_changes" in outcome
assert (by_demo, directly) == (False, True)
EOF
