#!/usr/bin/env bash
# zodb-json-codec takes keys of the application for its own marks: of an XML element only the date is left.
#
# Expected: a dict is an equal dict after the way to JSON and back, whatever its keys are; a key that is a mark of the
# codec is escaped. Its documentation promises that any pickle makes the way safely.
# Seen: a dict that has "@date", "@set", "@t" or some other keys comes back as a date, a set, a tuple; the other keys
# beside it are dropped. Where the value doesn't fit, as "2026" for "@dt", zodb-pgjsonb commits the object and can't
# load it any more, with all else that is in it.
# Why it matters: zodb-pgjsonb stores all objects that way. xmltodict, BadgerFish and JSON-LD name attributes with an
# "@"; what they parsed is not what is there after the commit, and nothing fails at the commit.
# Versions: zodb-json-codec 1.7.0, xmltodict 1.0.4, Python 3.12.
#
# Output:
# {'news': {'@day': '2026-01-01', '#text': 'We moved'}} -> the same
# {'news': {'@date': '2026-01-01', '#text': 'We moved'}} -> {'news': datetime.date(2026, 1, 1)}
# {'author': {'@list': ['b', 'a'], '@id': 'x'}} -> the same
# {'author': {'@set': ['a', 'a'], '@id': 'x'}} -> {'author': {'a'}}
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3.12 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check zodb-json-codec==1.7.0 xmltodict==1.0.4
venv/bin/python - <<'END'
import datetime
import pickle

import xmltodict
import zodb_json_codec


def tried(value):
    back = pickle.loads(zodb_json_codec.json_to_pickle(zodb_json_codec.pickle_to_json(pickle.dumps(value, 3))))
    print(value, "->", "the same" if back == value else back)
    return back


for name in "day", "date":
    value = xmltodict.parse(f'<news {name}="2026-01-01">We moved</news>')
    back = tried(value)
    assert back == (value if name == "day" else {"news": datetime.date(2026, 1, 1)})
for value in {"author": {"@list": ["b", "a"], "@id": "x"}}, {"author": {"@set": ["a", "a"], "@id": "x"}}:
    assert tried(value) == (value if "@list" in value["author"] else {"author": {"a"}})
END
