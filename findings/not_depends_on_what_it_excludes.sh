#!/usr/bin/env bash
# ZCatalog: whether "not x" finds objects without a value depends on whether any object has x.
#
# Expected: {"not": "x"} finds the same objects, with or without those that have no value at all, whatever else is
# in the catalog.
# Seen: if at least one object has "x", all others of the catalog are found, those without a value included. If
# none has it, only objects with some value are found. So the first object with "x" makes others appear, and the
# removal of the last one makes them vanish. The same in a FieldIndex and a KeywordIndex.
# Why it matters: "all that is not archived" loses part of the site when the last archived page is deleted; nobody
# looks for the cause there.
# Versions: Products.ZCatalog 7.4, Zope 6.3, Python 3.11.
#
# Output:
# FieldIndex, one page is archived: not archived are: draft, no state, public
# FieldIndex, that page is gone: not archived are: draft, public
# KeywordIndex, one page is archived: not archived are: draft, no state, public
# KeywordIndex, that page is gone: not archived are: draft, public
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Zope==6.3 Products.ZCatalog==7.4 BTrees==6.5
venv/bin/python -W ignore - <<'END'
from types import SimpleNamespace

from Products.PluginIndexes.FieldIndex.FieldIndex import FieldIndex
from Products.PluginIndexes.KeywordIndex.KeywordIndex import KeywordIndex
from Products.ZCatalog.ZCatalog import ZCatalog


def search(catalog, text, expected):
    found = ", ".join(sorted(brain.title for brain in catalog(state={"not": "archived"})))
    print(f"{text}: not archived are: {found}")
    assert found == expected


for index_class in FieldIndex, KeywordIndex:
    catalog = ZCatalog("catalog")
    catalog.addIndex("state", index_class("state"))
    catalog.addColumn("title")
    for state in "draft", "public", "archived":
        catalog.catalog_object(SimpleNamespace(title=state, state=state), f"/{state}")
    catalog.catalog_object(SimpleNamespace(title="no state"), "/none")
    name = index_class.__name__
    search(catalog, f"{name}, one page is archived", "draft, no state, public")
    catalog.uncatalog_object("/archived")
    search(catalog, f"{name}, that page is gone", "draft, public")
END
