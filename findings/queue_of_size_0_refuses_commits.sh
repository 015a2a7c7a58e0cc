#!/usr/bin/env bash
# A ZEO server with `invalidation-queue-size 0` starts, and refuses every commit to a FileStorage.
#
# Expected: no queue is kept, so that clients that come back drop their caches or go by `invalidation-age`; or the
# server refuses to start.
# Seen: the server starts, clients connect and read. Each commit is the server's IndexError "pop from empty list",
# raised when the transaction is to be finished; nothing is committed. With a MappingStorage, it works.
# Why it matters: nothing but a commit finds it, not the start and not a check that reads, and the error that users
# get names nothing that is in the configuration.
# Versions: ZEO 6.2, ZODB 6.4, Python 3.11.
#
# Output:
# invalidation-queue-size 1: connected, commit done
# invalidation-queue-size 0: connected, commit ServerException builtins.IndexError
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
import socket
import subprocess

import ZEO

logging.disable()


def tried(key):
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    with open("zeo.conf", "w") as conf:
        conf.write(f"<zeo>\naddress 127.0.0.1:{address[1]}\n{key}\n</zeo>\n"
                   f"<filestorage 1>\npath {address[1]}.fs\n</filestorage>\n")
    server = subprocess.Popen(["venv/bin/runzeo", "-C", "zeo.conf"], stderr=subprocess.DEVNULL)
    try:
        ZEO.client(address, wait_timeout=60).close()
        try:
            # The first DB commits the root object.
            ZEO.DB(address, wait_timeout=60).close()
            commit = "done"
        except Exception as error:
            commit = type(error).__name__
            if commit == "ServerException":
                commit += f" {error.args[0]}"
    finally:
        server.terminate()
        server.wait()
    print(f"{key}: connected, commit {commit}")
    return commit


assert tried("invalidation-queue-size 1") == "done"
assert tried("invalidation-queue-size 0") == "ServerException builtins.IndexError"
END
