#!/usr/bin/env bash
# After a set whose member refers back to it, a committed list holds a dict where the set should be.
#
# Expected: an object's list [s, d, s] is read back as [s, d, s], as Python's own pickle does.
# Seen: without any error, the third item is d. The set holds an object that refers to the set, so
# zodbpickle writes it twice. The second time it enters it into the memo under a new number, but its count of
# numbers stays, as the set is there already: d, the next to be entered, gets the same number ("memo key 11
# already defined", says pickletools), and the third item refers to that number. So the record is wrong,
# not its reading.
# Why it matters: a set of items that know their set is common, and the data is lost at the commit.
# Versions: zodbpickle 4.5, ZODB 6.4, Python 3.11.
#
# Output:
# pickle: [set, dict, set]
# zodbpickle.pickle: [set, dict, dict]
# ZODB: [set, dict, dict]
# pickletools on zodbpickle's: memo key 11 already defined
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > member.py <<'END'
class Member:
    pass
END
cat > try.py <<'END'
import io
import pickle
import pickletools

import ZODB
import zodbpickle.pickle

from member import Member

member = Member()
member.set = {member}
value = [member.set, {}, member.set]


def types(found):
    return "[" + ", ".join(type(item).__name__ for item in found) + "]"


standard = types(pickle.loads(pickle.dumps(value, 3)))
print("pickle:", standard)
other = types(zodbpickle.pickle.loads(zodbpickle.pickle.dumps(value, 3)))
print("zodbpickle.pickle:", other)
db = ZODB.DB("Data.fs")
with db.transaction() as connection:
    connection.root()["value"] = value
db.close()
db = ZODB.DB("Data.fs")
with db.transaction() as connection:
    committed = types(connection.root()["value"])
db.close()
print("ZODB:", committed)
try:
    pickletools.dis(zodbpickle.pickle.dumps(value, 3), io.StringIO())
    complaint = "nothing"
except ValueError as error:
    complaint = str(error)
print("pickletools on zodbpickle's:", complaint)
assert standard == "[set, dict, set]"
assert other == committed == "[set, dict, dict]"
assert complaint == "memo key 11 already defined"
END
venv/bin/python try.py
