#!/usr/bin/env bash
# zope.session: with a thread for each request, what a RAM session is given is stored for the first threads only.
#
# Expected: after transaction.commit(), all threads see what was put into a RAMSessionDataContainer.
# Seen: it keeps a ZODB connection for each thread identifier, and the connection belongs to the transaction manager
# of the thread that it was opened in. The system gives the identifier of an ended thread to the next one; that
# thread writes through the old connection, and its own commit() does not concern it. Nothing is stored, no
# error is raised. Another thread sees the state before; one with the same identifier sees what was never committed.
# Why it matters: with servers that start a thread for each request or connection, a shopping cart is full or empty
# by the identifier of the thread.
# Versions: zope.session 6.0, ZODB 6.4, transaction 5.1, Python 3.11 (Linux).
#
# Output:
# three threads one after the other put 1 apple, 2 apples, 3 apples into the cart and commit
# a thread with the same identifier sees 3 apples
# a thread with another identifier sees 1 apple
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    ZODB==6.4 BTrees==6.5 persistent==6.9 transaction==5.1 zodbpickle==4.5 zc.lockfile==4.0 \
    ZConfig==4.3 zope.interface==8.7 zope.session==6.0 zope.minmax==4.0 zope.publisher==8.1
cat > try.py <<'END'
import threading

import transaction
from zope.session.session import RAMSessionDataContainer, SessionData

sessions = RAMSessionDataContainer()
seen = []


def put(goods):
    with transaction.manager:
        if "visitor" not in sessions.data:
            sessions["visitor"] = SessionData()
        sessions["visitor"]["cart"] = goods


def look(_):
    with transaction.manager:
        seen.append(sessions["visitor"]["cart"])


def run(function, argument, same):
    "Calls the function in a new thread whose identifier is the first one's, or is not."
    done, ended = threading.Event(), threading.Event()

    def attempt():
        if not first or (threading.get_ident() == first[0]) == same:
            first.append(threading.get_ident())
            function(argument)
            done.set()
        else:
            ended.wait()

    threads = []
    while not done.is_set():
        assert len(threads) < 100
        threads.append(threading.Thread(target=attempt))
        threads[-1].start()
        done.wait(0.1)
    ended.set()
    for thread in threads:
        thread.join()


first = []
carts = ["1 apple", "2 apples", "3 apples"]
for goods in carts:
    run(put, goods, same=True)
run(look, None, same=True)
run(look, None, same=False)
print(f"three threads one after the other put {', '.join(carts)} into the cart and commit")
print(f"a thread with the same identifier sees {seen[0]}")
print(f"a thread with another identifier sees {seen[1]}")
assert seen == ["3 apples", "1 apple"]
END
venv/bin/python -W ignore try.py
