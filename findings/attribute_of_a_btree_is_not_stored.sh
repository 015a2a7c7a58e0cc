#!/usr/bin/env bash
# An attribute of a BTree of one's own class is not stored.
#
# Expected: `class Folder(OOBTree)` with `folder.title = "News"` is stored with its title, as any persistent
# object, and as with a subclass of PersistentMapping.
# Seen: the title is there until the object leaves the memory, and then it isn't; hasattr says no. The object is
# marked as changed and its record is written at the commit, without the title, as a BTree's state is its keys and
# values only. The same is so for TreeSets, for Length, and for an attribute of a Blob.
# Why it matters: in the process that sets it the attribute can be seen for days. A file name or a content type
# set on a Blob goes the same way. Nothing refuses or warns.
# Versions: BTrees 6.5, ZODB 6.4, Python 3.11.
#
# Output:
# before the commit: changed True
# next transaction, same connection: News
# after a restart: mapping News, tree None, set None, length None, blob None
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > folders.py <<'END'
from BTrees.Length import Length
from BTrees.OOBTree import OOBTree, OOTreeSet
from persistent.mapping import PersistentMapping


class Mapping(PersistentMapping):
    pass


class Tree(OOBTree):
    pass


class TreeSet(OOTreeSet):
    pass


class Count(Length):
    pass
END
cat > try.py <<'END'
import transaction
import ZODB
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage

import folders

db = ZODB.DB(FileStorage("Data.fs", blob_dir="blobs"))
connection = db.open()
root = connection.root()
root.update(mapping=folders.Mapping(), tree=folders.Tree(), set=folders.TreeSet(), length=folders.Count(), blob=Blob(b"x"))
transaction.commit()
for name in root:
    root[name].title = "News"
changed = root["tree"]._p_changed
print("before the commit: changed", changed)
transaction.commit()
same = root["tree"].title
print("next transaction, same connection:", same)
db.close()
db = ZODB.DB(FileStorage("Data.fs", blob_dir="blobs"))
with db.transaction() as connection:
    titles = {name: getattr(value, "title", None) for name, value in connection.root().items()}
order = "mapping", "tree", "set", "length", "blob"
print("after a restart:", ", ".join(f"{name} {titles[name]}" for name in order))
assert changed and same == "News"
assert [titles[name] for name in order] == ["News", None, None, None, None]
END
venv/bin/python try.py
