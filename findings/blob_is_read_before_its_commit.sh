#!/usr/bin/env bash
# zodb-s3blobs: while a commit is on its way, all others read the new bytes of its blob, also if it then fails.
#
# Expected: another connection reads the bytes that were committed when its transaction began, until the end of the
# commit and after it.
# Seen: over a FileStorage there is one storage object for all connections. From the moment that a commit has stored
# a blob until it ends, loadBlob() gives everyone the file that waits for its upload. That time is as long as the
# upload to S3 of all blobs of the transaction, and what else takes part in it. Afterwards the old bytes are back.
# Why it matters: a reader gets a file that does not belong to the document around it, or one that was refused (as by a
# conflict, or a virus scanner at the vote), and copies it to a cache, a thumbnail or a mail.
# Versions: zodb-s3blobs 1.2.1, moto 5.2.5 in place of S3, ZODB 6.4, Python 3.12.
#
# Output:
# blob directory: read during the commit b'old', after it has failed b'old'
# zodb-s3blobs: read during the commit b'never committed', after it has failed b'old'
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
from zodb_s3blobs.cache import S3BlobCache
from zodb_s3blobs.s3client import S3Client
from zodb_s3blobs.storage import S3BlobStorage

logging.disable(logging.CRITICAL)
os.environ.update(AWS_ACCESS_KEY_ID="any", AWS_SECRET_ACCESS_KEY="any", AWS_DEFAULT_REGION="us-east-1")


class Refused(Exception):
    pass


class Checker:
    """Takes part in the transaction after the database, looks at it with another connection, and refuses."""

    def __init__(self, db):
        self.db = db

    def sortKey(self):
        return "~"

    def tpc_begin(self, transaction):
        pass

    commit = tpc_finish = tpc_abort = abort = tpc_begin

    def tpc_vote(self, transaction):
        self.seen = content(self.db)
        raise Refused


def content(db):
    manager = transaction.TransactionManager()
    connection = db.open(manager)
    with connection.root()["blob"].open() as file:
        data = file.read()
    connection.close()
    return data


def tried(title, db):
    with db.transaction() as connection:
        connection.root()["blob"] = Blob(b"old")
    checker = Checker(db)
    connection = db.open()
    with connection.root()["blob"].open("w") as file:
        file.write(b"never committed")
    transaction.get().join(checker)
    try:
        transaction.commit()
    except Refused:
        transaction.abort()
    connection.close()
    seen = checker.seen, content(db)
    db.close()
    print("{}: read during the commit {}, after it has failed {}".format(title, *seen))
    return seen


assert tried("blob directory", ZODB.DB(FileStorage("own.fs", blob_dir="blobs"))) == (b"old", b"old")

with mock_aws():
    boto3.client("s3").create_bucket(Bucket="blobs")
    s3 = S3Client("blobs")
    storage = S3BlobStorage(FileStorage("s3.fs"), s3, S3BlobCache("cache"), "temporary")
    seen = tried("zodb-s3blobs", ZODB.DB(storage))
assert seen == (b"never committed", b"old"), seen
END
venv/bin/python -W ignore try.py
