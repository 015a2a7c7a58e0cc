"""promtool, and the names of the metrics."""
import re
import subprocess

from support.installed import require

# Everything in /metrics begins so.
PREFIX = 'zeo_server_'
METRIC = re.compile(rf'\b{PREFIX}\w+')


def promtool(*args):
    """Runs promtool; fails with what it prints unless it succeeds."""
    require('promtool')
    done = subprocess.run(['promtool', *map(str, args)], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout
