"""The tables: what was measured, as ratios, beside what is to be reached."""
import os
import platform

from large import BLOBS, MANY, RECORD_CLIENTS, SMALL_BLOB_SIZE
from measure import FLOORS, OVER_ZEROS, PROGRAMS

# (what, phase, group, figure, unit, reach): `reach` is ours over Python's, a
# least value for rates, a greatest for times; None: no target
RATIOS = [
    ('load latency, 1 client, median', 'loads 1', 'loads', 'p50_us', 'us', None),
    ('loads a second, 8 clients', 'loads 8', 'loads', 'per_second', '/s', 2.5),
    ('loads a second, 32 clients', 'loads 32', 'loads', 'per_second', '/s', 2.5),
    ('server processor time for a load, 8 clients', 'loads 8', None, 'cpu_us_per_operation', 'us', 0.4),
    ('pipelined loads a second, 2 clients, 32 outstanding', 'pipeline', 'loads', 'per_second', '/s', 8),
    ('server processor time for a pipelined load', 'pipeline', None, 'cpu_us_per_operation', 'us', None),
    ('commits a second, 1 client', 'commits 1', 'commits', 'per_second', '/s', 2.5),
    ('the same beside 100 syncs of 64 kB a second', 'syncing commits', 'commits', 'per_second', '/s', 2.5),
    ('commits a second, 8 clients', 'commits 8', 'commits', 'per_second', '/s', 12),
    ('commits a second, 32 clients', 'commits 32', 'commits', 'per_second', '/s', 22),
    ('server processor time for a commit, 1 client', 'commits 1', None, 'cpu_us_per_operation', 'us', 0.32),
    ('server processor time for a commit, 8 clients', 'commits 8', None, 'cpu_us_per_operation', 'us', 0.2),
    ('load latency beside 2 writers, 99th percentile', 'mixed', 'loads', 'p99_us', 'us', 0.3),
    ('load latency beside 2 writers, median', 'mixed', 'loads', 'p50_us', 'us', None),
    ('commit latency beside 8 unpaced readers, 99th percentile', 'unpaced', 'commits', 'p99_us', 'us', 0.5),
    ('commit latency beside 8 unpaced readers, median', 'unpaced', 'commits', 'p50_us', 'us', None),
    ('from a finish to 100 invalidations, median', 'listeners', 'listeners', 'p50_us', 'us', 0.4),
    ('the last of them', 'listeners', 'listeners', 'last_us', 'us', 0.4),
    ('from a finish to 1,000 invalidations, median', 'listeners 1000', 'listeners', 'p50_us', 'us', 0.3),
    ('the last of them', 'listeners 1000', 'listeners', 'last_us', 'us', 0.3),
    ('server processor time for a commit that 100 hear of', 'listeners', None, 'cpu_us_per_operation', 'us', None),
    ('server processor time for a commit that 1,000 hear of', 'listeners 1000', None, 'cpu_us_per_operation', 'us', None),
    ('load latency of a lone client beside 2,000 idle ones, median', 'idle lone', 'loads', 'p50_us', 'us', None),
    ('commit latency of a lone client beside 2,000 idle ones, median', 'idle lone', 'commits', 'p50_us', 'us', None),
    ('connect, register, close a second', 'connects', 'connects', 'per_second', '/s', 1.5),
]
# The only one over TLS, where the cipher takes its part of both servers' times.
REACH_TLS = {'server processor time for a load, 8 clients': 0.35}
REACH_RECORDS = {1: 0.2, 4: 0.35}
REACH_BLOBS = {'blob uploads 1': 1.0, 'blob commits 1': 0.9, 'blob commits 4': 1.8}
# (what, figure, unit, divisor, reach): a greatest value for ours
MEMORY = [
    ('memory at start', 'start', 'MiB', 1 << 20, 12),
    ('memory for an idle client', 'client', 'KiB', 1 << 10, 20),
    ('memory for an object in the index', 'object', 'bytes', 1, 10),
]
STARTS = [
    ('start with an index of 1,000,000 objects', 'with index', 5),
    ('start without, by a scan', 'without index', 10),
]


def show_all(bench, seconds):
    """Prints the tables."""
    options = bench.options
    print(f'{os.cpu_count()} processors, {platform.system()} {platform.release()}; '
          f'{options.rounds} rounds of {options.seconds} s; {seconds / 60:.1f} minutes')
    for encoding in options.encodings:
        rows = [*ratio_rows(bench, encoding), *memory_rows(bench, encoding)]
        if encoding == options.encodings[0]:
            rows += [*start_rows(bench), *pack_rows(bench),
                     *record_rows(bench), *blob_rows(bench, 'blobs')]
        if encoding == 'tls':
            rows += blob_rows(bench, 'tls')
        print(f'\n{encoding}\n')
        head = ['work', 'other' if options.against else 'Python', 'rzeo', 'ratio', 'reach', '', 'floor']
        rows = [head, *(row for row in rows if any(row[1:4] + row[-1:]))]
        if options.against:
            # What is to be reached is over Python's.
            rows = [row[:4] + row[6:] for row in rows]
        table(*rows)
    for failure in bench.failures:
        print(f'\nfailed: {failure}')


