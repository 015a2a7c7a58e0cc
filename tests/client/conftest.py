"""Servers for tests of this project's client: ours and Python's, in both encodings, plain and TLS."""
import pytest
from support.certificates import Certificates, client_context, ssl_section
from support.configuration import filestorage, zeo
from support.contest import python_server
from support.server import Server, wait_until
from ZEO.ClientStorage import ClientStorage

from .console import Client, Failed


@pytest.fixture(params=['ours-M', 'ours-Z-tls', 'python-Z', 'python-M-tls'])
def kind(request, monkeypatch):
    """Which server, encoding and transport."""
    monkeypatch.delenv('ZEO_MSGPACK', raising=False)
    return request.param


class Place:
    """A directory with servers of a kind, and clients of both kinds on them."""

    def __init__(self, kind, directory, monkeypatch):
        self.kind, self.directory, self.monkeypatch = kind, directory, monkeypatch
        self.certificates = None
        if kind.endswith('tls'):
            made = Certificates(directory)
            self.certificates = made.self_signed('server'), made.self_signed('client')
        self.servers, self.ends = [], []

    def serve(self, storages=None, address='127.0.0.1:0', **options):
        """Starts a server."""
        section = ssl_section(*self.certificates) if self.certificates else ''
        config = zeo(address, ssl=section, **options, msgpack='-M' in self.kind or None) \
            + (storages or filestorage(blob_dir='blobs'))
        if self.kind.startswith('ours'):
            server = Server(config, self.directory)
        else:
            server = python_server(self.monkeypatch, config, cwd=self.directory)
        self.servers.append(server)
        return server

    def settings(self):
        """Of ours."""
        if not self.certificates:
            return {}
        server, client = self.certificates
        return {'authority': server.file, 'certificate': client.file, 'key': client.key}

    def ours(self, *servers, **settings):
        """A client of this project."""
        addresses = [getattr(server, 'address', server) for server in servers]
        client = Client(*addresses, **self.settings(), **settings)
        self.ends.append(client.end)
        return client

    def impatient(self, *servers, **settings):
        """One that hardly waits for a connection. On a busy machine, it is opened again."""
        opened = []

        def is_open():
            try:
                opened.append(self.ours(*servers, wait_timeout=0.3, **settings))
            except Failed as why:
                assert why.kind == 'Disconnected', why
            return opened

        wait_until(is_open)
        return opened[0]

    def refusal(self, server, words, **settings):
        """Waits for a connection for as long as it takes to be told why there is none."""
        for seconds in 0.3, 3, 30:
            with pytest.raises(Failed) as failed:
                self.ours(server, wait_timeout=seconds, **settings)
            assert failed.value.kind == 'Disconnected', failed.value
            if words in failed.value.message:
                return
        raise failed.value

    def pythons(self, *servers, **settings):
        """A client of Python."""
        if self.certificates:
            server, client = self.certificates
            settings.update(ssl=client_context(client, server), ssl_server_hostname='localhost')
        client = ClientStorage([server.address for server in servers], **settings)
        self.ends.append(client.close)
        return client

    def end(self):
        for end in self.ends:
            end()
        for server in self.servers:
            if server.process.poll() is None:
                server.kill()


@pytest.fixture
def place(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = Place(kind, tmp_path, monkeypatch)
    yield place
    place.end()
