#!/usr/bin/env bash
# A change of a PersistentMapping that was refused with an error is committed by a later transaction.
#
# Expected: when `mapping["key"] = value` raises, as the connection is closed, or there is no transaction to which
# a change could belong, the mapping is as it was.
# Seen: it has the key, though it is not marked as changed. PersistentMapping and PersistentList change their data
# first and register the change then; what can't be registered is not taken back. The connection keeps the mapping
# like that, also when it goes back to the pool and is opened by somebody else, whose next change of the mapping
# commits both. BTrees and attributes stay as they were.
# Why it matters: in an after-commit hook the error is logged only; code that touches an object after the end of
# its request gets one that looks harmless. Then a request that has nothing to do with it makes the value
# permanent, and until then one process shows it and the others don't.
# Versions: persistent 6.9, transaction 5.1, ZODB 6.4, Python 3.11.
#
# Output:
# in an after-commit hook: ValueError, mine {'refused': 1}, others {}; later others {'refused': 1, 'other': 2}
# outside of a transaction: NoTransaction, mine {'refused': 1}, others {}; later others {'refused': 1, 'other': 2}
# connection closed: AttributeError, mine {'refused': 1}, others {}; later others {'refused': 1, 'other': 2}
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7
cat > try.py <<'END'
import transaction
import ZODB
from persistent.mapping import PersistentMapping


def in_a_hook(manager, connection, refused):
    manager.begin().addAfterCommitHook(lambda success: refused())
    connection.root()["committed"] = True
    manager.commit()


def outside(manager, connection, refused):
    refused()


def closed(manager, connection, refused):
    connection.close()
    refused()


def attempt(how, explicit=False):
    db = ZODB.DB(f"{how.__name__}.fs")
    with db.transaction() as connection:
        connection.root()["mapping"] = PersistentMapping()

    def others():
        with db.transaction() as connection:
            return dict(connection.root()["mapping"])

    manager = transaction.TransactionManager(explicit=explicit)
    connection = db.open(manager)
    mapping = connection.root()["mapping"]
    assert dict(mapping) == {}
    errors = []

    def refused():
        try:
            mapping["refused"] = 1
        except Exception as error:
            errors.append(type(error).__name__)

    how(manager, connection, refused)
    if how is closed:
        connection = db.open(manager)
    manager.begin()
    mapping = connection.root()["mapping"]
    before = dict(mapping), others()
    mapping["other"] = 2
    manager.commit()
    return errors[0], *before, others()


for name, how, explicit, error in ("in an after-commit hook", in_a_hook, False, "ValueError"), \
        ("outside of a transaction", outside, True, "NoTransaction"), \
        ("connection closed", closed, False, "AttributeError"):
    seen = attempt(how, explicit)
    print(name + ": {}, mine {}, others {}; later others {}".format(*seen))
    assert seen == (error, {"refused": 1}, {}, {"refused": 1, "other": 2})
END
venv/bin/python try.py
