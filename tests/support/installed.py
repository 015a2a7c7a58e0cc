"""What some tests need of Debian: chromium, promtool, prometheus, logrotate, debhelper, libfaketime,
postgresql."""
import glob
import os
import re
import shutil

import pytest


def require(program):
    """Skips the test where the program is not installed; in continuous integration, it fails."""
    if shutil.which(program) is None:
        _miss(f'{program} is not installed (Debian packages chromium, prometheus, logrotate, debhelper)')


def faketime():
    """The path of the library that gives programs another clock; as `require`."""
    found = glob.glob('/usr/lib/*/faketime/libfaketimeMT.so.1')
    if not found:
        _miss('libfaketime is not installed (Debian package libfaketime)')
    return found[0]


def postgres():
    """The directory above the bin of a PostgreSQL with TLS: $RZEO_POSTGRES, or Debian's newest; as `require`."""
    def number(directory):
        return int(re.search(r'\d+', os.path.basename(directory))[0])
    debians = [path for path in glob.glob('/usr/lib/postgresql/*') if os.path.exists(f'{path}/bin/postgres')]
    found = os.environ.get('RZEO_POSTGRES') or max(debians, default=None, key=number)
    if not found:
        _miss('no PostgreSQL with TLS is installed (Debian package postgresql)')
    return found


def _miss(message):
    if os.environ.get('RZEO_REQUIRE_TOOLS'):
        pytest.fail(message)
    pytest.skip(message)
