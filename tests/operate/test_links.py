"""Symbolic links in place of files: they stay, and what they lead to is made, replaced, removed.

A link leads to another volume, perhaps one that is empty yet. A file in the place of the link
would be on the wrong one.
"""
import os
import time

import pytest
from support.configuration import filestorage
from support.server import wait_until
from ZEO.ClientStorage import ClientStorage
from ZODB.FileStorage import FileStorage

from exchange.writer import Writer, pickle_of

DATA = filestorage('instance/Data.fs')


@pytest.fixture(autouse=True)
def directories(tmp_path):
    for name in 'instance', 'volume':
        os.mkdir(tmp_path / name)


def link(name, target=None):
    """Makes the link instance/NAME, which leads to what need not be there: volume/NAME."""
    os.symlink(target or f'../volume/{name}', f'instance/{name}')


def assert_linked(name):
    assert os.path.islink(f'instance/{name}')
    assert os.path.isfile(f'volume/{name}')


def commit(server, text):
    client = ClientStorage(server.address)
    writer = Writer(client, explicit_tids=False)
    if len(client):
        writer.serials[bytes(8)] = client.load(bytes(8))[1]
    writer.commit((0, pickle_of(text)))
    client.close()


def stored():
    """The current data of the object that `commit` writes."""
    storage = FileStorage('instance/Data.fs', read_only=True)
    try:
        return storage.load(bytes(8))[0]
    finally:
        storage.close()


def pack(server):
    client = ClientStorage(server.address)
    client.pack(time.time() + 1, wait=True)
    client.close()


def test_data(serve):
    """The file is made where the link leads to; index and lock stand beside the link."""
    link('Data.fs')
    for text in 'first', 'second':
        server = serve(DATA)
        commit(server, text)
        server.stop()
        assert_linked('Data.fs')
        assert os.path.exists('instance/Data.fs.index')
        assert os.path.exists('instance/Data.fs.lock')
        assert stored() == pickle_of(text)


@pytest.mark.parametrize('name', ['Data.fs.index', 'Data.fs.old'])
def test_links_to_where_no_file_can_be(name, serve):
    """They are replaced, as Python replaces every such link: there must be an index."""
    link(name, '../missing/file')
    server = serve(DATA)
    commit(server, 'first')
    commit(server, 'second')
    pack(server)
    server.stop()
    path = f'instance/{name}'
    assert os.path.isfile(path) and not os.path.islink(path)
    assert stored() == pickle_of('second')


@pytest.mark.ours_only('it puts the packed file in the place of the link')
def test_pack(serve):
    """The packed file is on the volume of the old one, which stays there as .old."""
    link('Data.fs')
    server = serve(DATA)
    for _ in range(2):
        commit(server, 'first')
        commit(server, 'second')
        pack(server)
        assert_linked('Data.fs')
        assert sorted(os.listdir('volume')) == ['Data.fs', 'Data.fs.lock', 'Data.fs.old']
        assert not os.path.exists('instance/Data.fs.old')
    commit(server, 'third')
    server.stop()
    assert stored() == pickle_of('third')


@pytest.mark.ours_only('it replaces these links')
def test_index_and_old(serve):
    for name in 'Data.fs.index', 'Data.fs.old':
        link(name)
    server = serve(DATA)
    commit(server, 'first')
    commit(server, 'second')
    for _ in range(2):
        pack(server)
        commit(server, 'third')
        assert_linked('Data.fs.old')
    server.stop()
    assert_linked('Data.fs.index')
    server = serve(DATA)
    server.stop()
    assert_linked('Data.fs.index')
    assert stored() == pickle_of('third')


@pytest.mark.parametrize('name', ['Data.fs.index', 'Data.fs.old', 'volume/Data.fs'])
def test_links_to_the_data(name, serve):
    """The file takes the place of the link: that of the data would be their end."""
    if '/' in name:  # both are links: the data's own, and that beside what it leads to
        link('Data.fs')
        os.symlink('Data.fs', name + '.old')
        os.symlink('Data.fs', name + '.index')
    else:
        os.symlink('Data.fs', f'instance/{name}')
    for text in 'first', 'second':
        server = serve(DATA)
        commit(server, text)
        commit(server, text)
        pack(server)
        commit(server, text)
        server.stop()
        assert stored() == pickle_of(text)


@pytest.mark.ours_only('it has no such option')
def test_created_anew(serve):
    """`create` makes a new file in the place of the old one, and leaves the links."""
    for name in 'Data.fs', 'Data.fs.index':
        link(name)
    os.mkdir('volume/blobs')
    link('blobs')
    server = serve(filestorage('instance/Data.fs', blob_dir='instance/blobs'))
    commit(server, 'first')
    server.stop()
    with open('volume/blobs/stale', 'w'):
        pass
    server = serve(filestorage('instance/Data.fs', create=True, blob_dir='instance/blobs'))
    client = ClientStorage(server.address)
    assert len(client) == 0
    client.close()
    server.stop()
    assert_linked('Data.fs')
    assert_linked('Data.fs.index')
    assert os.path.islink('instance/blobs') and not os.path.exists('volume/blobs/stale')


@pytest.mark.ours_only('it fails to make the directory')
def test_blob_directory(serve):
    link('blobs')
    serve(filestorage('instance/Data.fs', blob_dir='instance/blobs')).stop()
    assert os.path.islink('instance/blobs') and os.path.isdir('volume/blobs')


@pytest.mark.ours_only('it removes the link at its end, and one to an old file')
def test_pid_file(serve):
    link('zeo.pid')
    for old in None, '999999\n':
        if old:
            with open('volume/zeo.pid', 'w') as f:
                f.write(old)
        server = serve(DATA, pid_filename='instance/zeo.pid')
        assert_linked('zeo.pid')
        with open('volume/zeo.pid') as f:
            assert int(f.read()) == server.pid
        server.stop()
        assert os.path.islink('instance/zeo.pid') and not os.path.exists('volume/zeo.pid')


@pytest.mark.ours_only('it locks the name, not the file')
@pytest.mark.parametrize('names', [('instance', 'volume'), ('volume', 'instance')])
def test_one_server_a_file_by_all_its_names(names, serve):
    link('Data.fs')
    first, second = (filestorage(f'{name}/Data.fs') for name in names)
    serve(first)
    server = serve(second, ready=False)
    assert server.wait() == 1
    assert 'has the storage open for writing' in server.log()


def test_no_volume(serve):
    """A link to a directory that is not there: nothing is made."""
    link('Data.fs', '../no/such/Data.fs')
    server = serve(DATA, ready=False)
    assert server.wait() == 1
    assert os.path.islink('instance/Data.fs') and os.listdir('volume') == []


@pytest.mark.ours_only('it leaves the packed file, too')
@pytest.mark.parametrize('keep', [True, False])
def test_pack_of_a_file_that_was_moved_away(keep, serve):
    """It fails, and no .pack stays; the server goes on with the file that it has open."""
    server = serve(filestorage(pack_keep_old=keep))
    commit(server, 'first')
    commit(server, 'second')
    os.rename('Data.fs', 'moved.fs')
    client = ClientStorage(server.address)
    with pytest.raises(Exception, match='moved away'):
        client.pack(time.time() + 1, wait=True)
    client.close()
    wait_until(lambda: not os.path.exists('Data.fs.pack'))
    assert not os.path.exists('Data.fs')
    commit(server, 'third')
    os.rename('moved.fs', 'Data.fs')
    pack(server)
    server.stop()
    storage = FileStorage('Data.fs', read_only=True)
    assert storage.load(bytes(8))[0] == pickle_of('third')
    storage.close()
