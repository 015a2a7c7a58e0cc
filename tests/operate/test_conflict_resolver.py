"""--conflict-resolver: conflicts of the application's classes, merged as by Python's server."""
import os
import stat
import sys
import threading
from collections import Counter, OrderedDict, deque
from enum import Enum
from pathlib import PurePosixPath

import pytest
import transaction
from BTrees.LOBTree import LOBTree
from BTrees.OOBTree import OOBTree, OOTreeSet

import ZODB
from operate import application as app
from support import server as support
from support.clients import impatient_client
from support.configuration import demostorage, eventlog, filestorage, zeo, zlibstorage
from support.contest import contest, python_server
from support.monitor import Monitor
from support.server import PATIENCE, is_python
from support.wire import Wire
from ZEO.Exceptions import ClientDisconnected
from ZODB.POSException import ConflictError

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(app.__file__)))
IMPORTABLE = {'PYTHONPATH': TESTS}
pytestmark = pytest.mark.ours_only('Python\'s server imports the classes itself')


def add(number):
    def change(counter):
        counter.value += number
        counter.children += (app.Modest(),)
    return change


def put(key, value):
    def change(tree):
        tree[key] = value() if value is app.Modest else value
    return change


def set_(name, value):
    return lambda thing: setattr(thing, name, value)


CASES = {
    'a counter with references': (app.Counter, add(3), add(4)),
    'arguments for __new__': (app.WithArguments, add(3), add(4)),
    'a class that prints': (app.Printing, add(3), add(4)),
    'a mapping': (app.Mapping, put('a', app.Modest), put('b', app.Value(2))),
    'no _p_resolveConflict': (app.Modest, set_('a', 1), set_('b', 2)),
    'a ConflictError': (app.Refusing, add(3), add(4)),
    'another error': (app.Raising, add(3), add(4)),
    'no pickle': (app.Unwritable, add(3), add(4)),
    'collections.Counter in a BTree': (
        lambda: OOBTree({0: Counter('aab')}), put(1, Counter('b')), put(2, Counter('c'))),
    'other values of the standard library': (
        lambda: LOBTree({0: deque([1])}), put(1, OrderedDict(a=1)), put(2, PurePosixPath('/a/b'))),
    'keys of the application': (
        lambda: OOBTree({app.Value(5): 5}), put(app.Value(1), 1), put(app.Value(9), app.Value(9))),
    'a set of such': (
        lambda: OOTreeSet([app.Value(5)]), lambda s: s.add(app.Value(3)),
        lambda s: s.add(app.Value(7))),
    'a key twice': (OOBTree, put(app.Value(1), 1), put(app.Value(1), app.Value(2))),
    'an Enum': (OOBTree, put('a', Enum('Colour', 'red').red.name), put('b', stat.filemode(0))),
}


@pytest.fixture
def resolve(serve):
    """A function that starts a server with a resolver, by default the tests' own Python."""
    def start(program=sys.executable, *args, env=IMPORTABLE, **options):
        return serve(args=['--conflict-resolver', str(program), *args], env=env, **options)
    return start


def status(server):
    with Wire(server.address) as wire:
        return wire.call('server_status')['conflict_classes']


@pytest.mark.parametrize('storages', [
    lambda path: filestorage(path), lambda path: zlibstorage(filestorage(path)),
    lambda path: demostorage(changes=filestorage(path, 'changes'))], ids=['plain', 'zlib', 'demo'])
def test_results_are_those_of_python_s_server(storages, request, resolve, monkeypatch, tmp_path):
    """The records are the same, byte by byte, after a conflict and after an undo."""
    ours, theirs = {}, {}
    names = [f'case{number}' for number in range(len(CASES))]
    sections = ''.join(named(storages(f'{name}.fs'), name) for name in names)
    (tmp_path / 'python').mkdir()
    config = zeo() + sections + eventlog()
    their = python_server(monkeypatch, config, cwd=tmp_path / 'python', env=IMPORTABLE)
    our = resolve(storages=sections, extra=eventlog())
    with their:
        for name, (case, changes) in zip(names, CASES.items()):
            ours[case] = contest(our.address, *changes, storage=name)
            theirs[case] = contest(their.address, *changes, storage=name)
    if 'demo' in request.node.callspec.id:  # its oids are random
        ours, theirs = ({case: result[::2] for case, result in results.items()}
                        for results in (ours, theirs))
    for case in CASES:
        assert ours[case] == theirs[case], f'{case}:\n{our.log()}'
    resolved = [case for case in CASES if ours[case][0]]
    assert len(resolved) == 9 and 'a set of such' in resolved


def named(section, name):
    """A storage section with this name."""
    return section.replace(' >', f' {name}>', 1)


def test_log_and_counters(resolve):
    server = resolve(sys.executable, '--monitor', '0', extra=eventlog(level='DEBUG'))
    monitor = Monitor(server)
    server.wait_for_log(f'conflict resolver {sys.executable} is process ')
    server.wait_for_log(f': Python {sys.version.split()[0]}, ZODB ')
    for case in 'a counter with references', 'no _p_resolveConflict', 'another error':
        contest(server.address, *CASES[case])
    contest(server.address, *CASES['a ConflictError'])
    contest(server.address, *CASES['a class that prints'])
    known = status(server)
    told, metrics = monitor.status()['storages'][0]['conflict_classes'], monitor.metrics()
    for name, counts in known.items():
        for outcome, number in counts.items():
            outcome = outcome.replace('-', '_')
            labels = ('storage', '1'), ('class', name), ('outcome', outcome)
            assert told[name][outcome] == number
            assert metrics['zeo_server_class_conflicts_total', labels] == number
    assert known['operate.application.Counter']['resolved-by-program'] == 2
    assert known['operate.application.Modest'] == {
        'resolved': 0, 'unresolved': 0, 'left-to-client': 0,
        'resolved-by-program': 0, 'refused-by-program': 2, 'program-failed': 0}
    for words in [
            'so far: 0 resolved, 0 unresolved, 0 left to clients; '
            'by the conflict resolver: 1 resolved, 0 refused, 0 failed',
            'the class operate.application.Modest has no _p_resolveConflict',
            "was not resolved: KeyError: 'a mistake of the application'",
            "prints: KeyError: 'a mistake of the application'",
            'failed with ConflictError: not these two',
            'prints: printed by the application', 'prints: written by the application']:
        server.wait_for_log(words)


