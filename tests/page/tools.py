"""Programs of Debian that this suite needs: chromium, promtool and prometheus."""
import os
import re
import shutil
import subprocess

import pytest

# Everything in /metrics begins so.
PREFIX = 'zeo_server_'
METRIC = re.compile(rf'\b{PREFIX}\w+')


def require(program):
    """Skips the test where the program is not installed; in continuous integration, it fails."""
    if shutil.which(program) is None:
        message = f'{program} is not installed (Debian packages chromium and prometheus)'
        if os.environ.get('RZEO_REQUIRE_TOOLS'):
            pytest.fail(message)
        pytest.skip(message)


def promtool(*args):
    """Runs promtool; fails with what it prints unless it succeeds."""
    require('promtool')
    done = subprocess.run(['promtool', *map(str, args)], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout
