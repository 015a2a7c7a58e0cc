"""The example programs of the client, built beside the server under test."""
import json
import os
import subprocess

from support.server import PATIENCE, REPOSITORY, binary


def program(name):
    """The path of an example: of the build of the server, if that is this project's."""
    beside = os.path.join(os.path.dirname(binary()), 'examples', name)
    found = [beside, *(os.path.join(REPOSITORY, 'target', profile, 'examples', name)
                       for profile in ('checked', 'debug', 'release'))]
    return next((path for path in found if os.path.exists(path)), beside)


class Program:
    """A running example that takes commands, a line of JSON each, and answers each by a line."""

    def __init__(self, name, address, *args):
        self.process = subprocess.Popen([program(name), '%s:%s' % tuple(address), *args], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def do(self, *command):
        return self.do_all([command])[0]

    def do_all(self, commands):
        """Some commands at a time: neither pipe is ever full."""
        answers = []
        for at in range(0, len(commands), 200):
            some = commands[at:at + 200]
            self.process.stdin.write(''.join(json.dumps(c) + '\n' for c in some))
            self.process.stdin.flush()
            answers += [json.loads(self.process.stdout.readline()) for _ in some]
        return answers

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(PATIENCE) == 0


def run(name, *args, **process):
    """What an example prints; it must end well."""
    done = subprocess.run([program(name), *args], text=True, check=False,
                          capture_output=True, **process)
    assert done.returncode == 0, done.stderr
    return done.stdout
