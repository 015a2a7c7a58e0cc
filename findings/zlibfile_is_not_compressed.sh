#!/usr/bin/env bash
# nti.zodb: a database of zlibfile:// is not compressed, and can't read one that is.
#
# Expected: db_from_uri("zlibfile:///Data.fs") is a database over zc.zlibstorage: it compresses what it stores, and
# reads what another ZlibStorage has stored.
# Seen: the wrapper is put into the attribute `storage` of a finished ZODB.DB. Since ZODB 5 connections take theirs from
# another attribute, which was made of the storage without the wrapper. A file that is compressed, as by
# zlibstorage in a ZConfig file, can't be opened: "bad pickle data".
# Why it matters: the disk is full of what one believes to be compressed; and a copy of the production database, read on
# a developer's machine by that address, looks broken.
# Versions: nti.zodb 4.6.0, zc.zlibstorage 1.2.0, repoze.zodbconn 0.15, ZODB 6.4, Python 3.11.
#
# Output:
# 10000 characters stored by zlibfile://: more than 10000 bytes
# 10000 characters stored by a ZlibStorage: less than 1000 bytes; read by zlibfile://: UnpicklingError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 nti.zodb==4.6.0 zc.zlibstorage==1.2.0 repoze.zodbconn==0.15
venv/bin/python -W ignore - <<'END'
import logging
import os

import ZODB
from nti.zodb.zlibstorage import install_zlib_client_resolver
from repoze.zodbconn.uri import db_from_uri
from zc.zlibstorage import ZlibStorage
from ZODB.FileStorage import FileStorage

logging.disable(logging.CRITICAL)
install_zlib_client_resolver()


def size(db, path):
    with db.transaction() as connection:
        connection.root()["page"] = "x" * 10000
    db.close()
    return os.path.getsize(path)


plain = size(db_from_uri("zlibfile://" + os.path.abspath("by_uri.fs")), "by_uri.fs")
assert plain > 10000, plain
print("10000 characters stored by zlibfile://: more than 10000 bytes")
small = size(ZODB.DB(ZlibStorage(FileStorage("wrapped.fs"))), "wrapped.fs")
assert small < 1000, small
try:
    with db_from_uri("zlibfile://" + os.path.abspath("wrapped.fs")).transaction() as connection:
        seen = len(connection.root()["page"])
except Exception as error:
    seen = type(error).__name__
print(f"10000 characters stored by a ZlibStorage: less than 1000 bytes; read by zlibfile://: {seen}")
assert seen == "UnpicklingError"
END
