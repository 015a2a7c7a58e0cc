#!/usr/bin/env bash
# sheraf: what is appended to an indexed list is not found by the index; what is removed is gone from it.
#
# Expected: LargeListAttribute(...).index() finds a model by each item of its list, whether the list was assigned or
# changed in place; or in-place changes do nothing to the index, until the list is assigned anew.
# Seen: append, extend and, for an indexed set, add change the list and not the index; remove changes both. To assign
# the list anew with the same items doesn't help either. SmallListAttribute and SetAttribute do the same.
# Why it matters: half of the in-place changes work, so that a test with remove() passes. In production, documents drop
# out of searches with each tag that is added, and nothing says so.
# Versions: sheraf 0.6.0, ZODB 6.4, Python 3.11.
#
# Output:
# created with x and y: list x y, found by: x y
# z appended: list x y z, found by: x y
# x removed: list y z, found by: y
# list assigned anew: list y z, found by: y
# another list assigned: list u v, found by: u v
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 sheraf==0.6.0
venv/bin/python -W ignore - <<'END'
import sheraf
from ZODB.DemoStorage import DemoStorage


class Page(sheraf.Model):
    table = "page"
    tags = sheraf.LargeListAttribute(sheraf.SimpleAttribute()).index()


database = sheraf.Database(storage=DemoStorage())


def shown(title, change):
    with sheraf.connection(commit=True):
        change()
    with sheraf.connection():
        (page,) = Page.all()
        tags, found = "", ""
        for tag in page.tags:
            tags += " " + tag
        for tag in "xyzuv":
            found += " " + tag if list(Page.search(tags=tag)) else ""
    print(f"{title}: list{tags}, found by:{found}")
    return tags.split(), found.split()


def edit(change):
    def edited():
        (page,) = Page.all()
        change(page)
    return edited


def assign(page, tags):
    page.tags = tags


assert shown("created with x and y", lambda: Page.create(tags=["x", "y"])) == (["x", "y"], ["x", "y"])
assert shown("z appended", edit(lambda page: page.tags.append("z"))) == (["x", "y", "z"], ["x", "y"])
assert shown("x removed", edit(lambda page: page.tags.remove("x"))) == (["y", "z"], ["y"])
assert shown("list assigned anew", edit(lambda page: assign(page, ["y", "z"]))) == (["y", "z"], ["y"])
assert shown("another list assigned", edit(lambda page: assign(page, ["u", "v"]))) == (["u", "v"], ["u", "v"])
END
