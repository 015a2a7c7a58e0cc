"""Cache files handed from Python's client to ours and back, at every step of random histories.

RZEO_CACHE_HISTORIES says how many (default 2), SEED which is the first.
"""
import json
import os
import random
import shutil
import struct
import subprocess
import sys

import pytest
import ZEO.cache
from support.server import REPOSITORY, binary, is_python
from ZODB.utils import p64, u64

BUILT = os.path.join(REPOSITORY, 'target', 'release') if is_python() else os.path.dirname(binary())
LOAD = os.path.join(BUILT, 'zeo-load')
COUNT = int(os.environ.get('RZEO_CACHE_HISTORIES') or 2)
STEPS = 120


def seed_of(number):
    return int(os.environ.get('SEED') or random.randrange(1 << 32)) + number


class Ours:
    """Our cache, in a process of its own."""

    def __init__(self, path, size, **env):
        self.process = subprocess.Popen(
            [LOAD, 'cache'], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **env}, encoding='ascii')
        self.last_tid = self.ask('open', str(path), size)

    def ask(self, *command):
        self.process.stdin.write(json.dumps(command) + '\n')
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.process.stderr.read()
        return json.loads(line)

    def store(self, oid, start, end, data):
        self.ask('store', oid, start, end, data.hex())

    def load(self, oid):
        return self.revision(self.ask('load', oid))

    def before(self, oid, tid):
        return self.revision(self.ask('before', oid, tid))

    @staticmethod
    def revision(found):
        return found and (found[0], found[1], bytes.fromhex(found[2]))

    def invalidate(self, oid, tid):
        self.ask('invalidate', oid, tid)

    def set_last_tid(self, tid):
        self.ask('tid', tid)

    def clear(self):
        self.ask('clear')

    def held(self):
        """All revisions that it knows of."""
        return sorted((oid, start, end or 0) for oid, start, end, _length in self.ask('held'))

    def close(self):
        self.ask('close')
        self.end()

    def kill(self):
        self.process.kill()
        self.process.stdout.close()
        self.end()

    def end(self):
        said = self.process.communicate()[1]
        assert not said, said


class Pythons:
    """Python's cache, with numbers for oids and tids."""

    def __init__(self, path, size):
        self.cache = ZEO.cache.ClientCache(str(path), size)
        self.last_tid = u64(self.cache.getLastTid())

    def store(self, oid, start, end, data):
        self.cache.store(p64(oid), p64(start), end and p64(end), data)

    def load(self, oid):
        found = self.cache.load(p64(oid))
        return found and (u64(found[1]), None, found[0])

    def before(self, oid, tid):
        found = self.cache.loadBefore(p64(oid), p64(tid))
        return found and (u64(found[1]), found[2] and u64(found[2]), found[0])

    def invalidate(self, oid, tid):
        self.cache.invalidate(p64(oid), tid and p64(tid))

    def set_last_tid(self, tid):
        self.cache.setLastTid(p64(tid))

    def clear(self):
        self.cache.clear()

    def held(self):
        held = []
        places = [*self.cache.current.values(),
                  *(place for tids in self.cache.noncurrent.values() for place in tids.values())]
        for place in places:
            self.cache.f.seek(place + 5)
            oid, start, end = struct.unpack('>QQQ', self.cache.f.read(24))
            held.append((oid, start, end))
        return sorted(held)

    def close(self):
        self.cache.close()


def blocks(path):
    """The blocks of a file: offset, first byte, size, and of a record (oid, start, end), data."""
    image = path.read_bytes()
    assert image[:4] == b'ZEC3'
    at = 12
    while at < len(image):
        kind = image[at:at + 1]
        size = int(kind) if kind in b'1234' else struct.unpack_from('>I', image, at + 1)[0]
        record = data = None
        if kind == b'a':
            *record, version, length = struct.unpack_from('>QQQHI', image, at + 5)
            data = image[at + 35:at + 35 + length]
            assert (version, length + 43) == (0, size)
            assert struct.unpack_from('>Q', image, at + size - 8) == (record[0],)
        else:
            assert kind in b'f1234', (at, kind)
        yield at, kind, size, record and tuple(record), data
        at += size
    assert at == len(image)


