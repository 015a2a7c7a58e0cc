"""The handlers of <eventlog>: what they send is what Python's send."""
import email
import email.policy
import io
import json
import logging
import os
import re
import socket
import urllib.parse

import pytest
import ZConfig
from support.certificates import Certificates, ssl_section
from support.configuration import eventlog
from support.receivers import Datagrams, Mail, Stream, Web
from support.server import REPOSITORY, run, wait_until
from support.wire import Disconnected, Wire
from ZEO.ClientStorage import ClientStorage

pytestmark = pytest.mark.ours_only('its own handlers are what ours are compared with')

HANDLERS = '''
<syslog>
  address {first}
  facility local3
  level info
</syslog>
<http-logger>
  url http://{get}/log?from=zeo
</http-logger>
<syslog>
  address {datagrams}
  format %(asctime)s|%(levelname)-8s|%(levelno)03d|%(name)s|%(message)s|%(threadName)s
  dateformat
</syslog>
<syslog>
  address {stream}
  facility AUTHPRIV
  style format
  format {{levelname:>8}} {{message}} {{args}} {{exc_info}}\\n{{msecs:6.1f}}
  level warn
</syslog>
<win32-eventlog>
  appname Zope
</win32-eventlog>
<http-logger>
  url http://{post}/log
  method post
  level warning
</http-logger>
<email-notifier>
  from zope@example.com
  to admin@example.com
  to Bob <bob@example.com>
  subject Trüble with the database server, of which this subject tells at some length
  smtp-server {mail}
  smtp-username me
  smtp-password secret
  level error
</email-notifier>
'''
SCHEMA = '''<schema><import package="ZConfig.components.logger"/>
<section type="eventlog" name="*" attribute="eventlog"/></schema>'''


class Receivers:
    """All that HANDLERS send to."""

    def __init__(self, directory):
        os.mkdir(directory)
        self.all = {
            'first': Datagrams(), 'datagrams': Datagrams(f'{directory}/datagrams'),
            'stream': Stream(f'{directory}/stream'), 'get': Web(), 'post': Web(), 'mail': Mail()}
        addresses = {name: receiver.address for name, receiver in self.all.items()}
        self.handlers = HANDLERS.format(**addresses)

    def __getitem__(self, name):
        return self.all[name].received

    def close(self):
        for receiver in self.all.values():
            receiver.close()


def python_log(handlers):
    """Python's handlers for these sections."""
    schema = ZConfig.loadSchemaFile(io.StringIO(SCHEMA))
    text = f'<eventlog>\nlevel debug\n{handlers}</eventlog>\n'
    factory = ZConfig.loadConfigFile(schema, io.StringIO(text))[0].eventlog
    return [create() for create in factory.handler_factories]


def python_record(query):
    """Python's record for the fields in a request."""
    fields = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
    for name in 'levelno', 'lineno', 'thread', 'process':
        fields[name] = int(fields[name])
    for name in 'created', 'msecs', 'relativeCreated':
        fields[name] = float(fields[name])
    for name in 'exc_info', 'exc_text', 'stack_info':
        assert fields[name] == 'None'
        fields[name] = None
    assert fields['args'] == '()'
    fields['args'] = ()
    # What a handler before has made of it, which Python's makes anew.
    fields.pop('message', None)
    fields.pop('asctime', None)
    record = logging.makeLogRecord({})
    record.__dict__.clear()
    record.__dict__.update(fields)
    return record


def mails(received):
    """What matters in mails."""
    for mail in received:
        if isinstance(mail, bytes):
            yield mail
            continue
        sender, receivers, text = mail
        parsed = email.message_from_bytes(text, policy=email.policy.default)
        assert parsed['Date'].datetime and parsed['MIME-Version'] == '1.0'
        yield (sender, receivers, str(parsed['From']), parsed['To'].addresses, parsed['Subject'],
               parsed.get_content_type(), parsed.get_content_charset(), parsed.get_content())


