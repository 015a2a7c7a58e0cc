#!/usr/bin/env bash
# zodb-json-codec: a float that is infinite or not a number is None after the way to JSON and back.
#
# Expected: encode_zodb_record(decode_zodb_record_for_pg_json(data)) gives an equal object, as the documentation
# promises of any pickle, or else an error.
# Seen: JSON has no infinity, and the codec writes null, without a word. decode_zodb_record keeps it: it gives values
# of Python. The Decimal of the same value is kept, too.
# Why it matters: zodb-pgjsonb stores all objects that way. "No upper limit" (inf) is None after the commit, or a
# measurement that failed (nan); comparisons are a TypeError then, in another request, and the migration of a
# whole site with it says nothing.
# Versions: zodb-json-codec 1.7.0, ZODB 6.4, Python 3.12.
#
# Output:
# as values of Python: limit inf, exact Infinity, ratio 0.5
# as JSON for PostgreSQL: limit None, exact Infinity, ratio 0.5
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3.12 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 zodb-json-codec==1.7.0
venv/bin/python - <<'END'
import decimal
import io
import json
import pickle

import zodb_json_codec
from persistent.mapping import PersistentMapping
from ZODB.serialize import ObjectWriter

page = PersistentMapping(limit=float("inf"), exact=decimal.Decimal("Infinity"), ratio=0.5)
record = ObjectWriter().serialize(page)


def shown(title, state):
    data = zodb_json_codec.encode_zodb_record({"@cls": ["persistent.mapping", "PersistentMapping"], "@s": state})
    unpickler = pickle.Unpickler(io.BytesIO(data))
    unpickler.load()
    values = unpickler.load()["data"]
    print(f"{title}: " + ", ".join(f"{key} {values[key]}" for key in page))
    return values["limit"], values["exact"], values["ratio"]


kept = shown("as values of Python", zodb_json_codec.decode_zodb_record(record)["@s"])
assert kept == (page["limit"], page["exact"], 0.5)
lost = shown("as JSON for PostgreSQL", json.loads(zodb_json_codec.decode_zodb_record_for_pg_json(record)[2]))
assert lost == (None, page["exact"], 0.5)
END
