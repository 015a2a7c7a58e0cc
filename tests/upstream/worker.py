"""Runs some of upstream's tests in one process, with zope.testrunner.

usage: worker.py --list
       worker.py MODULE PROGRESS_FILE < LABELS

`--list` prints every test as `module<TAB>label`. Otherwise the tests of MODULE
with the labels given on standard input, one a line, are run in the current
directory; each one's start and end is appended to PROGRESS_FILE as a line of
JSON, so that the caller knows where a run stopped that it had to break off.
"""
import json
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from upstream import catalog, databases, forker, patience  # noqa: E402


def main(args):
    patience.install()
    forker.install()
    databases.install()
    patience.hurry_refusals()
    if args == ['--list']:
        for module in catalog.MODULES:
            for label, _layer, _test in catalog.find(module):
                print(f'{module}\t{label}')
        return
    module, progress_path = args
    wanted = sys.stdin.read().splitlines()
    with open(progress_path, 'a', buffering=1) as progress:
        run(catalog.find(module), wanted, progress)


def run(found, wanted, progress):
    """Runs the tests of `found` whose labels are wanted, layer by layer."""
    from zope.testrunner.runner import Runner
    suites = {}
    for label, layer, test in found:
        if label in wanted:
            report(test, label, progress)
            suite = suites.setdefault(layer, unittest.TestSuite())
            if layer is not None:
                suite.layer = layer
            suite.addTest(test)
    Runner(args=['worker', '--all', '-vv'], found_suites=list(suites.values())).run()


def report(test, label, progress):
    """Makes the test write its start and its outcome to the progress file."""
    original = test.run

    def run_and_report(result=None):
        progress.write(json.dumps({'start': label}) + '\n')
        before, start = _outcomes(result), time.monotonic()
        original(result)
        bad, skipped = (b - a for a, b in zip(before, _outcomes(result)))
        outcome = 'failed' if bad else 'skipped' if skipped else 'passed'
        progress.write(json.dumps({
            'end': label, 'outcome': outcome,
            'seconds': round(time.monotonic() - start, 2)}) + '\n')

    test.run = run_and_report


def _outcomes(result):
    bad = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    return bad, len(result.skipped)


if __name__ == '__main__':
    main(sys.argv[1:])
