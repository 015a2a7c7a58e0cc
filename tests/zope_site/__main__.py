"""What a Zope site feels of the server: conflicts, requests a second, and no lost change.

A site on this server, and one on Python's, each with two Zope processes of three threads, get the
same requests in turn. Then come requests during which the server is killed and started again, and
at the end documents, catalog and trees are checked.
"""
import argparse
import contextlib
import os
import statistics
import sys
import tempfile

from support.server import wait_until

from .check import check
from .load import Known, Round, creations, requests
from .running import Installation

DOCUMENTS = [f'first-{n}' for n in range(100)]  # before the first round


class Contestant:
    """A site, and what was measured on it."""

    def __init__(self, name, runzeo, folder, data=None):
        self.site, self.known = Installation(name, runzeo, os.path.join(folder, name), data), Known()
        self.rounds, self.faults = [], []

    def send(self, seed, count, rate=None):
        """Requests that depend on `seed` only."""
        return Round(self.site.ports, self.known, requests(seed, count, DOCUMENTS), rate)

    def fill(self):
        """Makes the first documents, one after the other."""
        with self.site:
            done = Round(self.site.ports[:1], self.known, creations(DOCUMENTS), threads=1).run()
        assert not done.errors, done.errors[0]


def main():
    options = arguments()
    servers = {'ours': options.runzeo, 'python': os.path.join(os.path.dirname(sys.executable), 'runzeo')}
    servers |= dict(option.split('=', 1) for option in options.against)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix='zope-site-'))
        # All begin with the same file.
        filled = Contestant('filled', os.path.abspath(options.runzeo), folder)
        filled.fill()
        data = os.path.join(filled.site.home, 'Data.fs')
        contestants = [Contestant(name, os.path.abspath(runzeo), folder, data)
                       for name, runzeo in servers.items()]
        for contestant in contestants:
            contestant.known.sure.update(filled.known.sure)
            stack.enter_context(contestant.site)
        for number in range(options.rounds):
            first = number % len(contestants)
            for contestant in contestants[first:] + contestants[:first]:
                one_round(contestant, number, options)
        report(contestants)
        for contestant in contestants:
            with_kills(contestant, options.kills)
            judge(contestant)


def arguments():
    parser = argparse.ArgumentParser(prog='scripts/zope', description=__doc__)
    parser.add_argument('--runzeo', default=os.environ.get('RUNZEO'), help='the server; else $RUNZEO')
    parser.add_argument('--against', action='append', default=[], metavar='NAME=RUNZEO',
                        help='one more server; may be given several times')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--requests', type=int, default=300, help='in each round')
    parser.add_argument('--rate', type=float, help='requests a second; else as many as are answered')
    parser.add_argument('--kills', type=int, default=5, help='of the server, at the end')
    return parser.parse_args()


def one_round(contestant, number, options):
    """Requests that are measured."""
    done = contestant.send(number + 1, options.requests, options.rate).run()
    contestant.rounds.append(done)
    print(f'round {number + 1}: {contestant.site.name:8} {words(done)}', flush=True)
    assert not done.errors, '\n'.join(done.errors[:5])


def with_kills(contestant, kills):
    """Requests during which the server is killed and started again."""
    for kill in range(kills):
        during = contestant.send(f'k{kill}', 60)
        during.start()
        wait_until(lambda: during.answered >= 10)
        contestant.site.kill()
        during.join()
        print(f'kill {kill + 1}: {contestant.site.name:8} {words(during)}', flush=True)
        for error in during.errors:
            if 'Disconnected' not in error:
                contestant.faults.append(error)


def judge(contestant):
    """Checks the site's file, when all is stopped. Faults of another server than ours are only told."""
    site = contestant.site
    site.__exit__()
    try:
        documents, trees = check(os.path.join(site.home, 'Data.fs'), contestant.known)
        print(f'{site.name}: {documents} documents, their catalog and {trees} trees are right')
    except Exception as error:  # trees that are broken raise anything
        contestant.faults.insert(0, f'at the end: {error!r}')
    if contestant.faults:
        print(f'{site.name}: {len(contestant.faults)} faults', *contestant.faults[:5], sep='\n  ')
        assert site.name != 'ours'


def words(done):
    wrong = f', {len(done.errors)} failed' if done.errors else ''
    return (f'{done.answered / done.took:6.1f} requests/s, {done.conflicts() / done.answered:.3f} conflicts'
            f' and {done.given_up / done.answered:.3f} given up a request, commit {1000 * statistics.median(done.commits):.1f}'
            f' ms, request {1000 * statistics.median(done.times):.1f} ms{wrong}')


def report(contestants):
    """Medians of the rounds, and their ratios to Python's."""
    figures = {
        'requests a second': lambda done: done.answered / done.took,
        'conflicts a request': lambda done: done.conflicts() / done.answered,
        'given up a request': lambda done: done.given_up / done.answered,
        'commit, ms': lambda done: 1000 * statistics.median(done.commits),
        'request, ms': lambda done: 1000 * statistics.median(done.times),
    }
    python = contestants[1]
    for contestant in contestants:
        print(f'\n{contestant.site.name} (median of the rounds; over Python\'s)')
        for name, figure in figures.items():
            mine, theirs = (statistics.median(map(figure, c.rounds)) for c in (contestant, python))
            ratio = f'{mine / theirs:6.2f}' if theirs else '     -'
            print(f'  {name:20} {mine:8.3f} {ratio}')
        kinds = sum((done.failures for done in contestant.rounds), start=type(contestant.rounds[0].failures)())
        for kind, count in kinds.most_common():
            print(f'  {count:4} {kind}')


main()
