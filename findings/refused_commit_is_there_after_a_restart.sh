#!/usr/bin/env bash
# Dobbin: a commit that was refused is in the database after a restart.
#
# Expected: if another participant of the transaction refuses at the vote, nothing of it is stored.
# Seen: Dobbin writes the changed objects to its log all the same, with a record that says "aborted" behind them. Who
# reads the log at the next start does not look at that: the objects are as the refused transaction left them.
# Why it matters: the mail server or the SQL database said no, and has not got its part; the user was shown an error;
# after the next restart the object database says that it was done.
# Versions: dobbin 0.3, transaction 5.1, Python 3.11.
#
# Output:
# balance 100; 50 taken out: refused
# after a restart: balance 50
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check dobbin==0.3 transaction==5.1 zope.interface==8.7
cat > account.py <<'END'
from dobbin.persistent import Persistent


class Account(Persistent):
    pass
END
cat > write.py <<'END'
import logging

import transaction
from account import Account
from dobbin.database import Database
from dobbin.persistent import checkout

logging.disable(logging.CRITICAL)


class Bank:
    def sortKey(self):
        return (float("inf"),)

    def tpc_begin(self, transaction):
        pass

    commit = tpc_finish = tpc_abort = abort = tpc_begin

    def tpc_vote(self, transaction):
        raise ValueError("refused")


db = Database("data")
account = Account()
account.balance = 100
db.elect(account)
transaction.commit()
checkout(account)
account.balance -= 50
transaction.get().join(Bank())
try:
    transaction.commit()
except ValueError as error:
    print(f"balance 100; 50 taken out: {error}")
END
cat > read.py <<'END'
from dobbin.database import Database

balance = Database("data").root.balance
print(f"after a restart: balance {balance}")
assert balance == 50
END
venv/bin/python -W ignore write.py
venv/bin/python -W ignore read.py
