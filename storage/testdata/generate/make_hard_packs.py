"""Histories as `make_pack_data` makes them, only worse, with blobs, and what Python's packer makes
of them.

Usage: python make_hard_packs.py DIRECTORY FIRST COUNT

For each seed, DIRECTORY/SEED.z is written: zlib-compressed JSON with the file, the same without
transactions of status `u`, the index beside it, if there is one, the blob directory, or null, with
its layout, and a list of packs one after the other, of the latter file. Each has its time, whether
garbage is collected and the old file kept, and what was there after it: the name of the exception
or null, the file, the index, whether there was an old file that was the file before, and the names
in the blob directory and in that of old blobs. The same seed gives the same file.

Worse are: transactions of one tid, or a moment apart, without records, with the statuses `p` and
`u`, with texts as long as can be; undo upon undo; chains of restored records, also of earlier
serials; objects that nothing but an undo makes reachable again; data that move from one object to
another, and objects that become blobs and cease to be; whole copies into another storage; records
of Python 2, compressed ones, and ones of every form of class; blobs in all of these.
"""
import json
import logging
import os
import random
import shutil
import struct
import sys
import tempfile
import time
import zlib

from persistent.TimeStamp import TimeStamp
from ZODB.Connection import TransactionMetaData
from ZODB.FileStorage import FileStorage
from ZODB.POSException import POSError
from ZODB.utils import load_current
from ZODB.utils import p64
from ZODB.utils import z64

import make_pack_data
from hard_files import with_packed
from hard_files import with_undone
from hard_records import Compressed
from hard_records import blob_record
from hard_records import compress
from hard_records import record
from hard_records import references_of
from make_pack_data import START
from make_pack_data import tid


class History(make_pack_data.History):
    """Writes a file with blobs."""

    def __init__(self, directory, rng):
        self.directory, self.files = directory, 0
        self.path = os.path.join(directory, 'Data.fs')
        self.rng = rng
        self.layout = rng.choice([None, 'bushy', 'bushy', 'lawn'])
        self.compresses = rng.random() < .2
        self.storage = self.open(self.path)
        self.number, self.next_oid = 0, 1
        self.graph, self.gone = {}, []
        self.later = True

    def open(self, path):
        return open_storage(path, self.layout)

    def pause(self):
        # A tid may be that of the transaction before; blobs would share a file then.
        self.later = self.rng.random() > .01 or self.number == 0
        if not self.later:
            return 0
        return super().pause() if self.rng.random() < .9 else self.rng.choice([.001, .25, 1 / 3])

    def meta(self):
        if self.rng.random() > .01:
            return super().meta()
        texts = [self.rng.choice([0, 1, 65_534, 65_535]) for _ in range(2)]
        extension = {'text': 'x' * self.rng.choice([0, 65_400, 65_480, 65_500])}
        return TransactionMetaData('u' * texts[0], 'd' * texts[1], extension)

    def store(self, oid, references, meta):
        if self.may_be_blob(oid) and not references and self.rng.random() < .4:
            self.store_blob(oid, meta)
            if self.rng.random() > .05:
                return
            # It becomes something else in the same transaction.
        data = self.compressed(record(self.rng, references, self.rng.choice([0, 3, 40, 300])))
        self.storage.store(oid, self.serial(oid), data, '', meta)
        if self.rng.random() < .05:
            # Once more, as clients do with blobs.
            self.storage.store(oid, self.serial(oid), data, '', meta)
        self.graph[oid] = references_of(data)

    def may_be_blob(self, oid):
        return self.layout and self.later and oid != z64

    def compressed(self, data):
        return compress(data) if self.compresses and self.rng.random() < .5 else data

    def serial(self, oid):
        try:
            return self.storage.getTid(oid)
        except KeyError:
            return z64

    def store_blob(self, oid, meta):
        data = self.compressed(blob_record())
        self.files += 1
        upload = os.path.join(self.directory, 'upload')
        with open(upload, 'w') as file:
            file.write('blob %d' % self.files)
        if self.rng.random() < .3:
            self.storage.store(oid, self.serial(oid), data, '', meta)
        self.storage.storeBlob(oid, self.serial(oid), data, upload, '', meta)
        self.graph[oid] = []

    def undo_of_undo(self):
        for _ in range(self.rng.choice([1, 2, 3])):
            log = self.storage.undoLog(0, 1)
            if log:
                self.commit(lambda meta, last=log[0]['id']: self.storage.undo(last, meta))

    def restore(self, meta):
        """With hints of every kind, also to what is a back-pointer itself."""
        rng = self.rng
        for oid in rng.sample(sorted(self.graph), min(2, len(self.graph))):
            revisions = [entry['tid'] for entry in self.storage.history(oid, 5)]
            old = rng.choice(revisions)
            try:
                data = self.storage.loadSerial(oid, old)
            except KeyError:
                data, old = None, None
            if rng.random() < .2:
                old = None
            serial = tid(self.number)
            if rng.random() < .02:
                # As in the copy of a storage in which it was restored.
                serial = rng.choice(revisions)
            if data and self.storage.blob_dir and self.storage.is_blob_record(data):
                if self.later:
                    upload = os.path.join(self.directory, 'upload')
                    with open(upload, 'w') as file:
                        file.write('restored')
                    self.storage.restoreBlob(oid, serial, data, upload, old, meta)
            else:
                self.storage.restore(oid, serial, data, '', old, meta)

    def move(self, meta):
        """The data of an object become those of a new one, and it goes, or leads there."""
        known = sorted(oid for oid in self.graph if oid not in self.gone and oid != z64)
        if not known:
            return
        oid, new = self.rng.choice(known), p64(self.next_oid)
        self.next_oid += 1
        data = load_current(self.storage, oid)[0]
        if not (self.storage.blob_dir and self.storage.is_blob_record(data)):
            self.storage.store(new, z64, data, '', meta)
            self.graph[new] = self.graph[oid]
        else:
            self.store_blob(new, meta)
        if self.rng.random() < .4:
            self.store(oid, [new], meta)
            return
        for parent, children in sorted(self.graph.items()):
            if oid in children and parent != oid:
                self.store(parent, [new if child == oid else child for child in children], meta)
        self.storage.deleteObject(oid, self.serial(oid), meta)

    def detach(self, meta):
        """Drops all references of an object; the undo of that will bring them back."""
        self.store(self.rng.choice(sorted(self.graph) or [z64]), [], meta)

    def nothing(self, meta):
        pass

    def pack(self):
        try:
            self.storage.pack(START + self.number - self.rng.randrange(5), references_of,
                              gc=self.rng.random() < .8)
        except Exception:
            # What a failed pack leaves would be in the way.
            remove(self.path + '.pack')

    def relearn(self):
        self.graph, self.gone = {}, []
        for oid in map(p64, range(self.next_oid)):
            try:
                self.graph[oid] = references_of(load_current(self.storage, oid)[0])
            except KeyError:
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
                 (5, self.detach), (4, self.nothing), (4, self.move)]
        others = [(8, self.undo_of_undo), (4, self.pack), (3, self.copy)]
        everything = [(n, lambda s=step: self.commit(s)) for n, step in steps] + others
        weights, works = zip(*everything)
        for _ in range(rng.choice([3, 8, 20, 40])):
            work, = rng.choices(works, weights)
            try:
                work()
            except (POSError, AssertionError, KeyError, TypeError):
                # The copy of a broken history, or what can't be restored.
                if self.storage.tpc_transaction():
                    self.storage.tpc_abort(self.storage.tpc_transaction())
                shutil.rmtree(os.path.join(self.directory, 'copy.blobs'), ignore_errors=True)
            self.relearn()
        times = [START + self.number + 1, START - 1, START + 1e9]
        for transaction in self.storage.iterator():
            at = TimeStamp(transaction.tid).timeTime()
            times += [at, at + .5]
        self.storage.close()
        return sorted(set(times))


