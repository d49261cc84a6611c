"""What is due in which slice of a run, found without a look at what is due later."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

# slices of a window, as a power of two: what is due in the window that is open lies slice by slice, the rest by windows
WIDTH = 3
# behind all slices
LAST = 1 << 62
Entry = tuple[NDArray[Any], NDArray[Any]]


class Calendar:
    """Entries of a slice each."""

    def __init__(self) -> None:
        self.near: dict[int, list[NDArray[Any]]] = {}
        self.far: dict[int, list[Entry]] = {}
        # the keys of both, the smallest first
        self.slices: list[int] = []
        self.windows: list[int] = []
        self.window = 0

    def put(self, slices: NDArray[np.int64], entries: NDArray[Any]) -> None:
        """Add entries, each due in a slice, none of which is over."""
        order = _order(slices)
        slices, entries = slices[order], entries[order]
        far = int(np.searchsorted(slices, self.window + 1 << WIDTH))
        for part, due in _runs(slices[:far], entries[:far], 0):
            if part not in self.near:
                self.near[part] = []
                heapq.heappush(self.slices, part)
            self.near[part].append(due[1])
        for part, due in _runs(slices[far:], entries[far:], WIDTH):
            if part not in self.far:
                self.far[part] = []
                heapq.heappush(self.windows, part)
            self.far[part].append(due)

    def next(self) -> int | None:
        """Return the first slice in which something is due."""
        if not self.slices and self.windows:
            self.window = heapq.heappop(self.windows)
            found = self.far.pop(self.window)
            self.put(np.concatenate([k for k, _ in found]), np.concatenate([entries for _, entries in found]))
        return self.slices[0] if self.slices else None

    def take(self, k: int) -> NDArray[Any]:
        """Return what is due in slice k or was before, and forget it."""
        found = []
        while True:
            first = self.next()
            if first is None or first > k:
                break
            found += self.near.pop(heapq.heappop(self.slices))
        return np.concatenate(found) if found else np.zeros(0, np.int64)


def _order(slices: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return how slices are sorted, those that are alike in the order in which they came."""
    first = int(slices.min(initial=LAST))
    if int(slices.max(initial=0)) - first < 1 << 16:
        # NumPy sorts 16 bits ten times as fast
        return np.argsort((slices - first).astype(np.uint16), kind="stable")
    return np.argsort(slices, kind="stable")


def _runs(slices: NDArray[np.int64], entries: NDArray[Any], shift: int) -> list[tuple[int, Entry]]:
    """Return what is sorted by slices in parts of one slice, or one window, each."""
    keys = slices >> shift
    cuts = np.flatnonzero(np.diff(keys)) + 1
    begins = [0, *cuts.tolist()] if len(keys) else []
    behind = [*cuts.tolist(), len(keys)]
    return [(int(keys[a]), (slices[a:b], entries[a:b])) for a, b in zip(begins, behind, strict=False)]
