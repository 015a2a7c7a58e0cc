#!/usr/bin/env bash
# Hypatia and repoze.catalog: the third of three bounds on an index replaces the second.
#
# Expected: ge(1) & le(4) & le(9) finds what fits all three: 1 to 4.
# Seen: both put a lower and an upper bound together into one range, before they search. A further bound is put
# together with the same lower bound once more, and that range replaces the first one: 1 to 9. The same for "or",
# where a bound that is given later takes the place of an earlier one, and finds less than it should. Hypatia does
# this in each execute(); repoze.catalog when optimize() is called. With execute(optimize=False) it is right.
# Why it matters: one of the bounds often is the application's own, as "published up to now", and the others the
# user's: objects that are not to be shown yet are shown.
# Versions: Hypatia 0.5, repoze.catalog 0.9.0, BTrees 6.5, Python 3.11.
#
# Output:
# Hypatia, 1 <= x, x <= 4 and x <= 9: found 1 2 3 4 5 6 7 8 9, not optimized 1 2 3 4
# Hypatia, x < 3, x > 5 or x > 8: found 0 1 2 9, not optimized 0 1 2 6 7 8 9
# repoze.catalog, 1 <= x, x <= 4 and x <= 9: found 1 2 3 4 5 6 7 8 9, not optimized 1 2 3 4
# repoze.catalog, x < 3, x > 5 or x > 8: found 0 1 2 9, not optimized 0 1 2 6 7 8 9
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 hypatia==0.5 repoze.catalog==0.9.0 zope.index==8.3 six==1.17.0
venv/bin/python -W ignore - <<'END'
from types import SimpleNamespace

import hypatia.catalog
import hypatia.field
import hypatia.query
import repoze.catalog.catalog
import repoze.catalog.indexes.field
import repoze.catalog.query


def numbers(found):
    return " ".join(map(str, sorted(found)))


def filled(catalog, index):
    catalog["x"] = index("x")
    for number in range(10):
        catalog.index_doc(number, SimpleNamespace(x=number))
    return catalog


def with_hypatia(build):
    index = filled(hypatia.catalog.Catalog(), hypatia.field.FieldIndex)["x"]
    return [numbers(build(hypatia.query, index).execute(optimize=optimize).ids) for optimize in (True, False)]


def with_repoze(build):
    query = repoze.catalog.query
    catalog = filled(repoze.catalog.catalog.Catalog(), repoze.catalog.indexes.field.CatalogFieldIndex)
    built = [query.optimize(build(query, "x")), build(query, "x")]
    return [numbers(catalog.query(one)[1]) for one in built]


def within(query, x):
    return query.And(query.Ge(x, 1), query.Le(x, 4), query.Le(x, 9))


def outside(query, x):
    return query.Or(query.Lt(x, 3), query.Gt(x, 5), query.Gt(x, 8))


for library, search in ("Hypatia", with_hypatia), ("repoze.catalog", with_repoze):
    for text, build, expected in (
        ("1 <= x, x <= 4 and x <= 9", within, ["1 2 3 4 5 6 7 8 9", "1 2 3 4"]),
        ("x < 3, x > 5 or x > 8", outside, ["0 1 2 9", "0 1 2 6 7 8 9"]),
    ):
        seen = search(build)
        print(f"{library}, {text}: found {seen[0]}, not optimized {seen[1]}")
        assert seen == expected
END
