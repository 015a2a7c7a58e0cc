#!/usr/bin/env bash
# repoze.retry: an application behind it gets an empty body of each request that is sent in chunks.
#
# Expected: the middleware keeps the body for further attempts and passes it on as it came.
# Seen: it reads as many bytes as CONTENT_LENGTH says. A request with "Transfer-Encoding: chunked" has none; the
# middleware reads nothing, and gives the application an empty file in place of the body. No error: the answer is
# the application's to an empty upload.
# Why it matters: clients that don't know the length beforehand (curl from a pipe, generators in HTTP libraries,
# proxies) upload empty files, with status 200.
# Versions: repoze.retry 2.2, gunicorn 27.0.1, Python 3.11.
#
# Output:
# without repoze.retry: with a length 1000 bytes, in chunks 1000 bytes
# with repoze.retry: with a length 1000 bytes, in chunks 0 bytes
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check repoze.retry==2.2 gunicorn==27.0.1 packaging==26.4
cat > application.py <<'END'
from repoze.retry import Retry


def plain(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d bytes" % len(body)]


retried = Retry(plain, 3)
END
cat > try.py <<'END'
import http.client
import os
import socket
import subprocess
import sys
import time

BODY = b"x" * 1000


def answer(port, **arguments):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/", **arguments)
    return connection.getresponse().read().decode()


for name, text, expected in ("plain", "without", "1000 bytes"), ("retried", "with", "0 bytes"):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gunicorn = os.path.join(os.path.dirname(sys.executable), "gunicorn")
    command = [gunicorn, "--bind", f"127.0.0.1:{port}", "--log-level", "error", f"application:{name}"]
    server = subprocess.Popen(command)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        whole = answer(port, body=BODY)
        chunked = answer(port, body=iter([BODY[:600], BODY[600:]]), encode_chunked=True,
                         headers={"Transfer-Encoding": "chunked"})
    finally:
        server.terminate()
        server.wait()
    print(f"{text} repoze.retry: with a length {whole}, in chunks {chunked}")
    assert (whole, chunked) == ("1000 bytes", expected)
END
venv/bin/python try.py
