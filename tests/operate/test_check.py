"""What runzeo tells of itself and its configuration: --check, -X, --print-config, manuals."""
import ctypes
import os
import subprocess
import sys

import pytest

import ZODB
from support import server as support
from support.configuration import demostorage, eventlog, filestorage, zeo
from support.ports import free_port
from support.server import run
from ZODB.FileStorage import FileStorage

ours_only = pytest.mark.ours_only('Python\'s runzeo has no such option')


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A function that writes a configuration and returns its name."""
    monkeypatch.chdir(tmp_path)

    def write(*sections, **options):
        with open('zeo.conf', 'w') as f:
            f.write(zeo(**options) + ''.join(sections or [filestorage()]))
        return 'zeo.conf'
    return write


def fill(path='Data.fs', count=3):
    db = ZODB.DB(FileStorage(path))
    with db.transaction() as connection:
        for number in range(count):
            connection.root()[number] = type(connection.root())()
    db.close()


def contents():
    """All files with their bytes and times."""
    found = {}
    for folder, _, names in os.walk('.'):
        for name in [*names, '']:
            path = os.path.join(folder, name)
            known = os.stat(path)
            with open(os.devnull if os.path.isdir(path) else path, 'rb') as f:
                found[path] = (f.read(), known.st_mtime_ns, known.st_ino)
    return found


def check(expected, *args):
    """Runs --check, which must change nothing; returns what it prints."""
    before = contents()
    code, output = run('-C', 'zeo.conf', '--check', *args)
    assert code == expected, output
    assert contents() == before
    return output


@ours_only
def test_good_files(conf):
    conf(filestorage(blob_dir='blobs'), filestorage('New.fs', 'new', blob_dir='new-blobs'),
         demostorage(filestorage('Base.fs', read_only=True), name='demo'),
         eventlog('log/zeo.log'), pid_filename='zeo.pid')
    os.mkdir('log')
    fill()
    fill('Base.fs')
    output = check(0)
    assert "storage '1': Data.fs has 4 objects in " in output
    assert "storage 'new': New.fs does not exist, and will be created" in output
    assert "storage 'demo': Base.fs has 4 objects" in output
    assert output.endswith('the configuration is good\n')
    assert run('-C', 'zeo.conf', '--test')[0] == 0


@ours_only
def test_the_index(conf):
    conf()
    fill()
    os.remove('Data.fs.index')
    assert 'there is no Data.fs.index: a start reads the whole file' in check(0)
    with open('Data.fs.index', 'w') as f:
        f.write('no index')
    assert 'Data.fs.index' in check(0)


@ours_only
@pytest.mark.parametrize('prepare, code, words', [
    (lambda: open('Data.fs', 'w').write('no FileStorage at all'), 1, "can't open storage '1': "),
    (lambda: fill() or damage('Data.fs'), 1, "can't open storage '1': "),
    (lambda: os.mkdir('Data.fs'), 1, "can't open storage '1': "),
])
def test_files_that_can_t_be_opened(prepare, code, words, conf):
    conf()
    prepare()
    assert words in check(code)


@ours_only
@pytest.mark.parametrize('name', ['Data.fs.lock', 'blobs/.layout', 'blobs/tmp'])
def test_what_another_user_has_made(name, conf):
    """As somebody who started the server as root once, or Python's."""
    conf(filestorage(blob_dir='blobs'))
    FileStorage('Data.fs', blob_dir='blobs').close()
    check(0)
    os.chmod(name, 0)
    done = subprocess.run([support.binary(), '-C', 'zeo.conf', '--check'], stderr=subprocess.PIPE,
                          preexec_fn=obey_permissions, text=True, check=False)
    os.chmod(name, 0o700)
    assert done.returncode == 1 and name in done.stderr and 'Permission denied' in done.stderr


def obey_permissions():
    """Takes root's right to ignore those of files (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH) away."""
    for capability in 1, 2:
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


