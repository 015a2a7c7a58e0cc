"""What the server says about a wrong configuration, and ZConfig's syntax."""
import os
import re

import pytest
from support.ports import free_port
from support.server import Server, is_python, run
from support.wire import Wire

GOOD = '<zeo>\n  address 127.0.0.1:1\n</zeo>\n<filestorage>\n  path x.fs\n</filestorage>\n'

# name: (configuration, the line that the message has to name)
WRONG = {
    'unknown key': (GOOD.replace(':1\n', ':1\n  port 8100\n'), 3),
    'unknown key in a storage': (GOOD.replace('path x.fs', 'path x.fs\n  colour red'), 6),
    'unknown section': (GOOD + '<nosuchstorage>\n</nosuchstorage>\n', 7),
    'boolean': (GOOD.replace(':1\n', ':1\n  read-only maybe\n'), 3),
    'integer': (GOOD.replace(':1\n', ':1\n  invalidation-queue-size many\n'), 3),
    'time': (GOOD.replace(':1\n', ':1\n  invalidation-age soon\n'), 3),
    'byte size': (GOOD.replace('x.fs', 'x.fs\n  quota 10 apples'), 6),
    'directory that does not exist': (GOOD.replace('x.fs', '/no/such/directory/x.fs'), 5),
    'section that is not closed': (GOOD.replace('</zeo>\n', ''), None),
    'section that is closed twice': (GOOD + '</zeo>\n', 7),
    'wrong closing': (GOOD.replace('</zeo>', '</oez>'), 3),
    'undefined name': (GOOD.replace('x.fs', '$nowhere/x.fs'), 5),
    'two definitions': ('%define a 1\n%define a 2\n' + GOOD, 2),
    'unknown directive': ('%frobnicate\n' + GOOD, 1),
    'import of an unknown package': ('%import no.such.package\n' + GOOD, 1),
    'include of a missing file': ('%include missing.conf\n' + GOOD, None),
}

WITHOUT_LINE = {
    'duplicate key': GOOD.replace(':1\n', ':1\n  read-only on\n  read-only off\n'),
    'missing path': GOOD.replace('  path x.fs\n', ''),
    'no address': GOOD.replace('  address 127.0.0.1:1\n', ''),
    'no storage': '<zeo>\n  address 127.0.0.1:1\n</zeo>\n',
    'no zeo section': '<filestorage>\n  path x.fs\n</filestorage>\n',
    'two unnamed storages': GOOD + '<filestorage>\n  path y.fs\n</filestorage>\n',
    'a storage named 1 and an unnamed one': GOOD + '<mappingstorage 1>\n</mappingstorage>\n',
    'two storages of one name':
        GOOD.replace('<filestorage>', '<filestorage a>') + '<mappingstorage a>\n</mappingstorage>\n',
    'empty file': '',
}


@pytest.mark.parametrize('name', WRONG)
def test_wrong_line(name, tmp_path):
    """Exit code 2 and one line `Error: ... (line N, in FILE)`."""
    text, line = WRONG[name]
    code, output = run_with(text, tmp_path)
    assert code == 2, output
    error = output.splitlines()[0]
    assert error.startswith('Error: '), output
    if line and (not is_python() or '(line ' in error):  # upstream does not always say
        assert re.search(rf'\(line {line}, in \S*zeo\.conf\)', error), error
    assert os.listdir(tmp_path) == ['zeo.conf']


@pytest.mark.ours_only('it calls the function')
@pytest.mark.parametrize('packer', ['no.such.module:packer', 'zc.FileStorage:Packer(sleep=1)'])
def test_packer(packer, tmp_path):
    """To pack without it would take away what it keeps: objects that other databases refer to."""
    code, output = run_with(GOOD.replace('x.fs', f'x.fs\n  packer {packer}'), tmp_path)
    assert code == 2, output
    assert output.startswith(f'Error: packer {packer}: no Python code is run here; '), output
    assert re.search(r'\(line 6, in \S*zeo\.conf\)', output), output
    assert os.listdir(tmp_path) == ['zeo.conf']


@pytest.mark.parametrize('name', WITHOUT_LINE)
def test_wrong_whole(name, tmp_path):
    """What is missing, or there twice, has no line that Python would name."""
    code, output = run_with(WITHOUT_LINE[name], tmp_path)
    assert code == 2, output
    assert output.startswith('Error: '), output
    assert os.listdir(tmp_path) == ['zeo.conf']


@pytest.mark.parametrize('arguments', [
    ['-C', 'missing.conf'], ['--nonsense'], ['-a', ':1'], ['-f', 'x.fs'], ['-C'],
    ['-a', 'host:port', '-f', 'x.fs'], ['-a', ':1', '-f', 'x.fs', '-t', 'soon'],
])
def test_wrong_usage(arguments, tmp_path):
    code, output = run(*arguments, cwd=tmp_path)
    assert code == 2, output
    assert output.startswith('Error: '), output


def test_all_of_the_syntax(tmp_path, monkeypatch):
    """Definitions, environment, inclusion, import, comments, case, empty sections."""
    port = free_port()
    monkeypatch.setenv('HERE', str(tmp_path))
    (tmp_path / 'part.conf').write_text('%define dir .\n%define FILE main\n')
    server = Server(f'''
# a comment
%include part.conf
%import ZODB
%define port {port}
<zeo>
   ADDRESS    127.0.0.1:$port
   Invalidation-Queue-Size 7
   invalidation-age 7200
   transaction-timeout 45
</zeo>

<filestorage main>
   path ${{dir}}/$file.fs
   quota 10MB
   create off
</filestorage>
<FileStorage second>
   path $(HERE)/second$$.fs
</FileStorage>
<mappingstorage third/>
''', tmp_path)
    for name in 'main', 'second', 'third':
        with Wire(('127.0.0.1', port), register=name) as wire:
            assert wire.call('get_info')['length'] == 0
    assert {'main.fs', 'second$.fs'} <= set(os.listdir(tmp_path))
    server.stop()


def run_with(text, directory):
    (directory / 'zeo.conf').write_text(text)
    return run('-C', 'zeo.conf', cwd=directory)
