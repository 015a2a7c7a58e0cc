#!/usr/bin/env bash
# zodbupdate makes each object with a weak reference unreadable, and zodbverify says that all is well.
#
# Expected: zodbupdate writes the new name of a renamed class into the records that name it, and changes nothing
# else.
# Seen: a weak reference in such a record is written as ["w", oid] in place of ["w", (oid,)]. zodbupdate ends with
# 0. From then on the record fails with a StateLoadError ("load_persistent_weakref() takes from 2 to 3 positional
# arguments but 9 were given"), and nothing of the object can be read. zodbverify reads the record without
# following references, and counts no error.
# Why it matters: weak references stand in few objects, often one high up, here the root. The file passes each
# check, is packed and backed up; without the undo log or an older backup there is no way back.
# Versions: zodbupdate 3.0, zodbverify 1.2.1, ZODB 6.4, Python 3.11.
#
# Output:
# before: keys of the root: page, weak
# zodbupdate: exit 0
# zodbverify: Found 0 records that could not be loaded.
# after: StateLoadError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 zodbupdate==3.0 zodbverify==1.2.1
cat > old.py <<'END'
from persistent import Persistent


class Page(Persistent):
    pass
END
cat > renames.py <<'END'
renames = {"old Page": "new Page"}
END
mkdir renames-1.0.dist-info
cat > renames-1.0.dist-info/METADATA <<'END'
Metadata-Version: 2.1
Name: renames
Version: 1.0
END
cat > renames-1.0.dist-info/entry_points.txt <<'END'
[zodbupdate]
renames = renames:renames
END
cat > run.py <<'END'
import logging
import sys

import ZODB
from persistent.wref import WeakRef
from ZODB.POSException import StateLoadError

logging.disable(logging.CRITICAL)
db = ZODB.DB("Data.fs")
with db.transaction() as connection:
    root = connection.root()
    if "create" in sys.argv:
        import old
        root["page"] = old.Page()
        root["weak"] = WeakRef(root["page"])
with db.transaction() as connection:
    try:
        print("keys of the root:", ", ".join(sorted(connection.root())))
    except StateLoadError as error:
        print(type(error).__name__)
db.close()
END
export PYTHONPATH=$PWD
{
    echo "before: $(venv/bin/python run.py create)"
    mv old.py new.py
    venv/bin/zodbupdate -q -f Data.fs
    echo "zodbupdate: exit $?"
    echo "zodbverify: $(venv/bin/zodbverify --zodbfile Data.fs 2>&1 | grep -o 'Found.*loaded\.')"
    echo "after: $(venv/bin/python run.py)"
} | tee seen
diff seen - <<'END'
before: keys of the root: page, weak
zodbupdate: exit 0
zodbverify: Found 0 records that could not be loaded.
after: StateLoadError
END
