#!/usr/bin/env bash
# An object with an empty list of keywords fits neither a condition of Hypatia nor its negation.
#
# Expected: noteq("red") finds all that eq("red") doesn't. An object with no tags at all (no such attribute) is
# among them, so one with an empty list of tags is, too.
# Seen: the one with the empty list is found by neither, nor by notany. The index counts it among the indexed
# ones, but keeps nothing of it, and a negation starts from what it keeps.
# Why it matters: "all that is not archived" leaves out what was never tagged. Removing the last tag of an object
# removes the object from each such list.
# Versions: hypatia 0.5, Python 3.11.
#
# Output:
# eq: apple
# noteq: leaf, stone
# notany: leaf, stone
# in neither: cloud (empty list)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 hypatia==0.5
venv/bin/python - <<'END'
from hypatia.catalog import Catalog
from hypatia.keyword import KeywordIndex

NAMES = {1: "apple", 2: "leaf", 3: "stone", 4: "cloud"}
TAGS = {1: ["red"], 2: ["green"], 4: []}  # a stone has no such attribute
catalog = Catalog()
catalog["tags"] = KeywordIndex(TAGS.get)
for docid in NAMES:
    catalog.index_doc(docid, docid)
tags = catalog["tags"]
found = {}
for name, query in ("eq", tags.eq("red")), ("noteq", tags.noteq("red")), ("notany", tags.notany(["red"])):
    found[name] = [NAMES[docid] for docid in query.execute().all()]
    print(f"{name}: {', '.join(found[name])}")
neither = [name for name in NAMES.values() if name not in found["eq"] + found["noteq"]]
print(f"in neither: {neither[0]} (empty list)")
assert found == {"eq": ["apple"], "noteq": ["leaf", "stone"], "notany": ["leaf", "stone"]}
assert neither == ["cloud"]
END
