"""Records with references, pickled by every protocol and in the ways of Python 2 and 3.

Usage: python make_reference_data.py > ../references.txt

A line holds a name, the record in hexadecimal, and the oids that it refers to. Where
ZODB's referencesf can read the record (protocols up to 3), it says what these are, and has
to agree with what was put in.
"""
import io
import pickle

from ZODB.serialize import referencesf
from ZODB.utils import p64, u64

CLASS = 'some.module', 'Class'
OTHER = p64(99)


class Pointer:
    """Stands for a reference while a record is pickled."""

    def __init__(self, persistent_id):
        self.persistent_id = persistent_id


class PlainPickler(pickle._Pickler):
    """Python's own pickler, for what Python 3 writes."""


class Python2Pickler(pickle._Pickler):
    """Writes bytes as the strings of Python 2."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, obj):
        self.write(b'U' + bytes([len(obj)]) + obj)
        self.memoize(obj)

    dispatch[bytes] = save_string


def record(pickler_class, protocol, class_, pointers):
    out = io.BytesIO()
    pickler = pickler_class(out, protocol)
    pickler.persistent_id = lambda obj: getattr(obj, 'persistent_id', None)
    pickler.dump(class_)
    pickler.dump({'text': 'ä' * 300, 'deep': [[{'x': (pointers, 1.5, None, True, 1 << 70)}]]})
    return out.getvalue()


def forms(oids):
    """References that count, in turns by oid alone and with the class, and some that do not."""
    counted = [Pointer(p64(oid) if oid % 2 else (p64(oid), CLASS))
               for oid in oids]
    return [*counted, Pointer(['w', (OTHER,)]), Pointer(['w', (OTHER, 'elsewhere')]),
            Pointer([OTHER]), Pointer(['n', ('elsewhere', OTHER)]),
            Pointer(['m', ('elsewhere', OTHER, CLASS)])]


def cases():
    oids = [1, 2, 7, 127, (1 << 63) + 5]
    for class_ in CLASS, (CLASS, ('arg', 5)):
        # Python 3 writes bytes since protocol 3; before, an oid was a string of Python 2,
        # which referencesf reads as text: the 4 of ASCII.
        for protocol in range(1, 4):
            yield f'as Python 2, protocol {protocol}', oids[:4], record(
                Python2Pickler, protocol, class_, forms(oids[:4]))
        for protocol in range(3, 6):
            yield f'protocol {protocol}', oids, record(
                PlainPickler, protocol, class_, forms(oids))
    # Protocol 0 has persistent ids of text only.
    text = int.from_bytes(b'abcdefgh', 'big')
    yield 'protocol 0', [text], record(PlainPickler, 0, CLASS, [Pointer('abcdefgh')])
    yield 'no references', [], record(PlainPickler, 3, CLASS, [])


def main():
    for name, oids, data in cases():
        try:
            found = sorted(map(u64, (o if isinstance(o, bytes) else o.encode()
                                     for o in referencesf(data))))
        except Exception:
            assert 'protocol 4' in name or 'protocol 5' in name, name
            found = sorted(oids)
        assert found == sorted(oids), (name, found)
        print(name, data.hex(), ' '.join(map(str, oids)), sep='\t')


if __name__ == '__main__':
    main()
