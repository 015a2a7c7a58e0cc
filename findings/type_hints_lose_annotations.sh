#!/usr/bin/env bash
# zope.annotation does not store the annotations of an object whose class has type hints.
#
# Expected: IAnnotations(page)["tags"] = [...] belongs to that page, and is committed with it.
# Seen: it is not committed, and every other page has the same tags until the process ends. zope.annotation keeps
# them in the attribute `__annotations__`, which Python uses for a class's type hints: as soon as the class has
# one, the object seems to have a mapping there already, and that is the class's. The hints are found among the
# annotations, too, and new annotations among the hints.
# Why it matters: `title: str` is added to a class, all tests within one process pass, and from then on tags,
# comments and ratings are lost at each restart, and shown on objects of others.
# Versions: zope.annotation 6.0, ZODB 6.4, Python 3.11.
#
# Output:
# class without hints: the other page has None, after a restart ['news']
# class with hints: the other page has ['news'], after a restart None
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 zope.annotation==6.0
cat > pages.py <<'END'
from persistent import Persistent
from zope.annotation.interfaces import IAttributeAnnotatable
from zope.interface import implementer


@implementer(IAttributeAnnotatable)
class Page(Persistent):
    title = ""


@implementer(IAttributeAnnotatable)
class TypedPage(Persistent):
    title: str = ""
END
cat > run.py <<'END'
import sys

import ZODB
from zope.annotation.attribute import AttributeAnnotations

import pages

step, name = sys.argv[1:]
db = ZODB.DB("Data.fs")
with db.transaction() as connection:
    root = connection.root()
    if step == "write":
        root[name] = getattr(pages, name)()
        AttributeAnnotations(root[name])["tags"] = ["news"]
        print(AttributeAnnotations(getattr(pages, name)()).get("tags"))
    else:
        print(AttributeAnnotations(root[name]).get("tags"))
db.close()
END
check() {
    other=$(venv/bin/python run.py write "$2")
    later=$(venv/bin/python run.py read "$2")
    echo "$1: the other page has $other, after a restart $later"
}
{
    check "class without hints" Page
    check "class with hints" TypedPage
} | tee seen
diff seen - <<'END'
class without hints: the other page has None, after a restart ['news']
class with hints: the other page has ['news'], after a restart None
END
