#!/usr/bin/env bash
# nti.zodb: the faster a token bucket is filled, the longer wait_for_token() waits.
#
# Expected: fill_rate is the number of tokens that come in a second; with 4 a second, an empty bucket has the next token
# after a quarter of one.
# Seen: the time is multiplied by the rate in place of divided: it sleeps for 4 seconds. At the default rate of 1, and
# so in most tests, it is right.
# Why it matters: it limits the rate of requests to another service. Whoever raises the limit slows the workers down,
# and holds each one's transaction open that long.
# Versions: nti.zodb 4.6.0, ZODB 6.4, Python 3.11.
#
# Output:
# fill_rate 1: token there after 1 s, wait_for_token() returns after 1 s
# fill_rate 4: token there after 0.25 s, wait_for_token() returns after 4 s
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 nti.zodb==4.6.0
venv/bin/python -W ignore - <<'END'
import time

from nti.zodb.tokenbucket import PersistentTokenBucket

for rate in 1, 4:
    bucket = PersistentTokenBucket(1, fill_rate=rate)
    assert bucket.consume() and not bucket.consume()
    start = time.monotonic()
    bucket.wait_for_token()
    waited = time.monotonic() - start
    shown = int(waited + 0.05)
    print(f"fill_rate {rate}: token there after {1 / rate:g} s, wait_for_token() returns after {shown} s")
    assert waited > rate - 0.1, waited
END
