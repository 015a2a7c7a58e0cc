"""Measures servers on PostgreSQL against Python's RelStorage, on the same database in the same run.

usage: scripts/bench postgres [--quick] [--json FILE] [--kinds history,free] [--phases NAMES]

PostgreSQL is the package pgserver's, in a cluster of its own in $TMPDIR, which syncs as it does by
default. RelStorage's processes call its storage without a ZODB connection and without its cache; the
server is driven by zeo-load. They take turns, and what is shown are medians over the rounds. A commit
is of one object of 150 bytes, a load of one of 1000 bytes that no cache has.

The floor of loads is pgbench behind a relay, which only passes everything on: a server, too, stands between
its clients and PostgreSQL.

A lone client's commit is held to the machine's sync of a page of a file, three of PostgreSQL's round
trips, and a millisecond. Round trips are counted between server and PostgreSQL, syncs by PostgreSQL.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from driver import Failed, Load, Server
from report import show, table, verdict

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OBJECTS, OBJECT_SIZE, COMMIT_SIZE = 10_000, 1000, 150
FIRST = 1_000_000  # oid of what is loaded
SHAPE = '--min-objects', 1, '--max-objects', 1, '--size', COMMIT_SIZE
LOADS = '--first', FIRST, '--objects', OBJECTS
POLL_INTERVAL = 200  # ms
PHASES = 'commits 1', 'commits 8', 'commits 16', 'loads 1', 'loads 8', 'lone', 'delay'


def main(arguments):
    parser = argparse.ArgumentParser(prog='scripts/bench postgres', description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='2 minutes instead of 10')
    parser.add_argument('--json', metavar='FILE', help='write every figure of every round here')
    parser.add_argument('--kinds', default='history,free', help='of databases; default: %(default)s')
    parser.add_argument('--phases', help=f'only these, by the beginning of their names: {", ".join(PHASES)}')
    parser.add_argument('--rounds', type=int, help='default: 5; with --quick 3')
    parser.add_argument('--seconds', type=float, help='of each phase; default: 3; with --quick 1')
    parser.add_argument('--venv', default=os.environ.get('RZEO_VENV6') or ROOT / '.venv' / 'z6')
    parser.add_argument('--server', help='default: target/release/runzeo, built first')
    parser.add_argument('--load', help='default: target/release/zeo-load, built first')
    options = parser.parse_args(arguments)
    python = pathlib.Path(options.venv) / 'bin' / 'python'
    if os.path.realpath(sys.prefix) != os.path.realpath(options.venv):
        if not python.exists():
            parser.error(f'no virtual environment in {options.venv}: set RZEO_VENV6, or run scripts/test once')
        os.execv(python, [python, ROOT / 'scripts' / 'bench', 'postgres', *arguments])
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = options.seconds or (1 if options.quick else 3)
    built = [name for name, given in (('zeo-server', options.server), ('zeo-load', options.load)) if not given]
    if built:
        packages = [word for name in built for word in ('-p', name)]
        subprocess.run([ROOT / 'scripts' / 'cargo', 'build', '-q', '--release', *packages], cwd=ROOT, check=True)
    options.server = os.path.abspath(options.server or ROOT / 'target' / 'release' / 'runzeo')
    bench, began = DatabaseBench(options), time.monotonic()
    try:
        for kind in options.kinds.split(','):
            bench.measure(kind)
    except KeyboardInterrupt:
        print('bench: interrupted', file=sys.stderr)
    finally:
        bench.end()
    bench.show(time.monotonic() - began)
    if options.json:
        with open(options.json, 'w') as f:
            json.dump({' / '.join(key): values for key, values in bench.results.items()}, f, indent=1)
    return 1 if bench.failures else 0


class PostgresServer(Server):
    """A server on a database."""

    def __init__(self, program, directory, dsn, kind, cache=64):
        super().__init__(program, directory, msgpack=True)
        with open(self.configuration) as f:
            text = re.sub('<filestorage 1>.*</filestorage>\n', '%import relstorage\n<relstorage 1>\n'
                          f'  keep-history {str(kind == "history").lower()}\n  cache-local-mb {cache}\n'
                          f'  <postgresql>\n    dsn {dsn}\n  </postgresql>\n</relstorage>\n', f.read(), flags=re.S)
        with open(self.configuration, 'w') as f:
            f.write(text)


class DatabaseBench:
    """One run."""

    def __init__(self, options):
        sys.path.insert(0, str(ROOT / 'tests'))
        from postgres.cluster import Cluster
        self.options = options
        self.load = Load(options.load or ROOT / 'target' / 'release' / 'zeo-load')
        self.directory = tempfile.mkdtemp(prefix='bench-')
        self.cluster = Cluster()
        # (phase, kind, who) -> reports, one for each round
        self.results = collections.defaultdict(list)
        self.failures, self.running = [], []

    def measure(self, kind):
        """All rounds on a database of this kind."""
        self.kind = kind
        self.cluster.create(kind)
        with self.servers() as (server,):
            self.load.run('fill', *LOADS, '--size', OBJECT_SIZE, server=server)
        for statement in 'VACUUM ANALYZE', 'CHECKPOINT':
            self.cluster.sql(kind, statement)
        for number in range(self.options.rounds):
            for phase in filter(self.wanted, PHASES):
                print(f'{kind}, round {number + 1}: {phase}', file=sys.stderr, flush=True)
                works = self.works(phase)
                for who, work in works[number % len(works):] + works[:number % len(works)]:
                    try:
                        self.results[phase, kind, who].append(work())
                    except (Failed, OSError, subprocess.SubprocessError, AssertionError) as why:
                        self.failures.append(f'{phase}, {kind}, {who}: {why}')
                        print(f'bench: {self.failures[-1]}', file=sys.stderr)

    def works(self, phase):
        """(who, what he does) for each that is measured."""
        work, _, clients = phase.partition(' ')
        if phase == 'commits 16':
            return [('one', lambda: self.commits(1, 16)), ('two', lambda: self.commits(2, 16))]
        if work == 'commits':
            return [('python', lambda: self.processes('commits', int(clients))),
                    ('rzeo', lambda: self.commits(1, int(clients)))]
        if work == 'loads':
            return [('python', lambda: self.processes('loads', int(clients))),
                    ('rzeo', lambda: self.loads(int(clients))),
                    ('raw', lambda: self.processes('raw', int(clients))),
                    ('pgbench', lambda: self.pgbench(int(clients), self.raw_load())),
                    ('floor', lambda: self.relayed(int(clients)))]
        if work == 'lone':
            return [('sync', self.sync), ('trip', lambda: self.pgbench(1, 'SELECT 1;')), ('rzeo', self.lone)]
        return [('python', self.delay_of_python), ('rzeo', self.delay_of_server)]

    def servers(self, count=1, **options):
        """That many servers, while a `with` lasts."""
        return Servers(self, count, options)

    def processes(self, work, count, *more):
        """RelStorage's processes that begin together; what they report, added up."""
        command = [sys.executable, HERE / 'relstorage_client.py', work, self.cluster.dsn(self.kind), self.kind,
                   self.options.seconds, FIRST, OBJECTS, COMMIT_SIZE, *more]
        all = [subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True) for _ in range(count)]
        try:
            ready = [process.stdout.readline() for process in all]
            for process in all if all_equal(ready, 'ready\n') else []:
                process.stdin.write('\n')
                process.stdin.flush()
            ended = [process.communicate(timeout=60) for process in all]
        finally:
            for process in all:
                process.kill()
                process.wait()
        if any(process.returncode for process in all):
            raise Failed('\n'.join(errors.strip()[-1000:] for _, errors in ended))
        return added(json.loads(out) for out, _ in ended)

    def commits(self, servers, clients):
        """Two processes drive them if there are many clients, however many servers there are."""
        with self.servers(servers) as running, concurrent.futures.ThreadPoolExecutor() as pool:
            parts = (running * 2)[:2] if clients > 8 else running
            return added(pool.map(lambda server: self.load.run(
                'commits', '--clients', clients // len(parts), '--seconds', self.options.seconds, *SHAPE,
                server=server)['commits'], parts))

    def loads(self, clients):
        with self.servers(cache=0) as (server,):
            return self.load.run('loads', '--clients', clients, '--seconds', self.options.seconds, *LOADS,
                                 server=server)['loads']

    def raw_load(self):
        name = 'current_object_state' if self.kind == 'history' else 'object_state'
        return (f'\\set oid random({FIRST}, {FIRST + OBJECTS - 1})\n'
                f'SELECT state, tid FROM {name} WHERE zoid = :oid;')

    def relayed(self, clients):
        """PostgreSQL's own client, with a process in between that only passes everything on."""
        with self.load.relaying(f'{self.cluster.directory}/.s.PGSQL.{self.cluster.port}') as port:
            return self.pgbench(clients, self.raw_load(), '-h', '127.0.0.1', '-p', port)

    def pgbench(self, clients, script, *connect):
        """PostgreSQL's own client, with prepared statements."""
        path = os.path.join(self.directory, 'script')
        with open(path, 'w') as f:
            f.write(script + '\n')
        os.chmod(self.directory, 0o755)
        printed = self.cluster.run('pgbench', *self.cluster.connect(
            '-n', '-M', 'prepared', '-c', clients, '-j', clients, '-T', max(1, round(self.options.seconds)),
            '-f', path, *connect, self.kind))
        rate, = re.findall(r'tps = ([\d.]+)', printed)
        return {'per_second': float(rate), 'p50_us': clients / float(rate) * 1e6}

    def sync(self):
        """A page of a file that is there already, as PostgreSQL writes its log."""
        times, page = [], b'x' * 8192
        with open(os.path.join(os.path.dirname(self.cluster.data), 'floor'), 'w+b', buffering=0) as f:
            f.write(bytes(1 << 24))
            os.fsync(f.fileno())
            until = time.perf_counter() + self.options.seconds
            while (began := time.perf_counter()) < until:
                os.pwrite(f.fileno(), page, len(times) % 2000 * len(page))
                os.fdatasync(f.fileno())
                times.append(time.perf_counter() - began)
        return {'p50_us': statistics.median(times) * 1e6}

    def lone(self):
        """A client alone: how long its commits take; and its round trips and syncs, counted apart."""
        with self.servers() as (server,):
            report = self.load.run('commits', '--seconds', self.options.seconds, *SHAPE, server=server)['commits']
        from proxy import Proxy
        with Proxy(f'{self.cluster.directory}/.s.PGSQL.{self.cluster.port}') as proxy:
            dsn = f"host='127.0.0.1' port='{proxy.port}' user='zodb' dbname='{self.kind}'"
            counts = []
            for count in 200, 400:
                before = proxy.trips('commit', 'lock', 'load'), self.syncs()
                with self.servers(dsn=dsn) as (server,):
                    self.load.run('commits', '--count', count, *SHAPE, server=server)
                counts.append((proxy.trips('commit', 'lock', 'load') - before[0], self.syncs() - before[1]))
        # The difference: without what servers and clients need at their start.
        (trips, syncs), (more_trips, more_syncs) = counts
        return {**report, 'trips': (more_trips - trips) / 200, 'syncs': (more_syncs - syncs) / 200}

    def syncs(self):
        """Of the log, by connections that are closed, and by PostgreSQL's own processes."""
        while self.cluster.sql(self.kind, "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'rzeo%' LIMIT 1"):
            time.sleep(0.01)
        return int(self.cluster.sql(self.kind, 'SELECT wal_sync FROM pg_stat_wal')[0])

    def delay_of_python(self):
        with self.servers() as (server,):
            return self.processes('delay', 1, server.port)

    def delay_of_server(self):
        with self.servers(2) as (one, other):
            return self.load.run('listeners', '--clients', 1, '--size', COMMIT_SIZE, '--at',
                                 f'127.0.0.1:{other.port}', '--seconds', self.options.seconds,
                                 server=one)['listeners']

    def wanted(self, phase):
        chosen = self.options.phases
        return not chosen or any(phase.startswith(name) for name in chosen.split(','))

    def end(self):
        for server in self.running:
            server.stop()
        self.cluster.remove()
        shutil.rmtree(self.directory)

    def median(self, phase, who, figure='per_second'):
        """Over the rounds; None if there is none."""
        values = [report[figure] for report in self.results.get((phase, self.kind, who), [])]
        return statistics.median(values) if values else None

    def show(self, seconds):
        """Prints the tables."""
        options = self.options
        print(f'{os.cpu_count()} processors; {options.rounds} rounds of {options.seconds} s; '
              f'{seconds / 60:.1f} minutes')
        for self.kind in options.kinds.split(','):
            print(f'\n{self.kind}\n')
            lines = [line for line in self.lines() if line[2]]
            table(['work', 'other', 'rzeo', 'ratio', 'reach', ''], *lines)
        for failure in self.failures:
            print(f'\nfailed: {failure}')

    def lines(self):
        """The rows of a table."""
        for clients, reach in (1, 2.5), (8, 5):
            both = [self.median(f'commits {clients}', who) for who in ('python', 'rzeo')]
            yield line(f'commits a second, {clients} client(s); RelStorage: process(es)', '/s', *both, reach)
        both = [self.median('commits 16', who) for who in ('one', 'two')]
        yield line('commits a second, 16 clients: one server, two servers', '/s', *both, 1)
        for clients in 1, 8:
            ours = self.median(f'loads {clients}', 'rzeo')
            for who, name, reach in (('python', 'RelStorage', 1.2), ('raw', 'prepared SELECTs, psycopg2', 0.8),
                                     ('pgbench', 'prepared SELECTs, pgbench', None),
                                     ('floor', 'the same behind a relay', 0.8)):
                yield line(f'loads a second, {clients} client(s); {name}', '/s',
                           self.median(f'loads {clients}', who), ours, reach)
        sync, trip, ours = (self.median('lone', who, 'p50_us') for who in ('sync', 'trip', 'rzeo'))
        if sync and trip and ours:
            yield line('a lone commit; sync, 3 round trips and 1 ms', 'ms', (sync + 3 * trip) / 1000 + 1,
                       ours / 1000, 1, least=False)
        yield line('  its round trips to PostgreSQL', '', 3, self.median('lone', 'rzeo', 'trips'), 1, least=False)
        yield line('  its syncs', '', 1, self.median('lone', 'rzeo', 'syncs'), 1.05, least=False)
        for who, what, limit in (('python', 'RelStorage', POLL_INTERVAL), ('rzeo', 'another server', 20)):
            told = self.median('delay', who, 'p50_us')
            yield line(f'invalidation after a commit of {what}, median; limit', 'ms', limit,
                       told and told / 1000, 1, least=False)


