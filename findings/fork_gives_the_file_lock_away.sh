#!/usr/bin/env bash
# A forked child that closes its copy of a FileStorage takes the lock from the parent.
#
# Expected: Data.fs.lock belongs to the process that opened the storage. A child (multiprocessing,
# a preforking server) that only tidies up with db.close() and ends leaves the parent's lock alone,
# as it does when it ends without closing.
# Seen: the lock is flock's, which parent and child share, and close() unlocks it before it closes the
# descriptor. From then on another process can open the same Data.fs for writing, while
# the parent still commits to it with an index that knows nothing of the other's transactions.
# Versions: zc.lockfile 4.0, ZODB 6.4, Python 3.11, Linux.
#
# Output:
# child ended: another process can't open the file
# child closed: another process opens the file
# the parent still commits
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'EOF'
import os
import subprocess
import sys

import ZODB
from ZODB.FileStorage import FileStorage

OPEN = "import ZODB.FileStorage as f; f.FileStorage('Data.fs').close()"
db = ZODB.DB(FileStorage("Data.fs"))


def child(close):
    pid = os.fork()
    if not pid:
        if close:
            db.close()
        os._exit(0)
    os.waitpid(pid, 0)


def another_opens():
    done = subprocess.run([sys.executable, "-c", OPEN], capture_output=True)
    assert done.returncode == 0 or b"LockError" in done.stderr
    return done.returncode == 0


child(close=False)
ended = another_opens()
print("child ended: another process", "opens" if ended else "can't open", "the file")
child(close=True)
closed = another_opens()
print("child closed: another process", "opens" if closed else "can't open", "the file")
with db.transaction() as connection:
    connection.root()["a"] = 1
print("the parent still commits")
assert not ended and closed
EOF
