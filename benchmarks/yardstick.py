"""The yardstick R: what a random line of memory costs on this machine at this moment (docs/vocabulary.md)."""

import time
from itertools import count

import numpy as np

from fastnat.core import _steps
from fastnat.util.memory import reserve

# calls between two measurements of R. A busy machine changes often; but measuring R empties the caches, those of the
# page tables included, and with 16 million connections these take 100 calls to fill again
EVERY = 500
LINES = 200_000


def yardstick():
    """Return a function that measures R [ns]."""
    buffer = reserve(1 << 25, np.dtype(np.uint64))
    buffer[:] = 1
    # other lines every time, because the last ones are in the cache
    seeds = count(1)

    def measure():
        start = time.perf_counter_ns()
        _steps.random_lines(buffer, LINES, next(seeds))
        return (time.perf_counter_ns() - start) / LINES

    return measure
