#!/usr/bin/env bash
# PersistentMapping.copy() marks the mapping that it copies as changed.
#
# Expected: copy() reads. copy.copy(mapping) and dict(mapping) do, and PersistentList.copy()
# leaves its list alone.
# Seen: after mapping.copy() the ORIGINAL has _p_changed, and the next commit writes a new
# revision of it with the same state. Python's UserDict.copy(), which is inherited, sets
# self.data to {} for a moment and back, and each setting counts as a change. On a historical
# (read-only) connection the commit after a mere copy() is refused.
# Why it matters: requests that only read become commits: they grow the file, invalidate other
# clients' caches and conflict with real writers. The root object is a PersistentMapping.
# Versions: persistent 6.9, ZODB 6.4, Python 3.11.
#
# Output:
# copy.copy: changed False, new revision False
# dict: changed False, new revision False
# PersistentMapping.copy: changed True, new revision True
# PersistentList.copy: changed False
# on a historical connection: ReadOnlyHistoryError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'EOF'
import copy
import ZODB, transaction
from persistent.list import PersistentList
from persistent.mapping import PersistentMapping

db = ZODB.DB(None)
conn = db.open()
conn.root.mapping = mapping = PersistentMapping(a=1)
conn.root.list = PersistentList([1])
transaction.commit()

seen = []
for name, call in (("copy.copy", copy.copy), ("dict", dict),
                   ("PersistentMapping.copy", PersistentMapping.copy)):
    serial = mapping._p_serial
    assert call(mapping) == {"a": 1}
    changed = bool(mapping._p_changed)
    transaction.commit()
    seen.append((changed, mapping._p_serial != serial))
    print(f"{name}: changed {changed}, new revision {seen[-1][1]}")
conn.root.list.copy()
seen.append(bool(conn.root.list._p_changed))
print("PersistentList.copy: changed", seen[-1])

manager = transaction.TransactionManager()
db.open(manager, at=mapping._p_serial).root.mapping.copy()
try:
    manager.commit()
    outcome = "no error"
except Exception as error:
    outcome = type(error).__name__
print("on a historical connection:", outcome)
assert seen == [(False, False), (False, False), (True, True), False], seen
assert outcome == "ReadOnlyHistoryError"
EOF