class History:
    """What a client sees, made up: transactions of others and its own, loads, and their answers."""

    def __init__(self, seed, size, shortest=0):
        print('SEED', seed)
        self.shortest = shortest
        self.random = random.Random(seed)
        self.objects = {}
        self.last = 0
        self.size = size

    def oid(self):
        return self.random.randrange(15)

    def commit(self):
        """A transaction: its tid, and the oids that it has written."""
        oids = [self.oid() for _ in range(self.random.randrange(1, 4))]
        self.last += self.random.randrange(1, 4)
        for oid in oids:
            longest = self.random.choice([self.shortest, 40, 90, 400])
            data = self.random.randbytes(self.random.randint(self.shortest, longest))
            self.objects.setdefault(oid, {})[self.last] = data
        return self.last, oids

    def revision(self, oid, before):
        """(start, end, data) of what the server has, or None."""
        revisions = self.objects.get(oid, {})
        start = max((tid for tid in revisions if tid < before), default=None)
        if start is None:
            return None
        return start, min((tid for tid in revisions if tid >= before), default=None), revisions[start]

    def step(self, caches, twice):
        """The same for all of the caches, which must answer the same."""
        what = self.random.random()
        if what < 0.35:
            tid, oids = self.commit()
            own = self.random.random() < 0.5
            for cache in caches:
                # Python's own cache is spoiled by an object that is stored twice.
                for oid in oids if twice else sorted(set(oids)):
                    cache.invalidate(oid, tid)
                    if own:
                        cache.store(oid, tid, None, self.objects[oid][tid])
                cache.set_last_tid(tid)
        elif what < 0.9:
            oid = self.oid()
            before = self.random.choice([self.last + 1, self.random.randint(1, self.last + 1)])
            truth = self.revision(oid, before)
            for cache in caches:
                found = cache.before(oid, before)
                assert found is None or found == truth
                if found is None and truth:
                    cache.store(oid, *truth)
        elif what < 0.97:
            oid = self.oid()
            for cache in caches:
                cache.invalidate(oid, None)
                assert cache.load(oid) is None
        elif what < 0.98:
            for cache in caches:
                cache.clear()

    def check(self, cache, path):
        """All that a cache has stands in its file, and is true."""
        assert cache.held() == sorted(b[3] for b in blocks(path) if b[3])
        for _at, _kind, _size, record, data in blocks(path):
            if record:
                oid, start, end = record
                assert self.objects[oid][start] == data
                later = [tid for tid in self.objects[oid] if tid > start]
                assert end == min(later, default=0), record


@pytest.mark.parametrize('number', range(COUNT))
def test_handed_over(number, tmp_path, caplog):
    """At every step the file goes to the other client, sometimes with another size, sometimes
    behind a kill; and none of the two finds anything wrong."""
    path = tmp_path / 'a.zec'
    history = History(seed_of(number), size=1500)
    cache, held, last_tid = Ours(path, history.size), [], 0
    for _ in range(STEPS):
        history.check(cache, path)
        assert cache.held() == held and cache.last_tid == last_tid
        history.step([cache], twice=isinstance(cache, Ours))
        held, last_tid = cache.held(), history.last
        if isinstance(cache, Ours):
            cache.kill() if history.random.random() < 0.3 else cache.close()
            cache, before = Pythons(path, history.size), cache
        else:
            cache.close()
            before = cache
            if history.random.random() < 0.1:
                # Python can't open again what it has made larger.
                history.size = max(1000, history.size + history.random.randint(-200, 250))
                cache = Ours(path, history.size)
                known, held = held, cache.held()
                assert not set(held) - set(known)
                assert len(held) >= len(known) - 6
            else:
                cache = Ours(path, history.size)
        assert type(before) is not type(cache)
        assert not (tmp_path / 'a.zec.bad').exists()
    cache.close()
    assert not [record for record in caplog.records if record.levelname != 'INFO']


