"""What is measured on files of a million objects, starts and packs; large records; and blobs."""
import os
import pathlib
import shutil
import subprocess
import sys

from driver import Server, copy_data

MANY = 1_000_000
# Beside a pack: 4 clients load and 2 commit, each at a fixed pace.
PACK_CLIENTS = ('--clients', 4, '--pace', 50, '--writers', 2, '--writer-pace', 25)
# The objects that a pack keeps.
REACHABLE = ('--first', 0, '--step', 2)

RECORD_SIZE, RECORD_CLIENTS = 200_000_000, (1, 4)

BLOB_SIZE, SMALL_BLOB_SIZE = 8 << 20, 100_000
# phase: what zeo-load does, how many clients, and the size of a blob
BLOBS = {
    'blob uploads 1': ('uploads', 1, BLOB_SIZE),
    'blob uploads 4': ('uploads', 4, BLOB_SIZE),
    'blob downloads 1': ('downloads', 1, BLOB_SIZE),
    'blob downloads 4': ('downloads', 4, BLOB_SIZE),
    'blob commits 1': ('uploads', 1, SMALL_BLOB_SIZE),
    'blob commits 4': ('uploads', 4, SMALL_BLOB_SIZE),
}


def measure_starts(bench):
    """Starts on a large file, with its index and without."""
    data = os.path.join(bench.directory, 'many.fs')
    bench.load.run('make-fs', data, '--objects', MANY, '--size', 100)
    script = ('import sys, ZODB.FileStorage as f; s = f.FileStorage(sys.argv[1]);'
              'assert len(s) == int(sys.argv[2]); s.close()')
    python = pathlib.Path(bench.options.venv) / 'bin' / 'python'
    # Python finds every object, and leaves its index.
    subprocess.run([python, '-c', script, data, str(MANY)], check=True)
    for number in range(2 if bench.options.quick else 5):
        for program in bench.in_turns(number):
            print(f'start {number + 1}: {program}', file=sys.stderr, flush=True)
            server = _server(bench, program, 'many')
            for how in 'with index', 'without index':
                copy_data(data, server)
                if how == 'without index':
                    os.remove(server.data + '.index')
                bench.note(how, 'start', program, lambda: {
                    'seconds': server.start(), 'memory': server.memory()}, server)
                server.stop()
            shutil.rmtree(server.directory)
    _remove(data)


def measure_packs(bench):
    """Packs of a large file, half of it garbage, beside loads and commits."""
    data = os.path.join(bench.directory, 'garbage.fs')
    bench.load.run('make-fs', data, '--objects', MANY, '--size', 100, '--links', 'half')
    for number in range(1 if bench.options.quick else 2):
        for program in bench.in_turns(number):
            print(f'pack {number + 1}: {program}', file=sys.stderr, flush=True)
            server = _server(bench, program, 'garbage')
            copy_data(data, server)
            bench.note('pack', 'pack', program, lambda: _pack(bench, server), server)
            server.stop()
            shutil.rmtree(server.directory)
    _remove(data)


def _pack(bench, server):
    server.start()
    server.reset_peak()
    resident, size = server.memory(), os.path.getsize(server.data)
    report = bench.load.run('mixed', '--pack', *PACK_CLIENTS, *REACHABLE, '--objects', MANY // 2,
                            '--size', 1000, server=server, timeout=3600)
    left = os.path.getsize(server.data) / size
    if not 0.3 < left < 0.8:
        bench.fail(f'{server.program}: the pack left {left:.2f} of the file')
    return {**report, 'resident': resident, 'peak': server.peak()}


def measure_records(bench):
    """The most memory of a server that sends a large record to one client, and to four at once."""
    data = os.path.join(bench.directory, 'record.fs')
    bench.load.run('make-fs', data, '--objects', 2, '--size', RECORD_SIZE)
    for number in range(1 if bench.options.quick else 3):
        for program in bench.in_turns(number):
            for clients in RECORD_CLIENTS:
                print(f'record {number + 1}: {clients}, {program}', file=sys.stderr, flush=True)
                server = _server(bench, program, 'record')
                copy_data(data, server)
                bench.note(f'record {clients}', 'record', program, lambda: _load_record(bench, server, clients),
                           server)
                server.stop()
                shutil.rmtree(server.directory)
    _remove(data)


def _load_record(bench, server, clients):
    server.start()
    server.reset_peak()
    report = bench.load.run('loads', '--clients', clients, '--objects', 1, '--count', 1, server=server)
    return {**report, 'peak': server.peak()}


def measure_blobs(bench):
    """Large and small blobs sent and received, each round by a server of its own."""
    path = os.path.join(bench.directory, 'sync')
    for number in range(2 if bench.options.quick else bench.options.rounds):
        # Ours are on the disk when a commit ends; Python's are not.
        bench.note('blob uploads 1', 'floor', 'floor', lambda: bench.load.run(
            'sync', '--path', path, '--size', BLOB_SIZE,
            '--max-objects', 1, '--seconds', bench.options.seconds), True)
        for phase in 'blob commits 1', 'blob commits 4':
            _work, clients, size = BLOBS[phase]
            bench.note(phase, 'floor', 'floor', lambda: bench.load.run(
                'sync-blobs', '--path', path, '--size', size, '--clients', clients,
                '--seconds', bench.options.seconds), True)
        for group in ['blobs', 'tls'] if 'tls' in bench.options.encodings else ['blobs']:
            for program in bench.in_turns(number):
                print(f'{group} {number + 1}: blobs, {program}', file=sys.stderr, flush=True)
                _measure_blobs(bench, program, group)


def _measure_blobs(bench, program, group):
    server = _server(bench, program, f'{group}-blobs', blobs=True,
                     tls=bench.tls() if group == 'tls' else None)
    started = bench.try_start(server)
    for phase, (work, clients, size) in BLOBS.items() if started else ():
        bench.note(phase, group, program, lambda: bench.load.run(
            work, '--clients', clients, '--size', size,
            '--seconds', bench.options.seconds, server=server), server)
    server.stop()
    shutil.rmtree(server.directory)


def _server(bench, program, name, **options):
    server = Server(bench.options.programs[program],
                    os.path.join(bench.directory, f'{name}-{program}'), msgpack=True, **options)
    bench.servers.append(server)
    return server


def _remove(data):
    for path in data, data + '.index', data + '.lock', data + '.tmp':
        if os.path.exists(path):
            os.remove(path)
