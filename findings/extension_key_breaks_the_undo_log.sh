#!/usr/bin/env bash
# After one transaction with extended information called "description", no client can list what to undo.
#
# Expected: setExtendedInfo stores what the application likes to remember of a transaction; undoLog shows
# its own fields, whatever the application's are called.
# Seen: the extension's items replace the fields of the same name. DB.undoLog takes "description" and
# "user_name" for bytes and decodes them: AttributeError for every range that holds this transaction, also
# years later, until it is packed away. With "id", the entry is shown, and its id undoes nothing.
# Why it matters: Zope's undo page and scripts that look for a transaction fail because of another one.
# Versions: ZODB 6.4, transaction 5.1, Python 3.11.
#
# Output:
# kind: ['hello']
# id: [b'mine']
# description: AttributeError: 'str' object has no attribute 'decode'
# the transaction before it: AttributeError: 'str' object has no attribute 'decode'
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

db = ZODB.DB("Data.fs")


def commit(name, value):
    current = transaction.begin()
    current.note("hello")
    current.setExtendedInfo(name, value)
    connection = db.open()
    connection.root()["last"] = name
    transaction.commit()
    connection.close()


def shown(key, count):
    try:
        return [entry[key] for entry in db.undoLog(0, count)]
    except AttributeError as error:
        return f"{type(error).__name__}: {error}"


commit("kind", "import")
kind = shown("description", 1)
print("kind:", kind)
commit("id", b"mine")
own = shown("id", 1)
print("id:", own)
commit("description", "more")
last = shown("description", 1)
print("description:", last)
commit("kind", "import")
both = shown("description", 2)
print("the transaction before it:", both)
assert (kind, own) == (["hello"], [b"mine"])
assert last == both == "AttributeError: 'str' object has no attribute 'decode'"
END
venv/bin/python try.py
