#!/usr/bin/env bash
# ZCatalog: a range whose upper end is 0 has no upper end.
#
# Expected: {"query": 0, "range": "max"} finds the objects with a value of up to 0, and
# {"query": (-10, 0), "range": "min:max"} those from -10 to 0, as with any other number.
# Seen: an upper end that is false counts as none. The first query finds all objects, the second all from -10 on.
# So with 0, 0.0, False and the empty string, in a FieldIndex as in a KeywordIndex.
# Why it matters: "accounts without credit" or "out of stock" is that query, and what is done with its result,
# a reminder or a deletion, is done to the others too.
# Versions: Products.ZCatalog 7.4, Zope 6.3, Python 3.11.
#
# Output:
# up to -1: -10 -1
# up to 0: -10 -1 0 5 100
# up to 1: -10 -1 0
# -10 to 0: -10 -1 0 5 100
# -10 to 1: -10 -1 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Zope==6.3 Products.ZCatalog==7.4 BTrees==6.5
venv/bin/python -W ignore - <<'END'
from types import SimpleNamespace

from Products.PluginIndexes.FieldIndex.FieldIndex import FieldIndex
from Products.ZCatalog.ZCatalog import ZCatalog

VALUES = [-10, -1, 0, 5, 100]
catalog = ZCatalog("catalog")
catalog.addIndex("balance", FieldIndex("balance"))
catalog.addColumn("balance")
for value in VALUES:
    catalog.catalog_object(SimpleNamespace(balance=value), f"/{value}")


def search(text, low, high):
    query = {"query": high, "range": "max"} if low is None else {"query": (low, high), "range": "min:max"}
    found = sorted(brain.balance for brain in catalog(balance=query))
    print(f"{text}: {' '.join(map(str, found))}")
    right = [value for value in VALUES if (low is None or low <= value) and value <= high]
    assert found == (VALUES if high == 0 else right)


search("up to -1", None, -1)
search("up to 0", None, 0)
search("up to 1", None, 1)
search("-10 to 0", -10, 0)
search("-10 to 1", -10, 1)
END
