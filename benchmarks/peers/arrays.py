"""Masquerading in NumPy: open addressing over 64-bit keys, a batch at a time; ports are kept, nothing expires."""

import numpy as np

from . import NAT

EMPTY = np.uint64(0)


class ArrayNat:
    """Both directions in one table; a key stands for src, dst and ports, which is enough for one NAT address."""

    def __init__(self, capacity):
        self.mask = np.uint64((1 << (4 * capacity).bit_length()) - 1)
        self.keys = np.zeros(int(self.mask) + 1, np.uint64)
        self.values = np.zeros(int(self.mask) + 1, np.uint64)

    @staticmethod
    def key(src, dst, sport):
        """Mix 80 bits into 64; the workload's flows differ in them."""
        with np.errstate(over="ignore"):
            h = (src.astype(np.uint64) << np.uint64(32) | dst) ^ sport.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            h = (h ^ h >> np.uint64(31)) * np.uint64(0xBF58476D1CE4E5B9)
            return (h ^ h >> np.uint64(29)) | np.uint64(1)

    def find(self, keys):
        """Return the slots of keys, and which of them are there."""
        slots = keys & self.mask
        open_ = np.arange(len(keys))
        while len(open_):
            there = self.keys[slots[open_]]
            open_ = open_[(there != EMPTY) & (there != keys[open_])]
            slots[open_] = slots[open_] + np.uint64(1) & self.mask
        return slots, self.keys[slots] == keys

    def insert(self, keys, values):
        """Insert distinct keys that are not there."""
        left = np.arange(len(keys))
        while len(left):
            slots, _ = self.find(keys[left])
            _, first = np.unique(slots, return_index=True)
            self.keys[slots[first]] = keys[left[first]]
            self.values[slots[first]] = values[left[first]]
            left = np.delete(left, first)

    def process(self, src, dst, sport):
        """Return the source ports after NAT of a batch of distinct flows."""
        keys = self.key(src, dst, sport)
        slots, found = self.find(keys)
        new = ~found
        if new.any():
            back = self.key(dst[new], np.full(int(new.sum()), NAT, np.uint32), sport[new])
            self.insert(np.concatenate([keys[new], back]), np.concatenate([sport[new], sport[new]]).astype(np.uint64))
            slots, _ = self.find(keys)
        return self.values[slots]