def test_classes_that_can_t_be_imported(resolve):
    server = resolve(env=None)
    contest(server.address, *CASES['a counter with references'])
    server.wait_for_log("operate.application.Counter can't be imported (ModuleNotFoundError")


@pytest.mark.parametrize('kind, timeout, words', [
    (app.Dying, PATIENCE, 'is ended: it has ended with exit code 7 (a conflict of class '
                          'operate.application.Dying); another one starts when it is needed'),
    (app.Hanging, 3, 'is ended: it has not answered in time'),
    (app.Flooding, PATIENCE, 'is ended: an answer of 100'),
])
def test_a_failure_is_a_conflict_and_the_next_is_resolved(kind, timeout, words, resolve):
    server = resolve(sys.executable, '--conflict-resolver-timeout', str(timeout))
    result = contest(server.address, kind, add(1), add(2))
    assert not result[0] and not result[2]
    server.wait_for_log(words)
    assert status(server)[f'operate.application.{kind.__name__}']['program-failed'] == 2
    support.wait_until(lambda: contest(server.address, *CASES['a mapping'])[0])


def test_others_are_served_while_one_hangs(resolve):
    """It delays nobody but those who want the same object."""
    server = resolve(sys.executable, '--conflict-resolver-timeout', '100')
    db = ZODB.DB(impatient_client(server))
    with db.transaction() as connection:
        connection.root.x = app.Hanging()
    managers = [transaction.TransactionManager(explicit=False) for _ in range(2)]
    opened = [db.open(manager) for manager in managers]
    for number, connection in enumerate(opened, 1):
        connection.root.x.value = number
    managers[0].commit()
    hanging = threading.Thread(target=commit_failing, args=[managers[1]])
    hanging.start()
    result = contest(server.address, *CASES['keys of the application'], key='y', undo=False)
    assert result[0] and hanging.is_alive()
    # The stop ends the resolver, and so the vote.
    server.stop()
    hanging.join()
    db.close()


def commit_failing(manager):
    with pytest.raises((ConflictError, ClientDisconnected)):
        manager.commit()
    manager.abort()


def test_a_resolver_that_was_killed_is_replaced(resolve):
    server = resolve()
    contest(server.address, *CASES['a mapping'])
    os.kill(resolver_pid(server), 9)
    assert contest(server.address, *CASES['a mapping'])[0]


@pytest.mark.parametrize('end', ['stop', 'kill'])
def test_it_ends_with_the_server(end, resolve):
    server = resolve()
    pid = resolver_pid(server)
    os.kill(pid, 0)
    getattr(server, end)()
    support.wait_until(lambda: not is_running(pid))


def resolver_pid(server):
    server.wait_for_log(' is process ')
    return int(server.log().split(' is process ')[-1].split(':')[0])


def is_running(pid):
    try:
        with open(f'/proc/{pid}/stat') as f:
            return f.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def wrapper(tmp_path, text):
    path = tmp_path / 'wrapper'
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_buildout_s_interpreters(resolve, tmp_path):
    """Scripts with a path of their own, which execute what they are given."""
    program = wrapper(tmp_path, (
        f'#!{sys.executable}\nimport sys\nsys.path[0:0] = [{TESTS!r}]\n'
        '_options, _args = __import__("getopt").getopt(sys.argv[1:], "ic:m:")\n'
        'sys.argv[:] = _args\n__file__ = _args[0]\ndel _options, _args\n'
        'with open(__file__) as f:\n    exec(compile(f.read(), __file__, "exec"))\n'))
    server = resolve(program, env=None)
    assert contest(server.address, *CASES['a counter with references'])[0]
    assert not [name for name in os.listdir(tmp_path) if 'conflict_resolver' in name]


@pytest.mark.parametrize('text, words', [
    (None, "it can't be started: No such file or directory"),
    ('#!/bin/sh\necho usage: something else >&2; exit 3',
     'it has ended with exit code 3; its last words: usage: something else'),
    ('#!/bin/sh\nexit 0', 'it has ended with exit code 0'),
    (f'#!/bin/sh\nexec {sys.executable} -S -E "$@"', "can't import ZODB (ModuleNotFoundError: "),
])
def test_what_is_no_resolver_is_found_at_start(text, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = wrapper(tmp_path, text) if text else tmp_path / 'missing'
    code, output = support.run('-a', '127.0.0.1:0', '-f', 'Data.fs', '--conflict-resolver',
                               str(program))
    assert code == 2, output
    assert f'Error: the conflict resolver {program} does not work: {words}' in output
    assert not os.path.exists('Data.fs')


def test_clients_keep_what_is_left_to_them(resolve):
    server = resolve(client_conflict_resolution=True)
    server.wait_for_log('client-conflict-resolution leaves all conflicts to the clients')
    assert contest(server.address, *CASES['a counter with references'])[0]
    assert status(server)['operate.application.Counter']['left-to-client'] == 1
