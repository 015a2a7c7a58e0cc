#!/usr/bin/env bash
# A set whose class can't be imported for a time is written back as an empty set.
#
# Expected: ZODB puts a "broken" object in the place of one whose class is missing. It keeps what was stored, so
# that another attribute can be changed and committed; when the class is there again, all is as before.
# Seen: that is so for an ordinary object, a named tuple, a frozenset. But of a set, a Counter and a bytearray
# (subclasses of them) nothing is left after the class is back, and an object with a __reduce__ of its own has
# lost its attributes. The broken object is written as its class and arguments, and rebuilt by the class's __new__
# alone, while these fill themselves in __init__. No error, no warning.
# Why it matters: one process without an add-on (or with the code of yesterday) that changes a document empties
# the sets in it, for everybody and for good.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# Plain: {'x': 1}
# Pair: Pair(a=1, b=2)
# Frozen: Frozen({1, 2})
# Tags: Tags()
# Votes: Votes()
# Raw: Raw(b'')
# Money: {}
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
from collections import Counter, namedtuple


class Plain:
    def __init__(self):
        self.x = 1


class Pair(namedtuple("Pair", "a b")):
    pass


class Frozen(frozenset):
    pass


class Tags(set):
    pass


class Votes(Counter):
    pass


class Raw(bytearray):
    pass


class Money:
    def __init__(self, amount):
        self.amount = amount

    def __reduce__(self):
        return Money, (self.amount,)
END
cat > run.py <<'END'
import logging
import sys

import ZODB
from persistent.mapping import PersistentMapping

logging.disable(logging.CRITICAL)
step = sys.argv[1]
db = ZODB.DB("Data.fs")
with db.transaction() as connection:
    root = connection.root()
    if step == "create":
        import addon
        root["document"] = PersistentMapping(values=[
            addon.Plain(), addon.Pair(1, 2), addon.Frozen([1, 2]), addon.Tags([1, 2]),
            addon.Votes("aab"), addon.Raw(b"bytes"), addon.Money(5)])
    elif step == "change":
        root["document"]["title"] = "changed"
    else:
        for value in root["document"]["values"]:
            name = type(value).__name__
            print(f"{name}:", value.__dict__ if name in ("Plain", "Money") else repr(value))
END
PYTHONPATH=addon venv/bin/python run.py create
PYTHONPATH=addon venv/bin/python run.py show > before
venv/bin/python run.py change
PYTHONPATH=addon venv/bin/python run.py show | tee after
diff before - <<'END'
Plain: {'x': 1}
Pair: Pair(a=1, b=2)
Frozen: Frozen({1, 2})
Tags: Tags({1, 2})
Votes: Votes({'a': 2, 'b': 1})
Raw: Raw(b'bytes')
Money: {'amount': 5}
END
diff after - <<'END'
Plain: {'x': 1}
Pair: Pair(a=1, b=2)
Frozen: Frozen({1, 2})
Tags: Tags()
Votes: Votes()
Raw: Raw(b'')
Money: {}
END