def ratio_rows(bench, encoding):
    """Ours over Python's."""
    for what, phase, group, figure, unit, reach in RATIOS:
        python, ours = (bench.median(phase, encoding, program, group, figure) for program in PROGRAMS)
        if encoding == 'tls':
            reach = REACH_TLS.get(what)
        name = FLOORS.get(phase, [None])[0]
        floor = bench.median(phase, 'floor', 'floor', name if group else None, figure) if name else None
        least = unit == '/s'
        yield row(what, unit, python, ours, reach, least, floor)
        if phase in ('loads 8', 'loads 32') and group and floor and ours and encoding != 'tls':
            yield ['  of the echo floor', '', '', f'{ours / floor:.2f}', '>= 0.7',
                   verdict(ours / floor, 0.7, True), '']
        if phase in OVER_ZEROS and group:
            floor = bench.median(phase, 'over zeros', 'floor', name, figure)
            yield ['  the floor over zeros written before', *[''] * 5, show(floor, unit)] if floor else []
        if phase == 'idle lone':
            alone = (bench.median('lone', encoding, program, group, figure) for program in PROGRAMS)
            yield row('  without these', unit, *alone, None, least, None)


def memory_rows(bench, encoding):
    """Of an idle server."""
    for what, figure, unit, divisor, reach in MEMORY:
        values = []
        for program in PROGRAMS:
            start = bench.median('memory', encoding, program, None, 'start')
            if figure == 'object':
                many = bench.median('with index', 'start', program, None, 'memory')
                values.append((many - start) / MANY if many and start else None)
            else:
                value = bench.median('memory', encoding, program, None, figure)
                values.append(value / divisor if value is not None else None)
        ours = values[1]
        if encoding == 'tls':
            reach = None
        yield [what, show(values[0], unit), show(ours, unit), '',
               '' if reach is None else f'<= {reach} {unit}', verdict(ours, reach, False), '']


def start_rows(bench):
    """On a large file."""
    for what, how, reach in STARTS:
        python, ours = (bench.median(how, 'start', program, None, 'seconds') for program in PROGRAMS)
        ratio = python / ours if python and ours else None
        yield [what, show(python, 's'), show(ours, 's'), f'{ratio:.1f} times' if ratio else '',
               f'>= {reach} times', verdict(ratio, reach, True), '']


def pack_rows(bench):
    """Of the pack: times, peaks of memory, and the longest delays meanwhile."""
    def figures(group, figure):
        return [bench.median('pack', 'pack', program, group, figure) for program in PROGRAMS]
    python, ours = ([value and value / 1e6 for value in figures('packs', 'max_us')])
    ratio = python / ours if python and ours else None
    yield [f'pack of {MANY:,} objects, half garbage', show(python, 's'), show(ours, 's'),
           f'{ratio:.1f} times' if ratio else '', '>= 10 times', verdict(ratio, 10, True), '']
    peaks = figures(None, 'peak')
    mebibytes = [value and value / (1 << 20) for value in peaks]
    yield row('  peak memory', 'MiB', *mebibytes, 0.25, False, None)
    each = [peak and (peak - resident) / MANY
            for peak, resident in zip(peaks, figures(None, 'resident'))]
    yield row('  peak beside what was resident, an object', 'bytes', *each, None, False, None)
    for group in 'commits', 'loads':
        longest = [value and value / 1000 for value in figures(group, 'max_us')]
        yield row(f'  longest delay of {group} meanwhile', 'ms', *longest, 0.1, False, None)


def record_rows(bench):
    """Of a large record."""
    for clients in RECORD_CLIENTS:
        peaks = [bench.median(f'record {clients}', 'record', program, None, 'peak') for program in PROGRAMS]
        what = f'peak memory, a record of 200 MB loaded by {clients} client{"s" if clients > 1 else ""}'
        yield row(what, 'MiB', *(peak and peak / (1 << 20) for peak in peaks), REACH_RECORDS[clients], False, None)


def blob_rows(bench, group):
    """Of blobs: contents a second, or commits of small ones."""
    for phase, (work, clients, size) in BLOBS.items():
        small = size == SMALL_BLOB_SIZE
        figure, divisor = ('per_second', 1) if small else ('bytes_per_second', 1 << 20)
        rates = [bench.median(phase, group, program, work, figure) for program in PROGRAMS]
        rates = [rate and rate / divisor for rate in rates]
        what = ('commits a second of blobs of 100 kB' if small else f'{work} of blobs of 8 MiB')
        what += f', {clients} client{"s" if clients > 1 else ""}'
        floor = bench.median(phase, 'floor', 'floor', 'sync', 'per_second')
        floor = floor and floor * (1 if small else size / divisor)
        yield row(what, '/s' if small else 'MiB/s', *rates, REACH_BLOBS.get(phase), True, floor)
        if small:
            cpu = [bench.median(phase, group, program, None, 'cpu_us_per_operation') for program in PROGRAMS]
            yield row('  server processor time for one', 'us', *cpu, None, False, None)


def row(what, unit, python, ours, reach, least, floor):
    ratio = ours / python if python and ours is not None else None
    sign = '>=' if least else '<='
    return [what, show(python, unit), show(ours, unit), '' if ratio is None else f'{ratio:.2f}',
            '' if reach is None else f'{sign} {reach}', verdict(ratio, reach, least), show(floor, unit)]


def verdict(value, reach, least):
    if value is None or reach is None:
        return ''
    return 'yes' if (value >= reach if least else value <= reach) else 'NO'


def show(value, unit):
    if value is None:
        return ''
    digits = 0 if value >= 1000 else 1 if value >= 10 else 2
    return f'{value:,.{digits}f} {unit}'.replace(' /s', '/s')


def table(head, *rows):
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    for line in [head, ['-' * width for width in widths], *rows]:
        cells = [cell.ljust(width) if at == 0 else cell.rjust(width)
                 for at, (cell, width) in enumerate(zip(line, widths))]
        print('  '.join(cells).rstrip())
