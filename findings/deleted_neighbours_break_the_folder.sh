#!/usr/bin/env bash
# node.ext.zodb: two transactions delete two neighbours of an OOBTNode, and it can't be listed any more.
#
# Expected: one of the two conflicts and is tried again, or the conflict is resolved to a folder without both.
# Seen: the order of the children is a linked list in the values of a BTree. Each deletion takes its key out of the tree
# and changes the values on both sides. The tree resolves the two removed keys, and the changed values are four
# different objects; both commits succeed. Then "a" names "c" as the next one, which is gone: iteration and keys()
# are a KeyError for ever. A ZODBNode, which has no BTree, conflicts.
# Why it matters: two people tidy up the same folder. All its children are still in the database, and no code that
# goes through the folder finds them.
# Versions: node.ext.zodb 2.0.0, node 2.0.0, odict 2.0.0, ZODB 6.4, Python 3.11.
#
# Output:
# OOBTNode: delete b, delete c at the same time: second commit ok; children: KeyError 'c'
# OOBTNode: delete b, delete e at the same time: second commit ok; children: acdf
# ZODBNode: delete b, delete c at the same time: second commit ConflictError; children: acdef
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 node.ext.zodb==2.0.0 node==2.0.0 odict==2.0.0 plumber==2.0.0
venv/bin/python -W ignore - <<'END'
import transaction
import ZODB
from node.ext.zodb import OOBTNode, ZODBNode
from ZODB.DemoStorage import DemoStorage
from ZODB.POSException import ConflictError


def tried(factory, *names):
    db = ZODB.DB(DemoStorage())
    with db.transaction() as connection:
        folder = connection.root()["folder"] = factory(name="folder")
        for name in "abcdef":
            folder[name] = factory(name=name)
    managers = [transaction.TransactionManager() for _ in names]
    for name, manager in zip(names, managers):
        del db.open(manager).root()["folder"][name]
    managers[0].commit()
    try:
        managers[1].commit()
        outcome = "ok"
    except ConflictError as error:
        outcome = type(error).__name__
    with db.transaction() as connection:
        try:
            children = "".join(connection.root()["folder"])
        except KeyError as error:
            children = f"KeyError {error}"
    print("{}: delete {}, delete {} at the same time: second commit {}; children: {}".format(
        factory.__name__, *names, outcome, children))
    return outcome, children


assert tried(OOBTNode, "b", "c") == ("ok", "KeyError 'c'")
assert tried(OOBTNode, "b", "e") == ("ok", "acdf")
assert tried(ZODBNode, "b", "c") == ("ConflictError", "acdef")
END