def damage(path):
    """Overwrites the length of the first transaction."""
    with open(path, 'r+b') as f:
        f.seek(12)
        f.write(b'\xff' * 8)
    os.remove(path + '.index')


@ours_only
@pytest.mark.parametrize('sections, options, code, words', [
    ([filestorage('missing/Data.fs')], {}, 2, 'missing'),
    ([filestorage(read_only=True)], {}, 1, "can't open storage '1': "),
    ([filestorage(), filestorage(name='again')], {}, 2, 'use the same file'),
    ([filestorage(color='red')], {}, 2, "'color'"),
    (None, {'address': 'missing/socket'}, 2, 'missing'),
])
def test_configurations_that_can_t_be_served(sections, options, code, words, conf):
    conf(*sections or [filestorage()], **options)
    assert words in check(code).replace('"', "'")


@ours_only
@pytest.mark.parametrize('what, extra, args, options', [
    ('pid file', '', (), {'pid_filename': './Data.fs'}),
    ('pid file', '', ('--pid-file', 'Data.fs'), {}),
    ('address file', '', ('--address-file', 'Data.fs'), {}),
    ('log file', eventlog('Data.fs'), (), {}),
])
def test_nothing_else_is_written_over_the_data(what, extra, args, options, conf):
    conf(filestorage('Data.fs') + extra, **options)
    fill()
    before = contents()
    for check in [], ['--check']:
        code, output = run('-C', 'zeo.conf', *args, *check)
        assert code == 2 and f'the {what} ' in output and "Data.fs is the data file of storage '1'" in output
        assert contents() == before


@ours_only
def test_while_the_server_runs(serve):
    """A running server is no error."""
    server = serve()
    with open('zeo.conf', 'w') as f:
        f.write(zeo('%s:%s' % server.address) + filestorage())
    code, output = run('-C', 'zeo.conf', '--check')
    assert code == 0
    assert 'Warning: somebody listens at 127.0.0.1:' in output
    assert 'Data.fs is in use by another process' in output


@ours_only
@pytest.mark.parametrize('address, code', [
    ('192.0.2.1:8100', 1), ('no-such-host.invalid:8100', 1), ('./file', 1)])
def test_addresses_that_can_t_be_had(address, code, conf):
    """Of the server, and of its monitor. The start says the same."""
    conf(address=address)
    with open('file', 'w'):
        pass
    words = f"can't listen at {address}"
    assert words in check(code)
    conf()
    code, output = run('-C', 'zeo.conf', '--monitor', address)
    assert f'the monitor {words}' in output
    assert f'the monitor {words}' in check(code, '--monitor', address)
    if './' in address:
        assert "the monitor can't listen at ./none/monitor" in check(2, '--monitor', './none/monitor')


@ours_only
@pytest.mark.parametrize('address, monitor', [
    ('127.0.0.1:{}', '127.0.0.1:{}'), ('127.0.0.1:{}', '{}'), ('localhost:{}', '127.0.0.1:{}'),
    ('127.0.0.1:{}', '*:{}'), ('{}', '127.0.0.1:{}'), ('./zeo.sock', './zeo.sock'),
    ('./zeo.sock', '././zeo.sock')])
def test_one_address_for_the_server_and_its_monitor(address, monitor, conf):
    """The start says the same, before it makes a file."""
    port = free_port()
    conf(address=address.format(port))
    words = "the server and its monitor can't both listen at "
    for args in [], ['--check']:
        code, output = run('-C', 'zeo.conf', '--monitor', monitor.format(port), *args)
        assert code == 2 and words in output, output
    assert not os.path.exists('Data.fs')
    # Those that only look alike.
    others = ['0', './monitor.sock'] + [f'127.0.0.2:{port}'] * address.startswith('127.')
    for other in others:
        check(0, '--monitor', other)


@ours_only
def test_addresses_of_the_monitor(serve):
    serve(args=['--monitor', './monitor'])
    with open('zeo.conf', 'w') as f:
        f.write(zeo() + filestorage('Other.fs'))
    code, output = run('-C', 'zeo.conf', '--check', '--monitor', './monitor', '--monitor', '0')
    assert code == 0 and 'Warning: somebody listens at ./monitor' in output, output


