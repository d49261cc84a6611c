"""The flows that are drawn or open, each in a slot: what a run keeps of a flow it keeps only so long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dtypes import Records
from ..util.records import rows_of
from .headers import Headers

FIRST_SLOTS = 1024
# headers of all slots, the slots that send theirs, and with which TCP flags
Side = tuple[NDArray[np.uint64], NDArray[np.int64], int]


class Pool:
    """Slots, as many as flows are drawn or open at a time.

    packets, answers: headers from either side; ends, times [s]; number: of the flow; open: opened, and not closed yet;
    kept: packets sent to keep it; serial: counts the flows that the slot has had.
    """

    def __init__(self, records: Records) -> None:
        self.record, self.headers = records.PACKET, Headers(records)
        # records as rows of words: NumPy gathers these ten times as fast
        self.packets, self.answers = np.zeros((2, FIRST_SLOTS, self.record.itemsize // 8), np.uint64)
        self.ends, self.times = np.zeros((2, FIRST_SLOTS))
        self.number, self.kept, self.serial = np.zeros((3, FIRST_SLOTS), np.int64)
        self.open = np.zeros(FIRST_SLOTS, np.bool_)
        self.free = np.arange(FIRST_SLOTS)[::-1].copy()
        self.n_free = FIRST_SLOTS
        self.taken = 0

    def take(self, packets: NDArray[Any], times: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return slots for flows that these packets, PACKET[n], will open."""
        n = len(packets)
        while self.n_free < n:
            self._grow()
        self.n_free -= n
        slots = self.free[self.n_free : self.n_free + n].copy()
        self.packets[slots] = rows_of(packets)
        self.ends[slots], self.times[slots] = ends, times
        self.number[slots] = np.arange(self.taken, self.taken + n)
        self.kept[slots] = 0
        self.serial[slots] += 1
        self.taken += n
        return slots

    def opened(self, slots: NDArray[np.int64], packets: NDArray[Any], out: NDArray[Any]) -> NDArray[np.int64]:
        """Note what became of first packets, PACKET[n] and RESULT[n]; return the slots of flows that are open."""
        return self.headers.opened(rows_of(packets), rows_of(out), slots, self.answers, self.open.view(np.uint8))

    def give(self, slots: NDArray[np.int64]) -> None:
        """Take slots back."""
        self.open[slots] = False
        self.free[self.n_free : self.n_free + len(slots)] = slots
        self.n_free += len(slots)

    def made(self, sides: Sequence[Side]) -> NDArray[Any]:
        """Return packets of flows, those of one side behind those of the other, PACKET[n]."""
        rows = np.empty((sum(len(slots) for _, slots, _ in sides), self.packets.shape[1]), np.uint64)
        made: NDArray[Any] = rows.view(self.record).reshape(-1)
        begin = 0
        for source, slots, flags in sides:
            self.headers.gather(source, slots, flags, rows, begin)
            begin += len(slots)
        return made

    def there(self, slots: NDArray[np.int64], flags: int) -> Side:
        """Say that packets of flows come from their clients."""
        return self.packets, slots, flags

    def back(self, slots: NDArray[np.int64], flags: int) -> Side:
        """Say that packets of flows come from their destinations, to the address that they came from."""
        return self.answers, slots, flags

    def _grow(self) -> None:
        """Double the slots."""
        size = len(self.open)
        for name in ("packets", "answers", "ends", "times", "number", "kept", "serial", "open"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate((old, np.zeros_like(old))))
        free = np.zeros(2 * size, np.int64)
        free[: self.n_free] = self.free[: self.n_free]
        free[self.n_free : self.n_free + size] = np.arange(2 * size - 1, size - 1, -1)
        self.free, self.n_free = free, self.n_free + size