@pytest.mark.parametrize('number', range(COUNT))
def test_twins(number, tmp_path):
    """Both do the same: their files are the same to the last byte."""
    ours_path, pythons_path = tmp_path / 'ours.zec', tmp_path / 'pythons.zec'
    history = History(seed_of(number), size=1000 + 97 * (number % 10))
    ours, pythons = Ours(ours_path, history.size), Pythons(pythons_path, history.size)
    for _ in range(STEPS):
        history.step([ours, pythons], twice=False)
        pythons.cache.f.flush()
        assert ours.held() == pythons.held()
        assert ours_path.read_bytes() == pythons_path.read_bytes()
    ours.close()
    pythons.close()


def test_python_makes_larger_and_smaller(tmp_path):
    """Python's larger file is one that Python itself drops when it is made larger again."""
    path = tmp_path / 'a.zec'
    pythons = Pythons(path, 500)
    pythons.store(1, 2, None, b'x' * 100)
    pythons.set_last_tid(2)
    pythons.close()
    for size in 900, 700:
        Pythons(path, size).close()
    Pythons(path, 1200).close()
    for size in 1500, 600, 3000, 155, 1000, 155 - 42, 1000:
        ours = Ours(path, size)
        assert bool(ours.load(1)) == (size > 155) or size == 1000, size
        ours.store(1, 2, None, b'x' * 100)
        ours.close()
        shutil.copy(path, tmp_path / 'copy.zec')
        for other in size, size + 500, max(size - 100, 56):
            shutil.copy(path, tmp_path / 'copy.zec')
            pythons = Pythons(tmp_path / 'copy.zec', other)
            pythons.store(2, 2, None, b'')
            assert pythons.load(2)
            pythons.close()
    assert not list(tmp_path.glob('*.bad'))


def test_damage(tmp_path):
    """A damaged file is set aside, as Python does."""
    path = tmp_path / 'a.zec'
    path.write_bytes(b'no cache')
    process = subprocess.run([LOAD, 'cache'], input=json.dumps(['open', str(path), 1000]),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='ascii')
    assert process.stdout == '0\n' and 'a.zec.bad' in process.stderr
    assert (tmp_path / 'a.zec.bad').read_bytes() == b'no cache'
    pythons = Pythons(path, 1000)
    assert len(pythons.cache) == 0
    # Each keeps the other one out.
    process = subprocess.run([LOAD, 'cache'], input=json.dumps(['open', str(path), 1000]),
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding='ascii')
    assert process.returncode == 2 and f'process {os.getpid()} has it open' in process.stderr
    pythons.close()
    ours = Ours(path, 1000)
    with pytest.raises(Exception, match='lock'):
        Pythons(path, 1000)
    ours.close()


def test_trace(tmp_path):
    """ZEO's scripts read the trace."""
    path = tmp_path / 'a.zec'
    # ZEO's simulation does not take a record of 0 bytes; there is none in a database.
    history = History(1, size=2000, shortest=1)
    ours = Ours(path, history.size, ZEO_CACHE_TRACE='1')
    for _ in range(300):
        history.step([ours], twice=True)
    ours.close()
    trace = str(path) + '.trace'
    said = script('cache_stats', '-v', trace)
    # A line for each operation: hits and misses, invalidations, stores.
    for code in '00', '10', '1C', '1E', '20', '22', '24', '26', '52', '54':
        assert f' {code} ' in said.upper(), (code, said)
    said = script('cache_simul', '-s', '1', trace)
    assert 'HITRATE' in said, said


def script(name, *words):
    done = subprocess.run([sys.executable, '-m', f'ZEO.scripts.{name}', *words],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding='utf-8')
    assert done.returncode == 0, done.stdout
    assert 'Traceback' not in done.stdout, done.stdout
    return done.stdout
