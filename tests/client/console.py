"""This project's client, driven by a test: `zeo-client-console` in a process of its own."""
import json
import queue
import subprocess
import threading

from support.programs import ours
from support.server import PATIENCE, wait_until
from ZODB.utils import z64


class Failed(Exception):
    """A call has failed: `kind` is the name of the client's error."""

    def __init__(self, answer):
        super().__init__(f'{answer["error"]}: {answer["message"]}')
        self.answer, self.kind, self.message = answer, answer['error'], answer['message']


# The record of a blob.
BLOB = b'\x80\x03cZODB.blob\nBlob\nq\x00.\x80\x03N.'


class Client:
    """A storage of this project's client. Its calls are methods: `client.load(oid=oid)`; oids, tids
    and data are bytes. `events` is what a listener was told. The constructor opens it, by addresses
    or by `config`, the name of a configuration file; without either, nothing is open."""

    def __init__(self, *addresses, **settings):
        self.process = subprocess.Popen(
            [ours('zeo-client-console')], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.events, self.answers, self._number = [], {}, 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if addresses:
            settings = {'addresses': list(map(shown, addresses)), 'wait_timeout': PATIENCE, **settings}
        try:
            if settings:
                self.call('open', **settings)
        except BaseException:
            self.end()
            raise

    def __getattr__(self, name):
        return lambda **arguments: self.call(name, **arguments)

    def call(self, name, **arguments):
        """Makes a call and waits for its result."""
        return self.start(name, **arguments)()

    def background(self, name, **arguments):
        """As `start`, but the client takes other calls meanwhile."""
        return self.start(name, background=True, **arguments)

    def start(self, name, **arguments):
        """Makes a call; the function that is returned waits for its result."""
        self._number += 1
        answer = self.answers[self._number] = queue.SimpleQueue()
        line = {'call': name, 'id': self._number,
                **{key: json_value(value) for key, value in arguments.items()}}
        self.process.stdin.write(json.dumps(line) + '\n')
        self.process.stdin.flush()

        def wait():
            found = answer.get(timeout=PATIENCE)
            if 'error' in found:
                raise Failed(found)
            return python_value(found['result'])
        return wait

    def wait_for(self, event, **fields):
        """Waits for an event with these fields; it is returned, and those before it are dropped."""
        def found():
            for at, told in enumerate(self.events):
                if told['event'] == event and all(told[key] == json_value(fields[key]) for key in fields):
                    del self.events[:at]
                    return True
            return False
        wait_until(found, lambda: f'no {event} {fields} in {self.events}')
        return {key: python_value(value) for key, value in self.events.pop(0).items()}

    def commit(self, *stores, **meta):
        """Stores (oid, serial, data) in one transaction; returns its tid."""
        return self.commit_resolved(*stores, **meta)[0]

    def commit_resolved(self, *stores, **meta):
        """As `commit`; returns also the oids of conflicts that were resolved."""
        self.begin(**meta)
        for oid, serial, data in stores:
            self.store(oid=oid, serial=serial, data=data)
        try:
            resolved = self.vote()
        except Failed:
            self.abort()
            raise
        return self.finish(), resolved

    def vote_blob(self, path, oid=None, serial=z64):
        """Votes for a file as a new blob, or as a new revision of one; returns its oid."""
        oid = oid or self.new_oid()
        self.begin()
        self.store_blob(oid=oid, serial=serial, data=BLOB, path=path)
        self.vote()
        return oid

    def kill(self):
        """Kills the process, which has no chance to put anything in order."""
        self.process.kill()
        self.process.wait()

    def end(self):
        """Ends the process, which must not have failed."""
        self.process.stdin.close()
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        self.process.stdout.close()
        assert code == 0, f'the client has ended with exit code {code}'

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.end()

    def _read(self):
        for line in self.process.stdout:
            if not line.endswith('\n'):
                break  # It was killed.
            told = json.loads(line)
            if 'event' in told:
                self.events.append(told)
            else:
                self.answers.pop(told.pop('id')).put(told)
        for answer in list(self.answers.values()):
            answer.put({'error': 'Ended', 'message': 'the client has ended without an answer'})


def connect(config, seconds=PATIENCE, **settings):
    """Connects once, without a storage, as a configuration file says; returns the last tid."""
    with Client() as client:
        return client.connect(config=config, seconds=seconds, **settings)


def shown(address):
    """An address as text."""
    return address if isinstance(address, str) else '%s:%s' % tuple(address)


def json_value(value):
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return list(map(json_value, value))
    return value


def python_value(value):
    """Texts of hexadecimal digits become bytes; others stay."""
    if isinstance(value, str):
        try:
            return bytes.fromhex(value)
        except ValueError:
            return value
    if isinstance(value, list):
        return [python_value(item) for item in value]
    if isinstance(value, dict):
        return {key: python_value(item) for key, item in value.items()}
    return value
