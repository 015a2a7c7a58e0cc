"""Fan-out servers beside others: in the blob directory of the upstream server, and with several of them."""
import os
import shutil

import pytest
from persistent.mapping import PersistentMapping
from support.fan_out import (  # noqa: F401
    Database, FanOut, Upstream, encoding, kind, python, started, upstream)
from support.ports import free_port
from support.server import is_python, wait_until
from support.wire import Wire, WireError
from transaction.interfaces import TransientError
from ZEO.Exceptions import ClientDisconnected
from ZODB.blob import Blob
from ZODB.POSException import ReadOnlyError

pytestmark = pytest.mark.skipif(is_python(), reason='Python\'s server is the upstream one here')


def test_the_blob_directory_of_the_upstream_server(upstream, tmp_path, started, encoding):
    directory = tmp_path / 'up-blobs'
    fan_out = FanOut(tmp_path / 'fan', upstream.address, encoding,
                     f'blob-dir {directory}\nshared-blob-dir true')
    started.append(fan_out)
    sharing = {'blob_dir': str(directory), 'shared_blob_dir': True}
    databases = [Database(fan_out, **sharing), Database(fan_out, blob_dir='cache'),
                 Database(upstream, **sharing)]
    for database in databases:
        database.begin()
        for number in range(3):
            database.root[number] = Blob(b'%d of one' % number)
        database.commit()
        serial = database.root._p_serial
        for other in databases:
            wait_until(lambda: other.begin() or other.root._p_activate() or other.root._p_serial == serial)
            for number in range(3):
                assert other.root[number].open().read() == b'%d of one' % number
        with database.root[0].open('w') as f:
            f.write(b'changed')
        database.commit()
        for other in databases:
            wait_until(lambda: other.begin() or other.root[0].open().read() == b'changed')
        # What is not committed leaves no file; what was just committed has a second one for a moment.
        wait_until(lambda: not unfinished(directory))
        before = files(directory)
        database.root['left'] = Blob(b'left')
        database.manager.abort()
        database.manager.begin()
        assert files(directory) == before
    first = databases[0]
    first.db.undo(first.db.undoInfo(0, 1)[0]['id'], first.manager.get())
    first.commit()
    for database in databases:
        wait_until(lambda: database.begin() or database.root[0].open().read() == b'0 of one')
    for database in databases:
        database.close()
    wait_until(lambda: not unfinished(directory))


def unfinished(directory):
    return [name for name in files(directory) if '.tmp' in name or 'tmp/' in name]


def files(directory):
    return sorted(os.path.relpath(os.path.join(path, name), directory)
                  for path, _, names in os.walk(directory) for name in names)


def test_a_server_that_takes_commits_appears(tmp_path, started, python, encoding):
    """Behind a server that is read-only, clients read; they commit as soon as there is another one."""
    reading = Upstream(tmp_path / 'reading', python, encoding)
    started.append(reading)
    database = Database(reading)
    database.root['map'] = PersistentMapping(value=1)
    database.commit()
    database.close()
    reading.stop()
    shutil.copytree(reading.directory, tmp_path / 'writing')
    reading.options = 'read-only true'
    reading.start()
    port = free_port()
    fan_out = FanOut(tmp_path / 'fan', reading.address, encoding,
                     f'server 127.0.0.1:{port}\nread-only-fallback true\nwait-timeout 2')
    started.append(fan_out)
    with pytest.raises(WireError) as error:
        Wire(fan_out.address)
    assert error.value.name == 'ZODB.POSException.ReadOnlyError'
    database = Database(fan_out, read_only_fallback=True)
    assert database.root['map']['value'] == 1 and database.storage.isReadOnly()
    database.root['map']['value'] = 2
    with pytest.raises(ReadOnlyError):
        database.commit()

    started.append(Upstream(tmp_path / 'writing', python, encoding, port=port))
    wait_until(lambda: committed(database, 3))
    direct = Database(started[-1])
    assert direct.root['map']['value'] == 3
    # All that a client of a server with commits does.
    Wire(fan_out.address).close()
    direct.close()
    database.close()


def committed(database, value):
    try:
        database.begin()
        database.root['map']['value'] = value
        database.commit()
        return True
    except (TransientError, ClientDisconnected, ReadOnlyError):
        return False