def test_handlers_send_what_pythons_do(serve):
    ours, theirs = Receivers('ours'), Receivers('theirs')
    server = serve(address='./zeo.sock', ready=False,
                   extra=f'<eventlog>\nlevel debug\n{ours.handlers}</eventlog>\n')
    wait_until(lambda: any(b'listening on' in line for line in ours['first']))
    with Wire('./zeo.sock', register=None) as wire:
        wire.send(b'nonsense \xc3\xbc & more=100% <*~\'"')
    with Wire('./zeo.sock') as wire:
        wire.call('set_client_label', 'Füße & 3 €')
        wire.call('server_status')
    with Wire('./zeo.sock') as wire, pytest.raises(Disconnected):
        wire.call('no_such_method')
    for words in 'nonsense', 'F%C3%BC%C3%9F':
        wait_until(lambda: any(words in path for _, path, _, _ in ours['get']))
    server.stop()
    queries = [path.split('from=zeo&')[1] for _, path, _, _ in ours['get']]

    handlers = python_log(theirs.handlers)
    for query in queries:
        for handler in handlers:
            record = python_record(query) if handler is handlers[0] else record
            if record.levelno >= handler.level:
                handler.handle(record)
    for handler in handlers:
        handler.close()
    for name in 'first', 'datagrams', 'stream', 'get', 'post', 'mail':
        wait_until(lambda: len(theirs[name]) == len(ours[name]),
                   lambda: f'{name}: {theirs[name]}\n{ours[name]}')
    assert ours['stream'] and ours['post'] and ours['mail']
    for name in 'first', 'datagrams', 'stream':
        assert ours[name] == theirs[name]
    for name in 'get', 'post':
        assert [request[:3] for request in ours[name]] == [request[:3] for request in theirs[name]]
        content = [headers.get('content-type') for *_, headers in ours[name]]
        assert content == [headers.get('content-type') for *_, headers in theirs[name]]
    assert list(mails(ours['mail'])) == list(mails(theirs['mail']))
    ours.close(), theirs.close()


def test_a_syslog_socket_that_goes(serve):
    """Its lines are lost and counted; it gets those after its return."""
    syslog = Datagrams('./log')
    extra = '<eventlog>\n<syslog>\naddress ./log\n</syslog>\n<logfile>\npath x.log\n</logfile>\n' \
            '</eventlog>\n'
    server = serve(extra=extra)
    wait_until(lambda: any(b'listening' in line for line in syslog.received))
    syslog.close()
    ClientStorage(server.address).close()
    server.wait_for_log('lost 1 log line to syslog at ./log: ')
    server.wait_for_log('disconnected')
    again = Datagrams('./log')
    ClientStorage(server.address, client_label='again').close()
    wait_until(lambda: any(b'again' in line and b'disconnected' in line for line in again.received))
    server.stop()
    again.close()
    assert 'WARNING ZEO.runzeo lost 1 log line to syslog at ./log: ' in read('x.log')


def test_receivers_that_take_nothing(serve):
    """Neither the server nor other logs wait, and it ends."""
    with socket.create_server(('127.0.0.1', 0)) as silent:
        address = '127.0.0.1:%s' % silent.getsockname()[1]
        unread = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        os.makedirs('sub')
        unread.bind('sub/log')
        server = serve(extra=f'''<eventlog>
            <http-logger>
              url http://{address}/
            </http-logger>
            <email-notifier>
              from a@b.c
              to a@b.c
              smtp-server {address}
            </email-notifier>
            <syslog>
              address sub/log
            </syslog>
            <logfile>
              path x.log
            </logfile>
            </eventlog>''')
        with Wire(server.address) as wire:
            for _ in range(1200):
                wire.call('getInvalidations', b'\x7f' * 8)
        wait_until(lambda: 'disconnected' in read('x.log'))
        assert read('x.log').count('invalidations up to') == 1200
        server.stop()
        unread.close()
    for name in 'syslog at sub/log', f'http://{address}/', f'the mail server {address}':
        assert re.search(f'lost [0-9]+ log lines to {name}: ', server.log())


def test_a_syslog_host_that_is_not_there(tmp_path, monkeypatch):
    """As with Python's server, that is no start."""
    monkeypatch.chdir(tmp_path)
    host = 'x' * 300  # not asked for
    with open('zeo.conf', 'w') as f:
        f.write('<zeo>\naddress ./sock\n</zeo>\n<mappingstorage/>\n<eventlog>\n<syslog>\n'
                f'address {host}:514\n</syslog>\n</eventlog>\n')
    code, text = run('-C', 'zeo.conf')
    assert code == 1 and f"Error: eventlog: can't find the syslog host {host}: " in text


