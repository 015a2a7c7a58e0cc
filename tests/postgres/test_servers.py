"""What a server tells of the others on its database."""
import contextlib
import json
import os
import shutil
import signal
import tempfile
import urllib.request

import psycopg2
import pytest
from support.ports import free_port
from support.programs import ours, run
from support.server import is_python, wait_until
from ZODB import DB

from postgres.test_relstorage import add_counters, increment, open_db

pytestmark = pytest.mark.skipif(is_python(), reason='the storage is one of ours')


def text(address):
    return '%s:%s' % address


def status(server, *args):
    done = run(ours('zeo'), 'status', *args, text(server.address))
    assert done.code == 0, done
    return done.out


def servers(server):
    """By their addresses. There is no list as long as it has not looked: when it starts, or on a machine with
    much to do."""
    found = {}

    def look():
        found.update(json.loads(status(server, '--json'))['storages']['1'].get('database', {}))
        return found

    wait_until(look)
    return {one['address']: one for one in found['servers']}


def line_of(name, shown):
    """The only one about a server."""
    [line] = [line for line in shown.splitlines() if f' {name}' in line]
    return line


def test_a_server_that_is_behind(serve, database):
    monitor = free_port()
    one = serve(args=('--monitor', str(monitor)), storages=database.section())
    other = serve(storages=database.section())
    names = [text(server.address) for server in (one, other)]
    for server in one, other:
        wait_until(lambda: sorted(servers(server)) == sorted(names))
        assert [name for name, told in servers(server).items() if told['this']] == [text(server.address)]
    db = open_db(one)
    add_counters(db)
    last = db.storage.lastTransaction().hex()
    wait_until(lambda: {told['last_tid'] for told in servers(other).values()} == {last})
    wait_until(lambda: not any(told['late'] or told['behind'] for told in servers(one).values()))
    wait_until(lambda: {told['last_tid'] for told in servers(one).values()} == {last})
    wait_until(lambda: status(one).count('up to date, at tid ' + last) == 2)

    # It stands still: also for those who hear of it. Nobody waits for it.
    os.kill(other.process.pid, signal.SIGSTOP)
    try:
        if database.keep_history:
            wait_until(lambda: servers(one)[names[1]]['late'])
            assert ': not heard of for ' in line_of(names[1], status(one))
        for number in range(5):
            increment(db, number)
        newest = db.storage.lastTransaction().hex()
        wait_until(lambda: servers(one)[names[0]]['last_tid'] == newest)
        wait_until(lambda: servers(one)[names[1]]['late'] and servers(one)[names[1]]['behind'] > 0.5)
        told = servers(one)
        assert told[names[1]]['last_tid'] == last
        assert not told[names[0]]['behind'] and not told[names[0]]['late']
        shown = status(one)
        assert f' behind, at tid {last}' in line_of(names[1], shown)
        url = f'http://127.0.0.1:{monitor}/'
        with urllib.request.urlopen(url + 'metrics') as answer:
            metrics = answer.read().decode()
        assert 'zeo_server_database_servers{storage="1"} 2\n' in metrics
        assert 'zeo_server_database_servers_late{storage="1"} 1\n' in metrics
        with urllib.request.urlopen(url + 'status.json') as answer:
            found = json.load(answer)['storages'][0]['database']
        assert [server['late'] for server in found['servers']] == [False, True]
    finally:
        os.kill(other.process.pid, signal.SIGCONT)
    wait_until(lambda: not servers(one)[names[1]]['late'] and servers(one)[names[1]]['last_tid'] == newest)

    python = DB(database.open())
    wait_until(lambda: 'RelStorage ' in status(one))
    python.close()
    os.kill(other.process.pid, signal.SIGKILL)
    wait_until(lambda: list(servers(one)) == names[:1])
    db.close()


@pytest.mark.parametrize('database', [True], ids=['history'], indirect=True)
def test_a_new_server_is_told_of_commits_at_once(serve, database):
    """It says that it is there: who was alone has notified nobody."""
    with contextlib.closing(psycopg2.connect(database.dsn)) as listening:
        listening.autocommit = True
        listening.cursor().execute('LISTEN rzeo')
        heard = []

        def hear():
            listening.poll()
            heard.extend(one.payload for one in listening.notifies)
            listening.notifies.clear()
            return heard

        db = open_db(serve(storages=database.section()))
        wait_until(lambda: len(hear()) == 1)
        serve(storages=database.section())
        wait_until(lambda: len(hear()) == 2)
        add_counters(db)

        def told():
            # Who was alone may hear of the other a moment later than we do.
            increment(db, 0)
            return heard[0] in hear()[2:]

        wait_until(told)
        db.close()


def test_addresses_and_connections_that_break(serve, database):
    """What a server is called in the database, on a Unix socket with a long path."""
    path = tempfile.mkdtemp('x' * 30)
    serve(storages=database.section(), address=f'{path}/zeo.sock')
    names = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'rzeo: listen%' " \
            'AND datname = current_database()'
    told = lambda: [name for name in database.sql(names) if name.count(' ') > 2]
    wait_until(lambda: len(told()) == 1 and 'xx/zeo.sock ' in told()[0])
    assert len(told()[0]) <= 63
    pid, = database.sql(names.replace('application_name', 'pid', 1))
    database.sql(f'SELECT pg_terminate_backend({pid}, 60000)')
    wait_until(lambda: len(told()) == 1)
    shutil.rmtree(path)
