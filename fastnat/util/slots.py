"""Linear probing that crafted keys cannot make quadratic."""

from __future__ import annotations


class Slots:
    """Places of a hash table of a power of two of slots, filled one after the other.

    The place is the first free one from a key's own on, as a loop over the slots finds it. Runs of slots in use are
    passed in one step (union-find with path halving), as whoever writes a rule or set file can choose keys that share
    a slot. One slot at least must stay free.
    """

    def __init__(self, size: int) -> None:
        self.mask = size - 1
        self._next = list(range(size))

    def take(self, slot: int) -> int:
        """Return the first free slot from this one on, which is then in use."""
        following = self._next
        slot &= self.mask
        while following[slot] != slot:
            following[slot] = following[following[slot]]
            slot = following[slot]
        following[slot] = slot + 1 & self.mask
        return slot
