"""RelStorage's own program for packs."""
import tempfile

from relstorage.adapters.interfaces import UnableToAcquirePackUndoLockError
from relstorage.zodbpack import main


def pack(database, *args, lines=()):
    """Packs to now, or with these arguments, if need be behind an undo or another pack. `lines` are more keys
    of `<relstorage>`."""
    with tempfile.NamedTemporaryFile('w', suffix='.conf') as f:
        f.write(database.section(*lines))
        f.flush()
        while True:
            try:
                return main(['zodbpack', *(args or ['--days=-1']), f.name])
            except UnableToAcquirePackUndoLockError:
                pass
