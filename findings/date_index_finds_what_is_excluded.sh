#!/usr/bin/env bash
# ZCatalog: a DateIndex finds the date that a query excludes.
#
# Expected: {"query": (first, last), "range": "min:max", "not": day} finds what lies between first and last except
# for the day, as a FieldIndex does, and as the DateIndex itself does for {"not": day} alone.
# Seen: "not" beside "query" is ignored, without an error: a DateIndex keeps dates as numbers, and looks for the
# excluded date as it was given.
# Why it matters: "this month without today" includes today, and the same query without its range does not.
# Versions: Products.ZCatalog 7.4, Zope 6.3, DateTime 6.0, Python 3.11.
#
# Output:
# FieldIndex: without the 3rd: 1 2 4 5; 2nd to 4th without the 3rd: 2 4; 3rd or 4th without the 3rd: 4
# DateIndex: without the 3rd: 1 2 4 5; 2nd to 4th without the 3rd: 2 3 4; 3rd or 4th without the 3rd: 3 4
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Zope==6.3 Products.ZCatalog==7.4 BTrees==6.5
venv/bin/python -W ignore - <<'END'
from types import SimpleNamespace

from DateTime import DateTime
from Products.PluginIndexes.DateIndex.DateIndex import DateIndex
from Products.PluginIndexes.FieldIndex.FieldIndex import FieldIndex
from Products.ZCatalog.ZCatalog import ZCatalog

DAYS = {number: DateTime(f"2026/01/{number:02} 12:00 UTC") for number in range(1, 6)}
QUERIES = {
    "without the 3rd": {"not": DAYS[3]},
    "2nd to 4th without the 3rd": {"query": (DAYS[2], DAYS[4]), "range": "min:max", "not": DAYS[3]},
    "3rd or 4th without the 3rd": {"query": [DAYS[3], DAYS[4]], "not": DAYS[3]},
}
for index_class, expected in (FieldIndex, ["1 2 4 5", "2 4", "4"]), (DateIndex, ["1 2 4 5", "2 3 4", "3 4"]):
    catalog = ZCatalog("catalog")
    catalog.addIndex("day", index_class("day"))
    catalog.addColumn("number")
    for number, day in DAYS.items():
        catalog.catalog_object(SimpleNamespace(number=number, day=day), f"/{number}")
    seen = [" ".join(str(number) for number in sorted(brain.number for brain in catalog(day=query)))
            for query in QUERIES.values()]
    print(f"{index_class.__name__}:", "; ".join(f"{text}: {found}" for text, found in zip(QUERIES, seen)))
    assert seen == expected
END
