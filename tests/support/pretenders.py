"""What listens at a server's address and is none."""
import contextlib
import socket
import threading


@contextlib.contextmanager
def pretender(answer=b'', hold=False):
    """Sends `answer` to each connection, and then closes it, or holds it until the end.

    Gives the address as text.
    """
    listening, held = socket.create_server(('127.0.0.1', 0)), []

    def serve():
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            connection.sendall(answer)
            if hold:
                held.append(connection)
            else:
                connection.shutdown(socket.SHUT_WR)
                held.append(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield '%s:%s' % listening.getsockname()
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()
    for connection in held:
        connection.close()


GREETING = b'\0\0\0\x02Z5'
