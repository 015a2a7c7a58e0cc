"""Clients of Python for tests that end the server under them."""
from ZEO.ClientStorage import ClientStorage

from .server import PATIENCE


def impatient_client(server, **options):
    """A client that waits as long as need be for its first connection, and hardly for another:
    a test is not to wait for those that lose their server for good."""
    client = ClientStorage(server.address, wait_timeout=PATIENCE, **options)
    client._server.timeout = 1
    return client
