"""Histories as `make_pack_data` makes them, only worse, with blobs, and what Python's packer makes
of them.

Usage: python make_hard_packs.py DIRECTORY FIRST COUNT

For each seed, DIRECTORY/SEED.z is written: zlib-compressed JSON with the file, the same without
transactions of status `u`, the blob directory, and a list of packs one after the other, of the
latter. Each has its time, whether garbage is collected
and the old file kept, and what was there after it: the name of the exception or null, the file, the
index, whether there was an old file that was the file before, and the names in the blob directory
and in that of old blobs. The same seed gives the same file.

Worse are: transactions of one tid, without records, with the statuses `p` and `u`; undo upon undo;
chains of restored records; objects that nothing but an undo makes reachable again; whole copies
into another storage; records of Python 2 and of every form of class; blobs in all of these.
"""
import io
import json
import logging
import os
import pickle
import random
import shutil
import sys
import tempfile
import time
import zlib

from persistent.TimeStamp import TimeStamp
from ZODB.blob import Blob
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSError
from ZODB.serialize import referencesf
from ZODB.utils import p64
from ZODB.utils import z64
from zodbpickle.pickle import Pickler

import make_pack_data
from make_pack_data import START
from make_pack_data import Pointer
from make_pack_data import tid

CLASSES = [('some.module', 'Class'), (('some.module', 'Class'), None),
           (('some.module', 'Class'), ('argument', 7)), TimeStamp, (TimeStamp, (b'12345678',))]
# Lengths of headers.
HEADER, RECORD = 23, 42


def record(rng, references, filling):
    """A record of any class, by any protocol."""
    protocol = rng.choice([1, 2, 3, 3])
    out = io.BytesIO()
    pickler = Pickler(out, protocol) if protocol == 3 else pickle._Pickler(out, protocol)
    pickler.persistent_id = lambda obj: getattr(obj, 'persistent_id', None)
    pickler.dump(rng.choice(CLASSES))
    pointers = []
    for oid in references:
        if protocol < 3:
            # Bytes of Python 2 are text; these protocols have no other bytes.
            if max(oid) > 127:
                continue
            oid = oid.decode('ascii')
        pointers.append(Pointer(rng.choice([oid, (oid, TimeStamp), (oid, ('some.module', 'C'))])))
    pointers += [Pointer(form) for form in weak_or_elsewhere(rng, protocol)]
    rng.shuffle(pointers)
    pickler.dump(rng.choice([{'filling': 'x' * filling, 'children': pointers},
                             dict(enumerate(pointers)), tuple(pointers)]))
    return out.getvalue()


def weak_or_elsewhere(rng, protocol):
    """References that keep nothing; to objects that are there, and to others."""
    oid = p64(rng.randrange(100))
    oid = oid if protocol == 3 else oid.decode('ascii')
    forms = [['w', (oid,)], ['w', (oid, 'other')], ['n', ('other', oid)],
             ['m', ('other', oid, ('some.module', 'Class'))], [oid]]
    return [form for form in forms if rng.random() < .1]


