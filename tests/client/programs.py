"""The example programs of the client, built beside the server under test."""
import os
import subprocess

from support.server import REPOSITORY, binary


def program(name):
    """The path of an example: of the build of the server, if that is this project's."""
    beside = os.path.join(os.path.dirname(binary()), 'examples', name)
    found = [beside, *(os.path.join(REPOSITORY, 'target', profile, 'examples', name)
                       for profile in ('checked', 'debug', 'release'))]
    return next((path for path in found if os.path.exists(path)), beside)


def run(name, *args, **process):
    """What an example prints; it must end well."""
    done = subprocess.run([program(name), *args], text=True, check=False,
                          capture_output=True, **process)
    assert done.returncode == 0, done.stderr
    return done.stdout
