#!/usr/bin/env bash
# exportFile writes files that importFile can't read, if an object in them has a WeakRef.
#
# Expected: what Connection.exportFile writes without complaint, importFile reads: the weak
# reference leads to the imported copy if its target was exported as well, and to nothing
# otherwise. Every other tool (pack, fsrefs, zodbverify, conflict resolution) takes weak
# references.
# Seen: a bare AssertionError, in both cases. The importer knows references as oids or pairs
# only; a weak one is a list. A reference to another database of the same configuration fails
# in the same way. The export reports nothing, so it is found out at the restore.
# Why it matters: .zexp files are used as backups of parts and to move parts between servers.
# Whoever writes a tool on records must take the list forms of references, too.
# Versions: ZODB 6.4, persistent 6.9, Python 3.11.
#
# Output:
# without a weak reference: imported
# target in the export: AssertionError ''
# target outside of the export: AssertionError ''
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'EOF'
import io, logging
import ZODB, transaction
from persistent.mapping import PersistentMapping
from persistent.wref import WeakRef

logging.disable(logging.CRITICAL)

db = ZODB.DB(None)
conn = db.open()
conn.root.plain = PersistentMapping(inner=PersistentMapping())
conn.root.both = PersistentMapping(target=PersistentMapping(), holder=PersistentMapping())
transaction.commit()
both = conn.root.both
both["holder"]["weak"] = WeakRef(both["target"])
transaction.commit()
assert both["holder"]["weak"]() is both["target"]


def round_trip(obj):
    file = io.BytesIO()
    conn.exportFile(obj._p_oid, file)
    file.seek(0)
    try:
        conn.importFile(file)
        return "imported"
    except Exception as error:
        return f"{type(error).__name__} {str(error)!r}"
    finally:
        transaction.abort()


seen = []
for name, obj in (("without a weak reference", conn.root.plain), ("target in the export", both),
                  ("target outside of the export", both["holder"])):
    seen.append(round_trip(obj))
    print(f"{name}: {seen[-1]}")
assert seen == ["imported", "AssertionError ''", "AssertionError ''"]
EOF
