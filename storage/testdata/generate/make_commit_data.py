"""Makes testdata/commits: transactions, the file and the index that Python's
FileStorage makes of them, and its answers to loads.

Run by hand, with ZODB installed:  python make_commit_data.py
"""

import base64
import json
import os
import pathlib
import shutil
import tempfile

from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSKeyError
from ZODB.utils import maxtid, p64, u64, z64

OUT = pathlib.Path(__file__).parent.parent / "commits"
FIRST_TID = 0x03F47F9556666666

TEXTS = []


def tid(number):
    return p64(FIRST_TID + number * 0x1000)


def store(oid, serial, data):
    return {"op": "store", "oid": oid, "serial": serial, "data": data.hex()}


def undo(number):
    return {"op": "undo", "tid": number}


def delete(oid, serial):
    return {"op": "delete", "oid": oid, "serial": serial}


def restore(oid, data, hint=None):
    return {
        "op": "restore",
        "oid": oid,
        "data": None if data is None else data.hex(),
        "hint": hint,
    }


def txn(*ops, user="", description="", extension=None, status=" "):
    return {
        "user": user,
        "description": description,
        "extension": extension or {},
        "status": status,
        "ops": list(ops),
    }


# A serial is the number of the transaction that wrote it, from 1; 0: none.
BORDERS = [0xFF, 0x100, 0xFFFF, 0x10000, 0xFFFFFFFF, 1 << 32, 1 << 48, (1 << 63) + 5]
TRANSACTIONS = [
    txn(store(0, 0, b"root"), user="", description="initial database creation"),
    txn(*[store(oid, 0, b"%d" % oid) for oid in range(1, 41)], user="fred",
        description="forty", extension={"k": "v"}),
    txn(*[store(oid, 0, b"border") for oid in BORDERS]),
    txn(store(1, 2, b"one, a"), store(1, 2, b"one, b"), store(2, 2, b"two")),
    txn(delete(3, 2)),
    txn(),
    txn(undo(4)),
    txn(undo(2 + 3)),
    txn(store(5, 2, bytes(range(256)) * 40), description="large"),
    txn(restore(6, b"6", 2), restore(7, b"seven", 2), restore(8, None),
        restore(9, b"9", 77), status="p"),
    txn(undo(9), store(4, 2, b"four")),
    txn(delete(10, 2), delete(11, 2), user="u" * 300, description="d" * 70),
]


def commit(storage, number, transaction):
    meta = TransactionMetaData(
        transaction["user"], transaction["description"], transaction["extension"]
    )
    transaction["extension_bytes"] = meta.extension_bytes.hex()
    storage.tpc_begin(meta, tid(number), transaction["status"])
    for op in transaction["ops"]:
        apply(storage, number, op, meta)
    storage.tpc_vote(meta)
    storage.tpc_finish(meta)


def apply(storage, number, op, meta):
    data = bytes.fromhex(op["data"]) if op.get("data") is not None else None
    match op["op"]:
        case "store":
            serial = tid(op["serial"]) if op["serial"] else z64
            storage.store(p64(op["oid"]), serial, data, "", meta)
        case "delete":
            storage.deleteObject(p64(op["oid"]), tid(op["serial"]), meta)
        case "undo":
            storage.undo(base64.b64encode(tid(op["tid"])), meta)
        case "restore":
            hint = tid(op["hint"]) if op["hint"] else None
            # Python refuses a hint to a transaction that is not there.
            if op["hint"] and op["hint"] > number:
                hint = None
            storage.restore(p64(op["oid"]), tid(number), data, "", hint, meta)


def answer(load):
    try:
        return load()
    except POSKeyError:
        return "POSKeyError"


def text(data):
    """Record data, each told once; answers name them by number."""
    if data.hex() not in TEXTS:
        TEXTS.append(data.hex())
    return TEXTS.index(data.hex())


def loads(storage, oid):
    def before(number):
        found = storage.loadBefore(oid, maxtid if number is None else tid(number))
        if found is None:
            return None
        data, serial, end = found
        return [text(data), serial.hex(), end and end.hex()]

    count = len(TRANSACTIONS)
    return {
        "oid": u64(oid),
        "before": [answer(lambda: before(n)) for n in [*range(1, count + 2), None]],
        "serial": [
            answer(lambda: text(storage.loadSerial(oid, tid(n))))
            for n in range(1, count + 1)
        ],
        "getTid": answer(lambda: storage.getTid(oid).hex()),
    }


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "Data.fs")
        storage = FileStorage(path)
        for number, transaction in enumerate(TRANSACTIONS, 1):
            commit(storage, number, transaction)
        oids = [*range(14), *BORDERS, 41]
        answers = [loads(storage, p64(oid)) for oid in oids]
        facts = {
            "len": len(storage),
            "size": storage.getSize(),
            "last": storage.lastTransaction().hex(),
            "new_oid": storage.new_oid().hex(),
        }
        storage.close()
        shutil.copy(path, OUT / "Data.fs")
        shutil.copy(path + ".index", OUT / "Data.fs.index")
    result = {
        "tids": [tid(n).hex() for n in range(len(TRANSACTIONS) + 2)],
        "transactions": TRANSACTIONS,
        "loads": answers,
        "texts": TEXTS,
        "facts": facts,
    }
    (OUT / "answers.json").write_text(json.dumps(result, indent=0) + "\n")


if __name__ == "__main__":
    main()
