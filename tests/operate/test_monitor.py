"""The monitor: what it tells agrees with what clients did, and what operators may do there."""
import os
import stat
import time

import pytest
import transaction
import ZODB
from persistent.mapping import PersistentMapping
from support.configuration import filestorage, mappingstorage
from support.monitor import Monitor
from support.server import run, wait_until
from support.wire import Disconnected, Wire
from ZEO.ClientStorage import ClientStorage
from ZODB.POSException import ConflictError
from ZODB.utils import p64, z64

pytestmark = pytest.mark.ours_only('Python\'s server has no monitor')

RECORD = b'cpersistent.mapping\nPersistentMapping\n.}.'
HISTOGRAMS = ['load', 'vote_wait', 'prepare', 'lock_hold', 'sync', 'finish', 'commit']


def start(serve, *args, **options):
    """A server with a monitor at a TCP address and at a Unix socket."""
    server = serve(args=('--monitor', '0', '--monitor', './monitor.sock', *args), **options)
    return server, Monitor(server)


def begin(server, label, oid, number=1):
    """A client that has begun to store an object, and has not voted."""
    wire = Wire(server.address)
    wire.call('set_client_label', label)
    wire.call('tpc_begin', number, b'jim', b'the transaction of ' + label.encode(), {}, None, ' ')
    wire.send_async('storea', oid, z64, RECORD, number)
    return wire


def test_numbers_agree_with_what_clients_did(serve, encoding):
    server, monitor = start(serve, encoding=encoding)
    db = ZODB.DB(ClientStorage(server.address, client_label='jim'))
    managers = [transaction.TransactionManager() for _ in range(2)]
    roots = [db.open(manager).root() for manager in managers]
    roots[0]['x'] = PersistentMapping()
    managers[0].commit()
    for number in range(40):
        roots[0]['x'][number] = 'y' * 1000
        managers[0].commit()
    managers[1].begin()
    for number, root in enumerate(roots):
        root['x']['conflict'] = number
    managers[0].commit()
    with pytest.raises(ConflictError):
        managers[1].commit()
    managers[1].abort()
    with Wire(server.address) as wire:
        for _ in range(160):
            wire.call('loadBefore', z64, b'\x7f' + bytes(7))
        told = wire.call('server_status')
        status, metrics = monitor.status(), monitor.metrics()
    storage, = status['storages']
    client, other = status['clients']
    label = ('storage', '1')

    for field in 'loads', 'stores', 'commits', 'aborts', 'conflicts', 'conflicts_resolved':
        assert told[field] == storage[field] == metrics[f'zeo_server_{field}_total', (label,)]
    assert told['commits'] >= 43 and told['conflicts'] == 1 and told['loads'] >= 161
    assert told['last-transaction'] == storage['last_tid']
    assert told['connections'] == storage['clients'] == 2
    assert client['label'] == 'jim' and client['commits'] == storage['commits']
    assert other['loads'] == 160 and other['transaction'] is None
    assert client['loads'] + other['loads'] == storage['loads']
    assert client['bytes_received'] > 41_000 < storage['size'] == os.path.getsize('Data.fs')
    assert metrics['zeo_server_received_bytes_total', ()] > client['bytes_received']
    # Python's clients resolve nothing, and this class can't be merged.
    by_class = {'resolved': 0, 'unresolved': 1, 'left_to_client': 0,
                'resolved_by_program': 0, 'refused_by_program': 0, 'program_failed': 0}
    assert storage['conflict_classes'] == {'persistent.mapping.PersistentMapping': by_class}
    labels = (label, ('class', 'persistent.mapping.PersistentMapping'), ('outcome', 'unresolved'))
    assert metrics['zeo_server_class_conflicts_total', labels] == 1
    assert status['server']['ready'] and status['server']['faults'] == []
    assert f'127.0.0.1:{server.address[1]}' in status['server']['addresses']
    check_histograms(storage, status['clients'], metrics, label)
    db.close()
    # What clients have sent stays counted when they have gone.
    monitor.wait_for(lambda now: not now['clients']
                     and now['server']['bytes_received'] >= status['server']['bytes_received'])


