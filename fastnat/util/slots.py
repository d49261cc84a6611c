"""Linear probing that crafted keys cannot make quadratic."""

from __future__ import annotations


class Slots:
    """Places in a hash table with a power of two of slots, filled one after the other.

    The place of a key is the first free one from its own slot on, as a loop over the slots would find it. Runs of used
    slots are skipped in one step (union-find with path halving), because the writer of a rule or set file can choose
    keys that share a slot. At least one slot must stay free.
    """

    def __init__(self, size: int) -> None:
        self.mask = size - 1
        self._next = list(range(size))

    def take(self, slot: int) -> int:
        """Return the first free slot from this one on, and mark it as used."""
        following = self._next
        slot &= self.mask
        while following[slot] != slot:
            following[slot] = following[following[slot]]
            slot = following[slot]
        following[slot] = slot + 1 & self.mask
        return slot
