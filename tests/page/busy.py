"""A server with something to see: clients that commit, one that holds locks, one that waits for
it, and a pack that runs. It is made by Python's real client."""
import re
import threading
import time

import transaction
import ZODB
from persistent.mapping import PersistentMapping
from support.server import PATIENCE
from ZEO.ClientStorage import ClientStorage
from ZODB.Connection import TransactionMetaData
from ZODB.utils import z64

# What a client calls itself decides whether the page is safe.
HOSTILE = '<img src=x onerror="document.title=1">&amp;\u202egnp.exe</td><script>1</script>'
HOLDER = 'the one that holds locks'


def monitor_url(server):
    """The URL of a server's monitor."""
    server.wait_for_log('monitor at ')
    address = re.search(r'monitor at ([^\s,]+)', server.log())[1]
    return f'http://{address}/'


class Busy:
    """Clients of a server, until it is closed."""

    def __init__(self, server):
        self.server, self.stopped, self.clients, self.threads = server, False, [], []
        self.holder = self.connect(HOLDER)
        self.fill()
        for number in range(3):
            self.start(self.commit, number)

    def connect(self, label=None):
        client = ClientStorage(self.server.address, client_label=label, wait_timeout=PATIENCE)
        self.clients.append(client)
        return client

    def start(self, function, *args):
        thread = threading.Thread(target=function, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def fill(self):
        """A root that was changed more than once, and a place for each who commits."""
        db = ZODB.DB(self.connect('setup'))
        for change in {f'place {n}': PersistentMapping() for n in range(3)}, {'n': 1}, {'n': 2}:
            with db.transaction() as connection:
                connection.root().update(change)
        self.undoable = self.holder.undoLog(0, 1)[0]['id']
        db.close()

    def commit(self, number):
        """Commits to an object of its own, and reads it anew, until all is closed."""
        db = ZODB.DB(self.connect(f'plone {number}'), cache_size=0)
        manager = transaction.TransactionManager()
        connection = db.open(manager)
        while not self.stopped:
            place = connection.root()[f'place {number}']
            place['count'] = place.get('count', 0) + 1
            manager.commit()
            connection.cacheMinimize()
            time.sleep(0.02)
        connection.close()
        db.close()

    def hold(self):
        """Votes an undo, for which all other commits wait, and packs as well."""
        self.held = TransactionMetaData(user='admin', description='/site/import')
        self.holder.tpc_begin(self.held)
        self.holder.undo(self.undoable, self.held)
        self.holder.tpc_vote(self.held)

    def wait(self):
        """One more client votes, and waits."""
        client = self.connect(HOSTILE)
        data, serial = client.load(z64)
        waiting = TransactionMetaData(description='<b>edit</b>')

        def vote():
            client.tpc_begin(waiting)
            client.store(z64, serial, data, '', waiting)
            try:
                client.tpc_vote(waiting)
            except Exception:  # a conflict, since the undo came first
                pass
            client.tpc_abort(waiting)

        self.start(vote)

    def pack(self):
        self.start(self.connect('packer').pack, time.time(), True)

    def finish(self):
        self.holder.tpc_finish(self.held)

    def close(self):
        self.stopped = True
        # Others may wait for it.
        self.holder.close()
        for thread in self.threads:
            thread.join(PATIENCE)
        for client in self.clients:
            client.close()
