"""ZEO's own tests of runzeo's options, on what the server under test says is in force.

`--print-config` of the server is read by Python's runzeo. (The server's own defaults are left out:
that of transaction-timeout differs from Python's. ZEO's other tests of options are those of
zdaemon's class, which is no part of a server.)
"""
import re
import sys
import tempfile

import pytest

from support.server import run
from ZEO.runzeo import ZEOOptions
from ZEO.tests.testZEOOptions import TestZEOOptions as Upstream

Upstream.__test__ = False  # those that run are below
pytestmark = pytest.mark.ours_only('Python\'s runzeo has no --print-config')
DEFAULT = re.compile(r'^ *# default\n.*\n', re.MULTILINE)


class InForce(ZEOOptions):
    """What the server under test makes of a command line."""

    def realize(self, args, *others):
        code, text = run(*args, '--print-config')
        if code or '<zeo>' not in text:
            sys.exit(code)
        with tempfile.NamedTemporaryFile('w', suffix='.conf') as f:
            f.write(DEFAULT.sub('', text))
            f.flush()
            super().realize(['-C', f.name])


class Ours(Upstream):
    OptionsClass = InForce


@pytest.mark.parametrize('name', [
    'test_defaults_with_schema', 'test_defaults_without_schema', 'test_commandline_overrides',
    'test_unrecognized', 'test_version'])
def test_upstream(name):
    result = Ours(name).run()
    assert result.testsRun == 1 and not result.skipped
    assert result.wasSuccessful(), [text for _, text in result.failures + result.errors]


def test_all_tests_that_fit_are_run():
    """None of ZEO's own has been added."""
    own = {name for name in vars(Upstream) if name.startswith('test')}
    assert own == {'test_configure', 'test_default_help', 'test_defaults_with_schema',
                   'test_defaults_without_schema', 'test_commandline_overrides'}
