#!/usr/bin/env bash
# tempstorage: an object that is moved in two transactions is gone, and a snapshot is not one.
#
# Expected: an object without references stays loadable until a pack, as in each other storage: a program that
# takes it out of one container and commits can put it into another one, and a transaction that began before still
# sees all that it refers to.
# Seen: a TemporaryStorage counts references and deletes an object at the commit that takes away the last one. The
# next commit stores the new reference, and not the object, which was not changed since: it is a POSKeyError for
# all others from then on, and for the program as soon as its cache is swept. A transaction that began before the
# first commit gets the same error for what it has not loaded yet.
# Why it matters: it is the storage of sessions, where shopping carts are handed on like that, at the login.
# Versions: tempstorage 6.0, ZODB 6.4, Python 3.11.
#
# Output:
# MappingStorage: after the move in two transactions: apple; in a transaction begun before: pear
# TemporaryStorage: after the move in two transactions: POSKeyError; in a transaction begun before: POSKeyError
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 tempstorage==6.0
venv/bin/python -W ignore - <<'END'
import logging

import transaction
import ZODB
from persistent.mapping import PersistentMapping
from tempstorage.TemporaryStorage import TemporaryStorage
from ZODB.MappingStorage import MappingStorage
from ZODB.POSException import POSKeyError

logging.disable(logging.CRITICAL)


def goods(cart):
    try:
        return cart["goods"]
    except POSKeyError as error:
        return type(error).__name__


for storage in MappingStorage(), TemporaryStorage():
    db = ZODB.DB(storage)
    root = db.open().root()
    for kind in "apple", "pear":
        root[kind] = PersistentMapping(cart=PersistentMapping(goods=kind))
    root["customer"] = PersistentMapping()
    transaction.commit()
    manager = transaction.TransactionManager()
    pear = db.open(manager).root()["pear"]["cart"]
    carts = [root[kind].pop("cart") for kind in ("apple", "pear")]
    transaction.commit()
    before = goods(pear)
    root["customer"]["cart"] = carts[0]
    transaction.commit()
    with db.transaction() as connection:
        moved = goods(connection.root()["customer"]["cart"])
    name = type(storage).__name__
    print(f"{name}: after the move in two transactions: {moved}; in a transaction begun before: {before}")
    lost = name == "TemporaryStorage"
    assert (moved, before) == (("POSKeyError",) * 2 if lost else ("apple", "pear"))
END
