"""A socket with TLS for clients that do what no client should: what TLS sends goes through the
hands of the test, which may cut or change it."""
import socket
import ssl


class TlsSocket:
    """Behaves as a socket; `raw` is the one that carries it.

    Unless `handshake` is false, the constructor shakes hands.
    """

    def __init__(self, raw, context, handshake=True):
        self.raw = raw
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname='localhost')
        if handshake:
            self.do_handshake()

    def do_handshake(self):
        """The whole handshake."""
        while not self.step():
            self.fetch()

    def step(self, send=True):
        """Goes on with the handshake as far as it goes without waiting. True when it is done.

        Unless `send` is false, what it has to say is sent.
        """
        try:
            self.tls.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            done = False
        if send:
            self.flush()
        return done

    def fetch(self):
        """Waits for bytes and gives them to TLS."""
        data = self.raw.recv(1 << 16)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def has_input(self):
        """Whether bytes have come that were not read yet."""
        return bool(self.tls.pending() or self._incoming.pending)

    def pending(self):
        """What TLS has to say and was not sent yet; now it is the caller's."""
        return self._outgoing.read()

    def flush(self):
        data = self.pending()
        if data:
            self.raw.sendall(data)

    def encrypted(self, data):
        """The record that carries `data`."""
        self.tls.write(data)
        return self.pending()

    def sendall(self, data):
        for at in range(0, len(data), 16384):
            self.tls.write(data[at:at + 16384])
            self.flush()

    def recv(self, size):
        """As of a socket. Fails with `ssl.SSLEOFError` when the end comes without close_notify."""
        while True:
            try:
                return self.tls.read(size)
            except ssl.SSLZeroReturnError:
                return b''
            except ssl.SSLWantReadError:
                self.flush()
                self.fetch()

    def shutdown(self, _how):
        """Sends close_notify; reading goes on."""
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        self.flush()

    def fileno(self):
        return self.raw.fileno()

    def close(self):
        self.raw.close()

    def settimeout(self, timeout):
        self.raw.settimeout(timeout)

    def setsockopt(self, *args):
        self.raw.setsockopt(*args)

    def getsockname(self):
        return self.raw.getsockname()

    def cut(self):
        """Ends the sending half without close_notify."""
        self.raw.shutdown(socket.SHUT_WR)
