"""Databases with blobs, as Python and clients of the server write them."""
import os

import transaction
from ZODB.blob import Blob
from ZODB.DB import DB


def change(storage):
    """Commits some revisions of four blobs, and undoes one; closes the storage."""
    db = DB(storage)
    connection = db.open()
    root = connection.root()
    for number in range(8):
        root[number % 4] = root.get(number % 4) or Blob()
        with root[number % 4].open('w') as f:
            f.write(b'content %d ' % number * (number * 100 + 1))
        transaction.commit()
    db.undo(db.undoInfo()[0]['id'])
    transaction.commit()
    connection.close()
    db.close()


def paths(directory):
    """The paths of all blob files, in order."""
    return sorted(os.path.join(where, name) for where, _dirs, names in os.walk(directory)
                  for name in names if name.endswith('.blob'))


def contents(directory):
    """All blob files: (oid, name) to content, whatever the layout."""
    found = {}
    for path in paths(directory):
        oid = os.path.relpath(os.path.dirname(path), directory).replace('/0x', '')
        with open(path, 'rb') as f:
            found[int(oid, 16), os.path.basename(path)] = f.read()
    return found
