"""What tests/upstream/run.py starts ends with it, when it is ended by a signal."""
import os
import pathlib
import signal
import subprocess
import sys
import uuid

import pytest
from support.server import PATIENCE, REPOSITORY, binary, wait_until


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_workers_and_servers(number, tmp_path):
    mark = f'RZEO_TEST_RUN={uuid.uuid4()}'
    runner = subprocess.Popen(
        [sys.executable, os.path.join(REPOSITORY, 'tests', 'upstream', 'run.py'), '--venv', sys.prefix,
         '--encoding', 'Z', '-j', '1', 'FileStorageTests/*'],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, **dict([mark.split('=')]), 'TMPDIR': str(tmp_path)})
    try:
        wait_until(lambda: any(binary() in line for line in processes(mark)) or runner.poll() is not None,
                   lambda: processes(mark))
        runner.send_signal(number)
        output, _ = runner.communicate(timeout=PATIENCE)
    finally:
        runner.kill()
    assert runner.returncode == 128 + number, output
    wait_until(lambda: not processes(mark), lambda: processes(mark))


def processes(mark):
    """The command lines of all that was started with this in the environment."""
    found = []
    for directory in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            if mark.encode() in (directory / 'environ').read_bytes().split(b'\0'):
                found.append((directory / 'cmdline').read_bytes().replace(b'\0', b' ').decode())
        except OSError:
            pass
    return found
