#!/usr/bin/env bash
# repozo -R -w deletes the database before it verifies the backup that is to replace it.
#
# Expected: --with-verify "allows to verify and recover a backup in one single step"; if the backup is damaged, what
# stood under the name of the output stays. The new file is written as Data.fs.part and renamed at the end.
# Seen: the old Data.fs is removed first, to have room on the disk, as a comment in the code says; the help does not.
# Then the check fails, with exit code 1, and there is neither the old database nor the new one. The same without
# -w, if the disk gets full or the backup can't be read.
# Why it matters: one recovers over a database that is damaged but mostly readable, or over one that was only to be
# set back to yesterday; with a backup that turns out bad, it was the last copy.
# Versions: ZODB 6.4, Python 3.11.
#
# Output:
# before: Data.fs, Data.fs.index; backup damaged
# repozo -R -w -o Data.fs: exit code 1, "has checksum ... instead of ..."
# after: Data.fs.index, Data.fs.part
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
mkdir repository
venv/bin/python - <<'END'
import pathlib
import re
import subprocess

import ZODB

repozo = ["venv/bin/repozo", "-r", "repository"]


def change(value):
    db = ZODB.DB("Data.fs")
    with db.transaction() as connection:
        connection.root()["value"] = value
    db.close()


def files():
    return ", ".join(sorted(path.name for path in pathlib.Path().glob("Data.fs*") if path.suffix not in (".lock", ".tmp")))


change("yesterday")
subprocess.run([*repozo, "-B", "-f", "Data.fs"], check=True)
change("today")
(backup,) = pathlib.Path("repository").glob("*.fs")
damaged = backup.read_bytes().replace(b"yesterday", b"yesterdax")
backup.write_bytes(damaged)
before = files()
print(f"before: {before}; backup damaged")
done = subprocess.run([*repozo, "-R", "-w", "-o", "Data.fs"], stderr=subprocess.PIPE, text=True)
reason = "has checksum ... instead of ..." if re.search("has checksum .* instead of", done.stderr) else done.stderr
print(f'repozo -R -w -o Data.fs: exit code {done.returncode}, "{reason}"')
after = files()
print("after:", after)
assert before == "Data.fs, Data.fs.index" and done.returncode == 1 and "checksum" in reason
assert after == "Data.fs.index, Data.fs.part"
END