class History(make_pack_data.History):
    """Writes a file with blobs."""

    def __init__(self, directory, rng):
        self.directory, self.files = directory, 0
        self.path = os.path.join(directory, 'Data.fs')
        self.rng = rng
        self.storage = self.open(self.path)
        self.number, self.next_oid = 0, 1
        self.graph, self.gone = {}, []
        self.later = True

    def open(self, path):
        return FileStorage(path, blob_dir=path + '.blobs')

    def pause(self):
        # A tid may be that of the transaction before; blobs would share a file then.
        self.later = self.rng.random() > .01 or self.number == 0
        return super().pause() if self.later else 0

    def store(self, oid, references, meta):
        if self.later and not references and oid != z64 and self.rng.random() < .4:
            self.store_blob(oid, meta)
            return
        data = record(self.rng, references, self.rng.choice([0, 3, 40, 300]))
        self.storage.store(oid, self.serial(oid), data, '', meta)
        if self.rng.random() < .05:
            # Once more, as clients do with blobs.
            self.storage.store(oid, self.serial(oid), data, '', meta)
        self.graph[oid] = referencesf(data)

    def serial(self, oid):
        try:
            return self.storage.getTid(oid)
        except KeyError:
            return z64

    def store_blob(self, oid, meta):
        out = io.BytesIO()
        pickler = Pickler(out, 3)
        pickler.dump(Blob)
        pickler.dump(None)
        self.files += 1
        upload = os.path.join(self.directory, 'upload')
        with open(upload, 'w') as file:
            file.write('blob %d' % self.files)
        if self.rng.random() < .3:
            self.storage.store(oid, self.serial(oid), out.getvalue(), '', meta)
        self.storage.storeBlob(oid, self.serial(oid), out.getvalue(), upload, '', meta)
        self.graph[oid] = []

    def undo_of_undo(self):
        for _ in range(self.rng.choice([1, 2, 3])):
            log = self.storage.undoLog(0, 1)
            if log:
                self.commit(lambda meta, last=log[0]['id']: self.storage.undo(last, meta))

    def restore(self, meta):
        """With hints of every kind, also to what is a back-pointer itself."""
        for oid in self.rng.sample(sorted(self.graph), min(2, len(self.graph))):
            revisions = [entry['tid'] for entry in self.storage.history(oid, 5)]
            old = self.rng.choice(revisions)
            try:
                data = self.storage.loadSerial(oid, old)
            except KeyError:
                data, old = None, None
            if self.rng.random() < .2:
                old = None
            if data and b'ZODB.blob' in data:
                if self.later:
                    upload = os.path.join(self.directory, 'upload')
                    with open(upload, 'w') as file:
                        file.write('restored')
                    self.storage.restoreBlob(oid, tid(self.number), data, upload, old, meta)
            else:
                self.storage.restore(oid, tid(self.number), data, '', old, meta)

    def detach(self, meta):
        """Drops all references of an object; the undo of that will bring them back."""
        self.store(self.rng.choice(sorted(self.graph) or [z64]), [], meta)

    def nothing(self, meta):
        pass

    def copy(self):
        """Into another storage, with which it goes on."""
        new = os.path.join(self.directory, 'copy')
        target = self.open(new)
        target.copyTransactionsFrom(self.storage)
        target.close()
        self.storage.close()
        for name in os.listdir(self.directory):
            if name.startswith('Data.fs'):
                remove(os.path.join(self.directory, name))
        for name in os.listdir(self.directory):
            if name.startswith('copy'):
                to = name.replace('copy', 'Data.fs')
                os.rename(os.path.join(self.directory, name), os.path.join(self.directory, to))
        # Python fails on that of a file with next to nothing in it.
        remove(self.path + '.index')
        self.storage = self.open(self.path)

    def run(self):
        rng = self.rng
        self.commit(self.changes)
        steps = [(45, self.changes), (10, self.delete), (12, self.undo), (8, self.restore),
                 (5, self.detach), (4, self.nothing)]
        others = [(8, self.undo_of_undo), (4, self.pack), (3, self.copy)]
        everything = [(n, lambda s=step: self.commit(s)) for n, step in steps] + others
        weights, works = zip(*everything)
        for _ in range(rng.choice([3, 8, 20, 40])):
            work, = rng.choices(works, weights)
            try:
                work()
            except (POSError, AssertionError, KeyError):
                # The copy of a broken history.
                shutil.rmtree(os.path.join(self.directory, 'copy.blobs'), ignore_errors=True)
            self.relearn()
        times = [START + self.number + 1, START - 1]
        for transaction in self.storage.iterator():
            at = TimeStamp(transaction.tid).timeTime()
            times += [at, at + .5]
        self.storage.close()
        return sorted(set(times))


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)


def transactions(content):
    """(position, end) of each transaction in a file."""
    position = 4
    while position < len(content):
        end = position + int.from_bytes(content[position + 8:position + 16], 'big') + 8
        yield position, end
        position = end


def with_packed(content, rng):
    """Some transaction gets the status `p`."""
    content = bytearray(content)
    position, _end = rng.choice(list(transactions(content)))
    content[position + 16:position + 17] = b'p'
    return bytes(content)


