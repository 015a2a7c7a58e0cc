"""What log lines are sent to: a syslog daemon, a web server, a mail server."""
import os
import socket
import socketserver
import threading


class Datagrams:
    """Receives datagrams at a UDP port of this machine, or at the socket `path`."""

    def __init__(self, path=None):
        self.socket = socket.socket(socket.AF_UNIX if path else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(path or ('127.0.0.1', 0))
        self.address = path or '127.0.0.1:%s' % self.socket.getsockname()[1]
        self.received = []
        # While a thread is inside recv, a closed socket goes on receiving.
        self.socket.settimeout(0.02)
        self.open = True
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while self.open:
            try:
                self.received.append(self.socket.recv(1 << 16))
            except TimeoutError:
                pass

    def close(self):
        self.open = False
        self.thread.join()
        self.socket.close()
        if os.path.exists(self.address):
            os.unlink(self.address)


class _Server:
    """A server with a thread for each connection."""

    family = socketserver.ThreadingTCPServer

    def __init__(self, address=('127.0.0.1', 0)):
        self.received = []
        handler = type('Handler', (socketserver.StreamRequestHandler,),
                       {'handle': lambda request: self.handle(request)})
        self.server = self.family(address, handler)
        self.server.daemon_threads = True
        self.address = ('%s:%s' % self.server.server_address if isinstance(address, tuple)
                        else address)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Stream(_Server):
    """Receives messages with a NUL at their ends, at the stream socket `path`."""

    family = socketserver.ThreadingUnixStreamServer

    def handle(self, request):
        rest = b''
        while chunk := request.connection.recv(1 << 16):
            *messages, rest = (rest + chunk).split(b'\0')
            self.received += [message + b'\0' for message in messages]


class Web(_Server):
    """Receives requests: (method, path, body, headers) each."""

    def handle(self, request):
        method, path, _ = request.rfile.readline().decode().split()
        headers = {}
        while (line := request.rfile.readline()) not in (b'\r\n', b''):
            name, value = line.decode().split(':', 1)
            headers[name.lower()] = value.strip()
        body = request.rfile.read(int(headers.get('content-length', 0)))
        self.received.append((method, path, body.decode(), headers))
        request.wfile.write(b'HTTP/1.1 503 Not today\r\nContent-Length: 0\r\n\r\n')


class Mail(_Server):
    """Receives mails: (sender, receivers, text) each. `users` maps names to passwords."""

    def handle(self, request):
        def say(text):
            request.wfile.write(text.encode() + b'\r\n')
        say('220 ready')
        receivers, text = [], None
        for line in request.rfile:
            command = line.strip().upper()
            if text is not None:
                if line != b'.\r\n':
                    text.append(line[1:] if line.startswith(b'.') else line)
                    continue
                self.received.append((sender, receivers, b''.join(text)))
                receivers, text = [], None
            if command.startswith(b'EHLO'):
                say('250-here')
                say('250-AUTH PLAIN')
                say('250 8BITMIME')
            elif command.startswith(b'AUTH'):
                self.received.append(line.strip())
                say('235 welcome')
            elif command.startswith(b'DATA'):
                text = []
                say('354 go on')
            elif command.startswith(b'QUIT'):
                return say('221 bye')
            else:
                if command.startswith(b'MAIL'):
                    sender = line.split(b'>')[0].split(b'<')[1].decode()
                elif command.startswith(b'RCPT'):
                    receivers.append(line.split(b'>')[0].split(b'<')[1].decode())
                say('250 good')
