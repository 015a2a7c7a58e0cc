#!/usr/bin/env bash
# zope.catalog: an object that no longer provides the interface of an index is found for ever.
#
# Expected: an index for the interface IPublished has the objects that provide it: when the object is cataloged
# again after noLongerProvides(object, IPublished), it is taken out, as it is when the indexed attribute is None.
# Seen: cataloging an object that can't be adapted to the interface does nothing at all: what was indexed stays.
# Only unindex_doc, or clearing the index, takes it out.
# Why it matters: marker interfaces are how Zope says "published" or "is a news item". Taken back, with all events
# sent and the catalog called, the page is still in each search.
# Versions: zope.catalog 6.0, zope.index 8.3, BTrees 6.5, Python 3.11.
#
# Output:
# published: found
# interface taken back, cataloged again: found
# attribute None, cataloged again: not found
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zope.interface==8.7 zope.index==8.3 \
    zope.catalog==6.0 zope.container==7.3
venv/bin/python -W ignore - <<'END'
from zope.catalog.catalog import Catalog
from zope.catalog.field import FieldIndex
from zope.interface import Attribute, Interface, alsoProvides, noLongerProvides


class IPublished(Interface):
    title = Attribute("title")


class Page:
    title = "news"


def search(text, page, expected):
    catalog.index_doc(1, page)
    found = "found" if 1 in catalog.apply({"title": ("news", "news")}) else "not found"
    print(f"{text}: {found}")
    assert found == expected


catalog = Catalog()
catalog["title"] = FieldIndex("title", IPublished)
page = Page()
alsoProvides(page, IPublished)
search("published", page, "found")
noLongerProvides(page, IPublished)
search("interface taken back, cataloged again", page, "found")
alsoProvides(page, IPublished)
page.title = None
search("attribute None, cataloged again", page, "not found")
END
