"""Random histories of a FileStorage, and what Python's packer makes of them.

Usage: python make_pack_data.py DIRECTORY SEED...

For each seed, DIRECTORY/SEED.z is written: zlib-compressed JSON with the
file in hexadecimal, and a list of packs, each with its time, whether garbage
is collected, and the result: the packed file, null when the file was left as
it was, or the name of the exception. Now and then a pack is followed by
others, each of what the one before left. The same seed gives the same file.
"""

import io
import json
import os
import random
import shutil
import sys
import tempfile
import time
import zlib

from persistent.TimeStamp import TimeStamp
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSError
from ZODB.serialize import referencesf
from ZODB.utils import load_current
from ZODB.utils import p64
from ZODB.utils import z64
from zodbpickle.pickle import Pickler

# Tids go by seconds from here, so that pack times lie between them.
START = 1_700_000_000


def tid(number):
    minutes, seconds = divmod(START + number, 60)
    year, month, day, hour, minute = time.gmtime(START + number)[:5]
    return TimeStamp(year, month, day, hour, minute, seconds).raw()


class Pointer:
    """Stands for a reference while a record is pickled."""

    def __init__(self, persistent_id):
        self.persistent_id = persistent_id


def record(rng, references, filling):
    """A record that refers to these oids, by any form that counts, and to
    others by forms that do not."""
    out = io.BytesIO()
    pickler = Pickler(out, 3)
    pickler.persistent_id = lambda obj: getattr(obj, 'persistent_id', None)
    pickler.dump(('some.module', 'Class'))
    pointers = []
    for oid in references:
        if rng.random() < .2 and max(oid) < 128:
            # As Python 3 reads what Python 2 wrote.
            oid = oid.decode('ascii')
        pointers.append(Pointer(rng.choice([oid, (oid, ('some.module', 'Class'))])))
    elsewhere = p64(rng.randrange(1000, 2000))
    for form in [['w', (elsewhere,)], ['w', (elsewhere, 'other')], ['n', ('other', elsewhere)],
                 ['m', ('other', elsewhere, ('some.module', 'Class'))]]:
        if rng.random() < .1:
            pointers.append(Pointer(form))
    rng.shuffle(pointers)
    pickler.dump({'filling': 'x' * filling, 'children': pointers})
    return out.getvalue()


