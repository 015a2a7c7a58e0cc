"""Programs of Debian that some tests need: chromium, promtool, prometheus, logrotate."""
import os
import shutil

import pytest


def require(program):
    """Skips the test where the program is not installed; in continuous integration, it fails."""
    if shutil.which(program) is None:
        message = f'{program} is not installed (Debian packages chromium, prometheus, logrotate)'
        if os.environ.get('RZEO_REQUIRE_TOOLS'):
            pytest.fail(message)
        pytest.skip(message)
