"""Every test here attacks a server of its own, and ends with the same questions to it.

With `RZEO_HOSTILE_TLS` in the environment, all of it over TLS. With `RZEO_HOSTILE_POSTGRES`, `history` or
`free`, PostgreSQL databases take the place of files.
"""
import os

import pytest
from postgres.conftest import Database, cluster  # noqa: F401
from support.certificates import Certificates, client_context, ssl_section
from support.wire import Wire

from hostile.target import POSTGRES, Target


@pytest.fixture
def target(serve, encoding, request, tmp_path, monkeypatch):
    """A server in either encoding; `@pytest.mark.options(...)` sets options of `<zeo>`,
    `@pytest.mark.arguments(...)` some on the command line. `@pytest.mark.tls` sets TLS."""
    mark = request.node.get_closest_marker('options')
    options = dict(mark.kwargs) if mark else {}
    if request.node.get_closest_marker('tls') or os.environ.get('RZEO_HOSTILE_TLS'):
        made = Certificates(tmp_path)
        own, client = made.self_signed('server'), made.self_signed('client')
        options['ssl'] = ssl_section(own, client)
        monkeypatch.setattr(Wire, 'context', client_context(client, own))
    storages = options.get('storages') or ''
    if POSTGRES and 'mappingstorage' not in storages:
        database = Database(request.getfixturevalue('cluster'), POSTGRES == 'history')
        options['storages'] = database.section(*(['blob-dir blobs'] if 'blob-dir' in storages else []))
    arguments = request.node.get_closest_marker('arguments')
    target = Target(serve(encoding=encoding, args=arguments.args if arguments else (), **options))
    yield target
    target.check()
