#!/usr/bin/env bash
# zodb-s3blobs: an undo makes a blob unreadable, and the next pack deletes all its versions from S3.
#
# Expected: with a FileStorage that keeps history, db.undo() of a change to a blob brings the former bytes back, as it
# does with ZODB's own blob directory.
# Seen: undo() is passed on to the FileStorage, which writes a record with a new tid. No object in S3 has that tid: the
# blob is a POSKeyError at every read. A pack then keeps only objects whose tid is that of a record, and deletes
# both old versions.
# Why it matters: after the undo the bytes could still be found in the bucket by hand; after the nightly pack they are
# gone. The undo itself reports success.
# Versions: zodb-s3blobs 1.2.1, moto 5.2.5 in place of S3, ZODB 6.4, Python 3.12.
#
# Output:
# blob directory: changed to b'two'; after undo b'one'; after a pack b'one'
# zodb-s3blobs: changed to b'two'; after undo POSKeyError, 2 versions in S3; after a pack POSKeyError, 0 versions in S3
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3.12 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 zodb-s3blobs==1.2.1 boto3==1.44.8 'moto[s3]==5.2.5'
cat > try.py <<'END'
import logging
import os

import boto3
import transaction
import ZODB
from moto import mock_aws
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from zodb_s3blobs.cache import S3BlobCache
from zodb_s3blobs.s3client import S3Client
from zodb_s3blobs.storage import S3BlobStorage

logging.disable(logging.CRITICAL)
os.environ.update(AWS_ACCESS_KEY_ID="any", AWS_SECRET_ACCESS_KEY="any", AWS_DEFAULT_REGION="us-east-1")


def content(db):
    db.cacheMinimize()
    try:
        with db.transaction() as connection, connection.root()["blob"].open() as file:
            return repr(file.read())
    except POSKeyError as error:
        return type(error).__name__


def history(db, versions):
    with db.transaction() as connection:
        connection.root()["blob"] = Blob(b"one")
    with db.transaction() as connection, connection.root()["blob"].open("w") as file:
        file.write(b"two")
    seen = [content(db)]
    db.undo(db.undoLog(0, 1)[0]["id"])
    transaction.commit()
    seen.append(content(db) + versions())
    db.pack()
    seen.append(content(db) + versions())
    db.close()
    return seen


def shown(title, seen):
    print("{}: changed to {}; after undo {}; after a pack {}".format(title, *seen))
    return seen


seen = shown("blob directory", history(ZODB.DB(FileStorage("own.fs", blob_dir="blobs")), str))
assert seen == ["b'two'", "b'one'", "b'one'"], seen

with mock_aws():
    boto3.client("s3").create_bucket(Bucket="blobs")
    s3 = S3Client("blobs")
    storage = S3BlobStorage(FileStorage("s3.fs"), s3, S3BlobCache("cache"), "temporary")
    in_s3 = lambda: f", {len(list(s3.list_objects('blobs/')))} versions in S3"
    seen = shown("zodb-s3blobs", history(ZODB.DB(storage), in_s3))
assert seen == ["b'two'", "POSKeyError, 2 versions in S3", "POSKeyError, 0 versions in S3"], seen
END
venv/bin/python -W ignore try.py
