#!/usr/bin/env bash
# The records of a FileStorage's last transaction can't be read once its iterator has said that it is the last.
#
# Expected: `*_, last = storage.iterator()` gives the last transaction, and list(last) its records, as with a
# MappingStorage; the interface doesn't say that a transaction lives as long as the iterator does.
# Seen: "ValueError: seek of closed file". The transactions share their iterator's file, and the
# iterator closes it as it ends; so it is for every transaction that was kept, also for a record iterator
# that is open already. Through ZEO the open one gets the server's error, and one that is opened
# only then a KeyError with a number that the caller has never seen.
# Versions: ZODB 6.4, ZEO 6.2, Python 3.11.
#
# Output:
# MappingStorage: opened before the end 1 record, opened after it 1 record
# FileStorage: opened before the end ValueError: seek of closed file, opened after it ValueError: seek of closed file
# FileStorage through ZEO: opened before the end ServerException: seek of closed file, opened after it KeyError: N
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZEO==6.2 ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zdaemon==5.2.1 zope.interface==8.7 msgpack==1.2.4
cat > try.py <<'END'
import logging

import ZEO
import ZODB
from ZODB.FileStorage import FileStorage
from ZODB.MappingStorage import MappingStorage

logging.disable()


def read(records):
    try:
        return f"{len(list(records))} record"
    except KeyError:
        return "KeyError: N"
    except Exception as error:
        message = error.args[1][0] if len(error.args) == 2 else error.args[0]
        return f"{type(error).__name__}: {message}"


def found(storage):
    database = ZODB.DB(storage)
    with database.transaction() as connection:
        connection.root()["key"] = "value"
    for last in storage.iterator():
        records = iter(last)
    before = read(records)
    *_, last = storage.iterator()
    after = read(last)
    database.close()
    return f"opened before the end {before}, opened after it {after}"


seen = [f"MappingStorage: {found(MappingStorage())}", f"FileStorage: {found(FileStorage('Data.fs'))}"]
address, stop = ZEO.server("Data.fs")
try:
    seen.append(f"FileStorage through ZEO: {found(ZEO.client(address))}")
finally:
    stop()
print("\n".join(seen))
closed = "seek of closed file"
assert seen == [
    "MappingStorage: opened before the end 1 record, opened after it 1 record",
    f"FileStorage: opened before the end ValueError: {closed}, opened after it ValueError: {closed}",
    f"FileStorage through ZEO: opened before the end ServerException: {closed}, opened after it KeyError: N",
]
END
venv/bin/python try.py
