"""The flows that are open, each in a slot: what a run keeps of a flow it keeps only so long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dtypes import Records

FIRST_SLOTS = 1024


class Pool:
    """Slots, as many as flows are open at a time.

    packets, answers: headers from either side; ends, times [s]; number: of the flow; open: not closed yet; kept:
    packets sent to keep it; serial: counts the flows that the slot has had.
    """

    def __init__(self, records: Records) -> None:
        self.record = records.PACKET
        # records as rows of words: NumPy gathers these ten times as fast
        self.packets, self.answers = np.zeros((2, FIRST_SLOTS, self.record.itemsize // 8), np.uint64)
        self.ends, self.times = np.zeros((2, FIRST_SLOTS))
        self.number, self.kept, self.serial = np.zeros((3, FIRST_SLOTS), np.int64)
        self.open = np.zeros(FIRST_SLOTS, np.bool_)
        self.free = np.arange(FIRST_SLOTS)[::-1].copy()
        self.n_free = FIRST_SLOTS
        self.taken = 0

    def take(
        self, packets: NDArray[Any], out: NDArray[Any], times: NDArray[Any], ends: NDArray[Any]
    ) -> NDArray[np.int64]:
        """Return slots for flows that were opened by these packets, PACKET[n] and RESULT[n]."""
        n = len(packets)
        while self.n_free < n:
            self._grow()
        self.n_free -= n
        slots = self.free[self.n_free : self.n_free + n].copy()
        back = np.zeros(n, self.record)
        for here, there in (("src", "dst"), ("dst", "src"), ("sport", "dport"), ("dport", "sport")):
            back[here] = out[there]
        # what the node sends itself is answered from the interface that it left by
        back["iface"], back["proto"], back["length"] = out["out_iface"], packets["proto"], packets["length"]
        self.packets[slots], self.answers[slots] = self.rows(packets), self.rows(back)
        self.ends[slots], self.times[slots] = ends, times
        self.number[slots] = np.arange(self.taken, self.taken + n)
        self.kept[slots], self.open[slots] = 0, True
        self.serial[slots] += 1
        self.taken += n
        return slots

    def give(self, slots: NDArray[np.int64]) -> None:
        """Take slots back."""
        self.open[slots] = False
        self.free[self.n_free : self.n_free + len(slots)] = slots
        self.n_free += len(slots)

    def rows(self, packets: NDArray[Any]) -> NDArray[np.uint64]:
        """Return PACKET[n] as rows of words."""
        return packets.view(np.uint64).reshape(-1, self.packets.shape[1])

    def there(self, slots: NDArray[np.int64], flags: int) -> NDArray[Any]:
        """Return packets of flows from their clients, PACKET[n]."""
        return self._with_flags(self.packets, slots, flags)

    def back(self, slots: NDArray[np.int64], flags: int) -> NDArray[Any]:
        """Return packets of flows from their destinations, to the address that they came from, PACKET[n]."""
        return self._with_flags(self.answers, slots, flags)

    def together(self, packets: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return packets one behind the other, PACKET[n]."""
        return np.concatenate([self.rows(p) for p in packets]).view(self.record).reshape(-1)

    def _with_flags(self, rows: NDArray[np.uint64], slots: NDArray[np.int64], flags: int) -> NDArray[Any]:
        packets: NDArray[Any] = rows.take(slots, axis=0).view(self.record).reshape(-1)
        packets["tcp_flags"] = flags
        return packets

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