def with_undone(content, before, rng):
    """The file with transactions of status `u` between others, which Python's packer would take
    for ordinary ones; none behind `before`."""
    out, moved, shift = bytearray(content[:4]), {0: 0}, 0
    for position, end in list(transactions(content)):
        if rng.random() < .2 and content[position:position + 8] <= before:
            foreign = bytearray(content[position:end])
            foreign[16:17] = b'u'
            relocate(foreign, lambda old: moved.get(old, len(out)))
            earlier = p64(int.from_bytes(foreign[:8], 'big') - 1)
            for at in [0, *(record + 8 for record in records(foreign, 0))]:
                foreign[at:at + 8] = earlier
            out += foreign
            shift += len(foreign)
        for at in [position, *records(content, position)]:
            moved[at] = at + shift
        copy = bytearray(content[position:end])
        relocate(copy, moved.__getitem__)
        out += copy
    return bytes(out)


def records(content, position):
    """Positions of the records of a transaction."""
    length = int.from_bytes(content[position + 8:position + 16], 'big')
    texts = [int.from_bytes(content[at:at + 2], 'big') for at in range(position + 17,
                                                                       position + 23, 2)]
    at = position + HEADER + sum(texts)
    while at < position + length:
        yield at
        plen = int.from_bytes(content[at + 34:at + 42], 'big')
        at += RECORD + (plen or 8)


def relocate(transaction, moved):
    """Puts new positions into all pointers of a transaction's bytes."""
    for at in records(transaction, 0):
        fields = [at + 16, at + 24]
        if not any(transaction[at + 34:at + 42]):
            fields.append(at + RECORD)
        for field in fields:
            old = int.from_bytes(transaction[field:field + 8], 'big')
            transaction[field:field + 8] = p64(moved(old))


def pack_tid(at):
    return TimeStamp(*time.gmtime(at)[:5], at % 60).raw()


def names(directory):
    """All blob files, relative."""
    found = []
    for path, _directories, files in os.walk(directory):
        found += [os.path.relpath(os.path.join(path, name), directory)
                  for name in files if name.endswith('.blob')]
    return sorted(found)


def pack(path, step):
    """Packs as `step` says, and adds to it what is there then."""
    with open(path, 'rb') as file:
        before = file.read()
    remove(path + '.index')
    blobs = path + '.blobs'
    storage = FileStorage(path, blob_dir=blobs, pack_keep_old=step['keep'])
    step['error'] = None
    try:
        storage.pack(step['time'], referencesf, gc=step['gc'])
    except Exception as error:
        step['error'] = type(error).__name__
    step['index'] = sorted((int.from_bytes(oid, 'big'), at) for oid, at in storage._index.items())
    storage.close()
    with open(path, 'rb') as file:
        after = file.read()
    step['file'] = after.hex()
    step['old'] = None
    if os.path.exists(path + '.old'):
        with open(path + '.old', 'rb') as file:
            step['old'] = file.read() == before
    step['blobs'] = names(blobs)
    step['old_blobs'] = names(blobs + '.old')


def case(seed):
    """One history and some packs of it."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as work:
        times = History(work, rng).run()
        path = os.path.join(work, 'Data.fs')
        with open(path, 'rb') as file:
            content = file.read()
        if rng.random() < .15 and len(content) > 4:
            content = with_packed(content, rng)
            with open(path, 'wb') as file:
                file.write(content)
        first = rng.choice(times)
        ours = content
        if rng.random() < .2:
            ours = with_undone(content, pack_tid(first), rng)
        layout = {}
        for name in names(path + '.blobs'):
            with open(os.path.join(path + '.blobs', name)) as file:
                layout[name] = file.read()
        steps, at = [], first
        while True:
            step = {'time': at, 'gc': rng.random() < .7, 'keep': rng.random() < .7}
            pack(path, step)
            steps.append(step)
            if step['error'] or len(steps) > 4 or rng.random() < .4:
                break
            # A pack of the packed file, to any time.
            at = rng.choice(times)
        return {'file': ours.hex(), 'python': content.hex(), 'blobs': layout, 'packs': steps}


def main(directory, first, count):
    for seed in range(int(first), int(first) + int(count)):
        answer = json.dumps(case(seed))
        with open(os.path.join(directory, '%d.z' % seed), 'wb') as out:
            out.write(zlib.compress(answer.encode(), 1))


if __name__ == '__main__':
    logging.disable()
    main(*sys.argv[1:])
