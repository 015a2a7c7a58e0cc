#!/usr/bin/env bash
# ZCatalog: an object that had the value 0 is found under it for ever, once its value is None.
#
# Expected: cataloging an object again with None as its value takes it out of the FieldIndex, as it does when the
# old value was 7.
# Seen: an old value that is false (0, 0.0, False, the empty string) is not removed. The object is still found
# under 0, and getEntryForObject still gives 0, also after each further cataloging with None.
# Why it matters: "no price yet" is not "free of charge". Only clearing and rebuilding the index helps, until the
# next such change.
# Versions: Products.ZCatalog 7.4, Zope 6.3, Python 3.11.
#
# Output:
# value 7, then None: found under 7: nothing
# value 0, then None: found under 0: /document
# value 0, then None, index rebuilt: found under 0: nothing
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


def history(value, rebuild):
    catalog = ZCatalog("catalog")
    catalog.addIndex("price", FieldIndex("price"))
    document = SimpleNamespace(price=value)
    catalog.catalog_object(document, "/document")
    document.price = None
    if rebuild:
        catalog.clearIndex("price")
    for _ in range(2):
        catalog.catalog_object(document, "/document")
    return " ".join(catalog.getpath(brain.getRID()) for brain in catalog(price=value)) or "nothing"


for value, rebuild, expected in (7, False, "nothing"), (0, False, "/document"), (0, True, "nothing"):
    found = history(value, rebuild)
    text = ", index rebuilt" if rebuild else ""
    print(f"value {value}, then None{text}: found under {value}: {found}")
    assert found == expected
END
