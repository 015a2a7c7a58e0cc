"""One Zope process: `python -m zope_site.process ZOPE_CONF SEED|install`.

Prints the port on which it answers HTTP requests. With `install` it makes the site instead. Each
answer's header `X-Failures` tells how often the request was tried in vain, and what for; the header
`X-Given-Up` that it was not tried again.
"""
import logging
import random
import sys
import threading
import time

import transaction
import waitress
import Zope2
from zope.component import provideHandler
from ZEO.Exceptions import ClientDisconnected
from Zope2.Startup.run import make_wsgi_app
from ZPublisher.interfaces import IPubBeforeCommit, IPubFailure, IPubSuccess

from .content import install

THREADS = 3


class Request(threading.local):
    """What has happened to the request that a thread answers."""

    failures, given_up, commit_began, commits = (), False, None, 0.0

    def begin(self):
        self.failures, self.given_up, self.commit_began, self.commits = [], False, None, 0.0

    def headers(self):
        yield 'X-Failures', ','.join(self.failures)
        yield 'X-Commit', f'{self.commits:.6f}'
        if self.given_up:
            yield 'X-Given-Up', '1'

    def commit_begins(self, event):
        self.commit_began = time.monotonic()

    def commit_ends(self, event=None):
        if self.commit_began:
            self.commits += time.monotonic() - self.commit_began
            self.commit_began = None

    def failed(self, event):
        self.commit_ends()
        kind, error, _ = event.exc_info
        of = getattr(error, 'class_name', None)
        self.failures.append(f'{kind.__name__}:{of}' if of else kind.__name__)
        self.given_up = not event.retry


class LostConnections(logging.Handler):
    """An index of a catalog logs that an object could not be loaded, and goes on with half of its
    change (findings/catalog_keeps_what_a_lost_connection_hid.sh). Here it does not."""

    def emit(self, record):
        error = sys.exc_info()[1]
        if isinstance(error, ClientDisconnected):
            raise error


def watched(application):
    """The application, whose answers tell what has happened."""
    current = Request()
    provideHandler(current.commit_begins, [IPubBeforeCommit])
    provideHandler(current.commit_ends, [IPubSuccess])
    provideHandler(current.failed, [IPubFailure])

    def answer(environ, start_response):
        current.begin()
        try:
            return application(environ, lambda status, headers, *more: start_response(
                status, [*headers, *current.headers()], *more))
        except Exception as error:  # what Zope raises when it gives up
            start_response('500 Internal Server Error',
                           [('Content-Type', 'text/plain'), *current.headers()])
            return [repr(error).encode()]
    return answer


def main(configuration, command):
    application = make_wsgi_app({}, configuration)
    if command == 'install':
        app = Zope2.app()
        install(app)
        transaction.commit()
        app._p_jar.close()
        Zope2.DB.close()
        return
    # Where the catalog puts its entries is up to chance, and with it who meets whom in a bucket.
    random.seed(int(command))
    for name in 'Zope', 'BooleanIndex', 'DateIndex':
        logging.getLogger(name).setLevel(logging.DEBUG)
        logging.getLogger(name).addHandler(LostConnections())
    server = waitress.create_server(watched(application), host='127.0.0.1', port=0,
                                    threads=THREADS, clear_untrusted_proxy_headers=True)
    print(server.effective_port, flush=True)
    server.run()


main(*sys.argv[1:])
