"""What some tests need of Debian: chromium, promtool, prometheus, logrotate, libfaketime."""
import glob
import os
import shutil

import pytest


def require(program):
    """Skips the test where the program is not installed; in continuous integration, it fails."""
    if shutil.which(program) is None:
        _miss(f'{program} is not installed (Debian packages chromium, prometheus, logrotate)')


def faketime():
    """The path of the library that gives programs another clock; as `require`."""
    found = glob.glob('/usr/lib/*/faketime/libfaketimeMT.so.1')
    if not found:
        _miss('libfaketime is not installed (Debian package libfaketime)')
    return found[0]


def _miss(message):
    if os.environ.get('RZEO_REQUIRE_TOOLS'):
        pytest.fail(message)
    pytest.skip(message)
