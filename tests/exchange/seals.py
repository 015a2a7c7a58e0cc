"""Data.fs without the seals that rzeo adds (see storage/FORMAT.md)."""
MAGIC = b'FS30'
TXN_HEADER, DATA_HEADER, SEAL = 23, 42, 41


def unsealed(data):
    """The file as it would be had its transactions been written without seals.

    A file of Python's comes back as it is, byte for byte.
    """
    out, moved, position = bytearray(MAGIC), {0: 0}, len(MAGIC)
    assert data.startswith(MAGIC)
    while position < len(data):
        header, texts, extension, records = _split(data, position)
        start = len(out)
        texts += without_seal(extension)
        body = bytearray()
        for at, record in _records(data, *records):
            moved[at] = start + TXN_HEADER + len(texts) + len(body)
            body += _moved(record, moved, start)
        length = (TXN_HEADER + len(texts) + len(body)).to_bytes(8, 'big')
        elen = len(without_seal(extension)).to_bytes(2, 'big')
        out += header[:8] + length + header[16:21] + elen + texts + body + length
        position = records[1] + 8
    return bytes(out)


def without_seal(extension):
    """What the extension was before it got its seal, if it has one."""
    if extension[-4:] != b'rzeo':
        return extension
    return extension[:-SEAL].replace(b'}.', b'') if len(extension) == SEAL + 2 else extension[:-SEAL]


def extensions(data):
    """All extensions as they stand in the file."""
    position = len(MAGIC)
    while position < len(data):
        _header, _texts, extension, records = _split(data, position)
        yield extension
        position = records[1] + 8


def _split(data, position):
    """A transaction's header, its first two texts, its extension, (start, end) of its records."""
    header = data[position:position + TXN_HEADER]
    ulen, dlen, elen = (_number(header[i:i + 2]) for i in (17, 19, 21))
    texts = position + TXN_HEADER
    extension = texts + ulen + dlen
    records = extension + elen
    end = position + _number(header[8:16])
    return header, data[texts:extension], data[extension:records], (records, end)


def _records(data, position, end):
    while position < end:
        length = _number(data[position + 34:position + DATA_HEADER]) or 8
        yield position, data[position:position + DATA_HEADER + length]
        position += DATA_HEADER + length


def _moved(record, moved, tloc):
    """A record with the positions that it has in the other file."""
    record = bytearray(record)
    record[16:24] = moved[_number(record[16:24])].to_bytes(8, 'big')
    record[24:32] = tloc.to_bytes(8, 'big')
    if not _number(record[34:42]):
        record[42:50] = moved[_number(record[42:50])].to_bytes(8, 'big')
    return record


def _number(data):
    return int.from_bytes(data, 'big')
