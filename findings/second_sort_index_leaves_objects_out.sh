#!/usr/bin/env bash
# ZCatalog: sorted by two indexes, the same query finds 400 objects or 300, by how it is asked and what else is there.
#
# Expected: sort_on=["state", "date"] either leaves out the objects without a date, or it doesn't. What a limit
# changes is how many of the rows are returned, not which objects are rows.
# Seen: without a limit, if few different states exist, objects without a date are in the result. With sort_limit,
# with b_start and b_size, or if there are many different states, another algorithm is chosen, which leaves
# them out; actual_result_count says the one or the other.
# Why it matters: the number above the list and the export have objects that are on no page of the list; and they
# vanish from the export, too, once the site has grown.
# Versions: Products.ZCatalog 7.4, Zope 6.3, Python 3.11.
#
# Output:
# 2 states: 400 objects, with sort_limit=400 300, in pages 300
# 200 states: 300 objects, with sort_limit=400 300, in pages 300
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

for states in 2, 200:
    catalog = ZCatalog("catalog")
    for name in "type", "state", "date":
        catalog.addIndex(name, FieldIndex(name))
    for number in range(400):
        date = None if number % 4 == 0 else number
        document = SimpleNamespace(type="news", state=number % states, date=date)
        catalog.catalog_object(document, f"/{number}")
    query = {"type": "news", "sort_on": ["state", "date"]}
    plain = catalog(query)
    limited = catalog(query, sort_limit=400)
    first_page = catalog(query, b_start=0, b_size=50)
    print(f"{states} states: {len(plain)} objects, with sort_limit=400 {len(limited)}, in pages",
          first_page.actual_result_count)
    assert len(plain) == plain.actual_result_count == (400 if states == 2 else 300)
    assert len(limited) == limited.actual_result_count == first_page.actual_result_count == 300
END
