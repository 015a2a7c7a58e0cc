#!/usr/bin/env bash
# Hypatia: "less than 3 or more than 5" finds objects that have no value at all.
#
# Expected: lt(3) finds no object without a value, gt(5) neither, so lt(3) | gt(5) finds none. That is so if the
# query is executed with optimize=False, and for bounds on two indexes.
# Seen: by default, two such bounds on one index are turned into "not from 3 to 5", and a negation in Hypatia finds
# all other objects, those without a value included.
# Why it matters: the union of two searches has more than both of them; an object without an age is "under 18 or
# over 65".
# Versions: Hypatia 0.5, BTrees 6.5, Python 3.11.
#
# Output:
# age < 18: child
# age > 65: pensioner
# age < 18 or age > 65: child, pensioner, unknown
# the same with optimize=False: child, pensioner
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 hypatia==0.5
venv/bin/python -W ignore - <<'END'
from types import SimpleNamespace

from hypatia.catalog import Catalog
from hypatia.field import FieldIndex

catalog = Catalog()
catalog["age"] = age = FieldIndex("age")
people = {"child": {"age": 7}, "adult": {"age": 40}, "pensioner": {"age": 80}, "unknown": {}}
names = list(people)
for docid, name in enumerate(names):
    catalog.index_doc(docid, SimpleNamespace(**people[name]))


def search(text, query, expected, optimize=True):
    found = ", ".join(names[docid] for docid in sorted(query.execute(optimize=optimize).ids))
    print(f"{text}: {found}")
    assert found == expected


search("age < 18", age.lt(18), "child")
search("age > 65", age.gt(65), "pensioner")
search("age < 18 or age > 65", age.lt(18) | age.gt(65), "child, pensioner, unknown")
search("the same with optimize=False", age.lt(18) | age.gt(65), "child, pensioner", optimize=False)
END
