"""The steps of a transaction over a connection of its own, and what it is told of others'."""
from exchange.writer import pickle_of


def begin(wire, *stores, check=()):
    """Begins a transaction of (oid, serial, number) and votes."""
    wire.send_async('tpc_begin', 1, b'', b'', {}, None, ' ')
    for oid, serial in check:
        wire.send_async('checkCurrentSerialInTransaction', oid, serial, 1)
    for oid, serial, number in stores:
        wire.send_async('storea', oid, serial, pickle_of(number), 1)
    return wire.call('vote', 1)


def commit(wire, *stores):
    begin(wire, *stores)
    return wire.call('tpc_finish', 1)


def told(wire):
    """The tids of the invalidations that a connection has got, in order."""
    return [args[0] for _id, _flag, name, args in wire.notifications
            if name == 'invalidateTransaction']
