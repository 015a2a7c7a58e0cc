#!/usr/bin/env bash
# zeopack ends with 0 though one of its servers was not there, and leaves out those behind one that fails.
#
# Expected: `zeopack A B` packs what it can, and its exit code tells if anything was not packed.
# Seen: a server that can't be reached (or a storage of a wrong name) is a line on standard error after a minute, and
# the exit code is 0 as soon as any other server was reached. But if the pack of one fails, zeopack ends at once, with
# 1, and the servers behind it on the command line are not packed.
# Why it matters: in a cron job or buildout's pack script, one storage is not packed for months and nobody is told; or
# all behind it are not.
# Versions: ZEO 6.2, ZODB 6.4, Python 3.11.
#
# Output:
# nobody listens, a server: exit code 0, packed: server
# a storage that can't be packed, a server: exit code 1, packed: none
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZEO==6.2 ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zdaemon==5.2.1 zope.interface==8.7 msgpack==1.2.4
venv/bin/python - <<'END'
import logging
import os
import socket
import subprocess

import ZEO
import ZODB

logging.disable()


def start(name, read_only):
    db = ZODB.DB(name + ".fs")
    for number in range(5):
        with db.transaction() as connection:
            connection.root()["value"] = number
    db.close()
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    with open(name + ".conf", "w") as conf:
        conf.write(f"<zeo>\naddress 127.0.0.1:{address[1]}\n</zeo>\n"
                   f"<filestorage 1>\npath {name}.fs\nread-only {read_only}\n</filestorage>\n")
    server = subprocess.Popen(["venv/bin/runzeo", "-C", name + ".conf"], stderr=subprocess.DEVNULL)
    ZEO.client(address, wait_timeout=60, read_only=True).close()
    return server, "%s:%s" % address


def zeopack(title, other, address):
    before = os.stat("server.fs").st_size
    done = subprocess.run(["venv/bin/zeopack", other, address], capture_output=True)
    packed = "server" if os.stat("server.fs").st_size < before else "none"
    print(f"{title}, a server: exit code {done.returncode}, packed: {packed}")
    return done.returncode, packed


servers = []
try:
    server, address = start("server", "false")
    servers.append(server)
    # Nobody listens at port 1 of this machine.
    unreachable = zeopack("nobody listens", "127.0.0.1:1", address)
    refusing, refused = start("refusing", "true")
    servers.append(refusing)
    host, port = address.split(":")
    db = ZEO.DB((host, int(port)), wait_timeout=60)
    for number in range(5):
        with db.transaction() as connection:
            connection.root()["value"] = number
    db.close()
    failing = zeopack("a storage that can't be packed", refused, address)
finally:
    for server in servers:
        server.terminate()
        server.wait()
assert (unreachable, failing) == ((0, "server"), (1, "none"))
END
