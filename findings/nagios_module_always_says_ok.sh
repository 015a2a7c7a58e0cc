#!/usr/bin/env bash
# `python -m ZEO.nagios` ends with 0 when there is no server.
#
# Expected: the same as the script zeo-nagios of the same package: exit code 2 when it can't connect, which
# is what Nagios reads (the text is only shown).
# Seen: the module's last line calls main() and drops what it returns, so every check is OK; only the
# script, which setuptools makes, passes it to sys.exit.
# Why it matters: in containers and virtual environments checks are commonly written as
# `python -m`, and this one never alarms.
# Versions: ZEO 6.2, Python 3.11.
#
# Output:
# zeo-nagios: exit code 2
# python -m ZEO.nagios: exit code 0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZEO==6.2 ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zdaemon==5.2.1 zope.interface==8.7 msgpack==1.2.4
# Nobody listens at port 1 of this machine.
script=0 module=0
venv/bin/zeo-nagios 127.0.0.1:1 > script.out || script=$?
venv/bin/python -m ZEO.nagios 127.0.0.1:1 > module.out || module=$?
grep -q "Can't connect" script.out
grep -q "Can't connect" module.out
echo "zeo-nagios: exit code $script"
echo "python -m ZEO.nagios: exit code $module"
[ "$script" = 2 ] && [ "$module" = 0 ]
