"""Runs ZEO's own test suite against the server under test (`$RUNZEO`).

usage: run.py [--venv DIR]... [--encoding Z|M]... [--postgres history|free]... [-j N] [--later]
              [PATTERN]...

Each --venv is a virtual environment with a version of ZEO (default: those in
$RZEO_VENV6 and $RZEO_VENV5, else .venv/z6 and .venv/z5). Each of them runs
with each encoding: Z is pickle, M is msgpack. A PATTERN (fnmatch, on labels
such as `FileStorageTests/testStore`) selects tests; --later also runs those
that wait for a feature. --postgres makes each storage file a database, with history or without
(free): run it with a Python that has pgserver and psycopg2 (.venv/z6), for `FileStorageTests/*` and,
with blobs, `BlobAdaptedFileStorageTests/*`. Ends with a line `N passed, N failed, N skipped`. SIGTERM
and Ctrl-C end all that it has started.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import fnmatch
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TESTS)

from support.server import REPOSITORY, binary  # noqa: E402
from upstream import databases  # noqa: E402
from upstream.skips import HISTORY_FREE, LATER, NOT_APPLICABLE, ON_POSTGRES  # noqa: E402

WORKER = os.path.join(TESTS, 'upstream', 'worker.py')
TESTS_PER_JOB = 50
# In memory where that can be: thousands of syncs, several at a time, can keep a slow disk busy for
# longer than the tests wait, and what they judge is not the disk.
PLACE = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
# Some tests want to be refused what the permissions of a file forbid: root is not, otherwise.
PREFIX = (['setpriv', '--bounding-set', '-dac_override']
          if os.geteuid() == 0 and shutil.which('setpriv') else [])

Job = collections.namedtuple('Job', 'venv encoding database module labels')
Result = collections.namedtuple('Result', 'job outcomes seconds output')


def main():
    start = time.monotonic()
    options = parse_arguments()
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, leave)
    if not os.access(binary(), os.X_OK):
        sys.exit(f'no server to test: {binary()} (set RUNZEO)')
    jobs, skipped, unmatched = plan(options)
    if unmatched:
        sys.exit('entries of skips.py that match no test:\n  ' + '\n  '.join(unmatched))
    for reason, count in sorted(skipped.items()):
        print(f'skipping {count:4}: {reason}')
    print(f'running {sum(len(job.labels) for job in jobs)} tests in {len(jobs)} processes, '
          f'{options.jobs} at a time, against {binary()}', flush=True)
    counts = collections.Counter(skipped=sum(skipped.values()))
    slowest = []
    with databases.cluster() if options.postgres else contextlib.nullcontext():
        for result in run_jobs(jobs, options):
            counts.update(result.outcomes.values())
            slowest += [(s, label, result.job) for label, s in result.seconds.items()]
            show(result, options.verbose)
    for seconds, label, job in sorted(slowest, key=lambda item: -item[0])[:options.durations]:
        print(f'{seconds:7.1f} s  {name(job)} {label}')
    print(f'{time.monotonic() - start:.0f} s')
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    sys.exit(1 if counts['failed'] or not counts['passed'] else 0)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('patterns', nargs='*', metavar='PATTERN')
    parser.add_argument('--venv', action='append')
    parser.add_argument('--encoding', action='append', choices=['Z', 'M'])
    parser.add_argument('-j', '--jobs', type=int, default=4 * (os.cpu_count() or 1))
    parser.add_argument('--later', action='store_true')
    parser.add_argument('--postgres', action='append', choices=['history', 'free'],
                        help='with <relstorage> in place of <filestorage>; needs the package pgserver')
    parser.add_argument('--timeout', type=int, default=1200, help='seconds for one process')
    parser.add_argument('--durations', type=int, default=5)
    parser.add_argument('-v', '--verbose', action='store_true')
    options = parser.parse_args()
    options.venv = options.venv or [
        os.environ.get(f'RZEO_VENV{n}') or os.path.join(REPOSITORY, '.venv', f'z{n}')
        for n in (6, 5)]
    options.venv = [os.path.abspath(venv) for venv in options.venv]
    options.encoding = options.encoding or ['Z', 'M']
    return options


def leave(number, _frame):
    """A signal has come: ends this process as an exception would, so that nothing is left behind."""
    for other in signal.SIGTERM, signal.SIGINT:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def run_jobs(jobs, options):
    """Yields the results as they come; leaves no process behind, however it ends."""
    workers = Workers()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(run_job, job, workers, options.timeout) for job in jobs]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            workers.end()


class Workers:
    """The worker processes that run, each the leader of the group in which its servers are."""

    def __init__(self):
        self.lock, self.running, self.ended = threading.Lock(), set(), False

    def start(self, *args, **options):
        with self.lock:
            if self.ended:
                raise concurrent.futures.CancelledError
            process = subprocess.Popen(*args, start_new_session=True, **options)
            self.running.add(process)
        return process

    def kill(self, process):
        """Ends the process, unless it has been waited for, and all that it has started."""
        with self.lock, contextlib.suppress(ProcessLookupError):
            if process in self.running:
                os.killpg(process.pid, signal.SIGKILL)

    def gone(self, process):
        with self.lock:
            self.running.discard(process)

    def end(self):
        with self.lock:
            self.ended = True
            processes = list(self.running)
        for process in processes:
            self.kill(process)


def plan(options):
    """The jobs to run, the number of skipped tests by reason, skip entries without a test."""
    jobs, skipped, unmatched = [], collections.Counter(), {}
    for venv, database in itertools.product(options.venv, options.postgres or [None]):
        tests = list_tests(venv)
        reasons, idle = apply_skips([label for _module, label in tests], database)
        # What only one version of ZEO has needs to be found in that one only.
        unmatched[database] = unmatched.get(database, idle) & idle
        for encoding in options.encoding:
            chosen = collections.defaultdict(list)
            for module, label in tests:
                if options.patterns and not any(
                        fnmatch.fnmatchcase(label, p) for p in options.patterns):
                    continue
                reason, later = reasons.get(label, (None, False))
                if reason and not (later and options.later):
                    skipped[f'needs {reason}, which comes later' if later else reason] += 1
                else:
                    chosen[module, label.split('/')[0]].append(label)
            for (module, _group), labels in chosen.items():
                jobs += [Job(venv, encoding, database, module, share) for share in shares(labels)]
    # The longest jobs begin first, so that none is left alone at the end.
    jobs.sort(key=lambda job: len(job.labels) > 1)
    return jobs, skipped, sorted(set().union(*unmatched.values()))


def shares(labels):
    """The tests of a group, as those of several processes."""
    # The longest ones are jobs of their own.
    races = [label for label in labels if '_race_external_invalidate_vs_disc' in label]
    labels = [label for label in labels if label not in races]
    parts = -(-len(labels) // TESTS_PER_JOB)
    # Neighbours tend to be slow together: deal them out like cards.
    return [[race] for race in races] + [labels[i::parts] for i in range(parts)]


@functools.cache
def list_tests(venv):
    """All (module, label) that a venv's ZEO has."""
    output = subprocess.run(
        [python(venv), WORKER, '--list'], stdout=subprocess.PIPE, check=True, text=True).stdout
    return [tuple(line.split('\t')) for line in output.splitlines()]


