"""RelStorage's own tests of zodbconvert, with `fstool copy` in its place.

Some are always run; all, with RZEO_RELSTORAGE_CHECKS in the environment.
"""
import os
import unittest

import pytest
from relstorage.tests import reltestbase, test_zodbconvert
from support import fstool
from support.server import is_python

from postgres.conftest import Database

pytestmark = pytest.mark.skipif(is_python(), reason='the tool is one of ours')

CLASSES = {
    'from': reltestbase.AbstractRSSrcZodbConvertTests,
    'to-history': reltestbase.AbstractRSDestHPZodbConvertTests,
    'to-free': reltestbase.AbstractRSDestHFZodbConvertTests,
}
SKIPS = {
    **dict.fromkeys(('test_dry_run', 'test_clear_dry_run'), 'fstool only tells what a copy would do by making one'),
    **dict.fromkeys(('test_clear_empty_dest', 'test_clear_full_dest'), 'fstool empties no database'),
    'test_incremental_empty_src_dest': 'expects that a source which is not there is made',
    **dict.fromkeys(('test_storage_has_data', 'test_new_instance_still_zlib'), 'has no copy'),
}
ALWAYS = ('test_incremental_after_incremental',)


def found():
    for name, base in CLASSES.items():
        for method in unittest.TestLoader().getTestCaseNames(base):
            if method not in SKIPS and ('RZEO_RELSTORAGE_CHECKS' in os.environ or method in ALWAYS):
                yield name, method


class Converting:
    driver_name = 'auto'

    def make_adapter(self, options):
        raise NotImplementedError

    get_adapter_class = verify_adapter_from_zconfig = make_adapter

    def get_adapter_zconfig(self):
        return f'<postgresql>\ndsn {self.database.dsn}\n</postgresql>'

    def deep_compare_current_states(self):
        # Without the check that records have become shorter: of small ones, zlib can do that where others can't.
        test_zodbconvert.AbstractZODBConvertBase.deep_compare_current_states(self)

    def run_zodbconvert(self, arguments):
        self.flush_changes_before_zodbconvert()
        arguments = ['--continue' if argument == '--incremental' else argument for argument in arguments[1:]]
        code, _, text = fstool.run('copy', *arguments)
        if code:
            raise SystemExit(text.replace('is not empty', 'is not empty (Try --clear)'))


@pytest.mark.parametrize('name, method', found())
def test_convert(name, method, cluster):
    base = CLASSES[name]
    case = type(name, (Converting, base), {'database': Database(cluster, base.keep_history)})(method)
    result = unittest.TestResult()
    case.run(result)
    for _, text in result.errors + result.failures:
        pytest.fail(text, pytrace=False)
    assert not result.skipped
