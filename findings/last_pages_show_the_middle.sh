#!/usr/bin/env bash
# ZCatalog: the last pages of a sorted result show objects of the middle, if some objects have no sort value.
#
# Expected: sorted by "date", the page with b_start=400 and b_size=50 has the rows 400 to 449 of the whole sorted
# result. Objects without a date are left out, and actual_result_count says how many rows there are.
# Seen: a page of the second half is counted from the end, and the end is computed with the objects that are left
# out. With 700 of 1000 objects in the result, the pages from 550 on show the rows from 250 on once more, and the
# last 150 rows are on no page. actual_result_count is right. All dates differ here: this is not about ties.
# Why it matters: what is newest (or oldest) can't be reached by paging, and nothing looks wrong: each page is full.
# Versions: Products.ZCatalog 7.4, Zope 6.3, Python 3.11.
#
# Output:
# 1000 objects with a date: 1000 rows announced, pages show 1000 rows, 1000 objects
# 700 objects with a date: 700 rows announced, pages show 700 rows, 550 objects
# first row of page 550: 250
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

OBJECTS, PAGE = 1000, 50
for dated in OBJECTS, 700:
    catalog = ZCatalog("catalog")
    for name in "type", "date":
        catalog.addIndex(name, FieldIndex(name))
    catalog.addColumn("date")
    for number in range(OBJECTS):
        document = SimpleNamespace(type="news", date=number if number < dated else None)
        catalog.catalog_object(document, f"/{number}")
    announced = catalog(type="news", sort_on="date").actual_result_count
    rows = []
    for start in range(0, announced, PAGE):
        rows += [brain.date for brain in catalog(type="news", sort_on="date", b_start=start, b_size=PAGE)]
    print(f"{dated} objects with a date: {announced} rows announced,",
          f"pages show {len(rows)} rows, {len(set(rows))} objects")
    assert announced == len(rows) == dated
print(f"first row of page 550: {rows[550]}")
assert len(set(rows)) == 550 and rows[550] == 250
END
