#!/usr/bin/env bash
# A blob cache that is checked more rarely is emptied more often.
#
# Expected: blob-cache-size 1 MB with blob-cache-size-check 90 is a cache of 1 MB whose size is checked each time that
# 900 kB were loaded ("will be checked when this many bytes have been loaded", as a percentage).
# Seen: the percentage is also taken off the size that a check leaves, whether the cache is full or not: with 90, a
# cache of 900 kB, within its size, is cut down to 100 kB (or 200 kB, if a file is in use meanwhile). With the
# default of 10 all stays.
# Why it matters: who turns the check down, since it looks at each file, loses the cache at each check, and all
# blobs are loaded from the server again; the disk that was given to it is never used.
# Versions: ZEO 6.2, ZODB 6.4, Python 3.11.
#
# Output:
# blob-cache-size 1000000, check 10, 9 blobs of 100000 bytes read: 900000 bytes in the cache
# blob-cache-size 1000000, check 90, 9 blobs of 100000 bytes read: at most 300000 bytes in the cache
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZEO==6.2 ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zdaemon==5.2.1 zope.interface==8.7 msgpack==1.2.4
venv/bin/python - <<'END'
import logging
import pathlib
import socket
import subprocess
import time

import ZEO
from ZODB.blob import Blob

SIZE, BLOB, COUNT = 1000000, 100000, 9
logging.disable()
with socket.create_server(("127.0.0.1", 0)) as free:
    address = free.getsockname()
with open("zeo.conf", "w") as conf:
    conf.write(f"<zeo>\naddress 127.0.0.1:{address[1]}\n</zeo>\n"
               "<filestorage 1>\npath Data.fs\nblob-dir blobs\n</filestorage>\n")


def cached(name):
    "The size of the cache when it has stayed the same for three seconds."
    sizes = []
    while len(sizes) < 30 or len(set(sizes[-30:])) > 1:
        try:
            sizes.append(sum(path.stat().st_size for path in pathlib.Path(name).rglob("*.blob")))
        except FileNotFoundError:
            continue
        time.sleep(0.1)
    return sizes[-1]


def tried(check):
    name = f"cache-{check}"
    db = ZEO.DB(address, wait_timeout=60, blob_dir=name, blob_cache_size=SIZE, blob_cache_size_check=check)
    cached(name)
    with db.transaction() as connection:
        for number in range(COUNT):
            with connection.root()[number].open() as file:
                file.read()
    size = cached(name)
    db.close()
    shown = f"at most {3 * BLOB}" if size <= 3 * BLOB else size
    print(f"blob-cache-size {SIZE}, check {check}, {COUNT} blobs of {BLOB} bytes read: {shown} bytes in the cache")
    return size


server = subprocess.Popen(["venv/bin/runzeo", "-C", "zeo.conf"], stderr=subprocess.DEVNULL)
try:
    db = ZEO.DB(address, wait_timeout=60, blob_dir="first")
    with db.transaction() as connection:
        for number in range(COUNT):
            connection.root()[number] = Blob(b"x" * BLOB)
    db.close()
    seen = tried(10), tried(90)
finally:
    server.terminate()
    server.wait()
assert seen[0] == COUNT * BLOB and seen[1] <= 3 * BLOB, seen
END
