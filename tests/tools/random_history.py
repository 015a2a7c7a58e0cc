"""Random files: those that packs are tested with, and objects that are missed."""
import os
import random
import sys

from support.server import REPOSITORY
from ZODB.utils import p64

sys.path.insert(0, os.path.join(REPOSITORY, 'storage', 'testdata', 'generate'))
from make_pack_data import History  # noqa: E402


class Careless(History):
    """Deletes what is referred to, and refers to what never was."""

    def delete(self, meta):
        known = [oid for oid in self.graph if oid not in self.gone and oid != p64(0)]
        if known:
            oid = self.rng.choice(known)
            self.storage.deleteObject(oid, self.storage.getTid(oid), meta)
            self.gone.append(oid)

    def store(self, oid, references, meta):
        if self.rng.random() < .1:
            references = [*references, p64(self.rng.randrange(5000, 5005))]
        super().store(oid, references, meta)


def write(path, seed):
    """Writes the random file of a seed, with its index."""
    rng = random.Random(seed)
    kind = History if seed % 2 else Careless
    kind(path, rng).run()
