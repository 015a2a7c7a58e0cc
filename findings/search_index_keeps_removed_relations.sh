#!/usr/bin/env bash
# zc.relation: with a search index, a removed relation is still found.
#
# Expected: a search index only makes transitive searches faster; it listens to the catalog, and finds what is found
# without it.
# Seen: when a relation is unindexed, or changed, the index looks for those above it by the tokens that the relation
# has pointed from, and takes these for tokens of relations. In the case that the documentation of search indexes
# describes, relations between numbers that have ids of their own, they are none: what was above keeps the removed
# relation and all below it. If the two kinds of tokens are of different types, the change is a TypeError.
# Why it matters: "is this in that folder", "does this user belong to that group": what was taken out of a group
# stays in the groups above it.
# Versions: zc.relation 3.0, BTrees 6.5, Python 3.11.
#
# Output:
# company has a department, the department has a user: company contains department, user
# the user leaves, without the index: company contains department
# the user leaves, with the index: company contains department, user
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zope.interface==8.7 zc.relation==3.0
venv/bin/python -W ignore - <<'END'
from types import SimpleNamespace

import BTrees
from zc.relation.catalog import Catalog
from zc.relation.queryfactory import TransposingTransitive
from zc.relation.searchindex import TransposingTransitiveMembership

COMPANY, DEPARTMENT, USER = 1, 2, 3
NAMES = {DEPARTMENT: "department", USER: "user"}
relations = {
    number: SimpleNamespace(number=number, group=group, member=member)
    for number, group, member in ((1001, COMPANY, DEPARTMENT), (1002, DEPARTMENT, USER))
}


def group(relation, catalog):
    return relation.group


def member(relation, catalog):
    return relation.member


def new_catalog():
    ints = BTrees.family32.II
    catalog = Catalog(lambda relation, *_: relation.number, lambda number, *_: relations[number], btree=ints)
    for value in group, member:
        catalog.addValueIndex(value, btree=ints)
    catalog.addDefaultQueryFactory(TransposingTransitive("group", "member"))
    return catalog


def show(text, catalog, expected):
    found = ", ".join(NAMES[token] for token in sorted(catalog.findValueTokens("member", {"group": COMPANY})))
    print(f"{text}: company contains {found}")
    assert found == expected


plain, indexed = new_catalog(), new_catalog()
indexed.addSearchIndex(TransposingTransitiveMembership("group", "member", names=("member",)))
for catalog in plain, indexed:
    for relation in relations.values():
        catalog.index(relation)
show("company has a department, the department has a user", indexed, "department, user")
for catalog in plain, indexed:
    catalog.unindex(relations[1002])
show("the user leaves, without the index", plain, "department")
show("the user leaves, with the index", indexed, "department, user")
END
