"""Records of any class, by any protocol, with references of every form, for `make_hard_packs`."""
import io
import zlib

from persistent.TimeStamp import TimeStamp
from ZODB.blob import Blob
from ZODB.serialize import referencesf
from ZODB.utils import p64
from zodbpickle.pickle import Pickler

from make_pack_data import Pointer
from make_reference_data import Python2Pickler

CLASS = 'some.module', 'Class'
CLASSES = [CLASS, (CLASS, None), (CLASS, ('argument', 7)), TimeStamp, (TimeStamp, (b'12345678',))]


def dump(protocol, *objects):
    """The pickles of a record: class and state."""
    out = io.BytesIO()
    pickler = Pickler(out, protocol) if protocol == 3 else Python2Pickler(out, protocol)
    pickler.persistent_id = lambda obj: getattr(obj, 'persistent_id', None)
    for obj in objects:
        pickler.dump(obj)
    return out.getvalue()


def record(rng, references, filling):
    """A record with these references."""
    protocol = rng.choice([1, 2, 3, 3])
    if protocol < 3:
        # Python 3 reads no others in strings of Python 2.
        references = [oid for oid in references if max(oid) < 128]
    pointers = [Pointer(reference(rng, oid)) for oid in references]
    in_class = [pointers.pop()] if pointers and rng.random() < .05 else []
    pointers += [Pointer(form) for form in weak_or_elsewhere(rng)]
    rng.shuffle(pointers)
    class_ = (CLASS, tuple(in_class)) if in_class else rng.choice(CLASSES)
    state = rng.choice([{'filling': 'x' * filling, 'children': pointers},
                        dict(enumerate(pointers)), tuple(pointers)])
    return dump(protocol, class_, state)


def reference(rng, oid):
    """A reference that counts."""
    if max(oid) < 128 and rng.random() < .1:
        # As Python 3 writes what it had read from a record of Python 2.
        oid = oid.decode('ascii')
    return rng.choice([oid, (oid, TimeStamp), (oid, CLASS), (oid, None)])


def weak_or_elsewhere(rng):
    """References that keep nothing; to objects that are there, and to others."""
    oid = p64(rng.randrange(100))
    forms = [['w', (oid,)], ['w', (oid, 'other')], ['n', ('other', oid)],
             ['m', ('other', oid, CLASS)], [oid]]
    return [form for form in forms if rng.random() < .1]


def blob_record():
    return dump(3, Blob, None)


def compress(record):
    """As zc.zlibstorage stores it."""
    return b'.z' + zlib.compress(record)


def decompress(record):
    return zlib.decompress(record[2:]) if record[:2] == b'.z' else record


def references_of(record, oids=None):
    """What `zc.zlibstorage` has a storage packed with."""
    return referencesf(decompress(record), oids)


class Compressed:
    """What `registerDB` is called with by a ZlibStorage."""

    def untransform_record_data(self, record):
        return decompress(record)

    def invalidate(self, *args):
        pass

    invalidateCache = references = transform_record_data = invalidate
