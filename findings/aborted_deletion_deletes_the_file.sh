#!/usr/bin/env bash
# repoze.filesafe: when a transaction that deletes a file is aborted, the file is deleted.
#
# Expected: delete_file(path) takes effect at the commit; after transaction.abort() the file is there as before.
# Seen: the abort removes the temporary file of each change, and for a deletion it has noted the file itself as the
# temporary one. So it is removed, without the copy that a commit keeps. It is the same if the commit fails before
# it comes to the files; only if it fails later the file is put back.
# Why it matters: a request that deletes a document with its file and then ends with an error or a conflict leaves the
# document, and its file is gone for good.
# Versions: repoze.filesafe 2.2, transaction 5.1, Python 3.11.
#
# Output:
# deletion aborted: file gone
# deletion, and a conflict in the database: file gone
# deletion, and an error at the vote: file there
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check repoze.filesafe==2.2 transaction==5.1 zope.interface==8.7
venv/bin/python -W ignore - <<'END'
import logging
import os

import repoze.filesafe
import transaction

logging.disable(logging.CRITICAL)


class Database:
    """Takes part in the transaction and fails in one of its steps; conflicts are found in `commit`."""

    def __init__(self, step):
        setattr(self, step, self.fail)

    def sortKey(self):
        return "before repoze.filesafe, whose key is 'safety first'"

    def tpc_begin(self, transaction):
        pass

    commit = tpc_vote = tpc_finish = tpc_abort = abort = tpc_begin

    def fail(self, transaction):
        raise ValueError("conflict")


def tried(title, step=None):
    with open("picture", "w") as file:
        file.write("the only copy")
    repoze.filesafe.delete_file("picture")
    if step:
        transaction.get().join(Database(step))
        try:
            transaction.commit()
        except ValueError:
            pass
    transaction.abort()
    there = os.path.exists("picture")
    print(f"{title}: file {'there' if there else 'gone'}")
    return there


assert not tried("deletion aborted")
assert not tried("deletion, and a conflict in the database", "commit")
assert tried("deletion, and an error at the vote", "tpc_vote")
END
