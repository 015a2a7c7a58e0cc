"""Ways in which a file gets damaged: functions of a random generator and the good bytes, which
return the bad ones and the ranges that are not as they were."""

DAMAGES = {}
BLOCK = 512


def damage(function):
    DAMAGES[function.__name__] = function
    return function


@damage
def one_bit(random, good):
    return bits(random, good, 1)


@damage
def some_bits(random, good):
    return bits(random, good, random.randint(2, 12))


def bits(random, good, count):
    bad, places = bytearray(good), []
    for _ in range(count):
        place = random.randrange(4, len(good))
        bad[place] ^= 1 << random.randrange(8)
        places.append((place, place + 1))
    return bytes(bad), places


@damage
def truncated(random, good):
    size = random.randrange(4, len(good))
    return good[:size], [(size, len(good))]


@damage
def zeros(random, good):
    return overwritten(random, good, bytes)


@damage
def noise(random, good):
    return overwritten(random, good, random.randbytes)


def overwritten(random, good, bytes_):
    length = random.choice([1, 8, 30, 100, 600, 4000])
    start = random.randrange(4, len(good) - length)
    return good[:start] + bytes_(length) + good[start + length:], [(start, start + length)]


@damage
def swapped(random, good):
    """Two blocks of the disk have changed places."""
    one, other = random.sample(range(1, len(good) // BLOCK), 2)
    bad = bytearray(good)
    for to, from_ in (one, other), (other, one):
        bad[to * BLOCK:(to + 1) * BLOCK] = good[from_ * BLOCK:(from_ + 1) * BLOCK]
    return bytes(bad), [(n * BLOCK, (n + 1) * BLOCK) for n in (one, other)]


@damage
def garbage_behind(random, good):
    tail = random.choice([random.randbytes, bytes])(random.choice([1, 7, 50, 5000]))
    return good + tail, []


@damage
def headers(random, good):
    """Bits of transaction headers only."""
    bad, places = bytearray(good), []
    position, all_ = 4, []
    while position < len(good):
        all_.append(position)
        position += int.from_bytes(good[position + 8:position + 16], 'big') + 8
    for position in random.sample(all_, 3):
        place = position + random.randrange(23)
        bad[place] ^= 1 << random.randrange(8)
        places.append((place, place + 1))
    return bytes(bad), places
