"""Files of a FileStorage as Python would not write them, for `make_hard_packs`."""
from ZODB.utils import p64

# Lengths of headers.
HEADER, RECORD = 23, 42

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
    out, moved, shift, last = bytearray(content[:4]), {0: 0}, 0, b''
    for position, end in list(transactions(content)):
        tid = content[position:position + 8]
        earlier, previous, last = p64(int.from_bytes(tid, 'big') - 1), last, tid
        if rng.random() < .2 and previous < earlier and tid <= before:
            foreign = bytearray(content[position:end])
            foreign[16:17] = b'u'
            relocate(foreign, lambda old: moved.get(old, len(out)))
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


