"""Tables in address space reserved for their maximum; untouched pages take no memory."""

from __future__ import annotations

import gc
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FastnatError

HUGE_PAGE = 2 << 20
PAGE = 4096
MAP_NORESERVE = 0x4000
# Linux 5.14; the mmap module does not name it
MADV_POPULATE_WRITE = 23
# that Python has made since it last collected: so many it looks through in milliseconds
FEW_OBJECTS = 50_000


def reserve(count: int, dtype: np.dtype[Any], prefault: bool = False, sparse: bool = False) -> NDArray[Any]:
    """Return a zeroed array that takes memory only page by page, as it is written.

    Parameters
    ----------
    count : int      elements
    dtype : np.dtype
    prefault : bool  take all of the memory now, so that no later write waits for a page
    sparse : bool    single records far from each other will be written: no huge pages

    Returns
    -------
    dtype[count], starting at a huge page (at least a cache line) boundary

    Notes
    -----
    Large arrays ask for huge pages: random access to 4 KB pages costs 20 % at 16 million connections.
    """
    size = max(count, 1) * dtype.itemsize
    if size < HUGE_PAGE:
        raw = np.zeros(size + 64, np.uint8)
        start = -raw.ctypes.data % 64
        return raw[start : start + count * dtype.itemsize].view(dtype)
    try:
        area = mmap.mmap(-1, size + HUGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)
    except (OSError, OverflowError, MemoryError, ValueError) as error:
        why = getattr(error, "strerror", None) or "too many"
        raise FastnatError(f"no address space for {count:,} records of {dtype.itemsize} bytes ({why}): give fewer "
                           "max_connections or events, or raise the limit (ulimit -v)") from None  # fmt: skip
    if hasattr(mmap, "MADV_HUGEPAGE") and not sparse:
        area.madvise(mmap.MADV_HUGEPAGE)
    raw = np.frombuffer(area, np.uint8)
    start = -raw.ctypes.data % HUGE_PAGE
    if prefault:
        _populate(area, raw)
    return raw[start : start + count * dtype.itemsize].view(dtype)


def aligned(values: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return values as dtype[n] that begins at a cache line; NumPy's own arrays begin 16 bytes into one."""
    array = np.array(values, dtype)
    placed = reserve(len(array), dtype)
    placed[:] = array
    return placed


def _populate(area: mmap.mmap, raw: NDArray[Any]) -> None:
    try:
        area.madvise(MADV_POPULATE_WRITE)
    except (AttributeError, OSError, ValueError):
        # before Linux 5.14: one write a page
        raw[::PAGE] = 0


@contextmanager
def no_garbage() -> Iterator[None]:
    """Pause Python's collector while many objects without garbage are created; it would take a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            # the count walks over all that a program has frozen: not where the collector has little to do anyway
            if gc.get_count()[0] > FEW_OBJECTS and not gc.get_freeze_count():
                # all objects become old ones: as young ones they would all be looked through at once
                gc.freeze()
                gc.unfreeze()
            gc.enable()
