"""Inspection of the connection table; text as conntrack(8) and /proc print it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .addresses import V4, V6, AddressLike, Family, family_of
from .dtypes import CONN_MARKED, PROTOCOL_NAMES, PROTOCOLS, SCTP_STATES, TCP_STATES, Status


@dataclass(frozen=True)
class Connection:
    """One connection: both tuples as (src, dst, sport, dport), host order; timeout in seconds left."""

    family: Family
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


def _address(value: Any) -> int:
    return int(value) if value.dtype.names is None else int(value["high"]) << 64 | int(value["low"])


def _tuple(row: Any, direction: int) -> tuple[int, int, int, int]:
    t = row["tuples"][direction]
    return _address(t["src"]), _address(t["dst"]), int(t["sport"]), int(t["dport"])


def _tuple_text(c: Connection, t: tuple[int, int, int, int], full: bool) -> str:
    src, dst, sport, dport = t
    show = (lambda a: IPv6Address(a).exploded) if full and c.family is V6 else c.family.to_text
    text = f"src={show(src)} dst={show(dst)}"
    if c.proto == c.family.icmp:
        return f"{text} type={dport >> 8} code={dport & 255} id={sport}"
    if c.proto in (6, 17, 132, 136):
        return f"{text} sport={sport} dport={dport}"
    if c.proto == 47:
        return f"{text} srckey={sport:#x} dstkey={dport:#x}"
    return text


def format_line(c: Connection, extended: bool = False, proc: bool = False) -> str:
    """Return a connection as `conntrack -L`, `-o extended` or /proc/net/nf_conntrack print it."""
    name = PROTOCOL_NAMES.get(c.proto, "unknown")
    parts = [f"ipv{c.family.version}     {10 if c.family is V6 else 2}"] if extended or proc else []
    parts.append(f"{name:<8} {c.proto} {max(int(c.timeout), 0)}")
    if c.proto == 6:
        parts.append(TCP_STATES[c.state])
    elif c.proto == 132:
        parts.append(SCTP_STATES[c.state])
    parts.append(_tuple_text(c, c.original, proc))
    if c.zone and c.zone_dir == 1:
        parts.append(f"zone-orig={c.zone}")
    if not c.status & Status.SEEN_REPLY:
        parts.append("[UNREPLIED]")
    parts.append(_tuple_text(c, c.reply, proc))
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

    def __init__(self, cores: dict[int, Any]) -> None:
        self._cores = cores

    def __len__(self) -> int:
        return sum(int(core.count) for core in self._cores.values())

    def _connection(self, version: int, index: int, left: NDArray[Any]) -> Connection:
        arrays = self._cores[version].arrays
        row = arrays["conns"][index]
        marked = row["flags"] & CONN_MARKED
        mark = int(arrays["tcp"]["mark"][index]) if marked else 0
        zone = int(row["zone"])
        zone_dir = sum(1 << d for d in (0, 1) if row["tuples"][d]["zone"] == zone)
        return Connection(
            V6 if version == 6 else V4, index, int(row["tuples"][0]["proto"]), _tuple(row, 0), _tuple(row, 1),
            int(row["status"]), int(row["state"]), float(left[index]), mark, zone, zone_dir,
        )  # fmt: skip

    def __iter__(self) -> Iterator[Connection]:
        for version, core in self._cores.items():
            left = core.timeout_left()
            for index in np.flatnonzero(core.arrays["conns"]["flags"][: core.high_water]):
                yield self._connection(version, int(index), left)

    def find(self, proto: str, src: AddressLike, sport: int, dst: AddressLike, dport: int) -> Connection | None:
        """Return the connection that has this tuple in either direction, or None."""
        family = family_of(src)
        if family.version not in self._cores:
            return None
        core = self._cores[family.version]
        found = core.find(family.to_int(src), family.to_int(dst), sport, dport, PROTOCOLS[proto])
        return None if found is None else self._connection(family.version, found[0], core.timeout_left())

    def delete(self, connection: Connection | int) -> None:
        """Delete a connection, an IPv4 one where only its number is given; IndexError when it is gone already."""
        if isinstance(connection, int):
            self._cores[4].delete(connection)
        else:
            self._cores[connection.family.version].delete(connection.index)

    def flush(self) -> int:
        """Delete all connections; return how many."""
        gone = list(self)
        for connection in gone:
            self.delete(connection)
        return len(gone)

    def to_numpy(self, version: int = 4) -> NDArray[Any]:
        """Return the live records of IPv4 (or 6) as CONN[n], a copy."""
        core = self._cores[version]
        used = core.arrays["conns"][: core.high_water]
        live: NDArray[Any] = used[used["flags"] != 0].copy()
        return live

    def format(self, style: str = "conntrack") -> str:
        """Return the table as text: "conntrack" (-L), "extended" or "proc"; ValueError for another style."""
        if style not in ("conntrack", "extended", "proc"):
            raise ValueError(f"style {style!r}: known are conntrack, extended, proc")
        return "".join(format_line(c, style == "extended", style == "proc") + "\n" for c in self)
