"""Does Python read in recovered files what we read? For scripts/power-cuts.

usage: check_power_cuts.py DIRECTORY

The directory has pairs of files from tests/power_cuts.rs: N.fs, and N.json
with the transactions that we read in it. N.torn.fs is what a power cut has left,
with what was acknowledged. There, Python need not see what is torn: it may
refuse the file, or take half a transaction; but it loses nothing acknowledged.
"""
import collections
import json
import logging
import pathlib
import sys

from ZODB.FileStorage import FileStorage
from ZODB.FileStorage.FileStorage import FileStorageError
from ZODB.FileStorage.format import CorruptedError
from ZODB.scripts import fstest


def read(path):
    """The transactions in the form of the JSON files."""
    storage = FileStorage(str(path), read_only=True)
    found = []
    for txn in storage.iterator():
        extension = txn.extension_bytes
        if extension[-4:] == b'rzeo':
            extension = extension[:-41]
        texts = txn.user, txn.description, b'' if extension == b'}.' else extension
        found.append({'tid': txn.tid.hex(), 'texts': [text.hex() for text in texts],
                      'records': [[r.oid.hex(), r.data.hex() if r.data else None] for r in txn]})
    storage.close()
    return found


def read_torn(path, expected):
    """What Python makes of a file after a power cut, in a word."""
    try:
        FileStorage(str(path)).close()
    except (CorruptedError, FileStorageError):
        return 'refused'
    path.with_suffix('.fs.index').unlink(missing_ok=True)
    found = read(path)
    assert found[:len(expected)] == expected, f'{path}: something acknowledged is lost'
    return 'more' if len(found) > len(expected) else 'cut'


def check_torn(paths):
    """Prints how often Python did what, with prepared room and without."""
    done = collections.Counter()
    for path in paths:
        room = 'with room' if '-room-' in path.name else 'without room'
        expected = json.loads(path.with_suffix('.json').read_text())
        done[room, read_torn(path, expected)] += 1
    for (room, what), count in sorted(done.items()):
        print(f'after {count} power cuts {room}, Python: {what}')


def main(directory):
    logging.disable()  # about indexes of next to nothing
    torn = sorted(pathlib.Path(directory).glob('*.torn.fs'))
    check_torn(torn)
    paths = sorted(set(pathlib.Path(directory).glob('*.fs')) - set(torn))
    transactions = 0
    for path in paths:
        expected = json.loads(path.with_suffix('.json').read_text())
        fstest.check(str(path))
        FileStorage(str(path)).close()  # recovers what it finds torn, which is nothing
        # Python fails on its own index of a file without records.
        path.with_suffix('.fs.index').unlink()
        assert not path.with_suffix('.fs.tr0').exists(), f'{path}: Python cut something off'
        assert read(path) == expected, f'{path}: Python reads something else'
        transactions += len(expected)
    assert transactions, 'there is nothing to read'
    print(f'Python agrees on {len(paths)} files with {transactions} transactions')


if __name__ == '__main__':
    main(sys.argv[1])
