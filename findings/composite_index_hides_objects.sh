#!/usr/bin/env bash
# ZCatalog: a CompositeIndex hides objects that lack one of its attributes, and later makes searches fail.
#
# Expected: a CompositeIndex only makes searches by two or more of its components faster; what they find is what
# the FieldIndex, KeywordIndex and BooleanIndex beside it find.
# Seen: for an object without one of the attributes it tries to compare an empty list with the others' values. The
# TypeError is ignored halfway: the object is in the index in part and not known to it. A search by the attributes
# that it has doesn't find it. An object that loses the attribute can't be cataloged again: TypeError. And if the
# object is uncataloged, its part stays, and searches that meet it are a KeyError.
# Why it matters: the index is added to a running site to make it faster; one object without a state is enough.
# Versions: Products.ZCatalog 7.4, Zope 6.3, Python 3.11.
#
# Output:
# without CompositeIndex: tag and open: full, no state; state and tag: full, no flag; after a removal: full
# with CompositeIndex: tag and open: full; state and tag: full, no flag; after a removal: KeyError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Zope==6.3 Products.ZCatalog==7.4 BTrees==6.5
venv/bin/python -W ignore - <<'END'
from types import SimpleNamespace

from Products.PluginIndexes.BooleanIndex.BooleanIndex import BooleanIndex
from Products.PluginIndexes.CompositeIndex.CompositeIndex import CompositeIndex
from Products.PluginIndexes.FieldIndex.FieldIndex import FieldIndex
from Products.PluginIndexes.KeywordIndex.KeywordIndex import KeywordIndex
from Products.ZCatalog.ZCatalog import ZCatalog

COMPONENTS = {"state": FieldIndex, "tag": KeywordIndex, "open": BooleanIndex}
DOCUMENTS = {
    "full": {"state": "public", "tag": ["zope"], "open": True},
    "no flag": {"state": "public", "tag": ["zope"]},
    "no state": {"tag": ["zope"], "open": True},
}


def search(catalog, **query):
    try:
        return ", ".join(sorted(brain.id for brain in catalog(**query)))
    except KeyError as error:
        return type(error).__name__


for composite in False, True:
    catalog = ZCatalog("catalog")
    catalog.addColumn("id")
    for name, index_class in COMPONENTS.items():
        catalog.addIndex(name, index_class(name))
    if composite:
        extra = [{"id": name, "meta_type": kind.__name__, "attributes": ""} for name, kind in COMPONENTS.items()]
        catalog.addIndex("composite", CompositeIndex("composite", extra=extra))
    for name, attributes in DOCUMENTS.items():
        catalog.catalog_object(SimpleNamespace(id=name, **attributes), f"/{name}")
    seen = [search(catalog, tag="zope", open=True), search(catalog, state="public", tag="zope")]
    catalog.uncatalog_object("/no flag")
    seen.append(search(catalog, state="public", tag="zope"))
    print("{} CompositeIndex: tag and open: {}; state and tag: {}; after a removal: {}".format(
        "with" if composite else "without", *seen))
    assert seen == (["full", "full, no flag", "KeyError"] if composite else
                    ["full, no state", "full, no flag", "full"])
END
