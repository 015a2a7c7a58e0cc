"""`zeo-nagios` beside the script of ZEO, with both servers."""
import json
import os
import re

import pytest
import ZEO
from support.configuration import mappingstorage
from support.ports import free_port
from support.pretenders import GREETING, pretender
from support.programs import ours, pythons, run

OURS, PYTHONS = ours('zeo-nagios'), pythons('zeo-nagios')


def both(*args):
    """The result, which is the same for both programs."""
    result, python = run(OURS, *args), run(PYTHONS, *args)
    assert (result.code, result.out) == (python.code, python.out), (args, result, python)
    assert not result.err
    return result


def text(address):
    return address if isinstance(address, str) else '%s:%s' % address


def test_one_storage(serve):
    server = serve()
    address = text(server.address)
    result = both(address)
    assert (result.code, result.out) == (1, "Empty storage '1'\n")
    ZEO.DB(server.address).close()
    assert (both(address).code, both(address).out) == (0, 'OK\n')
    result = both(address, '-m')
    assert result.out == 'OK|active_txns=0\n| connections=0\n waiting=0\n'
    both(address, '--output-m')
    # The file is the same for both; what is done in between is seen by either.
    for writer, reader in ((OURS, PYTHONS), (PYTHONS, OURS)):
        assert run(writer, '-mssamples', address).code == 0
        os.utime('samples', (os.path.getmtime('samples') - 3600,) * 2)
        ZEO.DB(server.address).close()
        result = run(reader, address, '-m', '-u', 'hours', '--status-path', 'samples')
        rates = dict(re.findall(r'^ (\w+)=(.*)$', result.out, re.MULTILINE))
        assert result.code == 0 and rates['commits'] == '0.0', result
        assert 0.9 < float(rates['loads']) <= 1.1, result
        with open('samples') as f:
            assert json.load(f)['1']['sameple-time'] > 0


def test_several_storages(serve):
    server = serve(mappingstorage('first') + mappingstorage('second'))
    result = both(text(server.address), '-m')
    assert result.code == 1
    assert result.out.startswith("Empty storage 'first'|first:active_txns=0\nEmpty storage 'second'\n")
    assert result.out.endswith('\n second:waiting=0\n')


def test_at_a_unix_socket(serve):
    server = serve(address='./zeo.sock')
    assert both('./zeo.sock').out == "Empty storage '1'\n"
    assert both('zeo.sock').code == 1
    server.stop()
    assert both('zeo.sock').code == 2


def test_over_ipv6(serve):
    try:
        server = serve(address='[::1]:0')
    except AssertionError as e:
        pytest.skip(f'no IPv6: {e}')
    assert both('[::1]:%s' % server.address[1]).code == 1


def test_nobody_is_there():
    result = both(f'127.0.0.1:{free_port()}')
    assert (result.code, result.out) == (2, "Can't connect [Errno 111] Connection refused\n")
    assert both('/no/such/socket').out == "Can't connect [Errno 2] No such file or directory\n"


@pytest.mark.parametrize('args', [
    [], ['a:1', 'b:2'], ['-x', 'a:1'], ['-u', 'years', 'a:1'], ['-s'], ['--no-such'],
])
def test_wrong_usage(args):
    result, python = run(OURS, *args), run(PYTHONS, *args)
    assert result.code == python.code, (result, python)
    assert 'Traceback' not in result.err + result.out


@pytest.mark.parametrize('answer, expected', [
    (b'', 'the connection was lost while waiting for greeting'),
    (b'SSH-2.0-OpenSSH_9.2\r\n', "no ZEO server: it begins with 'SSH-'"),
    (b'\x15\x03\x03\0\x02\x02\x28', 'the server speaks TLS'),
    (GREETING, 'the connection was lost while waiting for status'),
    (GREETING + b'\0\0\1\0{"1": ', 'the connection was lost while waiting for status'),
    (GREETING + b'\x7f\0\0\0', 'over the limit'),
    (GREETING + b'\0\0\0\x03{]}', 'its status is no JSON'),
    (GREETING + b'\0\0\0\x01' + b'7', 'its status is not one of storages but 7'),
    (GREETING + b'\0\0\0\x08{"1":{}}', "the status of storage 1 has no \"active_txns\""),
    (GREETING + b'\0\0\0\x02{}', 'No storages'),
])
def test_what_makes_no_sense(answer, expected):
    with pretender(answer) as address:
        result = run(OURS, '-m', address)
    assert result.code == 1 and expected in result.out, result
    assert result.out.count('\n') == 1 and not result.err, result


@pytest.mark.parametrize('name, expected', [
    ('a\n\x1b[2Jb', "OK|a\\n\\u{1b}[2Jb:active_txns=0\n"), ('ä ö', "OK|'ä ö:active_txns'=0\n")])
def test_a_storage_s_name_is_one_line(name, expected):
    """A server may have made it up; what is printed goes to other programs, and to people."""
    counters = {'active_txns': 0, 'connections': 0, 'waiting': '0\nCRITICAL',
                'last-transaction': '0000000000000001'}
    frame = json.dumps({name: counters}).encode()
    with pretender(GREETING + len(frame).to_bytes(4, 'big') + frame) as address:
        result = run(OURS, '-m', address)
    assert result.code == 0 and result.out.startswith(expected), result
    assert result.out.count('\n') == 3 and '\x1b' not in result.out, result


def test_silence_has_an_end():
    for answer in b'', GREETING:
        with pretender(answer, hold=True) as address:
            result = run(OURS, '--timeout', '0.2', address)
        assert result.code == 2 and ' within 0.2 s' in result.out, result


def test_samples_that_make_no_sense(serve):
    address = text(serve().address)
    with open('samples', 'w') as f:
        f.write('{')
    os.utime('samples', (1, 1))
    result, python = (run(path, '-m', '-s', 'samples', address) for path in (OURS, PYTHONS))
    assert result.code == python.code == 1
    assert "can't read the status file samples: " in result.out
    assert run(OURS, '-m', '-s', '/no/such/directory/samples', address).code == 1
