"""Measures this project's client against Python's ClientStorage, on the same server and data.

usage: scripts/bench client [--quick] [--json FILE] [--phases NAMES] [--encoding pickle]

Each measurement is a process of its own; the two take turns, and what is shown are medians over the
rounds. The floor is what the machine gives at best in the same run: echoes of messages of the same
sizes by blocking threads, positioned reads of records, and append plus fdatasync; of opening a cache,
reading its file through and keeping 6 bytes a record, in a process that has nothing else.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from driver import Failed, Load, Server, copy_data
from report import show, table, verdict

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE_SIZE = 200 << 20  # of the clients, too
PROGRAMS = 'python', 'rzeo'
BUCKET = 30  # items of an LOBTree that was filled in order


def main(arguments):
    parser = argparse.ArgumentParser(prog='scripts/bench client', description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='2 minutes instead of 10')
    parser.add_argument('--json', metavar='FILE', help='write every figure of every round here')
    parser.add_argument('--encoding', choices=['msgpack', 'pickle'], default='msgpack')
    parser.add_argument('--phases', help='only these, by the beginning of their names, separated by commas: '
                        + ', '.join(row.name for row in rows(True)[0]))
    parser.add_argument('--rounds', type=int, help='default: 5; with --quick 3')
    parser.add_argument('--venv', default=os.environ.get('RZEO_VENV6') or ROOT / '.venv' / 'z6')
    parser.add_argument('--server', help='default: target/release/runzeo, built first')
    parser.add_argument('--directory', default=ROOT / 'target', help='for the data files')
    options = parser.parse_args(arguments)
    if not (pathlib.Path(options.venv) / 'bin' / 'runzeo').exists():
        parser.error(f'no ZEO 6 in {options.venv}: set RZEO_VENV6, or run scripts/test once')
    options.rounds = options.rounds or (3 if options.quick else 5)
    packages = ['-p', 'zeo-load'] + ([] if options.server else ['-p', 'zeo-server'])
    subprocess.run([ROOT / 'scripts' / 'cargo', 'build', '-q', '--release', *packages], cwd=ROOT, check=True)
    options.server = os.path.abspath(options.server or ROOT / 'target' / 'release' / 'runzeo')
    directory = tempfile.mkdtemp(prefix='bench-', dir=options.directory)
    bench, began = ClientBench(options, directory), time.monotonic()
    try:
        bench.measure()
    except KeyboardInterrupt:
        print('bench: interrupted', file=sys.stderr)
    finally:
        bench.stop_all()
        shutil.rmtree(directory)
    bench.show(time.monotonic() - began)
    if options.json:
        with open(options.json, 'w') as f:
            json.dump({' / '.join(key): values for key, values in bench.results.items()}, f, indent=1)
    return 1 if bench.failures else 0


@dataclasses.dataclass
class Row:
    """Something that is measured."""
    name: str
    what: str
    # The arguments of both programs.
    work: list
    # Ours over Python's: a least value of rates, a greatest one of anything else.
    reach: float
    # 'rate', or the name of a figure of their reports.
    figure: str = 'rate'
    unit: str = '/s'
    # Arguments of zeo-load, or of our program for what needs no server.
    floor: list = None
    data: str = 'records'
    # The file of the client's cache: 'full', or 'empty' at first, or 'kept' from the row before.
    cache: str = None
    # More figures: (what, figure, unit, reach).
    also: tuple = ()


def rows(quick):
    """All that is measured; with a smaller BTree if it is to be quick."""
    objects, items, commits = 10_000, 100_000 if quick else 1_000_000, 200 if quick else 1000
    one, many = ['echo', '--clients', 1], ['echo', '--clients', 1, '--outstanding', 32]
    return [
        Row('loads 1', 'cold loads, 1 thread', ['loads', objects, 1], 3, floor=one),
        Row('loads 8', 'cold loads, 8 threads that share a storage', ['loads', objects, 8], 8,
            floor=[*one, '--outstanding', 8]),
        Row('cached 1', 'loads from the cache', ['cached', objects, 5, 1], 10, floor=['pread']),
        Row('cached 8', '  the same by 8 threads, each all', ['cached', objects, 1, 8], 10, floor=['pread']),
        Row('first', '  the same, each for the first time', ['first', objects], None, floor=['pread']),
        Row('prefetch', f'prefetch of {objects:,} objects', ['prefetch', objects], 6, floor=many),
        Row('iterate', 'iteration of all records', ['iterate'], 10, floor=many),
        Row('open', 'opening a cache of 200 MB', ['open'], 1 / 20, 'seconds', 's', ['heads'], cache='full',
            also=(('  memory that it takes', 'memory', 'MiB', 0.1),
                  ('  memory of the process', 'resident', 'MiB', 0.1))),
        Row('commit', 'commit of one object', ['commit', commits], 0.8, 'median', 'ms',
            ['sync', '--size', 1000, '--max-objects', 1],
            # Not of those whose last transaction is that of the cache.
            data='commits'),
        Row('walk cold', f'walk over {items:,} items of a BTree, cold', ['walk'], 8, floor=many,
            data='tree', cache='empty'),
        Row('walk warm', '  the same, from the cache', ['walk'], 8, floor=['pread'], data='tree',
            cache='kept'),
    ], items


class ClientBench:
    """One run."""

    def __init__(self, options, directory):
        self.options, self.directory = options, directory
        self.rows, self.items = rows(options.quick)
        chosen = options.phases.split(',') if options.phases else ['']
        self.rows = [row for row in self.rows if any(map(row.name.startswith, chosen))]
        self.load = Load(ROOT / 'target' / 'release' / 'zeo-load')
        self.ours = ROOT / 'target' / 'release' / 'zeo-load-client'
        self.python = pathlib.Path(options.venv) / 'bin' / 'python'
        self.results = {}  # (row, program or 'floor') -> reports
        self.servers = {}
        self.failures = []

    def measure(self):
        """All rounds."""
        for data in {row.data: None for row in self.rows}:
            self.servers[data] = self.serve(data)
        if any(row.cache == 'full' for row in self.rows):
            self.run(self.python, HERE / 'python_data.py', 'cache', self.path('full.zec'),
                     self.servers['records'].data, CACHE_SIZE)
        for number in range(self.options.rounds):
            for row in self.rows:
                print(f'round {number + 1}: {row.name}', file=sys.stderr, flush=True)
                for program in (PROGRAMS if number % 2 else PROGRAMS[::-1]):
                    self.note(row, program, lambda: self.client(row, program))
                if row.floor:
                    self.note(row, 'floor', lambda: self.floor(row))

    def serve(self, data):
        """A server of ours with these data."""
        server = Server(self.options.server, self.path(data), msgpack=self.options.encoding != 'pickle')
        made = self.path(f'{data}.fs')
        if data == 'tree':
            self.run(self.python, HERE / 'python_data.py', 'tree', made, self.items)
        else:
            self.load.run('make-fs', made, '--objects', 10_001, '--size', 1000)
        copy_data(made, server)
        server.start()
        return server

    def client(self, row, program):
        """Runs one client."""
        path = '-'
        if row.cache:
            path = self.path(f'{program}-{"full" if row.cache == "full" else row.data}.zec')
            if row.cache == 'full' and not os.path.exists(path):
                shutil.copy(self.path('full.zec'), path)
            if row.cache == 'empty' and os.path.exists(path):
                os.remove(path)
        command = [self.python, HERE / 'python_client.py'] if program == 'python' else [self.ours]
        server = self.servers[row.data]
        return json.loads(self.run(*command, f'127.0.0.1:{server.port}', path, *row.work))

    def floor(self, row):
        """What the machine gives at best: operations a second, or seconds."""
        kind = row.floor[0]
        files = {'pread': self.servers[row.data].data, 'heads': self.path('full.zec')}
        if kind in files:
            # They need no server.
            return json.loads(self.run(self.ours, 'localhost:1', '-', kind, files[kind]))
        path = ['--path', self.path('floor')] if kind == 'sync' else []
        report = self.load.run(*row.floor, '--seconds', 1, *path)[kind]
        return {'operations': report['per_second'], 'seconds': 1, 'median': report['p50_us'] / 1e6}

    def run(self, *command):
        """What a program prints."""
        done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=1800)
        if done.returncode:
            raise Failed(f'{" ".join(map(str, command))}:\n{done.stderr.strip()[-2000:]}')
        return done.stdout

    def note(self, row, program, measure):
        """Keeps a report; after a failure the run goes on."""
        try:
            self.results.setdefault((row.name, program), []).append(measure())
        except (Failed, OSError, subprocess.TimeoutExpired) as why:
            self.failures.append(f'{row.name}, {program}: {why}')
            print(f'bench: {self.failures[-1]}', file=sys.stderr)

    def path(self, name):
        return os.path.join(self.directory, name)

    def stop_all(self):
        for server in self.servers.values():
            server.stop()

    def value(self, row, program, figure, unit):
        """The median of a figure over the rounds, in its unit; None if there is none."""
        values = [figure_of(report, figure) for report in self.results.get((row.name, program), [])]
        values = [value for value in values if value is not None]
        scale = {'ms': 1e3, 'MiB': 1 / (1 << 20)}.get(unit, 1)
        return statistics.median(values) * scale if values else None

    def show(self, seconds):
        """Prints the table."""
        options = self.options
        print(f'{os.cpu_count()} processors; {options.rounds} rounds; {options.encoding}; '
              f'{seconds / 60:.1f} minutes\n')
        lines = []
        for row in self.rows:
            floor = self.value(row, 'floor', row.figure, row.unit)
            if row.name.startswith('walk') and floor:
                floor *= BUCKET
            lines.append(self.line(row, row.what, row.figure, row.unit, row.reach, floor))
            for what, figure, unit, reach in row.also:
                lines.append(self.line(row, what, figure, unit, reach,
                                       self.value(row, 'floor', figure, unit)))
            if row.name != 'open':
                lines.append(self.line(row, '  processor time of the client', 'cpu_each', 'us', None, None))
        table(['work', 'Python', 'rzeo', 'ratio', 'reach', '', 'floor'], *lines)
        for failure in self.failures:
            print(f'\nfailed: {failure}')

    def line(self, row, what, figure, unit, reach, floor):
        python, ours = (self.value(row, program, figure, unit) for program in PROGRAMS)
        ratio = ours / python if python and ours is not None else None
        least = unit == '/s'
        wanted = '' if reach is None else f'{">=" if least else "<="} {reach}'
        return [what, show(python, unit), show(ours, unit), '' if ratio is None else f'{ratio:.2f}', wanted,
                verdict(ratio, reach, least), show(floor, unit)]


def figure_of(report, figure):
    if figure == 'rate':
        return report['operations'] / report['seconds']
    if figure == 'cpu_each':
        return report['cpu'] * 1e6 / report['operations']
    return report.get(figure)