def apply_skips(labels, database):
    """A dict from label to (reason, comes later?), and the patterns that matched nothing."""
    reasons, idle = {}, set()
    lasting = (NOT_APPLICABLE + ON_POSTGRES * (database is not None)
               + HISTORY_FREE * (database == 'free'))
    for entries, later in (lasting, False), (LATER, True):
        for pattern, reason in entries:
            matching = fnmatch.filter(labels, pattern)
            if not matching:
                idle.add(pattern)
            for label in matching:
                reasons.setdefault(label, (reason, later))
    return reasons, idle


def run_job(job, workers, timeout):
    """Runs one worker process in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix='upstream-', dir=PLACE) as directory:
        progress = os.path.join(directory, 'progress')
        env = {**os.environ, 'ZEO_MSGPACK': '1' if job.encoding == 'M' else '',
               'TMPDIR': directory, 'PYTHONWARNINGS': 'ignore', **databases.environment(job.database)}
        process = workers.start(
            [*PREFIX, python(job.venv), WORKER, job.module, progress], cwd=directory, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            output, _ = process.communicate('\n'.join(job.labels), timeout)
        except subprocess.TimeoutExpired:
            workers.kill(process)
            output, _ = process.communicate()
            output += f'\nbroken off after {timeout} s\n'
        finally:
            workers.gone(process)
        return read_progress(job, progress, output)


def read_progress(job, path, output):
    """The outcome of each of the job's tests; those that did not end have failed."""
    outcomes, seconds = {}, {}
    events = []
    if os.path.exists(path):
        with open(path) as f:
            events = [json.loads(line) for line in f]
    for event in events:
        if 'end' in event:
            outcomes[event['end']] = event['outcome']
            seconds[event['end']] = event['seconds']
    for label in job.labels:
        if label not in outcomes:
            started = {'start': label} in events
            output += f'\n{label} {"did not end" if started else "was not run"}\n'
            outcomes[label] = 'failed'
    return Result(job, outcomes, seconds, output)


def show(result, verbose):
    """Prints what a finished job has to say: its failures, with their output."""
    failed = [label for label, outcome in result.outcomes.items() if outcome == 'failed']
    if failed or verbose:
        print(f'\n=== {name(result.job)} {result.job.module}\n{result.output}')
    for label in failed:
        print(f'FAILED {name(result.job)} {label}', flush=True)


def name(job):
    database = f'-{job.database}' if job.database else ''
    return f'{os.path.basename(job.venv)}-{job.encoding}{database}'


def python(venv):
    return os.path.join(venv, 'bin', 'python')


if __name__ == '__main__':
    main()