@ours_only
def test_the_conflict_resolver(conf):
    conf()
    assert 'the conflict resolver works' in check(0, '--conflict-resolver', sys.executable)
    assert 'does not work' in check(2, '--conflict-resolver', '/no/such/program')


@pytest.mark.parametrize('spec, problem', [
    ('zeo/color=red', 'known key'), ('color=red', 'known key'), ('zeo', 'invalid configuration'),
    ('nothing/here=1', ''), ('zeo//address=1', "'//' is not allowed"), ('zeo/ssl/key=1', ''),
])
def test_wrong_overrides(spec, problem, conf):
    code, output = run('-C', conf(), '-X', spec)
    assert code == 2 and problem in output, output


def test_overrides_need_a_configuration_file(tmp_path):
    code, output = run('-a', '127.0.0.1:0', '-f', 'x.fs', '-X', 'zeo/read-only=on', cwd=tmp_path)
    assert code == 2
    assert 'configuration overrides (-X) cannot be used without a configuration file' in output


def test_overrides(serve):
    """A path by the section's name, and a level of the log by its type."""
    server = serve(storages=filestorage(name='main'), extra=eventlog(),
                   args=['-X', 'MAIN/path=Other.fs', '-X', 'eventlog/level=debug'])
    server.stop()
    assert os.path.exists('Other.fs') and not os.path.exists('Data.fs')


@ours_only
def test_print_config(conf):
    code, text = run('-C', conf(transaction_timeout=7), '-X', 'zeo/read-only=on', '--print-config')
    assert code == 0
    assert '# zeo.conf:3\n  transaction-timeout 7\n' in text
    assert '# -X zeo/read-only=on\n  read-only on\n' in text
    with open('again.conf', 'w') as f:
        f.write(text)
    assert run('-C', 'again.conf', '--check')[0] == 0
    from ZEO.runzeo import ZEOOptions
    options = ZEOOptions()
    options.realize(['-C', 'again.conf'])
    assert options.read_only and options.transaction_timeout == 7


@ours_only
@pytest.mark.parametrize('args', [[], ['--pid-file', 'missing/var/ZEO.pid']])
def test_print_config_without_the_directory_of_the_pid_file(args, conf):
    """There is no pid file then; a configuration that names one would be refused."""
    code, text = run('-C', conf(), *args, '--print-config', env={'INSTANCE_HOME': 'missing'})
    assert code == 0 and '# not set: pid-filename' in text
    with open('again.conf', 'w') as f:
        f.write(text)
    assert run('-C', 'again.conf', '--check')[0] == 0


@ours_only
@pytest.mark.parametrize('program', ['runzeo', 'fstool', 'zeo', 'zeopack', 'zeo-nagios'])
def test_manuals(program, tmp_path):
    path = os.path.join(os.path.dirname(support.binary()), program)

    def ask(*args):
        return subprocess.run([path, *args], stdout=subprocess.PIPE, check=True, text=True).stdout
    assert all(option in ask('--help') for option in ('--man-page', '--completions'))
    page = ask('--man-page')
    assert f'.TH {program} 1' in page
    script = tmp_path / 'completions'
    for shell in 'bash', 'zsh', 'fish':
        text = ask('--completions', shell)
        assert program in text
        if shell == 'bash':
            script.write_text(text)
            subprocess.run(['bash', '-n', str(script)], check=True)
    if program == 'fstool':
        assert '.TH fstool-test 1' in ask('--man-page', 'test')
    script = os.path.join(support.REPOSITORY, 'scripts', 'manuals')
    subprocess.run([script, os.path.dirname(path), str(tmp_path)], check=True)
    made = {name for _, _, names in os.walk(tmp_path) for name in names}
    assert {f'{program}.1', program, f'_{program}', f'{program}.fish', 'fstool-copy.1'} <= made
