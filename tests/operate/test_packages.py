"""The packages that scripts/package builds, of the programs beside the server under test."""
import os
import pathlib
import re
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from support.configuration import filestorage, zeo
from support.installed import require
from support.server import REPOSITORY, Server, binary, is_python
from ZEO.ClientStorage import ClientStorage

pytest.importorskip('supervisor', reason='one version of ZEO is enough')
pytestmark = pytest.mark.skipif(is_python(), reason='packages of rzeo only')

PROGRAMS = {'runzeo', 'fstool', 'zeo', 'zeopack', 'zeo-nagios'}


def build(kind, output):
    """Builds a package; returns its path."""
    subprocess.run([os.path.join(REPOSITORY, 'scripts', 'package'), kind, '--output', output,
                    '--programs', os.path.dirname(binary())], check=True)
    (package,) = pathlib.Path(output).iterdir()
    return package


def serves(command, monkeypatch, directory):
    """Whether this command is a server, and stops as one."""
    monkeypatch.setenv('RUNZEO', os.fspath(command))
    with Server(zeo(address='127.0.0.1:0') + filestorage(), directory) as server:
        ClientStorage(server.address).close()
        server.stop()


def test_wheel(tmp_path, monkeypatch):
    """Its scripts are the programs, under names that leave those of ZEO alone."""
    wheel = build('wheel', tmp_path / 'wheel')
    venv = tmp_path / 'venv'
    subprocess.run([sys.executable, '-m', 'venv', venv], check=True)
    subprocess.run([venv / 'bin/pip', 'install', '-q', '--no-deps', '--no-index', wheel], check=True)
    scripts = {path.name for path in (venv / 'bin').glob('rzeo-*')}
    assert scripts == {f'rzeo-{name}' for name in PROGRAMS}
    assert scripts.isdisjoint(point.name for point in entry_points(group='console_scripts'))
    for name in PROGRAMS:
        shown = subprocess.run([venv / 'bin' / f'rzeo-{name}', '--version'], check=True,
                               capture_output=True, text=True).stdout
        assert shown.startswith(f'{name} '), shown
    serves(venv / 'bin/rzeo-runzeo', monkeypatch, tmp_path)


def test_debian(tmp_path, monkeypatch):
    """The programs with all that belongs to them; the configuration and the unit fit each other."""
    require('dh')
    package = build('deb', tmp_path / 'deb')
    root = tmp_path / 'root'
    subprocess.run(['dpkg-deb', '--extract', package, root], check=True)
    files = {os.fspath(path.relative_to(root)) for path in root.rglob('*') if path.is_file()}
    for name in PROGRAMS:
        assert {f'usr/bin/{name}', f'usr/share/man/man1/{name}.1.gz',
                f'usr/share/bash-completion/completions/{name}'} <= files
    control = subprocess.run(['dpkg-deb', '--info', package], check=True, capture_output=True,
                             text=True).stdout
    assert re.search(r'Depends:.*libc6', control)
    shown = subprocess.run(['dpkg-deb', '--info', package, 'conffiles'], check=True,
                           capture_output=True, text=True).stdout
    assert shown.split() == ['/etc/zeo/zeo.conf']

    (unit,) = root.rglob('zeo.service')
    (command,) = re.findall('ExecStart=(.*)', unit.read_text())
    program, option, configuration = command.split()
    assert option == '-C'
    text = (root / configuration[1:]).read_text()
    assert '%define INSTANCE /var/lib/zeo' in text
    (user,) = re.findall('User=(.*)', unit.read_text())
    assert f'u {user} - ' in (root / 'usr/lib/sysusers.d/rzeo.conf').read_text()
    serves(root / program[1:], monkeypatch, tmp_path)
