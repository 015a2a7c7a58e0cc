#!/usr/bin/env bash
# A ZEO server with `authenticate DYNAMIC` refuses every client.
#
# Expected: as the schema's text says, the system's authorities decide (SSL_CERT_FILE names another set): a
# client with a certificate of such an authority comes in, as it does with `authenticate FILE`.
# Seen: nobody comes in. For DYNAMIC, ZEO leaves it to ssl.create_default_context to load the
# authorities; that function does so for a client's context (SERVER_AUTH) only, and a server's (CLIENT_AUTH)
# stays without any. The client's log shows a connection that is made and lost, over and over.
# Versions: ZEO 6.2, Python 3.11, OpenSSL 3.0.
#
# Output:
# authenticate FILE: the server greets
# authenticate DYNAMIC: refused
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZEO==6.2 ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zdaemon==5.2.1 zope.interface==8.7 msgpack==1.2.4
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem \
    -addext keyUsage=critical,keyCertSign,cRLSign 2> /dev/null
for name in server client; do
    openssl req -newkey rsa:2048 -nodes -subj "/CN=$name" -keyout $name.key -out $name.csr 2> /dev/null
    printf 'subjectAltName=DNS:localhost\nauthorityKeyIdentifier=keyid\n' > extensions
    openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile extensions -out $name.pem 2> /dev/null
done
cat > try.py <<'EOF'
import os
import socket
import ssl
import subprocess
import time


def greets(authenticate):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with open("zeo.conf", "w") as f:
        f.write(f"<zeo>\naddress 127.0.0.1:{port}\n<ssl>\ncertificate server.pem\nkey server.key\n"
                f"authenticate {authenticate}\n</ssl>\n</zeo>\n<mappingstorage 1>\n</mappingstorage>\n")
    server = subprocess.Popen(["venv/bin/runzeo", "-C", "zeo.conf"], stderr=subprocess.DEVNULL,
                              env={**os.environ, "SSL_CERT_FILE": os.path.abspath("ca.pem")})
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        context = ssl.create_default_context(cafile="ca.pem")
        context.load_cert_chain("client.pem", "client.key")
        with socket.create_connection(("127.0.0.1", port), 30) as plain, \
                context.wrap_socket(plain, server_hostname="localhost") as secured:
            try:
                greeting = b""
                while len(greeting) < 6 and (more := secured.recv(6)):
                    greeting += more
                return greeting[4:] == b"Z5"
            except (ssl.SSLError, ConnectionError):
                return False
    finally:
        server.terminate()
        server.wait()


by_file, dynamic = greets("ca.pem"), greets("DYNAMIC")
print("authenticate FILE:", "the server greets" if by_file else "refused")
print("authenticate DYNAMIC:", "the server greets" if dynamic else "refused")
assert by_file and not dynamic
EOF
venv/bin/python try.py
