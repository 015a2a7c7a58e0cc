"""A soak: many clients that load, commit, conflict, undo, iterate, stall, die and come back.

They do the same with blobs, also in a directory that they share. Meanwhile the server packs, its
log is rotated, its certificate is replaced, its monitor is read, strangers come to its address,
and it is ended, by SIGTERM or SIGKILL, and started again. Throughout, readers check the invariant
in snapshots, and the server's memory, threads and descriptors are sampled. In the end Python's
FileStorage judges the file, and all lines that had to be logged are there. Exit code 0: all is well.
"""
import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile

from support.server import binary
from support.wire import Wire
from ZODB.blob import BushyLayout
from ZODB.FileStorage import FileStorage

from soak import blobs, data, samples
from soak.certified import Certified
from soak.crowd import Crowd, Packer
from soak.lives import Lives
from soak.restarts import real_client
from soak.strangers import Refused, Stranger
from soak.watch import Scraper

LIFE = 300  # seconds of a server's life, but there are always three


def main():
    options = arguments()
    transports = [options.transport] if options.transport else ['tls', 'plain']
    options.minutes /= len(transports)
    faults = []
    for transport in transports:
        print(f'soak: {options.clients} clients, {options.minutes} minutes, {transport}, encoding '
              f'{options.encoding}, seed {options.seed}, server {binary()}', flush=True)
        with tempfile.TemporaryDirectory(prefix='soak-') as directory:
            os.chdir(directory)
            faults += soak(options, Certified() if transport == 'tls' else None)
            os.chdir('/')
    for fault in faults:
        print('FAULT', fault)
    print('soak:', 'FAILED' if faults else 'passed')
    return 1 if faults else 0


def arguments():
    parser = argparse.ArgumentParser('scripts/soak')
    parser.add_argument('--clients', type=int, default=64)
    parser.add_argument('--minutes', type=float, default=30)
    parser.add_argument('--encoding', choices='ZM', default='Z')
    parser.add_argument('--transport', choices=['tls', 'plain'])
    parser.add_argument('--seed', type=int, default=random.randrange(10 ** 6))
    return parser.parse_args()


def soak(options, certified):
    seconds = options.minutes * 60
    Wire.context = certified.context() if certified else None
    restarts = multiprocessing.get_context('spawn').Value('q', 0)
    lives = Lives(options, restarts, certified)
    address = lives.server.address
    storage = real_client(address, blob_dir='blobs-first')
    oids = data.create(storage, random.Random(options.seed))
    at_rest = samples.resources(lives.server.pid)
    crowd = Crowd(options, address, oids, restarts, certified and certified.parts())
    helpers = [Packer(restarts, max(3, seconds / 60), address),
               Scraper(restarts, 0.2, lives.monitor),
               *(Stranger(restarts, 0.1, address, f'{options.seed} {number}')
                 for number in range(2))]
    if certified:
        helpers.append(Refused(restarts, 0.05, address, certified.refused()))
    for helper in helpers:
        helper.start()
    faults = live(lives, seconds, crowd)
    for helper in helpers:
        faults += helper.end()
    faults += crowd.end()
    if lives.server.process.poll() is not None:
        return [*faults, f'the server has died: {lives.log.text()[-3000:]}{lives.server.log()}']
    faults += lives.teller.end()
    faults += samples.calm(lives.server, at_rest)
    lives.end(signal.SIGTERM)
    print(f'{lives.number} lives, {lives.rotations} log files with {lives.told} counted lines'
          + (f', {certified.renewals} certificates' if certified else ''))
    print('  '.join(f'{type(helper).__name__} {helper.times}' for helper in helpers))
    return faults + lives.faults + judge(crowd.counts())


def live(lives, seconds, crowd):
    """All lives of the server but for the end of the last; a list of faults."""
    faults, number = [], max(3, round(seconds / LIFE))
    for life in range(1, number + 1):
        done = crowd.counts()['done']
        found = lives.live(seconds / number, crowd)
        if crowd.stop.is_set() or lives.server.process.poll() is not None:
            break
        faults += [f'life {life}: {fault}' for fault in samples.flat(found)]
        if crowd.counts()['done'] == done:
            faults.append(f'life {life}: nothing was committed')
        print(f'life {life}:')
        samples.report(found)
        if life < number:
            lives.restart()
    return faults


def judge(counts):
    """What Python says of the files; a list of faults."""
    in_doubt = counts['begun'] - counts['done'] - counts['failed']
    undo_in_doubt = counts['undo_begun'] - counts['undone'] - counts['undo_failed']
    done = counts['done'] - counts['undone']
    verdict, transfers = data.judge('Data.fs', FileStorage, done - undo_in_doubt, done + in_doubt)
    in_file, known = blobs.judge('Data.fs', 'blobs', FileStorage)
    verdict += in_file + blobs.strays('blobs', known, BushyLayout())
    if os.path.exists('Data.fs.old'):
        verdict += blobs.judge('Data.fs.old', 'blobs.old', FileStorage)[0]
    os.remove('Data.fs.index')
    again, _ = data.judge('Data.fs', FileStorage, done - undo_in_doubt, done + in_doubt)
    print('  '.join(f'{name} {count}' for name, count in counts.items()))
    print(f'{transfers} transfers in the file; {in_doubt + undo_in_doubt} in doubt; '
          f'{len(known)} revisions of blobs', flush=True)
    return verdict + again


if __name__ == '__main__':
    sys.exit(main())
