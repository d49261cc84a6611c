"""Connections as columns: a flat NumPy array, and data frames of pandas and polars.

Everything is computed for all connections at once; a million take less than a second.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import V4, V6, Family
from ..core.datapath import Datapath
from ..dtypes import (
    CONN_COUNTED,
    CONN_LIVE,
    CONN_MARKED,
    PROTOCOL_NAMES,
    SCTP_STATES,
    TCP_STATES,
    Status,
)  # fmt: skip
from ..errors import InputError

TCP, SCTP = 6, 132
# the states of both protocols, and of the others none
STATES = ("", *dict.fromkeys((*TCP_STATES, *SCTP_STATES)))
WAYS, HALVES = ("", "reply_"), ("high", "low")
PORTS = [(f"{way}{end}", np.dtype(np.uint16)) for way in WAYS for end in ("sport", "dport")]
ADDRESSES = [f"{way}{end}" for way in WAYS for end in ("src", "dst")]
COUNTS = [(f"{way}{what}", np.dtype(np.uint64)) for way in WAYS for what in ("packets", "bytes")]
BESIDE = [
    ("timeout", np.dtype(np.float64)), ("status", np.dtype(np.uint16)), ("state", np.dtype(np.uint8)),
    ("mark", np.dtype(np.uint32)), ("zone", np.dtype(np.uint16)), *COUNTS,
]  # fmt: skip


def dtype_of(family: Family) -> np.dtype[Any]:
    """Return the type of a row: addresses of IPv4 are uint32, those of IPv6 two uint64, high and low."""
    addresses: list[tuple[str, np.dtype[Any]]] = [(name, np.dtype(np.uint32)) for name in ADDRESSES]
    if family is V6:
        addresses = [(f"{name}_{half}", np.dtype(np.uint64)) for name in ADDRESSES for half in HALVES]
    return np.dtype([("proto", np.dtype(np.uint8)), *addresses, *PORTS, *BESIDE])


def listed(records: NDArray[np.void]) -> Any:
    """Return which records listings show; those with NAT_CLASH are hidden, as in the kernel."""
    return (records["flags"] & CONN_LIVE != 0) & (records["status"] & Status.NAT_CLASH == 0)


def columns_of(core: Datapath, family: Family) -> dict[str, NDArray[Any]]:
    """Return the columns of the connections of one family that listings show, copies."""
    found: dict[str, NDArray[Any]] = {}
    with core:
        used = core.arrays["conns"][: core.high_water]
        shown = np.flatnonzero(listed(used))
        if len(shown) < len(used):
            used = used[shown]
        found["proto"] = used["tuples"]["proto"][:, 0].copy()
        for n, way in enumerate(WAYS):
            tuples = used["tuples"][:, n]
            for end in ("src", "dst"):
                if family is V4:
                    found[way + end] = tuples[end].copy()
                else:
                    found[f"{way}{end}_high"], found[f"{way}{end}_low"] = (tuples[end][h].copy() for h in HALVES)
        for n, way in enumerate(WAYS):
            for end in ("sport", "dport"):
                found[way + end] = used["tuples"][end][:, n].copy()
        found["timeout"] = core.timeout_left()[shown]
        for name in ("status", "state", "zone"):
            found[name] = used[name].copy()
        flags = used["flags"].copy()
        found["mark"] = beside(core.arrays["tcp"]["mark"], shown, flags & CONN_MARKED)
        for n, way in enumerate(WAYS):
            for what in ("packets", "bytes"):
                found[way + what] = beside(core.arrays["acct"][what][:, n], shown, flags & CONN_COUNTED)
    return found


def beside(values: NDArray[Any], shown: NDArray[np.intp], holds: NDArray[Any]) -> NDArray[Any]:
    """Return what stands beside the records that are shown, 0 where it does not hold."""
    if not holds.any():
        # their memory may never have been touched
        return np.zeros(len(shown), values.dtype)
    return np.where(holds, values[shown], values.dtype.type(0))


def rows_of(core: Datapath, family: Family) -> NDArray[np.void]:
    """Return the connections of one family that listings show as rows, a copy."""
    found = columns_of(core, family)
    rows = np.empty(len(found["proto"]), dtype_of(family))
    for name, values in found.items():
        rows[name] = values
    return rows


@lru_cache(maxsize=1)
def halves() -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the text of each upper and of each lower half of an IPv4 address."""
    pairs = [f"{n >> 8}.{n & 255}" for n in range(1 << 16)]
    return np.array([f"{pair}." for pair in pairs], object), np.array(pairs, object)