def open_storage(path, layout, **options):
    """A storage with this layout of blobs, or none."""
    blobs = path + '.blobs'
    if layout and not os.path.exists(blobs):
        os.mkdir(blobs)
        with open(os.path.join(blobs, '.layout'), 'w') as mark:
            mark.write(layout)
    storage = FileStorage(path, blob_dir=blobs if layout else None, **options)
    storage.registerDB(Compressed())
    return storage


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif os.path.exists(path):
        os.remove(path)


def pack_tid(at):
    return TimeStamp(*time.gmtime(at)[:5], at % 60).raw()


def names(directory):
    """All blob files, relative."""
    found = []
    for path, _directories, files in os.walk(directory):
        found += [os.path.relpath(os.path.join(path, name), directory)
                  for name in files if name.endswith('.blob')]
    return sorted(found)


def pack(path, layout, step):
    """Packs as `step` says, and adds to it what is there then."""
    before = read(path)
    remove(path + '.index')
    blobs = path + '.blobs'
    storage = open_storage(path, layout, pack_keep_old=step['keep'])
    step['error'] = None
    try:
        storage.pack(step['time'], references_of, gc=step['gc'])
    except Exception as error:
        step['error'] = type(error).__name__
    step['index'] = sorted((int.from_bytes(oid, 'big'), at) for oid, at in storage._index.items())
    storage.close()
    step['file'] = read(path).hex()
    step['old'] = read(path + '.old') == before if os.path.exists(path + '.old') else None
    step['blobs'] = names(blobs)
    step['old_blobs'] = names(blobs + '.old')


def read(path):
    with open(path, 'rb') as file:
        return file.read()


def case(seed):
    """One history and some packs of it."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as work:
        history = History(work, rng)
        times = history.run()
        path = os.path.join(work, 'Data.fs')
        content = read(path)
        index = None
        if rng.random() < .15 and len(content) > 4:
            content = with_packed(content, rng)
            with open(path, 'wb') as file:
                file.write(content)
        elif rng.random() < .5 and os.path.exists(path + '.index'):
            index = read(path + '.index').hex()
        first = rng.choice(times)
        ours = content
        if rng.random() < .2:
            ours, index = with_undone(content, pack_tid(first), rng), None
        blobs = {name: read(os.path.join(path + '.blobs', name)).decode()
                 for name in names(path + '.blobs')}
        steps, at = [], first
        while True:
            # Readers of JSON may be a bit off.
            bits = int.from_bytes(struct.pack('>d', at), 'big')
            step = {'time': at, 'time_bits': bits, 'gc': rng.random() < .7,
                    'keep': rng.random() < .7}
            pack(path, history.layout, step)
            steps.append(step)
            if step['error'] or len(steps) > 4 or rng.random() < .4:
                break
            # A pack of the packed file, to any time.
            at = rng.choice(times)
        return {'file': ours.hex(), 'python': content.hex(), 'index': index,
                'layout': history.layout, 'blobs': blobs, 'packs': steps}


def main(directory, first, count):
    for seed in range(int(first), int(first) + int(count)):
        answer = json.dumps(case(seed))
        with open(os.path.join(directory, '%d.z' % seed), 'wb') as out:
            out.write(zlib.compress(answer.encode(), 1))


if __name__ == '__main__':
    logging.disable()
    sys.modules[FileStorage.__module__].fsync = None
    main(*sys.argv[1:])
