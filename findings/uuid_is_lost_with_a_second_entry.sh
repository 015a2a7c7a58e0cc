#!/usr/bin/env bash
# ZCatalog: after an object was for a moment in the catalog twice, a UUIDIndex doesn't find it any more.
#
# Expected: when one of two entries with the same UUID is taken out, the other one is found, as with a FieldIndex;
# at the latest after it has been cataloged again.
# Seen: a UUIDIndex keeps the first entry of a UUID. Taking out either one deletes the UUID, whoever's it is.
# The other object then has it in the index's own memory of what it has indexed, so that cataloging it again changes
# nothing: it can't be found by its UUID until the index is cleared or its UUID changes.
# Why it matters: an import or a move that catalogs the new path before it uncatalogs the old one, or a copy that is
# deleted again, and the original's links by UUID are dead. The log has one line, at the beginning.
# Versions: Products.ZCatalog 7.4, Zope 6.3, Python 3.11.
#
# Output:
# FieldIndex: moved, new path cataloged first: /new; a copy, deleted again: /page; page cataloged again: /page
# UUIDIndex: moved, new path cataloged first: nothing; a copy, deleted again: nothing; page cataloged again: nothing
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Zope==6.3 Products.ZCatalog==7.4 BTrees==6.5
venv/bin/python -W ignore - <<'END'
import logging
from types import SimpleNamespace

from Products.PluginIndexes.FieldIndex.FieldIndex import FieldIndex
from Products.PluginIndexes.UUIDIndex.UUIDIndex import UUIDIndex
from Products.ZCatalog.ZCatalog import ZCatalog

logging.disable(logging.CRITICAL)
page = SimpleNamespace(uuid="4711")


def found(catalog):
    return " ".join(catalog.getpath(brain.getRID()) for brain in catalog(uuid="4711")) or "nothing"


for index_class in FieldIndex, UUIDIndex:
    moved, copied = ZCatalog("moved"), ZCatalog("copied")
    for catalog, steps in (moved, ["/old", "/new"]), (copied, ["/page", "/copy"]):
        catalog.addIndex("uuid", index_class("uuid"))
        for path in steps:
            catalog.catalog_object(page, path)
    moved.uncatalog_object("/old")
    copied.uncatalog_object("/copy")
    seen = [found(moved), found(copied)]
    copied.catalog_object(page, "/page")
    seen.append(found(copied))
    print("{}: moved, new path cataloged first: {}; a copy, deleted again: {}; page cataloged again: {}".format(
        index_class.__name__, *seen))
    assert seen == (["nothing"] * 3 if index_class is UUIDIndex else ["/new", "/page", "/page"])
END
