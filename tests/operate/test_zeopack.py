"""`zeopack` beside the script of ZEO, with both servers."""
import os
import pickle
import struct
import time

import pytest
import transaction
import ZEO
from support.configuration import filestorage
from support.ports import free_port
from support.pretenders import GREETING, pretender
from support.programs import ours, pythons, run

OURS, PYTHONS = ours('zeopack'), pythons('zeopack')
QUIET = 0, '', ''


def text(address):
    return address if isinstance(address, str) else '%s:%s' % address


def grow(server, storage='1'):
    """Commits until there is something to pack; the size of the file then."""
    db = ZEO.DB(server.address, storage=storage)
    with db.transaction() as connection:
        connection.root()['text'] = 'x' * 10_000
    with db.transaction() as connection:
        del connection.root()['text']
    db.close()
    transaction.abort()


def packed(result, path='Data.fs'):
    assert (result.code, result.out, result.err) == QUIET, result
    return os.path.getsize(path) < 10_000


@pytest.mark.parametrize('program', [OURS, PYTHONS], ids=['ours', 'python'])
def test_a_storage_is_packed(serve, program):
    server = serve()
    address = text(server.address)
    grow(server)
    host, port = server.address
    before = time.strftime('%H:%M:%S', time.localtime(time.time() - 3600))
    for args in ([address, '-d', '1'], [address, '--days=3'], ['-d1', '-h', host, '-p', port]):
        assert not packed(run(program, *args)), args
    if before < time.strftime('%H:%M:%S'):
        assert not packed(run(program, '-t', before, address))
    assert packed(run(program, f'{address}:1'))
    grow(server)
    assert packed(run(program, '-h', host, '-p', hex(port), '-S', '1'))


def test_in_the_future(serve):
    """What is not yet there counts as old, in both."""
    server = serve()
    grow(server)
    assert packed(run(OURS, '-d', '-1', text(server.address)))


def test_at_unix_sockets(serve):
    server = serve(filestorage(name='main'), address='./zeo.sock')
    for args in (['-u', 'zeo.sock:main'], ['-U', './zeo.sock', '-S', 'main'], ['--unix=zeo.sock:main']):
        grow(server, 'main')
        assert packed(run(OURS, *args)), args


def test_over_ipv6(serve):
    try:
        server = serve(address='[::1]:0')
    except AssertionError as e:
        pytest.skip(f'no IPv6: {e}')
    grow(server)
    assert packed(run(OURS, '[::1]:%s:1' % server.address[1]))


@pytest.mark.parametrize('args', [
    ['-d3'], ['-d3', 'a'], ['-d3', 'a:b:c:d'], ['-d3', 'a:b:2'], ['-d3', '-u', 'a:b:2'],
    ['-t', '1:2:3:4', 'a:1'], ['-h', 'a'], ['-p', '0'],
], ids=str)
def test_errors_are_told_alike(args):
    assert run(OURS, *args) == run(PYTHONS, *args)


@pytest.mark.parametrize('args', [
    [], ['--nonsense'], ['-d', 'x', 'a:1'], ['-p', 'x'], ['-t', 'x', 'a:1'], ['-d'],
], ids=str)
def test_exit_codes_are_the_same(args):
    result, python = run(OURS, *args), run(PYTHONS, *args)
    assert result.code == python.code, (result, python)
    assert 'Traceback' not in result.err


def test_help():
    assert run(OURS, '--help').out == run(OURS).out
    assert '--unix <PATH>' in run(OURS).out


def test_only_some_are_there(serve):
    """The others are packed all the same, and the exit code tells."""
    server = serve()
    grow(server)
    nobody = f'127.0.0.1:{free_port()}'
    result = run(OURS, '--wait', '0.1', nobody, text(server.address))
    assert result.code == 3 and os.path.getsize('Data.fs') < 10_000, result
    host, port = nobody.split(':')
    assert result.err.startswith(f"Couldn't connect to: (('{host}', {port}), '1')\n"), result
    result = run(OURS, '--wait', '0.1', nobody)
    assert result.code == 1
    assert result.err.endswith('Error:\nCannot connect to any of the configured ZEO servers.\n')


def test_an_unknown_storage_is_told_at_once(serve):
    server = serve()
    result = run(OURS, f'{text(server.address)}:other')
    assert result.code == 1 and 'unknown storage' in result.err, result


def test_a_failing_pack():
    """It is told, and the next one is packed all the same."""
    frames = (1, 0, '.reply', b'\0' * 8), (2, 2, '.reply', ('ZODB.FileStorage.FileStorageError', ('busy',)))
    answer = GREETING
    for frame in map(pickle.dumps, frames, [3, 3]):
        answer += struct.pack('>I', len(frame)) + frame
    with pretender(answer) as address:
        result = run(OURS, address, address)
    port = address.split(':')[1]
    assert result.code == 1 and result.err == 2 * (
        f"Error:\nError packing storage 1 in ('127.0.0.1', {port})\n"
        f'{address}: pack: ZODB.FileStorage.FileStorageError: busy\n'), result


@pytest.mark.parametrize('answer', [
    b'', b'HTTP/1.1 400 Bad Request\r\n\r\n', GREETING, GREETING + b'\0\0\0\x07garbage',
    b'\0\0\0\x04Z310'])
def test_hostile_servers(answer):
    for hold in False, True:
        with pretender(answer, hold) as address:
            result = run(OURS, '--wait', '0.3', address)
        assert result.code == 1, result
        assert result.err.count('\n') == 4 and address in result.err, result
