"""What the server's monitor answers."""
import http.client
import json
import re
import socket

from .server import PATIENCE, wait_until

_LINE = re.compile(r'(zeo_server_[a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)')
_LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


class Unix(http.client.HTTPConnection):
    """HTTP at a Unix socket."""

    def __init__(self, path):
        super().__init__('zeo', timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


class Monitor:
    """The monitors of a server that was started with `--monitor`."""

    def __init__(self, server):
        server.wait_for_log('monitor at ')
        self.addresses = re.search(r'monitor at (.*)', server.log())[1].split(', ')
        # It answers before the server does, and clients may be let in a moment before it knows.
        wait_until(lambda: self.ask('/readyz')[1] != 'the server is starting')

    def ask(self, path, address=None, method='GET', body=None, headers=()):
        """The status and the text of an answer, from the first address or another."""
        address = address or self.addresses[0]
        if '/' in address:
            connection = Unix(address)
        else:
            connection = http.client.HTTPConnection(address, timeout=PATIENCE)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def status(self):
        """`/status.json`."""
        code, text = self.ask('/status.json')
        assert code == 200, text
        return json.loads(text)

    def client(self, label):
        """The client of this label in `/status.json`."""
        found, = (c for c in self.status()['clients'] if c['label'] == label)
        return found

    def wait_for(self, condition):
        """Polls until `condition` is true of `/status.json`; returns that."""
        found = []

        def is_met():
            found[:] = [self.status()]
            return condition(found[0])

        wait_until(is_met, lambda: f'not in {found}')
        return found[0]

    def metrics(self):
        """`/metrics`: {(name, ((label, value), ...)): number}, checked strictly."""
        code, text = self.ask('/metrics')
        assert code == 200, text
        return parse(text)

    def control(self, name, **body):
        """Sends a control request to the first Unix socket."""
        address = next(a for a in self.addresses if '/' in a)
        code, text = self.ask(f'/control/{name}', address, 'POST', json.dumps(body),
                              {'Content-Type': 'application/json'})
        return code, json.loads(text)


def parse(text):
    """The values of a text in Prometheus's format; fails where that is broken."""
    values, types, helped = {}, {}, set()
    assert text.endswith('\n')
    for line in text.splitlines():
        if line.startswith('#'):
            _, what, name, rest = line.split(' ', 3)
            assert name.startswith('zeo_server_') and rest, line
            if what == 'HELP':
                assert name not in helped, line
                helped.add(name)
            else:
                assert what == 'TYPE' and rest in ('counter', 'gauge', 'histogram'), line
                types[name] = current, kind = name, rest
                assert (kind == 'counter') == name.endswith('_total'), line
            continue
        match = _LINE.fullmatch(line)
        assert match, line
        name = match[1]
        if kind == 'histogram':
            name = re.sub('_(bucket|sum|count)$', '', name)
        assert name == current, f'{line}: not below its TYPE'
        key = match[1], tuple(_LABEL.findall(match[2] or ''))
        assert key not in values, line
        values[key] = float(match[3])
    assert helped == set(types)
    return values
