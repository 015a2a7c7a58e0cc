"""Replaces the way ZEO's own tests start a server, and `zeo-nagios`.

ZEO's test helper runs a Python server in a child process or a thread. Here its
function `start_zeo_server` is replaced by one with the same arguments and
results, which starts the server under test.
"""
import importlib
import os
import re
import subprocess

from support.ports import free_port
from support.programs import ours
from support.server import Server, binary, with_port
from upstream import databases

_PASSWORD_FUNCTION = re.compile(r'^\s*password-function\s+(\S+)', re.MULTILINE)
_STORAGE_PATH = re.compile(r'^\s*path\s+(\S+)', re.MULTILINE)


def install():
    """Puts the replacement where the tests look. Call before importing any test module."""
    import ZEO._forker
    ZEO._forker.start_zeo_server = start_zeo_server
    import ZEO.tests.forker
    ZEO.tests.forker.start_zeo_server = start_zeo_server
    ZEO.tests.forker.get_port = lambda _test=None: free_port()
    import ZEO.tests.testZEO
    ZEO.tests.testZEO.generate_script = generate_script
    import ZEO.nagios
    ZEO.nagios.main, ZEO.nagios.check = nagios, nagios_check


def start_zeo_server(storage_conf=None, zeo_conf=None, port=None, keep=False,
                     path='Data.fs', protocol=None, blob_dir=None,
                     suicide=True, debug=False, threaded=False, start_timeout=33,
                     name=None, log=None, show_config=False):
    """Starts a server; returns its address and a function that stops it.

    The stop function ends the server by SIGTERM, insists on exit code 0 and,
    unless `keep`, removes the files of its storages. `suicide`, `debug`,
    `threaded`, `start_timeout`, `name` and `show_config` are about Python's
    server process and have no meaning here.
    """
    if protocol:
        raise NotImplementedError('an old protocol is a switch inside Python\'s server')
    storage_conf = storage_conf or f'<filestorage>\npath {path}\n</filestorage>'
    if databases.in_use():
        storage_conf, blob_dir = databases.section(storage_conf, blob_dir), None
    if blob_dir:
        storage_conf = f'<blobstorage>\nblob-dir {blob_dir}\n{storage_conf}\n</blobstorage>'
    if zeo_conf is None or isinstance(zeo_conf, dict):
        zeo_conf = _zeo_section(zeo_conf or {}, port or 0, log)
    # A port of our own: tests stop a server and start another one there.
    config, env = without_password_function(with_port(f'{zeo_conf}\n\n{storage_conf}\n'))
    server = Server(config, env=env)
    cwd = os.getcwd()
    stopped = []

    def stop(stop_timeout=None):
        if not stopped:
            stopped.append(True)
            server.stop()
            if not keep:
                _remove_storage_files(storage_conf, cwd)
                databases.remove(storage_conf)

    return server.address, stop


def without_password_function(config):
    """A configuration without Python code that gives the password of a key, and the environment
    that gives the password instead."""
    found = _PASSWORD_FUNCTION.search(config)
    if not found:
        return config, {}
    module, name = found[1].rsplit('.', 1)
    password = getattr(importlib.import_module(module), name)()
    return config.replace(found[0], ''), {'RZEO_TLS_PASSWORD': password}


def generate_script(name, src):
    """What a test wrote as a script that runs Python's server runs the one under test."""
    with open(name, 'w') as f:
        f.write(f'import os, sys\nos.execv({binary()!r}, [{binary()!r}] + sys.argv[1:])\n')


def nagios(args):
    """Runs the program `zeo-nagios` beside the server under test, in place of Python's."""
    done = subprocess.run([ours('zeo-nagios'), *args], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout, end='')
    return done.returncode or None


def nagios_check(address, output_metrics, status, per):
    """The same, with the arguments of ZEO's function."""
    return nagios([address, *(['-m'] if output_metrics else []), *(['-s', status] if status else []),
                   '-u', per])


def _zeo_section(options, port, log):
    from ZEO._forker import ZEOConfig
    address = port if not isinstance(port, int) else ('127.0.0.1', port)
    config = ZEOConfig(address, log=log)
    config.__dict__.update(options)
    return str(config)


def _remove_storage_files(storage_conf, cwd):
    for path in _STORAGE_PATH.findall(storage_conf):
        for ending in '', '.index', '.tmp', '.lock', '.old', '.pack':
            try:
                os.remove(os.path.join(cwd, path + ending))
            except FileNotFoundError:
                pass
