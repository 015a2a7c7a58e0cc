#!/usr/bin/env bash
# Paging through a reverse sort by zope.index's FieldIndex never shows some of the objects.
#
# Expected: sort(docids, reverse=True, limit=n) gives the first n of what it gives with a larger limit, so that
# the page that begins at 50 is sort(..., limit=60)[50:], and all pages together have each object once. Without
# reverse it is so.
# Seen: for up to a quarter of the objects another algorithm is chosen than for more. The one orders objects of
# equal value by descending docid, the other by ascending docid. So where the change falls within a group of equal
# values, some objects stand on two pages and others on none.
# Why it matters: "newest first" over dates without a time is that case. An object that no page shows is gone for
# the user.
# Versions: zope.index 8.3, BTrees 6.5, Python 3.11.
#
# Output:
# 1000 objects of 20 values, pages of 50
# ascending: 1000 rows, 1000 objects
# descending: 1000 rows, 979 objects
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 zope.index==8.3
venv/bin/python - <<'END'
import random

from zope.index.field import FieldIndex

OBJECTS, PAGE = 1000, 50
values = random.Random(7)
index = FieldIndex()
for docid in range(OBJECTS):
    index.index_doc(docid, values.randrange(20))
found = index.apply((None, None))
print(f"{OBJECTS} objects of 20 values, pages of {PAGE}")
for order, reverse in ("ascending", False), ("descending", True):
    rows = []
    for start in range(0, OBJECTS, PAGE):
        rows += list(index.sort(found, reverse=reverse, limit=start + PAGE))[start:]
    print(f"{order}: {len(rows)} rows, {len(set(rows))} objects")
    assert len(rows) == OBJECTS
    assert (len(set(rows)) < OBJECTS) == reverse
END
