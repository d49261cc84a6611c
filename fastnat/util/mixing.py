"""Addresses and destinations as one number each, for whole columns at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def scrambled(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return 64 bits each of which depends on all those given (the finalizer of SplitMix64)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)


def folded(addresses: NDArray[Any]) -> NDArray[np.uint64]:
    """Return addresses of either family as 64 bits each: those of IPv4 themselves, of IPv6 a hash."""
    if addresses.dtype.names:
        return scrambled(addresses["low"] ^ scrambled(addresses["high"]))
    return addresses.astype(np.uint64)


def ends_of(addresses: NDArray[Any], ports: NDArray[Any]) -> NDArray[np.uint64]:
    """Return destinations as one number each."""
    ends: NDArray[np.uint64] = folded(addresses) << np.uint64(16) | ports
    return ends


def classes_of(starts: NDArray[Any], addresses: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of the class that each address of either family lies in; starts: of the classes, rising."""
    if not addresses.dtype.names:
        return np.searchsorted(starts, addresses, "right")
    every = np.concatenate((starts, addresses))
    order = np.lexsort((every["low"], every["high"]))
    found = np.empty(len(every), np.int64)
    found[order] = np.cumsum(order < len(starts))
    return found[len(starts) :]
