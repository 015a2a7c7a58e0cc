#!/usr/bin/env bash
# runzeo's configuration can't hold ZEO's own <clientstorage>, so a server can't be an ssl client.
#
# Expected: `%import ZEO` and a <clientstorage> in the configuration of a ZEO server make it the client of
# another one (a fan-out), which ZEO's code and tests provide for; the same text is fine for ZODB itself.
# Seen: "type name cannot be redefined: 'ssl'": runzeo's schema and the component that has <clientstorage>
# both define a section <ssl>, one for a server and one for a client. What is left is ZODB's older <zeoclient>,
# which knows neither ssl nor wait-timeout.
# Why it matters: a fan-out server can't reach a server that asks for ssl.
# Versions: ZEO 6.2, ZODB 6.4, ZConfig 4.3, Python 3.11.
#
# Output:
# ZODB with <clientstorage> and wait-timeout: taken
# runzeo with <zeoclient>: taken
# runzeo with <zeoclient> and wait-timeout: 'wait-timeout' is not a known key name
# runzeo with <clientstorage> and wait-timeout: type name cannot be redefined: 'ssl'
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZEO==6.2 ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zdaemon==5.2.1 zope.interface==8.7 msgpack==1.2.4
cat > try.py <<'END'
import io

import ZConfig
import ZODB.config
from ZEO.runzeo import ZEOOptions

CLIENT = "%import ZEO\n<clientstorage>\nserver 127.0.0.1:2\nwait-timeout 60\n</clientstorage>\n"
OLDER = "<zeoclient>\nserver 127.0.0.1:2\n{}</zeoclient>\n"


def outcome(read, text):
    "What reading the configuration gives; nothing is opened."
    try:
        read(text)
    except ZConfig.ConfigurationError as error:
        return error.message
    return "taken"


def zodb(text):
    ZConfig.loadConfigFile(ZODB.config.getStorageSchema(), io.StringIO(text))


def runzeo(text):
    schema = ZEOOptions()
    schema.load_schema()
    ZConfig.loadConfigFile(schema.schema, io.StringIO("<zeo>\naddress 127.0.0.1:1\n</zeo>\n" + text))


seen = [
    outcome(zodb, CLIENT),
    outcome(runzeo, OLDER.format("")),
    outcome(runzeo, OLDER.format("wait-timeout 60\n")),
    outcome(runzeo, CLIENT),
]
print("ZODB with <clientstorage> and wait-timeout:", seen[0])
print("runzeo with <zeoclient>:", seen[1])
print("runzeo with <zeoclient> and wait-timeout:", seen[2])
print("runzeo with <clientstorage> and wait-timeout:", seen[3])
assert seen[:2] == ["taken", "taken"]
assert seen[2] == "'wait-timeout' is not a known key name"
assert seen[3] == "type name cannot be redefined: 'ssl'"
END
venv/bin/python try.py
