"""The requests of one round, and what became of them."""
import collections
import http.client
import random
import threading
import time
import urllib.parse

AUTHORS = [f'author{n}' for n in range(8)]
SUBJECTS = [f'subject{n}' for n in range(12)]
WORDS = [f'word{n}' for n in range(300)]
TIMEOUT = 300


def creations(ids):
    """Requests that make documents."""
    rng = random.Random(0)
    return (('create', {'id': id, **changes(rng)}) for id in ids)


def requests(seed, count, documents):
    """`count` requests on the documents with the ids `documents` and new ones."""
    rng = random.Random(seed)
    for number in range(count):
        kind = rng.choices(['create', 'edit', 'reindex', 'search'], [3, 4, 2, 1])[0]
        if kind == 'search':
            yield kind, {'text': rng.choice(WORDS)}
            continue
        id = f'd{seed}-{number}' if kind == 'create' else rng.choice(documents)
        yield kind, {'id': id, **(changes(rng) if kind != 'reindex' else {})}


def changes(rng):
    return {'title': rng.choice(WORDS), 'author': rng.choice(AUTHORS),
            'subjects': ' '.join(rng.sample(SUBJECTS, rng.randrange(4))),
            'text': ' '.join(rng.choices(WORDS, k=30)),
            'modified': rng.randrange(1_000_000_000, 1_000_100_000)}


class Known:
    """What the clients know of each document: how many changes were acknowledged, and how many
    more may have been made that were not."""

    def __init__(self):
        self.sure, self.perhaps = collections.Counter(), collections.Counter()


class Round:
    """Requests to Zope processes, from `threads` threads for each. At most `rate` a second, if given."""

    def __init__(self, ports, known, plan, rate=None, threads=3):
        self.known, self.plan, self.rate = known, iter(enumerate(plan)), rate
        self.lock = threading.Lock()
        self.failures, self.times, self.commits = collections.Counter(), [], []
        self.answered = self.given_up = 0
        self.errors = []
        self.threads = [threading.Thread(target=self._work, args=[port])
                        for port in ports for _ in range(threads)]

    def run(self):
        """Sends all; returns itself."""
        self.start()
        self.join()
        return self

    def start(self):
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()

    def join(self):
        for thread in self.threads:
            thread.join()
        self.took = time.monotonic() - self.began

    def conflicts(self):
        """How many conflicts were followed by another try, or by giving up."""
        return sum(self.failures[kind] for kind in self.failures if 'Conflict' in kind)

    def _work(self, port):
        connection = http.client.HTTPConnection('127.0.0.1', port, timeout=TIMEOUT)
        while True:
            with self.lock:
                number, request = next(self.plan, (0, None))
            if not request:
                return
            if self.rate:
                time.sleep(max(0, self.began + number / self.rate - time.monotonic()))
            self._send(connection, *request)

    def _send(self, connection, kind, fields):
        began = time.monotonic()
        connection.request('POST', f'/site/{kind}', urllib.parse.urlencode(fields),
                           {'Content-Type': 'application/x-www-form-urlencoded'})
        answer = connection.getresponse()
        body = answer.read().decode(errors='replace')
        failures = [name for name in answer.getheader('X-Failures', '').split(',') if name]
        given_up = answer.getheader('X-Given-Up')
        # A commit whose answer is lost with the server may have been made.
        unsure = sum('Conflict' not in name for name in failures)
        with self.lock:
            self.answered += 1
            self.times.append(time.monotonic() - began)
            self.commits.append(float(answer.getheader('X-Commit', 0)))
            self.given_up += bool(given_up) and 'Conflict' in failures[-1]
            self.failures.update(failures)
            if answer.status != 200 and not (failures and 'Conflict' in failures[-1]):
                self.errors.append(f'{kind} {fields.get("id")}: {answer.status} {failures} {body[:300]}')
            if kind in ('create', 'edit'):
                self.known.sure[fields['id']] += answer.status == 200
                self.known.perhaps[fields['id']] += unsure
