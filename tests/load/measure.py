"""What is measured: the phases, each on both servers, in turns."""
import collections
import contextlib
import os
import pathlib
import statistics
import subprocess
import sys

from driver import Failed, Load, Server, Tls, copy_data

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAMS = 'python', 'rzeo'
OBJECTS = 10_000
SHAPE = '--size', 1000
IDLE, MANY_IDLE = 200, 2000
# One client loads and another commits, so seldom that each finds nobody else at work.
LONE = ['mixed', '--clients', 1, '--pace', 100, '--writers', 1, '--writer-pace', 20, *SHAPE]

# name: what zeo-load does to each server
PHASES = {
    'loads 1': ['loads', '--clients', 1],
    'loads 8': ['loads', '--clients', 8],
    'loads 32': ['loads', '--clients', 32],
    'pipeline': ['pipeline', '--clients', 2, '--outstanding', 32],
    'commits 1': ['commits', '--clients', 1, *SHAPE],
    'commits 8': ['commits', '--clients', 8, *SHAPE],
    'commits 32': ['commits', '--clients', 32, *SHAPE],
    'syncing commits': ['commits', '--clients', 1, *SHAPE],
    'mixed': ['mixed', '--clients', 8, '--pace', 250, '--writers', 2, '--writer-pace', 100, *SHAPE],
    'unpaced': ['mixed', '--clients', 8, '--pace', 0, '--writers', 1, '--writer-pace', 0, *SHAPE],
    'listeners': ['listeners', '--clients', 100, *SHAPE],
    'listeners 1000': ['listeners', '--clients', 1000, *SHAPE],
    'lone': LONE,
    'idle lone': LONE,
    'connects': ['connects', '--clients', 4],
}
# With --quick, these are measured in the first round only: so many clients take some time to connect.
ONCE_IF_QUICK = 'lone', 'idle lone'
# phase: what gives its floor
FLOORS = {
    'loads 1': ['echo', '--clients', 1],
    'loads 8': ['echo', '--clients', 8],
    'loads 32': ['echo', '--clients', 32],
    'pipeline': ['echo', '--clients', 2, '--outstanding', 32],
    'commits 1': ['sync', *SHAPE],
    'syncing commits': ['sync', *SHAPE],
    'unpaced': ['sync', *SHAPE],
    'listeners': ['fan-out', '--clients', 100, *SHAPE],
    'listeners 1000': ['fan-out', '--clients', 1000, *SHAPE],
}
# The same floor where the file does not grow, since zeros were written there before.
OVER_ZEROS = 'commits 1', 'syncing commits'


class Bench:
    """One run: its servers, and every figure of every round."""

    def __init__(self, options, directory):
        self.options, self.directory = options, directory
        self.load = Load(ROOT / 'target' / 'release' / 'zeo-load')
        self.servers = []
        self._tls = None
        # (phase, encoding or 'floor', program) -> reports, one for each round
        self.results = collections.defaultdict(list)
        self.failures = []

    def measure(self, encoding):
        """All phases with one encoding; `tls` is msgpack over TLS."""
        if not any(map(self.wanted, ['memory', *PHASES])):
            return
        data = os.path.join(self.directory, f'{encoding}.fs')
        self.load.run('make-fs', data, '--objects', OBJECTS + 1, *SHAPE)
        servers = {program: self.start(program, encoding, data) for program in PROGRAMS}
        if self.wanted('memory'):
            for program, server in servers.items():
                self.note('memory', encoding, program, lambda: {
                    'start': server.memory(),
                    'client': self.load.memory_for_client(server, IDLE)}, server)
        for number in range(self.options.rounds):
            for phase in filter(self.wanted, PHASES):
                if number and self.options.quick and phase in ONCE_IF_QUICK:
                    continue
                print(f'{encoding}, round {number + 1}: {phase}', file=sys.stderr, flush=True)
                self.floor(phase)
                for program in self.in_turns(number):
                    self.note(phase, encoding, program, lambda: self.run(
                        phase, *PHASES[phase], *objects(phase), server=servers[program]), servers[program])
        self.stop_all()

    def floor(self, phase):
        """The floors of a phase, in each round anew."""
        if phase in FLOORS:
            writes = FLOORS[phase][0] in ('sync', 'fan-out')
            path = ['--path', os.path.join(self.directory, 'floor')] if writes else []
            self.note(phase, 'floor', 'floor', lambda: self.run(phase, *FLOORS[phase], *path), True)
            if phase in OVER_ZEROS:
                self.note(phase, 'over zeros', 'floor', lambda: self.run(
                    phase, *FLOORS[phase], *path, '--over-zeros'), True)

    def run(self, phase, *args, server=None):
        """Runs zeo-load once, beside what belongs to the phase."""
        beside = contextlib.nullcontext()
        if phase.startswith('syncing'):
            beside = self.load.syncing(os.path.join(self.directory, 'beside'))
        elif phase == 'unpaced' and server is None:
            beside = self.load.echoing(8)
        elif phase.startswith('idle'):
            beside = self.load.idle(server, MANY_IDLE)
        with beside:
            return self.load.run(*args, '--seconds', self.options.seconds, server=server)

    def in_turns(self, number):
        """The two programs, another one first each round."""
        return PROGRAMS if number % 2 else tuple(reversed(PROGRAMS))

    def start(self, program, encoding, data):
        """A server on a copy of the data; None if it does not start."""
        server = Server(self.options.programs[program],
                        os.path.join(self.directory, f'{encoding}-{program}'),
                        msgpack=encoding != 'pickle', tls=self.tls() if encoding == 'tls' else None)
        self.servers.append(server)
        copy_data(data, server)
        return server if self.try_start(server) else None

    def tls(self):
        """Certificates, made when they are needed first."""
        self._tls = self._tls or Tls(self.directory)
        return self._tls

    def try_start(self, server):
        """True when the server has started; else that is a failure."""
        try:
            server.start()
            return True
        except (Failed, OSError) as why:
            self.fail(f'{server.program}: {why}')
            return False

    def note(self, phase, encoding, program, measure, server):
        """Keeps what `measure` reports; a failure is kept, too, and the run goes on."""
        if server is not None:
            try:
                self.results[phase, encoding, program].append(measure())
            except (Failed, OSError, subprocess.TimeoutExpired) as why:
                self.fail(f'{phase}, {encoding}, {program}: {why}')

    def fail(self, text):
        self.failures.append(text)
        print(f'bench: {text}', file=sys.stderr)

    def stop_all(self):
        while self.servers:
            self.servers.pop().stop()

    def median(self, phase, encoding, program, group, figure):
        """The median over the rounds; None if there is none."""
        reports = self.results.get((phase, encoding, program), [])
        values = [(report[group] if group else report)[figure] for report in reports]
        return statistics.median(values) if values else None

    def wanted(self, phase):
        chosen = self.options.phases
        return not chosen or any(phase.startswith(name) for name in chosen.split(','))


def objects(phase):
    """Which objects are loaded: not the root."""
    loads = PHASES[phase][0] in ('loads', 'pipeline', 'mixed')
    return ['--first', 1, '--objects', OBJECTS] if loads else []
