#!/usr/bin/env bash
# Durus: after a commit that failed because of one value, the other new objects of it are never stored.
#
# Expected: a commit that fails leaves nothing behind. Whether the program takes the bad value away and commits
# again, or aborts and adds its object once more, the object is in the database after the commit that succeeds.
# Seen: the failed commit has marked the objects that it had come to as saved, and given them oids. The next commit
# doesn't look at them: it stores the reference to the object, not the object. Only after a conflict are the new
# objects reset. The program sees the object until it ends; after that, loading it is a ReadConflictError for ever.
# Why it matters: an error that was found, repaired and committed again loses what it was about.
# Versions: Durus 4.3 (FileStorage), Python 3.11.
#
# Output:
# bad value taken away: commit ok, page in the program 'text', page in the file ReadConflictError
# aborted, page added again: commit ok, page in the program 'text', page in the file ReadConflictError
# no failed commit: commit ok, page in the program 'text', page in the file 'text'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check Durus==4.3
cat > page.py <<'END'
from durus.persistent import PersistentObject


class Page(PersistentObject):
    def __init__(self, text):
        self.text = text
END
cat > try.py <<'END'
import logging
import pickle

from durus.connection import Connection
from durus.error import ReadConflictError
from durus.file_storage import FileStorage
from page import Page

logging.disable(logging.CRITICAL)


def outcome(function):
    try:
        return function()
    except (ReadConflictError, pickle.PicklingError, AttributeError) as error:
        return type(error).__name__


def commit(connection):
    connection.commit()
    return "ok"


def page(connection):
    return repr(connection.get_root()["page"].text)


for number, way in enumerate(["bad value taken away", "aborted, page added again", "no failed commit"]):
    name = f"{number}.durus"
    connection = Connection(FileStorage(name))
    root = connection.get_root()
    new = root["page"] = Page("text")
    if number < 2:
        root["bad"] = lambda: None
        assert outcome(lambda: commit(connection)) != "ok"
    if number == 0:
        del root["bad"]
    elif number == 1:
        connection.abort()
        root["page"] = new
    seen = [outcome(lambda: commit(connection)), outcome(lambda: page(connection))]
    connection.get_storage().close()
    connection = Connection(FileStorage(name, readonly=True))
    seen.append(outcome(lambda: page(connection)))
    connection.get_storage().close()
    print("{}: commit {}, page in the program {}, page in the file {}".format(way, *seen))
    assert seen == ["ok", "'text'", "ReadConflictError" if number < 2 else "'text'"]
END
venv/bin/python try.py
