"""TCP ports that no other test on this machine gets at the same time.

A port that is free at one moment may be somebody else's at the next: that of another test which
asks just then, or of any program that lets the system choose one, while a test has stopped its
server and is about to start it again. So every process takes a block of ports for itself as long
as it lives, outside the range from which the system chooses.
"""
import random
import socket

FIRST, LAST = 10_000, 32_000
BLOCK = 200  # ports in a block; the first one is listened at, which keeps the block

_guards = []


def free_port():
    """A port of this machine that is free, as is the next one; none is given out twice."""
    for port in _ports:
        listening = _listen(port)
        if listening:
            listening.close()
            return port
    raise OSError('no ports are left')


def _all_ports():
    blocks = list(range(FIRST, LAST, BLOCK))
    random.shuffle(blocks)
    for block in blocks:
        guard = _listen(block)
        if guard:
            _guards.append(guard)
            # Some of ZEO's tests use the next port as well.
            yield from range(block + 1, block + BLOCK - 1, 2)


def _listen(port):
    """A socket that listens at the port, or None when that can't be."""
    listening = socket.socket()
    try:
        listening.bind(('127.0.0.1', port))
        listening.listen()
    except OSError:
        listening.close()
        return None
    return listening


_ports = _all_ports()
