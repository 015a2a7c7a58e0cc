"""The server's memory, threads and descriptors."""
import os
import statistics
import time

from support.server import PATIENCE
from support.wire import Wire

WARM_UP = 0.25  # of a life's samples
ENOUGH = 8      # of a life: three on each side of the middle behind the warm-up
MEMORY_SLACK = 16 << 20
KINDS = (0, 'memory', MEMORY_SLACK), (1, 'threads', 15), (2, 'descriptors', 30)


def resources(pid):
    """Resident bytes, threads, descriptors."""
    with open(f'/proc/{pid}/statm') as f:
        memory = int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    return memory, len(os.listdir(f'/proc/{pid}/task')), len(os.listdir(f'/proc/{pid}/fd'))


def calm(server, at_rest):
    """What is left of the clients when they have gone."""
    end = time.monotonic() + PATIENCE
    with Wire(server.address) as wire:
        while time.monotonic() < end:
            status = wire.call('server_status')
            _, threads, descriptors = resources(server.pid)
            if (status['connections'] == 1 and status['active_txns'] == 0
                    and status['waiting'] == 0 and threads <= at_rest[1] + 3
                    and descriptors <= at_rest[2] + 5):
                return []
            time.sleep(0.1)
    return [f'all clients have gone, but not from the server: {status}, {threads} threads and '
            f'{descriptors} descriptors; at rest {at_rest}']


def flat(samples):
    """Whether the last part of a life's samples is like the first one after the warm-up."""
    samples = samples[round(len(samples) * WARM_UP):]
    first, last = samples[:len(samples) // 2], samples[len(samples) // 2:]
    faults = []
    for place, name, slack in KINDS:
        before, after = (statistics.median(sample[place] for sample in part)
                         for part in (first, last))
        if after > before * 1.1 + slack:
            faults.append(f'{name} grow from {before} to {after}')
    return faults


def report(samples):
    for place, name, _slack in KINDS:
        values = [sample[place] for sample in samples]
        print(f'{name}: first {values[0]}, median {statistics.median(values)}, '
              f'greatest {max(values)}, last {values[-1]}')
