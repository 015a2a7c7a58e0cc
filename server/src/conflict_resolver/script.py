"""Merges conflicts with the application's classes, for the ZEO server rzeo, which starts this.

Standard input is a socket. A message in either direction is its length (4 bytes, big-endian) and
its body. The first one is `V` and versions, or `E` and why there is no resolver. Then for each
question, which is

    the oid, the serial that was read, the committed serial (8 bytes each), and then
    the class's name, the records read, committed, new (each with its length in 4 bytes)

the answer is `R` and the merged record, or `C` and why the conflict stays one. What is printed
goes to the server's log. The process ends when the server closes the socket.

Python 3.8 or later; nothing is needed but ZODB and what it needs.
"""
import logging
import os
import select
import socket
import struct
import sys
import threading
import traceback

LONGEST_REASON = 1000


class Reasons(logging.Handler):
    """Remembers why ZODB found no resolution, and shows each unexpected error once."""

    def __init__(self):
        super().__init__()
        self.last = ''
        self.shown = set()

    def emit(self, record):
        error = record.exc_info and record.exc_info[1]
        if not error:
            self.last = record.getMessage()
            return
        self.last = described(error)
        if record.levelno >= logging.ERROR and len(self.shown) < 1000:
            text = ''.join(traceback.format_exception(*record.exc_info))
            if text not in self.shown:
                self.shown.add(text)
                print(record.getMessage() + '\n' + text, file=sys.stderr, flush=True)


def described(error):
    try:
        return f'{type(error).__name__}: {error}'
    except Exception:
        return type(error).__name__


def why_not(resolution, name, reasons):
    """The reason for a conflict that stays one, for people."""
    module, _, attribute = name.rpartition('.')
    try:
        found = resolution.find_global(module, attribute)
    except Exception as error:
        return f'the class {name} can\'t be imported ({described(error)})'
    if isinstance(found, resolution.BadClass):
        try:
            __import__(module)
        except BaseException as error:
            return f'the class {name} can\'t be imported ({described(error)})'
        return f'the class {name} can\'t be imported ({module} has no {attribute})'
    if not hasattr(found, '_p_resolveConflict'):
        return f'the class {name} has no _p_resolveConflict'
    return reasons.last or 'its class has not resolved it'


def resolver():
    """The function that answers a question, as ZODB's storages would."""
    import ZODB.ConflictResolution as resolution
    from ZODB.POSException import ConflictError

    class Storage(resolution.ConflictResolvingStorage):
        records = {}

        def loadSerial(self, oid, serial):
            return self.records[serial]

    reasons = Reasons()
    log = logging.getLogger('ZODB.ConflictResolution')
    log.setLevel(1)
    log.propagate = False
    log.addHandler(reasons)
    storage = Storage()

    def answer(oid, read, committed, name, old, current, new):
        reasons.last = ''
        storage.records = {read: old}
        try:
            return b'R' + storage.tryToResolveConflict(oid, committed, read, new, current)
        except ConflictError:
            reason = why_not(resolution, name, reasons)
            return b'C' + reason[:LONGEST_REASON].encode('utf-8', 'backslashreplace')
        finally:
            storage.records = {}

    return answer


def question(body):
    """The seven parts of a question."""
    parts = [body[at:at + 8] for at in (0, 8, 16)]
    at = 24
    for _ in range(4):
        length, = struct.unpack_from('>I', body, at)
        at += 4
        parts.append(body[at:at + length])
        at += length
    parts[3] = parts[3].decode('utf-8', 'replace')
    return parts


def versions():
    try:
        from importlib.metadata import version
        zodb = version('ZODB')
    except Exception:
        zodb = 'of unknown version'
    return f'Python {sys.version.split()[0]}, ZODB {zodb}'


def end_with(channel):
    """Ends the process when the server has gone, whatever the application's code is doing."""
    poll = select.poll()
    poll.register(channel, 0)
    poll.poll()
    os._exit(0)


def serve():
    channel = socket.socket(fileno=os.dup(0))
    # The application's code may read and print what it likes.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    threading.Thread(target=end_with, args=(channel,), daemon=True).start()
    messages = channel.makefile('rb')

    def send(body):
        channel.sendall(struct.pack('>I', len(body)) + body)

    # Not the directory of this file: it has nothing to import, and is removed.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or os.curdir) != here]
    logging.basicConfig(format='%(levelname)s %(name)s %(message)s', level=logging.WARNING)
    try:
        answer = resolver()
    except BaseException as error:
        send(b'E' + f'can\'t import ZODB ({described(error)})'.encode('utf-8', 'replace'))
        return
    send(b'V' + versions().encode('utf-8', 'replace'))
    while True:
        header = messages.read(4)
        if len(header) < 4:
            return
        send(answer(*question(messages.read(*struct.unpack('>I', header)))))


serve()
