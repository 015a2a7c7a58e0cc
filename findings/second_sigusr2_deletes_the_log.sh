#!/usr/bin/env bash
# SIGUSR2 twice a day, and a log file with `when` has lost the day.
#
# Expected: SIGUSR2 makes runzeo open its log files anew, as logrotate's postrotate wants it; no line gets lost.
# Seen: for a <logfile> with `when` (or max-size), ZConfig rotates the file at each signal, whether it is time or not.
# The old file's name has the date only, so that the second signal of a day deletes what the first one has put
# away. old-files, which says how many old files are kept, does not help: there is always one of the day.
# Why it matters: one rotates by the configuration, another one adds a logrotate rule; or a script sends the signal to
# all servers after a change of a certificate. Only the lines since the last signal are left.
# Versions: ZEO 6.2, ZConfig 4.3, zdaemon 5.2.1, Python 3.11 (to 3.12; 3.13 does nothing at all at the second signal).
#
# Output:
# started, old-files 7: lines of the start are in the log
# after the first SIGUSR2: 2 files, lines of the start are there
# after the second SIGUSR2: 2 files, lines of the start are gone
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZEO==6.2 ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zdaemon==5.2.1 zope.interface==8.7 msgpack==1.2.4
venv/bin/python - <<'END'
import pathlib
import signal
import subprocess
import sys
import time

with open("zeo.conf", "w") as conf:
    conf.write("""
<zeo>
  address ./zeo.sock
</zeo>
<mappingstorage 1>
</mappingstorage>
<eventlog>
  <logfile>
    path zeo.log
    when MIDNIGHT
    old-files 7
  </logfile>
</eventlog>
""")
assert sys.version_info < (3, 13)
log = pathlib.Path("zeo.log")


def files():
    return sorted(pathlib.Path().glob("zeo.log*"))


def started():
    return any("opening storage" in path.read_text() for path in files())


def wait_for(text):
    end = time.monotonic() + 60
    while not (log.exists() and text in log.read_text()):
        assert time.monotonic() < end
        time.sleep(0.1)


server = subprocess.Popen(["venv/bin/runzeo", "-C", "zeo.conf"])
try:
    wait_for("listening on")
    seen = [(len(files()), started())]
    for _ in range(2):
        inode = log.stat().st_ino
        server.send_signal(signal.SIGUSR2)
        end = time.monotonic() + 60
        while not log.exists() or log.stat().st_ino == inode:
            assert time.monotonic() < end
            time.sleep(0.1)
        wait_for("reopened successfully")
        seen.append((len(files()), started()))
finally:
    server.terminate()
    server.wait()
print("started, old-files 7: lines of the start are in the log")
for name, (count, there) in zip(("first", "second"), seen[1:]):
    print(f"after the {name} SIGUSR2: {count} files, lines of the start are {'there' if there else 'gone'}")
assert seen == [(1, True), (2, True), (2, False)], seen
END
