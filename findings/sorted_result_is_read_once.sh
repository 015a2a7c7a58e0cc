#!/usr/bin/env bash
# A sorted result of Hypatia can be read once, and is empty then; its length stays.
#
# Expected: the result of sort() can be read as often as the result that was sorted; it has a length, first() and
# one(), and is no generator.
# Seen: at the second reading it gives nothing, without an error, while len() is as before, and bool() is true.
# first() before the first reading is fine, and None after it. The unsorted result can be read again and again.
# Why it matters: a page that counts, lists, and lists once more (for a menu, say) shows an empty list below "3
# objects". Without sorting it works.
# Versions: hypatia 0.5, Python 3.11.
#
# Output:
# unsorted: [1, 2, 3], again [1, 2, 3], length 3, first 1
# sorted: [2, 3, 1], again [], length 3, first None
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 hypatia==0.5
venv/bin/python - <<'END'
from hypatia.catalog import Catalog
from hypatia.field import FieldIndex

PRICES = {1: 30, 2: 10, 3: 20}
catalog = Catalog()
catalog["price"] = price = FieldIndex(PRICES.get)
for docid in PRICES:
    catalog.index_doc(docid, docid)
unsorted = price.gt(0).execute()
seen = []
for name, result in ("unsorted", unsorted), ("sorted", unsorted.sort(price)):
    seen.append((list(result), list(result), len(result), result.first()))
    print(name + ": {}, again {}, length {}, first {}".format(*seen[-1]))
assert seen == [([1, 2, 3], [1, 2, 3], 3, 1), ([2, 3, 1], [], 3, None)]
END
