"""A network between two hosts on this machine, whose packets are lost, late, or forgotten.

Each host is a network namespace with a tun device; packets go from one to the other through this process.
"""
import contextlib
import ctypes
import fcntl
import os
import queue
import random
import socket
import struct
import threading
import time

import pytest

CLONE_NEWNET = 0x40000000
TUNSETIFF, SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFFLAGS = 0x400454ca, 0x8916, 0x891c, 0x8914
IFF_TUN_WITHOUT_INFO, IFF_UP = 0x1001, 0x1
DEVICE = b'tun0'
TCP = 6

libc = ctypes.CDLL(None, use_errno=True)


def _check(result):
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Host:
    """One end: its address, its namespace, and the file of its packets."""

    def __init__(self, address):
        self.address = address
        made = []
        # A thread of its own, whose namespace others enter then.
        thread = threading.Thread(target=lambda: made.append(self._make()))
        thread.start()
        thread.join()
        if made != [None]:
            raise made[0]

    def _make(self):
        try:
            _check(libc.unshare(CLONE_NEWNET))
            self.namespace = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
            self.packets = os.open('/dev/net/tun', os.O_RDWR)
            fcntl.ioctl(self.packets, TUNSETIFF, struct.pack('16sH22x', DEVICE, IFF_TUN_WITHOUT_INFO))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                for request, value in (SIOCSIFADDR, self.address), (SIOCSIFNETMASK, '255.255.255.0'):
                    fcntl.ioctl(any_socket, request,
                                struct.pack('16sHH4s16x', DEVICE, socket.AF_INET, 0, socket.inet_aton(value)))
                for name in DEVICE, b'lo':
                    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack('16sH22x', name, IFF_UP))
        except OSError as failure:
            return failure

    @contextlib.contextmanager
    def inside(self):
        """What this thread starts or opens meanwhile is on this host."""
        before = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
        _check(libc.setns(self.namespace, CLONE_NEWNET))
        try:
            yield
        finally:
            _check(libc.setns(before, CLONE_NEWNET))
            os.close(before)


class Network:
    """`here` and `there`, and the way between them. `seed` chooses what is lost."""

    def __init__(self, seed=None):
        self.here, self.there = Host('10.77.0.1'), Host('10.77.0.2')
        self.random = random.Random(seed)
        self.heal()
        self.known, self.forgotten = set(), set()
        for source, to in (self.here, self.there), (self.there, self.here):
            late = queue.Queue()
            threading.Thread(target=self._take, args=(source, late), daemon=True).start()
            threading.Thread(target=self._give, args=(to, late), daemon=True).start()

    def heal(self):
        self.cut, self.loss, self.delay = (), 0, 0

    def forget(self):
        """As a firewall that drops what belongs to no connection that it knows."""
        self.forgotten |= self.known

    def _take(self, source, late):
        while True:
            packet = os.read(source.packets, 65536)
            if self._passes(source, packet):
                late.put((time.monotonic() + self.delay, packet))

    def _give(self, to, late):
        while True:
            due, packet = late.get()
            time.sleep(max(0, due - time.monotonic()))
            os.write(to.packets, packet)

    def _passes(self, source, packet):
        if packet[0] >> 4 == 4 and packet[9] == TCP:
            ports = packet[4 * (packet[0] & 15):][:4]
            connection = frozenset([ports[:2], ports[2:]])
            self.known.add(connection)
            if connection in self.forgotten:
                return False
        return source not in self.cut and self.random.random() >= self.loss


def network():
    """A new one; the test is skipped where there can be none."""
    try:
        return Network(int(os.environ.get('SEED', 0)))
    except OSError as failure:
        pytest.skip(f'no network of its own: {failure} (it takes root and /dev/net/tun)')