class Servers:
    """Servers, while a `with` lasts."""

    def __init__(self, bench, count, options):
        self.bench, self.count, self.options = bench, count, {'dsn': bench.cluster.dsn(bench.kind), **options}

    def __enter__(self):
        self.all = []
        for number in range(self.count):
            server = PostgresServer(self.bench.options.server, f'{self.bench.directory}/{number}',
                                    kind=self.bench.kind, **self.options)
            self.bench.running.append(server)
            server.start()
            self.all.append(server)
        return self.all

    def __exit__(self, *_):
        for server in self.all:
            server.stop()
            self.bench.running.remove(server)


def all_equal(found, expected):
    return all(one == expected for one in found)


def added(reports):
    """Of clients at the same time: rates add up."""
    reports = list(reports)
    return {'per_second': sum(report['per_second'] for report in reports),
            'p50_us': statistics.median(report['p50_us'] for report in reports)}


def line(what, unit, other, ours, reach, least=True):
    """A row: `reach` is ours over the other, a least value or a greatest one."""
    ratio = ours / other if other and ours is not None else None
    return [what, show(other, unit), show(ours, unit), '' if ratio is None else f'{ratio:.2f}',
            '' if reach is None else f'{">=" if least else "<="} {reach}', verdict(ratio, reach, least)]
