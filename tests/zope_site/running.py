"""A server with its database, and the two Zope processes on it."""
import os
import shutil
import subprocess
import sys

from support.configuration import eventlog, filestorage, zeo
from support.ports import free_port
from support.server import PATIENCE, REPOSITORY, Server

PROCESSES = 2
ZOPE_CONF = """\
%import ZEO
instancehome {home}
debug-mode off
<zodb_db main>
  mount-point /
  cache-size 30000
  <clientstorage>
    server 127.0.0.1:{port}
    storage 1
    wait-timeout {patience}
  </clientstorage>
</zodb_db>
"""


class Installation:
    """A site that is served by `runzeo`, one of any make, in a folder of its own."""

    def __init__(self, name, runzeo, home, data=None):
        """`data` is a Data.fs to begin with; without it, the site is made."""
        self.name, self.runzeo, self.home, self.made = name, runzeo, home, bool(data)
        os.makedirs(os.path.join(home, 'etc'))
        shutil.copy(os.path.join(os.path.dirname(__file__), 'site.zcml'), os.path.join(home, 'etc'))
        if data:
            shutil.copy(data, os.path.join(home, 'Data.fs'))
        self.port = free_port()
        self.zopes, self.server = [], None

    def __enter__(self):
        self.start()
        try:
            if not self.made:
                assert self._python('install', 'install').wait() == 0, self._errors('install')
                self.made = True
            self.zopes = [self._python(f'zope{n}', str(n)) for n in range(PROCESSES)]
            self.ports = [int(zope.stdout.readline() or 0) for zope in self.zopes]
            assert all(self.ports), self._errors('zope0')
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for zope in self.zopes:
            zope.kill()
            zope.communicate()
        self.zopes = []
        if self.server:
            self.server.stop()
            self.server = None

    def start(self):
        """Starts the server."""
        os.environ['RUNZEO'] = self.runzeo
        config = zeo(f'127.0.0.1:{self.port}') + filestorage() + eventlog()
        self.server = Server(config, self.home)

    def kill(self):
        """The server crashes and is started again."""
        self.server.kill()
        self.start()

    def _errors(self, name):
        """What a process of Zope has written."""
        with open(os.path.join(self.home, f'{name}.err')) as f:
            return f.read()

    def _python(self, name, *command):
        configuration = os.path.join(self.home, f'{name}.conf')
        with open(configuration, 'w') as f:
            f.write(ZOPE_CONF.format(home=self.home, port=self.port, patience=PATIENCE))
        with open(os.path.join(self.home, f'{name}.err'), 'wb') as err:
            return subprocess.Popen(
                [sys.executable, '-m', 'zope_site.process', configuration, *command],
                stdout=subprocess.PIPE, stderr=err, env={**os.environ, 'PYTHONPATH': os.path.join(REPOSITORY, 'tests')})
