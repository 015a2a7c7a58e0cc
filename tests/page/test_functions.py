"""What the page computes: numbers with units, harmless texts, quantiles, rates, who waits for whom."""
import json
import pathlib

import pytest
from support.browser import Browser
from support.server import REPOSITORY

from page.tools import require

PARTS = pathlib.Path(REPOSITORY, 'server', 'src', 'monitor', 'page')


@pytest.fixture(scope='module')
def call():
    """A function that evaluates an expression beside the page's functions."""
    require('chromium')
    with Browser() as browser:
        browser.evaluate(''.join((PARTS / name).read_text() for name in (
            'format.js', 'samples.js', 'table.js', 'locks.js')) + '; 1')
        yield browser.evaluate


@pytest.mark.parametrize('expression, text', [
    ('duration(0)', '0 s'), ('duration(0.00004)', '40 µs'), ('duration(0.0125)', '12.5 ms'),
    ('duration(0.9999)', '1.0 s'), ('duration(59.7)', '1 min 00 s'), ('duration(11220)', '3 h 07 min'),
    ('duration(363600)', '4 d 5 h'), ('duration(null)', '–'), ('duration(-1)', '0 s'),
    ('bytes(999)', '999 B'), ('bytes(999999)', '1 MB'), ('bytes(71234567890)', '71.2 GB'),
    ('rate(0.25)', '0.3 /s'), ('rate(1234.5)', '1,235 /s'), ('rate(undefined)', '–'),
    ('age(59.9)', '59 s'), ('count(NaN)', '–'), ('plural(1, "thread")', '1 thread'),
    (r'plain("a\u0000\u202e\n<b>\ud800")', r'a\u{0}\u{202e}\u{a}<b>\u{d800}'),
    ('plain("x".repeat(1e6)).length', 201), ('plain(null)', ''),
])
def test_texts(call, expression, text):
    shown = call(expression)
    assert (shown.replace('\u00a0', ' ') if isinstance(shown, str) else shown) == text


@pytest.mark.parametrize('part, before, after, value', [
    (0.5, [0, 0, 0], [10, 0, 0], 0.5), (0.5, [10, 0, 0], [10, 4, 0], 2), (0.75, [0, 0, 0], [2, 2, 0], 2),
    (0.99, [0, 0, 0], [0, 0, 5], 3), (0.5, [7, 1, 1], [7, 1, 1], None), (0.5, [9, 0, 0], [3, 0, 0], None),
])
def test_quantiles(call, part, before, after, value):
    """Of buckets up to 1, up to 3, and beyond; nothing new, or a restart: none."""
    assert call(f'quantile({part}, [1, 3], {before}, {after}) ?? null') == value


def status(commits, started=1):
    histogram = {'bounds': [1, 3], 'counts': [commits, 0, 0]}
    storage = {'name': '1', 'commits': commits, 'loads': 0, 'stores': 0, 'aborts': 0, 'conflicts': 0,
               'conflicts_resolved': 0, 'conflict_classes': {}, 'clients': 3, 'transactions': 1,
               'coordinator': None, 'durations': {'finish': histogram}}
    server = {'bytes_received': 0, 'bytes_sent': 0, 'connections': 3}
    return {'server': server, 'storages': [storage]}


def test_rates_and_restarts(call):
    """A counter that falls is that of a server that was started again: the lines have a gap."""
    points = call(f'''(() => {{
      const history = new History();
      for (const [time, status] of {json.dumps([(2000, status(10)), (4000, status(50)), (6000, status(5)),
                                                (8000, status(7))])}) history.add(time, gather(status));
      return history.of('1').map((point) => [point.time, point.commits ?? null, point.finish50 ?? null]);
    }})()''')
    assert points == [[2000, None, None], [4000, 20, 0.5], [5999, None, None], [6000, None, None],
                      [8000, 1, 0.5]]


def test_a_clock_that_is_set_back(call):
    """The browser's: the lines begin again."""
    points = call(f'''(() => {{
      const history = new History();
      for (const [time, status] of {json.dumps([(8000, status(10)), (10000, status(50)), (4000, status(60)),
                                                (6000, status(70))])}) history.add(time, gather(status));
      return history.of('1').map((point) => [point.time, point.commits ?? null]);
    }})()''')
    assert points == [[4000, None], [6000, 5]]


def test_samples_are_bounded(call):
    counts = call(f'''(() => {{
      const history = new History();
      for (let time = 0; time < 2e6; time += 2000) history.add(time, gather({json.dumps(status(1))}));
      return [history.of('1').length, history.of('').length, history.recent.length];
    }})()''')
    assert counts == [450, 450, 6]


def client(number, holds=False, behind=None):
    waits = behind and {'clients': behind, 'oid': '0x1', 'age': number}
    phase = 'voted' if holds else 'waiting' if behind else 'open'
    return {'id': number, 'label': None, 'address': f'a{number}', 'transaction': {
        'phase': phase, 'phase_age': 1, 'holds_locks': holds, 'waits_for': waits}}


@pytest.mark.parametrize('clients, trees', [
    ([client(1, holds=True), client(2), client(3)], [[1]]),
    # Through another one that waits, and longest first.
    ([client(1, holds=True), client(2, behind=[1]), client(3, behind=[2])], [[1, 3, 2]]),
    # Who holds up most is first.
    ([client(1, holds=True), client(2, holds=True), client(3, behind=[2])], [[2, 3], [1]]),
    # The one before has gone; two that wait for each other, which can't be: no endless loop.
    ([client(3, behind=[9])], [[3]]),
    ([client(3, behind=[4]), client(4, behind=[3])], [[3, 4]]),
])
def test_who_waits_for_whom(call, clients, trees):
    found = call(f'lockTrees({json.dumps(clients)})'
                 '.map(({ client, waiters }) => [client, ...waiters.map((w) => w.client)].map((c) => c.id))')
    assert found == trees
