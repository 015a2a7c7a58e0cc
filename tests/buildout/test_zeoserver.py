"""A buildout with plone.recipe.zeoserver, as sites have it: this server is swapped in, and out again.

All that buildout needs comes from PyPI, but for the wheel of this server's programs, which is built
from those beside the server under test.
"""
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import pytest
from operate import application
from support.configuration import filestorage, zeo
from support.contest import contest
from support.ports import free_port
from support.server import PATIENCE, REPOSITORY, Server, binary, is_python, wait_until
from ZEO.ClientStorage import ClientStorage
from ZODB.blob import Blob
from ZODB.DB import DB
from ZODB.FileStorage import FileStorage

# The first test waits for PyPI, too.
pytestmark = [pytest.mark.timeout(1800),
              pytest.mark.skipif(is_python(), reason='needs this server\'s wheel')]

TESTS = os.path.join(REPOSITORY, 'tests')
# Of two instances, the later one has the script zeopack.
CONFIGURATION = '''
[buildout]
parts = configured zeoserver rzeo zopepy
find-links = wheel
versions = versions

[zeoserver]
recipe = plone.recipe.zeoserver
zeo-address = {addresses[0]}

[configured]
recipe = plone.recipe.zeoserver
zeo-conf = own.conf
zeo-address = {addresses[1]}

[rzeo]
recipe = zc.recipe.egg
eggs = rzeo

[zopepy]
recipe = zc.recipe.egg
eggs = ZODB
extra-paths = {tests}
interpreter = zopepy
scripts = zopepy

[versions]
plone.recipe.zeoserver = 4.0.1
zc.recipe.egg = 6.0.0
ZEO = 6.2
ZODB = 6.4
'''
# Beside the instance's own script, as docs/operating.md tells it.
OWN_CONFIGURATION = '''
<zeo>
  address {addresses[1]}
</zeo>
<filestorage 1>
  path var/own.fs
</filestorage>
<runner>
  program {here}/bin/rzeo-runzeo -C {here}/own.conf
  socket-name {here}/own.sock
  daemon true
  directory {here}
</runner>
'''


class Buildout:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.addresses = [f'127.0.0.1:{free_port()}' for _ in range(2)]
        self.write('buildout.cfg', CONFIGURATION)
        self.write('own.conf', OWN_CONFIGURATION)
        subprocess.run([os.path.join(REPOSITORY, 'scripts', 'package'), 'wheel', '--output', 'wheel',
                        '--programs', os.path.dirname(binary())], check=True, cwd=directory)
        self.run(sys.executable, '-m', 'venv', 'venv')
        self.run('venv/bin/pip', 'install', '-q', 'zc.buildout==6.0.1')
        self.run('venv/bin/buildout')
        self.script = self.directory / 'parts/zeoserver/bin/runzeo'
        self.theirs = self.script.read_text()

    def write(self, name, text):
        text = text.format(here=self.directory, tests=TESTS, addresses=self.addresses)
        (self.directory / name).write_text(text)

    def run(self, *command, code=0):
        """Runs a program to its end; returns what it says."""
        done = subprocess.run(command, cwd=self.directory, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == code, done.stdout
        return done.stdout

    def swap(self, ours):
        """Lets the instance's script start this server, or Python's again."""
        text, count = re.subn(r'^exec .*$', 'exec "%s/bin/rzeo-runzeo" -C "$CONFIG_FILE" ${1+"$@"}'
                              % self.directory, self.theirs, flags=re.MULTILINE)
        assert count == 1
        self.script.write_text(text if ours else self.theirs)

    def pid(self):
        path = self.directory / 'var/zeoserver.pid'
        return int(path.read_text()) if path.exists() else 0

    def is_ours(self):
        """Whether the running server is this one."""
        return os.path.basename(os.readlink(f'/proc/{self.pid()}/exe')) == 'runzeo'

    @contextlib.contextmanager
    def root(self, number=0):
        """The root of the database behind one of the addresses; it is committed."""
        host, port = self.addresses[number].split(':')
        blobs = tempfile.TemporaryDirectory()
        storage = ClientStorage((host, int(port)), wait_timeout=PATIENCE, blob_dir=blobs.name)
        db = DB(storage)
        with blobs, contextlib.closing(db), db.transaction() as connection:
            yield connection.root()


@pytest.fixture(scope='module')
def buildout():
    try:
        urllib.request.urlopen('https://pypi.org/simple/zc-buildout/', timeout=PATIENCE).close()
    except urllib.error.URLError as why:
        pytest.skip(f'PyPI is out of reach: {why}')
    # A socket's path has to be short.
    with tempfile.TemporaryDirectory() as directory:
        yield Buildout(os.path.realpath(directory))


def test_swapped_in_and_out(buildout):
    """Python's server, this one, and Python's again, by the recipe's scripts; all data go on."""
    data = buildout.directory / 'var/filestorage/Data.fs'
    for number, ours in enumerate((False, True, False)):
        buildout.swap(ours)
        buildout.run('bin/zeoserver', 'start')
        try:
            with buildout.root() as root:
                assert [content(root[key]) for key in sorted(root)] == [
                    b'from round %d' % key for key in range(number)]
                root[number] = Blob(b'from round %d' % number)
            assert buildout.is_ours() == ours
            size = os.path.getsize(data)
            buildout.run('bin/zeopack', '-D', '0')
            assert os.path.getsize(data) < size
            assert 'running' in buildout.run('bin/zeoserver', 'status')
            before = buildout.pid()
            buildout.run('bin/zeoserver', 'restart')
            wait_until(lambda: buildout.pid() != before)
        finally:
            buildout.run('bin/zeoserver', 'stop')
    storage = FileStorage(os.fspath(data))
    assert len(storage) == 4
    storage.close()


def content(blob):
    with blob.open() as f:
        return f.read()


def test_in_the_foreground(buildout):
    """As in a container: the server's end is that of the script."""
    buildout.swap(True)
    process = subprocess.Popen(['bin/zeoserver', 'fg'], cwd=buildout.directory, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    with buildout.root() as root:
        root['foreground'] = True
    assert buildout.is_ours()
    os.kill(buildout.pid(), 15)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said


def test_a_configuration_of_its_own(buildout):
    """zeo-conf, whose runner names this server: that survives the next run of buildout."""
    buildout.run('bin/configured', 'start')
    try:
        with buildout.root(1) as root:
            root['own'] = True
    finally:
        buildout.run('bin/configured', 'stop')
    storage = FileStorage(os.fspath(buildout.directory / 'var/own.fs'), read_only=True)
    assert len(storage) == 1
    storage.close()


def test_the_conflict_resolver_runs_in_an_interpreter_of_the_buildout(buildout):
    """Such a script executes what it is given; it has the packages on a path of its own."""
    config = zeo() + filestorage('var/resolved.fs')
    program = os.fspath(buildout.directory / 'bin/zopepy')
    with Server(config, buildout.directory, ['--conflict-resolver', program]) as server:
        server.wait_for_log(f'conflict resolver {program} is process ')

        def add(number):
            def change(counter):
                counter.value += number
            return change

        resolved, *_ = contest(server.address, application.Counter, add(3), add(4), undo=False)
        assert resolved, server.log()
