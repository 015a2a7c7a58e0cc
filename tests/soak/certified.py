"""The certificates of a soak over TLS, of which the server's is replaced while it runs."""
import os
import signal
import socket
import ssl
import time

from support.certificates import SIGNER, Certificates, client_context
from support.server import PATIENCE
from support.wire import Wire

FILE = 'server.pem'


class Certified:
    """An authority, and what it has signed: the clients' certificate, and the server's in `FILE`."""

    def __init__(self):
        self.made = Certificates('.')
        self.authority = self.made.self_signed('authority', SIGNER)
        self.client = self.made.signed('client', self.authority)
        self.stranger = self.made.self_signed('stranger')
        self.renewals = 0
        self.renew()

    def section(self):
        """The text of the server's <ssl> section."""
        return f'  <ssl>\n    certificate {FILE}\n    authenticate {self.authority.file}\n  </ssl>\n'

    def parts(self):
        """What another process needs for `client_context`."""
        return self.client, self.authority

    def context(self):
        return client_context(*self.parts())

    def refused(self):
        """Contexts that the server does not let in: an unknown certificate, and none at all."""
        return [client_context(own, self.authority) for own in (self.stranger, None)]

    def renew(self):
        """Replaces the server's certificate and its key, in one step."""
        self.renewals += 1
        own = self.made.signed(f'server-{self.renewals}', self.authority)
        os.replace(self.made.together('new.pem', own, own.key), FILE)
        self.current = ssl.PEM_cert_to_DER_cert(own.text())

    def reload(self, server, by_signal):
        """Has the server read a new certificate; returns when it shows it. Fails if it does not."""
        self.renew()
        if by_signal:
            server.process.send_signal(signal.SIGUSR2)
        end = time.monotonic() + PATIENCE
        while self.shown(server.address) != self.current:
            if time.monotonic() > end:
                raise AssertionError(f'a new certificate is not used; by signal: {by_signal}')
            time.sleep(0.1)

    def shown(self, address):
        """The certificate that a new client gets to see."""
        with socket.create_connection(address, PATIENCE) as plain, \
                Wire.context.wrap_socket(plain, server_hostname='localhost') as stream:
            return stream.getpeercert(binary_form=True)
