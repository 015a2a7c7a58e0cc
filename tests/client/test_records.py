"""Records that ZODB writes are read and written again as the same bytes."""
import random

from client.programs import run
from client.states import records


def test_records_are_written_as_they_were_read():
    seed = random.randrange(1 << 32)
    print('seed', seed)
    lines = [record.hex() for record in records(500, seed)]
    assert run('records', '--again', input='\n'.join(lines)).split('\n')[:-1] == lines
