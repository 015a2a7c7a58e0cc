#!/usr/bin/env bash
# Hypatia's notall finds what all finds, instead of the others.
#
# Expected: tags.notall(["red", "round"]) finds the objects that don't have both tags.
# Seen: it finds those that have both, exactly as tags.all() does, and `tags not in all([...])` in a text query
# does the same. The index can do it (applyNotAll), but the query object calls applyAll. notany and noteq are
# right.
# Why it matters: the result looks like one. It is the reverse of what was asked for.
# Versions: hypatia 0.5, Python 3.11.
#
# Output:
# all: apple
# notall: apple
# text query, not in all: apple
# index.applyNotAll: brick, leaf
# notany: leaf
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 hypatia==0.5
venv/bin/python - <<'END'
from hypatia.catalog import Catalog, CatalogQuery
from hypatia.keyword import KeywordIndex

NAMES = {1: "apple", 2: "brick", 3: "leaf"}
TAGS = {1: ["red", "round"], 2: ["red"], 3: ["green"]}
catalog = Catalog()
catalog["tags"] = KeywordIndex(lambda docid, default: TAGS[docid])
for docid in NAMES:
    catalog.index_doc(docid, docid)
tags = catalog["tags"]
both = ["red", "round"]
found = {
    "all": tags.all(both).execute().all(),
    "notall": tags.notall(both).execute().all(),
    "text query, not in all": CatalogQuery(catalog).query(f"tags not in all({both})")[1],
    "index.applyNotAll": tags.applyNotAll(both),
    "notany": tags.notany(both).execute().all(),
}
found = {name: ", ".join(NAMES[docid] for docid in ids) for name, ids in found.items()}
for name, names in found.items():
    print(f"{name}: {names}")
assert list(found.values()) == ["apple", "apple", "apple", "brick, leaf", "leaf"]
END
