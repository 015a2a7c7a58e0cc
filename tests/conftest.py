"""Fixtures of all the pytest suites."""
import os

import pytest
from support.configuration import filestorage, zeo
from support.server import Server, binary, is_python


def pytest_configure(config):
    if not os.access(binary(), os.X_OK):
        raise pytest.UsageError(f'no server to test: {binary()} (set RUNZEO)')
    config.addinivalue_line(
        'markers', 'ours_only(reason): upstream\'s server behaves differently on purpose')


def pytest_collection_modifyitems(items):
    if is_python():
        for item in items:
            mark = item.get_closest_marker('ours_only')
            if mark:
                item.add_marker(pytest.mark.skip(f'upstream: {mark.args[0]}'))


def pytest_report_header():
    return f'server under test: {binary()}'


@pytest.fixture(params=['Z', 'M'])
def encoding(request, monkeypatch):
    """Runs a test with both encodings: pickle and msgpack."""
    monkeypatch.delenv('ZEO_MSGPACK', raising=False)
    return request.param


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """A function that starts a server in the test's own directory, stopped at the test's end.

    serve(storages=..., encoding='Z', extra='', args=(), env=None, **zeo options)
    """
    monkeypatch.chdir(tmp_path)
    servers = []

    def start(storages=None, encoding=None, extra='', args=(), env=None, ready=True, **options):
        if encoding == 'M':
            options['msgpack'] = True
        server = Server(zeo(**options) + (storages or filestorage()) + extra,
                        tmp_path, args, env, ready)
        servers.append(server)
        return server

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop()