def text_of(name: str, found: dict[str, NDArray[Any]], family: Family) -> NDArray[Any]:
    """Return a column of addresses as text, one object a row."""
    if family is V4:
        upper, lower = halves()
        said: NDArray[Any] = upper[found[name] >> 16] + lower[found[name] & 0xFFFF]
        return said
    pairs = np.stack([found[f"{name}_high"], found[f"{name}_low"]], axis=1)
    unique, where = np.unique(pairs, axis=0, return_inverse=True)
    made = [V6.to_text(high << 64 | low) for high, low in unique.tolist()]
    return np.array([*made, ""], object)[:-1][where.reshape(-1)]


def column_of(name: str, found: dict[str, NDArray[Any]], _: Family) -> NDArray[Any]:
    """Return a column of numbers."""
    return found[name]


@lru_cache(maxsize=1)
def places() -> NDArray[np.uint8]:
    """Return the place in STATES of each protocol and state: uint8[256, 256]."""
    found = np.zeros((256, 256), np.uint8)
    for proto, names in ((TCP, TCP_STATES), (SCTP, SCTP_STATES)):
        found[proto, : len(names)] = [STATES.index(name) for name in names]
    return found


def columns(cores: dict[int, Datapath]) -> dict[str, Any]:
    """Return the columns of all families: addresses as text, states as their places in STATES."""
    parts = [(columns_of(core, family), family) for family in (V4, V6) if (core := cores.get(family.version))]

    def joined(of: Callable[[dict[str, NDArray[Any]], Family], Any]) -> Any:
        pieces = [of(found, family) for found, family in parts]
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    made = {"proto": joined(partial(column_of, "proto"))}
    for name in ADDRESSES:
        made[name] = joined(partial(text_of, name))
    for name, _ in (*PORTS, *BESIDE):
        made[name] = joined(partial(column_of, name))
    made["state"] = places()[made["proto"], made["state"]]
    return made


def named(protocols: NDArray[Any]) -> tuple[list[str], NDArray[Any]]:
    """Return the names of the protocols that occur, and for each row the place of its name."""
    there = np.flatnonzero(np.bincount(protocols, minlength=256))
    place = np.zeros(256, np.int16)
    place[there] = np.arange(len(there))
    return [PROTOCOL_NAMES.get(n, str(n)) for n in there.tolist()], place[protocols]


def library(name: str) -> Any:
    """Return pandas or polars; InputError says how to get it."""
    try:
        return import_module(name)
    except ImportError:
        raise InputError(f"to_{name}() needs {name}: pip install 'fastnat[{name}]'") from None


def to_pandas(cores: dict[int, Datapath]) -> Any:
    """See Conntrack.to_pandas."""
    pandas = library("pandas")
    found = columns(cores)
    names, codes = named(found["proto"])
    found["proto"] = pandas.Categorical.from_codes(codes, categories=names)
    found["state"] = pandas.Categorical.from_codes(found["state"].astype(np.int8), categories=STATES)
    for name in ADDRESSES:
        # all of them are text: nobody has to look
        found[name] = pandas.array(found[name], dtype=object)
    return pandas.DataFrame(found, copy=False)


def to_polars(cores: dict[int, Datapath]) -> Any:
    """See Conntrack.to_polars."""
    polars = library("polars")
    found = columns(cores)
    names, codes = named(found["proto"])
    found["proto"] = polars.Series(names, dtype=polars.Enum(names)).gather(codes)
    found["state"] = polars.Series(STATES, dtype=polars.Enum(STATES)).gather(found["state"])
    for name in ADDRESSES:
        found[name] = polars.Series(name, found[name].tolist(), dtype=polars.String)
    return polars.DataFrame(found)