def test_health_checks_make_no_noise(serve):
    """Somebody connects and goes without a word, or asks whether all is well."""
    server = serve(extra=eventlog('x.log', 'info'))
    wait_until(lambda: 'listening' in read('x.log'))
    before = read('x.log')
    for _ in range(5):
        socket.create_connection(server.address).close()
        with socket.create_connection(server.address) as reset:
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
        with Wire(server.address, register=None) as wire:
            wire.send(b'ruok')
            assert json.loads(wire.receive())['1']['connections'] == 0
    with Wire(server.address):
        pass
    wait_until(lambda: 'disconnected' in read('x.log'))
    server.stop()
    lines = read('x.log')[len(before):].replace('------\n', '').splitlines()
    assert ["received handshake 'Z5'" in lines[0], 'disconnected' in lines[1]] == [True, True]
    assert 'terminated by SIGTERM' in lines[2]


def test_words_to_grep_for_are_in_the_log():
    """Those that docs/operating.md names are what the server says."""
    table = read(f'{REPOSITORY}/docs/operating.md').split('### What to grep for')[1].split('\n## ')[0]
    words = re.findall(r'^\| `([^`]+)` \|', table, re.MULTILINE)
    assert len(words) > 10
    source = ''
    for directory, _, names in os.walk(f'{REPOSITORY}/server/src'):
        source += ''.join(read(f'{directory}/{name}') for name in names if name.endswith('.rs'))
    source = re.sub(r'\\\n\s*', '', source)
    for each in words:
        assert each in source, each


def test_health_checks_make_no_noise_with_tls(serve, tmp_path):
    """Whether the connection ends in an orderly way, or is reset as by HAProxy."""
    made = Certificates(tmp_path)
    certificate = made.self_signed('server')
    server = serve(ssl=ssl_section(certificate, certificate), extra=eventlog('x.log', 'debug'))
    wait_until(lambda: 'listening' in read('x.log'))
    before = read('x.log')
    for _ in range(5):
        socket.create_connection(server.address).close()
        with socket.create_connection(server.address) as reset:
            reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
    wait_until(lambda: read('x.log').count(' closing: ') == 10)
    lines = read('x.log')[len(before):].replace('------\n', '').splitlines()
    assert all(' DEBUG ' in line for line in lines), lines
    server.stop()


JSON_MEMBERS = ['time', 'level', 'logger', 'message', 'pid']


@pytest.mark.parametrize('args, env', [
    (['--log-format', 'json'], {}), ([], {'RZEO_LOG_FORMAT': 'json'})])
@pytest.mark.parametrize('extra', [
    '', eventlog('x.log', 'debug'),
    '<eventlog>\n<logfile>\npath STDOUT\nformat %(name)s\n</logfile>\n</eventlog>\n',
    '<eventlog>\n<logfile>\npath x.log\nencoding ascii\nstyle template\nformat $$message\n'
    '</logfile>\n</eventlog>\n'])
def test_json_lines(serve, args, env, extra):
    """Each line is an object, whatever the message holds."""
    server = serve(address='./zeo.sock', args=args, env=env, extra=extra, ready=False)
    server.wait_for_log('listening on')
    with Wire('./zeo.sock') as wire:
        wire.call('set_client_label', 'Füße "€" \n\u2028')
    server.wait_for_log('disconnected')
    server.stop()
    lines = [json.loads(line) for line in server.log().split('\n') if line]
    for line in lines:
        assert list(line)[:5] == JSON_MEMBERS
        assert line['pid'] == server.pid and line['level'] in ['DEBUG', 'INFO']
        assert re.fullmatch(r'20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ', line['time'])
    ended = [line for line in lines if line['message'].startswith('disconnected')]
    assert ended[0]['client'].startswith('Füße "€" ')
    assert lines[0]['logger'] == 'ZEO.runzeo'


def read(path):
    with open(path) as f:
        return f.read()
