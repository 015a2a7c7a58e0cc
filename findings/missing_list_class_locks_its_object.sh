#!/usr/bin/env bash
# An object can't be loaded when a class of one list or dict in it is missing.
#
# Expected: ZODB puts a "broken" object in the place of one whose class can't be imported, so that the rest of the
# document can be read and the value be deleted. That is so for ordinary objects, enumerations, and subclasses of
# str, set and Counter.
# Seen: with a subclass of list, dict, OrderedDict, defaultdict or deque, the whole record fails with a
# StateLoadError. Such objects get their items while the record is read, and the broken object has no methods to
# take them. No other attribute of the document can be read, and none can be set or deleted.
# Why it matters: removing an add-on locks all documents in which it left such a value, and only code with a class
# of that name opens them again.
# Versions: ZODB 6.4, zodbpickle 4.5, Python 3.11.
#
# Output:
# Plain: title readable
# Colour: title readable
# Text: title readable
# Tags: title readable
# Votes: title readable
# Items: StateLoadError
# Record: StateLoadError
# Ordered: StateLoadError
# Default: StateLoadError
# Recent: StateLoadError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
mkdir addon
cat > addon/addon.py <<'END'
from collections import Counter, OrderedDict, defaultdict, deque
from enum import Enum


class Plain:
    pass


class Colour(Enum):
    RED = 1


class Text(str):
    pass


class Tags(set):
    pass


class Votes(Counter):
    pass


class Items(list):
    pass


class Record(dict):
    pass


class Ordered(OrderedDict):
    pass


class Default(defaultdict):
    pass


class Recent(deque):
    pass


VALUES = [Plain(), Colour.RED, Text("x"), Tags("x"), Votes("x"), Items("x"), Record(x=1), Ordered(x=1),
          Default(int, x=1), Recent("x")]
END
cat > run.py <<'END'
import logging
import sys

import ZODB
from persistent.mapping import PersistentMapping
from ZODB.POSException import StateLoadError

logging.disable(logging.CRITICAL)
db = ZODB.DB("Data.fs")
with db.transaction() as connection:
    root = connection.root()
    if "create" in sys.argv:
        import addon
        for value in addon.VALUES:
            root[type(value).__name__] = PersistentMapping(title="readable", value=value)
    else:
        for name, document in root.items():
            try:
                print(f"{name}: title", document["title"])
            except StateLoadError as error:
                print(f"{name}:", type(error).__name__)
END
PYTHONPATH=addon venv/bin/python run.py create
venv/bin/python run.py show | tee seen
diff seen - <<'END'
Plain: title readable
Colour: title readable
Text: title readable
Tags: title readable
Votes: title readable
Items: StateLoadError
Record: StateLoadError
Ordered: StateLoadError
Default: StateLoadError
Recent: StateLoadError
END
