#!/usr/bin/env bash
# ZCatalog: a search for True or False finds only the objects with False.
#
# Expected: a list of values finds the objects with any of them: [True, False] finds all that have the attribute,
# as a FieldIndex does.
# Seen: a BooleanIndex looks at the first value of the list and at no other. As the catalog sorts the list before,
# that is False, in whatever order the values are given.
# Why it matters: a search form with both boxes ticked shows less than with none, and no error.
# Versions: Products.ZCatalog 7.4, Zope 6.3, Python 3.11.
#
# Output:
# FieldIndex: [True] 4, [False] 6, [True, False] 10, [False, True] 10
# BooleanIndex: [True] 4, [False] 6, [True, False] 6, [False, True] 6
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Zope==6.3 Products.ZCatalog==7.4 BTrees==6.5
venv/bin/python -W ignore - <<'END'
from types import SimpleNamespace

from Products.PluginIndexes.BooleanIndex.BooleanIndex import BooleanIndex
from Products.PluginIndexes.FieldIndex.FieldIndex import FieldIndex
from Products.ZCatalog.ZCatalog import ZCatalog

for index_class, both in (FieldIndex, 10), (BooleanIndex, 6):
    catalog = ZCatalog("catalog")
    catalog.addIndex("open", index_class("open"))
    for number in range(10):
        catalog.catalog_object(SimpleNamespace(open=number < 4), f"/{number}")
    queries = [True], [False], [True, False], [False, True]
    counts = [len(catalog(open=query)) for query in queries]
    found = ", ".join(f"{query} {count}" for query, count in zip(queries, counts))
    print(f"{index_class.__name__}: {found}")
    assert counts == [4, 6, both, both]
END
