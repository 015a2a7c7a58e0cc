"""An application's classes, with conflicts of all kinds. The servers import this module, too."""
import os
import sys
import time

from persistent import Persistent
from persistent.mapping import PersistentMapping
from ZODB.POSException import ConflictError


class Counter(Persistent):
    """Adds both changes up."""

    def __init__(self):
        self.value = 0
        self.children = ()

    def _p_resolveConflict(self, old, committed, new):
        merged = dict(committed)
        merged['value'] += new['value'] - old['value']
        merged['children'] = committed['children'] + new['children'][len(old['children']):]
        return merged


class WithArguments(Counter):
    """Its record has arguments for `__new__`."""

    def __new__(cls, *args):
        self = super().__new__(cls)
        self.args = args
        return self

    def __getnewargs__(self):
        return ('first', 2)


class Printing(Counter):
    """Prints and reads, and logs."""

    def _p_resolveConflict(self, old, committed, new):
        print('printed by the application')
        sys.stdin.read()
        os.write(1, b'written by the application\n')
        return super()._p_resolveConflict(old, committed, new)


class Modest(Persistent):
    """Has no way to merge."""


class Refusing(Counter):
    def _p_resolveConflict(self, old, committed, new):
        raise ConflictError('not these two')


class Raising(Counter):
    def _p_resolveConflict(self, old, committed, new):
        raise KeyError('a mistake of the application')


class Unwritable(Counter):
    def _p_resolveConflict(self, old, committed, new):
        return {'value': lambda: None}


class Dying(Counter):
    def _p_resolveConflict(self, old, committed, new):
        os._exit(7)


class Hanging(Counter):
    def _p_resolveConflict(self, old, committed, new):
        time.sleep(1000)


class Flooding(Counter):
    def _p_resolveConflict(self, old, committed, new):
        return {'value': 'x' * 10_000_000}


class Value:
    """Not persistent: it stands in the state of another object."""

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return isinstance(other, Value) and self.number == other.number

    def __lt__(self, other):
        return self.number < other.number

    def __hash__(self):
        return self.number


class Mapping(PersistentMapping):
    """Merges what stands under different keys."""

    def _p_resolveConflict(self, old, committed, new):
        merged = {**committed['data']}
        merged.update((key, value) for key, value in new['data'].items() if key not in old['data'])
        return {**committed, 'data': merged}