class History:
    """Writes a file, and remembers what may be done next."""

    def __init__(self, path, rng):
        self.rng = rng
        self.storage = FileStorage(path, create=True)
        self.number = 0
        self.next_oid = 1
        # oid -> oids it refers to
        self.graph = {}
        self.gone = []

    def pause(self):
        return self.rng.choice([1, 1, 1, 7])

    def meta(self):
        rng = self.rng
        return TransactionMetaData('user' * rng.randrange(2), 'words' * rng.randrange(3),
                                   {'number': self.number} if rng.random() < .3 else {})

    def commit(self, work):
        storage = self.storage
        self.number += self.pause()
        meta = self.meta()
        storage.tpc_begin(meta, tid(self.number))
        try:
            work(meta)
        except POSError:
            storage.tpc_abort(meta)
            return
        storage.tpc_vote(meta)
        storage.tpc_finish(meta)

    def store(self, oid, references, meta):
        filling = self.rng.choice([0, 3, 40, 300])
        data = record(self.rng, references, filling)
        try:
            serial = self.storage.getTid(oid)
        except KeyError:
            serial = z64
        self.storage.store(oid, serial, data, '', meta)
        self.graph[oid] = list(references)

    def changes(self, meta):
        rng = self.rng
        for _ in range(rng.choice([1, 1, 2, 5])):
            known = [oid for oid in self.graph if oid not in self.gone]
            kind = rng.random()
            if kind < .5 and known:
                # A new object, below a known one, or in a cycle with it.
                parent, child = rng.choice(known), p64(self.next_oid)
                self.next_oid += rng.choice([1, 1, 1, 300])
                self.store(child, [parent] if rng.random() < .2 else [], meta)
                self.store(parent, self.graph[parent] + [child], meta)
            elif kind < .75 and known:
                oid = rng.choice(known)
                self.store(oid, self.graph[oid], meta)
            elif known:
                # References are dropped: of the root too, so that cycles stay.
                oid = rng.choice(known)
                kept = [child for child in self.graph[oid] if rng.random() < .6]
                self.store(oid, kept, meta)
        if z64 not in self.graph:
            self.store(z64, [], meta)

    def delete(self, meta):
        # Only what nothing refers to: a dangling reference ends a pack.
        referred = {oid for refs in self.graph.values() for oid in refs}
        free = [oid for oid in self.graph if oid not in referred and oid != z64]
        if free or self.rng.random() < .03:
            oid = self.rng.choice(free or [oid for oid in self.graph if oid != z64] or [z64])
            self.storage.deleteObject(oid, self.storage.getTid(oid), meta)
            self.gone.append(oid)

    def undo(self, meta):
        # A client undoes one transaction, or some.
        log = self.storage.undoLog(0, 8)
        self.rng.shuffle(log)
        for entry in log[:self.rng.choice([1, 1, 2])]:
            self.storage.undo(entry['id'], meta)

    def restore(self, meta):
        # As a copy from another storage does it, with a hint.
        for oid in self.rng.sample(sorted(self.graph), min(2, len(self.graph))):
            old = self.rng.choice(self.storage.history(oid, 5))['tid']
            try:
                data = self.storage.loadSerial(oid, old)
            except KeyError:
                data, old = None, None
            self.storage.restore(oid, tid(self.number), data, '', old, meta)

    def pack(self):
        try:
            self.storage.pack(START + self.number - self.rng.randrange(5), referencesf,
                              gc=self.rng.random() < .8)
        except Exception:
            # What a failed pack leaves would be in the way.
            if os.path.exists(self.storage._file_name + '.pack'):
                os.remove(self.storage._file_name + '.pack')

    def relearn(self):
        """What is in the file, after an undo or a pack."""
        self.graph, self.gone = {}, []
        for oid in map(p64, range(self.next_oid)):
            try:
                self.graph[oid] = referencesf(load_current(self.storage, oid)[0])
            except KeyError:
                pass

    def run(self):
        rng = self.rng
        self.commit(self.changes)
        for _ in range(rng.choice([3, 8, 20])):
            step = rng.random()
            if step < .6:
                self.commit(self.changes)
            elif step < .7:
                self.commit(self.delete)
            elif step < .9:
                self.commit(self.undo)
            elif step < .95:
                self.commit(self.restore)
            else:
                self.pack()
            self.relearn()
        times = [START + self.number + 1, START - 1]
        for transaction in self.storage.iterator():
            at = TimeStamp(transaction.tid).timeTime()
            times += [at, at + .5]
        self.storage.close()
        return sorted(set(times))


def pack(path, pack_time, gc):
    """The packed file; null, or the name of an exception."""
    if os.path.exists(path + '.index'):
        # Python fails on that of a file with next to nothing in it.
        os.remove(path + '.index')
    storage = FileStorage(path)
    try:
        storage.pack(pack_time, referencesf, gc=gc)
    except Exception as error:
        return type(error).__name__
    finally:
        storage.close()
    if not os.path.exists(path + '.old'):
        return None
    with open(path, 'rb') as file:
        return file.read().hex()


def packs(path, times, rng):
    """Every time, with and without garbage collection; sometimes another
    pack of the result."""
    with tempfile.TemporaryDirectory() as directory:
        for pack_time in times:
            for gc in [True, False]:
                copy = os.path.join(directory, 'Data.fs')
                for name in os.listdir(directory):
                    os.remove(os.path.join(directory, name))
                shutil.copy(path, copy)
                steps = [(pack_time, gc)]
                while rng.random() < .3:
                    steps.append((rng.choice(times), rng.random() < .5))
                case = []
                for at, collect in steps:
                    result = pack(copy, at, collect)
                    case.append({'time': at, 'gc': collect, 'result': result})
                    if os.path.exists(copy + '.old'):
                        os.remove(copy + '.old')
                    if isinstance(result, str) and result.isidentifier():
                        break
                yield case


def main(directory, seeds):
    for seed in seeds:
        rng = random.Random(seed)
        with tempfile.TemporaryDirectory() as work:
            path = os.path.join(work, 'Data.fs')
            times = History(path, rng).run()
            with open(path, 'rb') as file:
                content = file.read()
            answer = {'file': content.hex(), 'packs': list(packs(path, times, rng))}
        with open(os.path.join(directory, '%s.z' % seed), 'wb') as out:
            out.write(zlib.compress(json.dumps(answer).encode(), 9))


if __name__ == '__main__':
    main(sys.argv[1], [int(seed) for seed in sys.argv[2:]])
