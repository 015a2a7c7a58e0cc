"""Drives a client in Rust: the example program `drive`, a command a line."""
import os
import subprocess

from client.programs import program


class Failed(Exception):
    """A command has failed; the text tells why."""


class Driver:
    """A running program.

        with Driver() as client:
            client('open', 'zodb.conf')
            serial, record = client('load', '0')
    """

    def __init__(self, **env):
        self.process = subprocess.Popen(
            [program('drive')], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **env})

    def __call__(self, *words):
        """The words of the answer. Raises Failed."""
        self.send(*words)
        return self.answer()

    def send(self, *words):
        """Begins a command; `answer` waits for its end."""
        self.process.stdin.write(' '.join(map(str, words)) + '\n')
        self.process.stdin.flush()

    def answer(self):
        kind, _space, text = self.process.stdout.readline().rstrip('\n').partition(' ')
        if kind == 'ok':
            return text.split()
        raise Failed(text if kind else f'the program has ended: {self.process.wait()}')

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def kill(self):
        self.process.kill()
        self.process.wait()
