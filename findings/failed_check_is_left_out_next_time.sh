#!/usr/bin/env bash
# A before-commit hook that refuses a commit is left out at the next one, which then succeeds.
#
# Expected: when commit() raises, the transaction is over: each further commit is a TransactionFailedError until
# somebody aborts. That is so if a data manager raises, and if ZODB finds a conflict.
# Seen: an error from a before-commit hook leaves the transaction active, with all its changes, and without its
# hooks, those that have not run yet included. The next transaction.commit() in the thread stores what the hook
# has refused.
# Why it matters: before-commit hooks are where checks and late indexing are done. A worker that logs the error of
# one job and goes on with the next commits the job that failed its check.
# Versions: transaction 5.1, ZODB 6.4, Python 3.11.
#
# Output:
# error of a data manager: first commit ValueError, second TransactionFailedError, stored: nothing
# error of a hook: first commit ValueError, second ok, stored: stock -1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
venv/bin/python - <<'END'
import transaction
import ZODB


class Checker:
    "A data manager that refuses each commit."

    def sortKey(self):
        return "checker"

    def tpc_vote(self, transaction):
        raise ValueError("the stock is negative")

    def nothing(self, transaction):
        pass

    tpc_begin = commit = tpc_finish = tpc_abort = abort = nothing


def commit():
    try:
        transaction.commit()
    except (ValueError, transaction.interfaces.TransactionFailedError) as error:
        return type(error).__name__
    return "ok"


for kind in "data manager", "hook":
    db = ZODB.DB(None)
    connection = db.open()
    connection.root()["stock"] = -1
    checker = Checker()
    if kind == "hook":
        transaction.get().addBeforeCommitHook(checker.tpc_vote, (None,))
    else:
        transaction.get().join(checker)
    first, second = commit(), commit()
    transaction.abort()
    with db.transaction() as reader:
        stored = " ".join(f"{key} {value}" for key, value in reader.root().items()) or "nothing"
    print(f"error of a {kind}: first commit {first}, second {second}, stored: {stored}")
    expected = ("ok", "stock -1") if kind == "hook" else ("TransactionFailedError", "nothing")
    assert (first, second, stored) == ("ValueError", *expected)
END
