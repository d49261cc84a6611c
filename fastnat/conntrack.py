"""Inspection of the connection table; text as conntrack(8) and /proc print it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .addresses import AddressLike, to_int, to_text
from .dtypes import CONN_MARKED, PROTOCOL_NAMES, PROTOCOLS, SCTP_STATES, TCP_STATES, Status


@dataclass(frozen=True)
class Connection:
    """One connection: both tuples as (src, dst, sport, dport), host order; timeout in seconds left."""

    index: int
    proto: int
    original: tuple[int, int, int, int]
    reply: tuple[int, int, int, int]
    status: int
    state: int
    timeout: float
    mark: int
    zone: int
    zone_dir: int

    def __str__(self) -> str:
        return format_line(self)


def _tuple(row: Any, direction: int) -> tuple[int, int, int, int]:
    t = row["tuples"][direction]
    return int(t["src"]), int(t["dst"]), int(t["sport"]), int(t["dport"])


def _tuple_text(proto: int, t: tuple[int, int, int, int]) -> str:
    src, dst, sport, dport = t
    text = f"src={to_text(src)} dst={to_text(dst)}"
    if proto == 1:
        return f"{text} type={dport >> 8} code={dport & 255} id={sport}"
    if proto in (6, 17, 132, 136):
        return f"{text} sport={sport} dport={dport}"
    if proto == 47:
        return f"{text} srckey={sport:#x} dstkey={dport:#x}"
    return text


def format_line(c: Connection, extended: bool = False, proc: bool = False) -> str:
    """Return a connection as `conntrack -L`, `-o extended` or /proc/net/nf_conntrack print it."""
    name = PROTOCOL_NAMES.get(c.proto, "unknown")
    parts = ["ipv4     2"] if extended or proc else []
    parts.append(f"{name:<8} {c.proto} {max(int(c.timeout), 0)}")
    if c.proto == 6:
        parts.append(TCP_STATES[c.state])
    elif c.proto == 132:
        parts.append(SCTP_STATES[c.state])
    parts.append(_tuple_text(c.proto, c.original))
    if c.zone and c.zone_dir == 1:
        parts.append(f"zone-orig={c.zone}")
    if not c.status & Status.SEEN_REPLY:
        parts.append("[UNREPLIED]")
    parts.append(_tuple_text(c.proto, c.reply))
    if c.zone and c.zone_dir == 2:
        parts.append(f"zone-reply={c.zone}")
    if c.status & Status.ASSURED:
        parts.append("[ASSURED]")
    parts.append(f"mark={c.mark}")
    if (c.zone or proc) and c.zone_dir == 3:
        parts.append(f"zone={c.zone}")
    parts.append("use=2" if proc else "use=1")
    return " ".join(parts)


class Conntrack:
    """A view of the engine's connections; len(), iteration, find, delete, flush, to_numpy, format."""

    def __init__(self, core: Any) -> None:
        self._core = core

    def __len__(self) -> int:
        return int(self._core.count)

    def _connection(self, index: int, left: NDArray[Any]) -> Connection:
        row = self._core.arrays["conns"][index]
        marked = row["flags"] & CONN_MARKED
        mark = int(self._core.arrays["tcp"]["mark"][index]) if marked else 0
        zone = int(row["zone"])
        zone_dir = sum(1 << d for d in (0, 1) if row["tuples"][d]["zone"] == zone)
        return Connection(
            index, int(row["tuples"][0]["proto"]), _tuple(row, 0), _tuple(row, 1), int(row["status"]),
            int(row["state"]), float(left[index]), mark, zone, zone_dir,
        )  # fmt: skip

    def __iter__(self) -> Iterator[Connection]:
        left = self._core.timeout_left()
        for index in np.flatnonzero(self._core.arrays["conns"]["flags"][: self._core.high_water]):
            yield self._connection(int(index), left)

    def find(self, proto: str, src: AddressLike, sport: int, dst: AddressLike, dport: int) -> Connection | None:
        """Return the connection that has this tuple in either direction, or None."""
        found = self._core.find(to_int(src), to_int(dst), sport, dport, PROTOCOLS[proto])
        return None if found is None else self._connection(found[0], self._core.timeout_left())

    def delete(self, connection: Connection | int) -> None:
        """Delete a connection; IndexError when it is gone already."""
        self._core.delete(connection if isinstance(connection, int) else connection.index)

    def flush(self) -> int:
        """Delete all connections; return how many."""
        gone = [c.index for c in self]
        for index in gone:
            self._core.delete(index)
        return len(gone)

    def to_numpy(self) -> NDArray[Any]:
        """Return the live records as CONN[n], a copy."""
        used = self._core.arrays["conns"][: self._core.high_water]
        live: NDArray[Any] = used[used["flags"] != 0].copy()
        return live

    def format(self, style: str = "conntrack") -> str:
        """Return the table as text: "conntrack" (-L), "extended" or "proc"; ValueError for another style."""
        if style not in ("conntrack", "extended", "proc"):
            raise ValueError(f"style {style!r}: known are conntrack, extended, proc")
        return "".join(format_line(c, style == "extended", style == "proc") + "\n" for c in self)