def check_histograms(storage, clients, metrics, label):
    for name in HISTOGRAMS:
        one, full = storage['durations'][name], f'zeo_server_{name}_duration_seconds'
        assert one['count'] == sum(one['counts']) == metrics[f'{full}_count', (label,)]
        assert one['sum'] == metrics[f'{full}_sum', (label,)]
        buckets = [value for (found, _), value in metrics.items() if found == f'{full}_bucket']
        assert buckets == [sum(one['counts'][:n + 1]) for n in range(len(one['counts']))]
        assert len(one['bounds']) == len(one['counts']) - 1
        least = sum(n * bound for n, bound in zip(one['counts'][1:], one['bounds']))
        assert least <= one['sum'] and (one['sum'] > 0) == (one['count'] > 0)
    counts = {name: storage['durations'][name]['count'] for name in HISTOGRAMS}
    assert counts['commit'] == counts['finish'] == storage['commits']
    assert counts['prepare'] == counts['vote_wait'] == storage['commits'] + storage['conflicts']
    assert counts['sync'] <= storage['commits'] and counts['lock_hold'] == counts['prepare']
    assert counts['load'] == sum(client['loads'] // 16 for client in clients)


def test_who_holds_locks_and_who_waits(serve):
    server, monitor = start(serve, '--slow-lock-wait', '1ms', '--slow-commit', '1ms')
    holder = begin(server, 'holder', p64(7))
    holder.call('vote', 1)
    waiter = begin(server, 'waiter', p64(7))
    vote = waiter.request('vote', 1)
    status = monitor.wait_for(
        lambda now: now['storages'][0]['coordinator']['waiting'] == 1)
    first, second = status['clients']
    assert first['transaction']['phase'] == 'voted' and first['transaction']['holds_locks']
    assert first['transaction']['waits_for'] is None
    assert first['transaction']['user'] == 'jim' and first['transaction']['stores'] == 1
    assert second['transaction']['phase'] == 'waiting' and not second['transaction']['holds_locks']
    waits_for = second['transaction']['waits_for']
    assert (waits_for['clients'], waits_for['oid']) == ([first['id']], '0x07')
    coordinator = status['storages'][0]['coordinator']
    assert coordinator['holding'] == 1 and coordinator['oldest_lock_age'] > 0
    metrics = monitor.metrics()
    assert metrics['zeo_server_votes_waiting', (('storage', '1'),)] == 1
    assert metrics['zeo_server_lock_holders', (('storage', '1'),)] == 1
    monitor.wait_for(
        lambda now: now['clients'][1]['transaction']['waits_for']['age'] > 0.01)

    # An operator ends the connection of who holds the locks.
    assert monitor.control('kick', client=first['id']) == (200, {'kicked': first['id']})
    with pytest.raises(Disconnected):
        holder.receive()
    assert waiter.receive_message()[0] == vote
    waiter.call('tpc_finish', 1)
    server.wait_for_log('an operator has ended its connection')
    server.wait_for_log(f"the connection of client {first['id']} was ended, by pid {os.getpid()}")
    server.wait_for_log(f"(waiter {second['address']}) slow lock wait: a vote waited")
    server.wait_for_log(f"(waiter {second['address']}) slow commit: committed ")
    server.wait_for_log(f"(holder {first['address']}) slow commit: disconnected ")
    assert "user 'jim', description 'the transaction of waiter'" in server.log()
    slow = monitor.status()['storages'][0]['slow']
    assert slow['lock_wait'] >= 1 and slow['commit'] == 2
    assert monitor.control('kick', client=first['id'])[0] == 404


def test_who_is_kicked_is_told_of_a_commit_that_has_begun(serve):
    """Python's clients take a lost connection as a reason to commit again."""
    server, monitor = start(serve)
    told = 0
    for number in range(1, 61):
        label = f'kicked {number}'
        kicked = begin(server, label, p64(number))
        kicked.call('vote', 1)
        client = monitor.client(label)['id']
        kicked.request('tpc_finish', 1)
        assert monitor.control('kick', client=client)[0] == 200
        with pytest.raises((Disconnected, ConnectionError)):
            while True:
                told += kicked.receive_message()[0] > 0
        kicked.close()
    monitor.wait_for(lambda now: not now['clients'])
    assert monitor.status()['storages'][0]['commits'] == told


def test_slow_loads_are_counted_and_logged_now_and_then(serve):
    server, monitor = start(serve, '--slow-load', '1ns', '--slow-commit', '0')
    with Wire(server.address) as wire:
        commit = begin(server, 'other', z64)
        commit.call('vote', 1)
        commit.call('tpc_finish', 1)
        # Some of them go on while a coarse clock ticks.
        wait_until(lambda: [wire.call('loadBefore', z64, b'\x7f' + bytes(7)) for _ in range(1000)]
                   and monitor.status()['storages'][0]['slow']['load'] > 0)
        server.wait_for_log(f'{wire.socket.getsockname()[1]}) slow load: object 0x00 took ')
    assert monitor.status()['storages'][0]['slow']['commit'] == 0


def test_a_pack_is_cancelled(serve):
    server, monitor = start(serve)
    db = ZODB.DB(ClientStorage(server.address))
    connection = db.open()
    for number in range(5):
        connection.root.x = number
        transaction.commit()
    # A pack waits for a vote that holds a back-pointer.
    undo = Wire(server.address)
    tid = db.undoLog(0, 1)[0]['id']
    undo.call('tpc_begin', 1, b'', b'', {}, None, ' ')
    undo.send_async('undoa', tid, 1)
    undo.call('vote', 1)
    with Wire(server.address) as packer:
        pack = packer.request('pack', time.time(), True)
        status = monitor.wait_for(lambda now: now['storages'][0]['pack'])
        assert status['storages'][0]['pack']['text'] == 'starting'
        assert monitor.metrics()['zeo_server_pack_running', (('storage', '1'),)] == 1
        assert monitor.control('cancel-pack', storage='1') == (200, {'cancelled': '1'})
        number, flag, _, error = packer.receive_message()
        assert (number, flag) == (pack, 2) and 'cancelled' in repr(error)
    undo.call('tpc_abort', 1)
    undo.close()
    assert monitor.status()['storages'][0]['packs'] == {'cancelled': 1, 'complete': 0, 'failed': 0}
    assert monitor.control('cancel-pack', storage='1')[0] == 409
    db.pack()
    assert monitor.status()['storages'][0]['packs']['complete'] == 1
    connection.sync()
    assert connection.root.x == 4
    connection.close()
    db.close()


def test_only_unix_sockets_take_control_requests(serve):
    server, monitor = start(serve, storages=mappingstorage('a') + mappingstorage('b'))
    assert stat.S_IMODE(os.stat('monitor.sock').st_mode) == 0o600
    with Wire(server.address, register='b'):
        client = monitor.status()['clients'][0]['id']
        json = {'Content-Type': 'application/json'}
        body = f'{{"client": {client}}}'
        tcp, socket = monitor.addresses
        ask = monitor.ask
        assert ask('/control/kick', tcp, 'POST', body, json)[0] == 403
        assert ask('/control/kick', socket, 'GET')[0] == 405
        assert ask('/control/kick', socket, 'POST', body)[0] == 415
        assert ask('/control/kick', socket, 'POST', '{', json)[0] == 400
        assert ask('/control/kick', socket, 'POST', '{"client": -1}', json)[0] == 400
        assert ask('/control/kick', socket, 'POST', '[]', json)[0] == 400
        assert ask('/control/other', socket, 'POST', body, json)[0] == 404
        assert monitor.control('cancel-pack', storage='c')[0] == 404
        assert monitor.control('cancel-pack', storage='a')[0] == 409
        assert monitor.status()['clients'][0]['id'] == client
    server.stop()
    assert not os.path.exists('monitor.sock')


def test_addresses_that_can_not_be_had(serve):
    server = serve(env={'RZEO_MONITOR': '0 ./monitor.sock'})
    monitor = Monitor(server)
    assert len(monitor.addresses) == 2 and monitor.addresses[0].startswith('127.0.0.1:')
    tcp, path = monitor.addresses
    for address, told in (tcp, tcp), (tcp.removeprefix('127.0.0.1:'), tcp), (path, path):
        code, output = run('-a', '0', '-f', 'Other.fs', '--monitor', address)
        assert code == 2 and f"the monitor can't listen at {told}: " in output
    assert not os.path.exists('Other.fs')
    assert monitor.ask('/healthz', './monitor.sock') == (200, 'ok\n')
    for wrong in 'localhost', '1:2:3', '':
        assert run('-a', '0', '-f', 'Other.fs', f'--monitor={wrong}')[0] == 2
    assert run('-a', '0', '-f', 'Other.fs', '--slow-load=soon')[0] == 2


def test_two_storages_are_told_apart(serve):
    server, monitor = start(serve, storages=filestorage('A.fs', 'a') + filestorage('B.fs', 'b'))
    with Wire(server.address, register='b') as wire:
        wire.call('lastTransaction')
        status = monitor.status()
        assert [storage['name'] for storage in status['storages']] == ['a', 'b']
        assert [storage['clients'] for storage in status['storages']] == [0, 1]
        assert status['clients'][0]['storage'] == 'b'
