"""Inspection of the connection table; text as conntrack(8) and /proc print it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from ipaddress import IPv6Address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .addresses import V4, V6, AddressLike, Family, family_of
from .arguments import address, port, protocol
from .dtypes import (
    CONN_HELPED,
    CONN_LIVE,
    CONN_MARKED,
    EVENT_PROTOINFO,
    HELP,
    HELPERS,
    HZ,
    PROTOCOL_NAMES,
    SCTP_STATES,
    TCP_STATES,
    Event,
    Status,
)
from .errors import ArgumentError, InputError
from .text import decimal, excerpt, text_of, whole
from .timeouts import MAX_TIMEOUT

# PPTP_GRE_TIMEOUT, PPTP_GRE_STREAM_TIMEOUT
PPTP_LIFETIMES = (600, 18_000)
HELPER_NAMES = {number: name for name, (number, _) in HELPERS.items()}


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
    helper: str = ""
    # connections that a helper announced for this one, and that live
    n_expected: int = 0
    # of GRE, seconds before and after the first reply
    lifetimes: tuple[int, int] = (30, 180)

    def __str__(self) -> str:
        return format_line(self)


def _tuple(row: Any, direction: int) -> tuple[int, int, int, int]:
    t = row["tuples"][direction]
    unpack = (V6 if t.dtype["src"].names else V4).unpack
    return unpack(t["src"]), unpack(t["dst"]), int(t["sport"]), int(t["dport"])


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
    if proc and c.proto == 47:
        parts.append("timeout={}, stream_timeout={}".format(*c.lifetimes))
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
    if c.helper and not proc:
        parts.append(f"helper={c.helper}")
    parts.append(f"use={1 + proc + c.n_expected}")
    return " ".join(parts)


def format_event(event: Any, profile: str = "linux-6.18") -> str:
    """Return one record of Engine.events() as `conntrack -E` prints it."""
    family = V6 if event.dtype["tuples"].base["src"].names else V4
    zone = int(event["zone"])
    zone_dir = sum(1 << d for d in (0, 1) if event["tuples"][d]["zone"] == zone)
    seconds = int(event["timeout"]) // HZ
    c = Connection(
        family, int(event["conn"]), int(event["tuples"][0]["proto"]), _tuple(event, 0), _tuple(event, 1),
        int(event["status"]), int(event["state"]), seconds, int(event["mark"]), zone, zone_dir,
    )  # fmt: skip
    kind, what = Event(int(event["kind"])), int(event["what"])
    gone = kind == Event.DESTROY
    shows_timeout = not gone or (profile != "linux-5.4" and event["timeout"] > 0)
    shows_state = profile != "linux-5.4" if gone else kind == Event.NEW or bool(what & EVENT_PROTOINFO)
    words = format_line(c).split()
    head = words.pop(0).ljust(8) + " " + words.pop(0)
    del words[-1]
    if not c.mark:
        words.remove("mark=0")
    if not shows_timeout:
        del words[0]
    if not shows_state and c.proto in (6, 132):
        del words[int(shows_timeout)]
    return f"{f'[{kind.name}]':>9} {head} {' '.join(words)}"


STATS_LINE = {
    "linux-5.4": (
        "found", "invalid", "ignore", "insert", "insert_failed", "drop", "early_drop", "error", "search_restart",
    ),
    "linux-6.18": (
        "found", "invalid", "insert", "insert_failed", "drop", "early_drop", "error", "search_restart", "clash_resolve",
        "chaintoolong",
    ),
}  # fmt: skip


def format_stats(stats: dict[str, int], profile: str = "linux-6.18") -> str:
    """Return Engine.stats as `conntrack -S` prints them; the engine is one CPU."""
    return "cpu=0   \t" + "".join(f"{name}={stats[name]} " for name in STATS_LINE[profile]) + "\n"


PROC_STATS = {
    "linux-5.4": (
        "searched", "found", "new", "invalid", "ignore", "delete", "delete_list", "insert", "insert_failed", "drop",
        "early_drop", "icmp_error",
    ),
    "linux-6.18": (
        "clashres", "found", "new", "invalid", "ignore", "delete", "chainlength", "insert", "insert_failed", "drop",
        "early_drop", "icmp_error",
    ),
}  # fmt: skip
EXPECT_STATS = ("expect_new", "expect_create", "expect_delete", "search_restart")
# columns of the file and the counters that they show; "" is always 0
PROC_COUNTERS = {
    "clashres": "clash_resolve", "chainlength": "chaintoolong", "icmp_error": "error", "searched": "", "new": "",
    "delete": "", "delete_list": "",
}  # fmt: skip


def format_proc_stats(entries: int, stats: dict[str, int], profile: str = "linux-6.18") -> str:
    """Return Engine.stats as /proc/net/stat/nf_conntrack shows them; entries: connections; the engine is one CPU."""
    names = PROC_STATS[profile]
    values = [stats.get(PROC_COUNTERS.get(name, name), 0) for name in names]
    if profile != "linux-5.4":
        values[names.index("ignore")] = 0
    numbers = " ".join(f"{v:08x}" for v in values), " ".join(f"{stats[name]:08x}" for name in EXPECT_STATS)
    return f"entries  {' '.join(names)}  {' '.join(EXPECT_STATS)}\n{entries:08x}  {numbers[0]}  {numbers[1]}\n"


# a run of letters is looked at once, from its beginning
PAIR = re.compile(r"(?<![a-z-])([a-z-]++)=(\S+)")
SECONDS = re.compile(r"[0-9]+")
# what ctnetlink takes [s]; the kernel then bounds it by what jiffies can compare
LONGEST = 2**32 - 1


def parse_line(line: str) -> Connection:
    """Return the connection that a line of `conntrack -L`, `-o extended` or /proc/net/nf_conntrack shows.

    Raises InputError saying what is missing or not understood. The record number is 0.
    """
    try:
        return _parse_line(line)
    except ValueError as error:
        raise InputError(str(error)) from None


def _parse_line(line: str) -> Connection:
    words = line.split()
    if words[:1] in (["ipv4"], ["ipv6"]):
        words = words[2:]
    if len(words) < 4 or not SECONDS.fullmatch(words[1]):
        raise ValueError("expected protocol, number, timeout and two tuples, as `conntrack -L` prints them")
    proto = decimal(words[1], 0, 255, "protocol")
    timeout = decimal(words[2], 0, LONGEST, "timeout") if SECONDS.fullmatch(words[2]) else 0
    states: tuple[str, ...] = {6: TCP_STATES, 132: SCTP_STATES}.get(proto, ())
    state = next((w for w in words[2:5] if w in states), None)
    if states and state is None:
        raise ValueError(f"no {excerpt(words[0])} state among {', '.join(states)}")
    pairs: dict[str, list[str]] = {}
    for key, value in PAIR.findall(line):
        pairs.setdefault(key, []).append(value)
    if len(pairs.get("src", [])) != 2 or len(pairs.get("dst", [])) != 2:
        raise ValueError("expected two tuples, each with src= and dst=: is the line cut?")
    family = family_of(pairs["src"][0])
    original, reply = (_parse_tuple(family, proto, pairs, n) for n in (0, 1))
    status = 0 if "[UNREPLIED]" in words else Status.SEEN_REPLY
    status |= Status.ASSURED if "[ASSURED]" in words else 0
    status |= Status.SRC_NAT if (reply[1], _near(proto, reply)) != (original[0], original[2]) else 0
    status |= Status.DST_NAT if (reply[0], _far(proto, reply)) != (original[1], _far(proto, original, True)) else 0
    zone, zone_dir = 0, 3
    for key, direction in (("zone", 3), ("zone-orig", 1), ("zone-reply", 2)):
        if key in pairs:
            zone, zone_dir = decimal(pairs[key][0], 0, 0xFFFF, key), direction
    mark = decimal(pairs.get("mark", ["0"])[0], 0, 0xFFFFFFFF, "mark")
    number = states.index(state) if state is not None else 0
    helper = pairs.get("helper", [""])[0]
    seconds = float(min(timeout, MAX_TIMEOUT))
    return Connection(family, 0, proto, original, reply, int(status), number, seconds, mark, zone, zone_dir, helper)


def _parse_tuple(family: Family, proto: int, pairs: dict[str, list[str]], n: int) -> tuple[int, int, int, int]:
    keys = {family.icmp: ("id", "type"), 47: ("srckey", "dstkey")}.get(proto, ("sport", "dport"))
    has_ports = proto in (6, 17, 33, 47, 132, 136, family.icmp)
    if has_ports and any(len(pairs.get(k, [])) != 2 for k in keys):
        raise ValueError(f"expected {keys[0]}= and {keys[1]}= in both tuples: is the line cut?")
    sport, dport = (_end(pairs[k][n], k, 0xFF if k == "type" else 0xFFFF) for k in keys) if has_ports else (0, 0)
    if proto == family.icmp:
        codes = pairs.get("code", ["0", "0"])
        if len(codes) != 2:
            raise ValueError("expected code= in both tuples: is the line cut?")
        dport = dport << 8 | _end(codes[n], "code", 0xFF)
    return family.to_int(pairs["src"][n]), family.to_int(pairs["dst"][n]), sport, dport


def _end(text: str, key: str, high: int) -> int:
    """Return a port, key, ICMP id, type or code, decimal or with 0x."""
    try:
        value = int(text, 0) if len(text) <= 20 else -1
    except ValueError:
        value = -1
    if not 0 <= value <= high:
        raise ValueError(f"{key} {excerpt(text, 40)!r} is not in 0..{high}")
    return value


def _near(proto: int, reply: tuple[int, int, int, int]) -> int:
    return reply[2] if proto in (1, 58) else reply[3]


def _far(proto: int, t: tuple[int, int, int, int], original: bool = False) -> int:
    # of ICMP the id is compared once, as the near end
    if proto in (1, 58):
        return 0
    return t[3] if original else t[2]


class Conntrack:
    """A view of the engine's connections; len(), iteration, find, delete, flush, to_numpy, format."""

    def __init__(
        self, cores: dict[int, Any], gre_lifetimes: tuple[int, int] = (30, 180), max_connections: int = 1 << 25
    ) -> None:
        self._cores = cores
        self.gre_lifetimes = gre_lifetimes
        self._max_connections = max_connections

    def __len__(self) -> int:
        """Return how many there are, as `conntrack -C`: those with NAT_CLASH, which listings hide, count too."""
        return sum(int(core.count) for core in self._cores.values())

    def _connection(
        self, version: int, index: int, left: NDArray[Any], announced: dict[int, int] | None = None
    ) -> Connection:
        arrays = self._cores[version].arrays
        row = arrays["conns"][index]
        marked = row["flags"] & CONN_MARKED
        mark = int(arrays["tcp"]["mark"][index]) if marked else 0
        zone = int(row["zone"])
        zone_dir = sum(1 << d for d in (0, 1) if row["tuples"][d]["zone"] == zone)
        return Connection(
            V6 if version == 6 else V4, index, int(row["tuples"][0]["proto"]), _tuple(row, 0), _tuple(row, 1),
            int(row["status"]), int(row["state"]), float(left[index]), mark, zone, zone_dir,
            *self._helper(version, index, row, announced),
            PPTP_LIFETIMES if int(row["status"]) & Status.EXPECTED else self.gre_lifetimes,
        )  # fmt: skip

    def _helper(self, version: int, index: int, row: Any, announced: dict[int, int] | None) -> tuple[str, int]:
        """Return the helper that watches a connection, and how many live connections it has announced for it."""
        if not row["flags"] & CONN_HELPED:
            return "", 0
        arrays = self._cores[version].arrays
        kind = arrays["helps"]["kind"][arrays["tcp"]["help"][index]]
        if not kind:
            return "", 0
        counts = self._announced(version) if announced is None else announced
        return HELPER_NAMES[kind], counts.get(int(arrays["helps"]["serial"][arrays["tcp"]["help"][index]]), 0)

    def _announced(self, version: int) -> dict[int, int]:
        """Return how many live connections each helper's serial announced, at once for a whole listing."""
        arrays = self._cores[version].arrays
        expected = np.flatnonzero(arrays["conns"]["status"][: self._cores[version].high_water] & Status.EXPECTED)
        expected = expected[arrays["conns"]["flags"][expected] & CONN_HELPED != 0]
        serials = arrays["helps"]["master_serial"][arrays["tcp"]["help"][expected]]
        masters, counts = np.unique(serials, return_counts=True)
        return dict(zip(masters.tolist(), counts.tolist(), strict=True))

    def at(self, version: int, index: int) -> Connection:
        """Return the connection in a record of IPv4 or IPv6, as results name it (`conn`)."""
        return self._connection(version, index, self._cores[version].timeout_left())

    def __iter__(self) -> Iterator[Connection]:
        for version, core in self._cores.items():
            left, announced = core.timeout_left(), self._announced(version)
            for index in np.flatnonzero(_listed(core.arrays["conns"][: core.high_water])):
                yield self._connection(version, int(index), left, announced)

    def find(self, proto: str | int, src: AddressLike, sport: int, dst: AddressLike, dport: int) -> Connection | None:
        """Return the connection that has this tuple in either direction, or None; InputError for what is no tuple."""
        family, near = address("src", src)
        far = address("dst", dst, family)[1]
        ends = port("sport", sport), port("dport", dport), protocol(proto)
        if family.version not in self._cores:
            return None
        core = self._cores[family.version]
        found = core.find(near, far, *ends)
        return None if found is None else self._connection(family.version, found[0], core.timeout_left())

    def delete(self, connection: Connection | int) -> None:
        """Delete a connection, an IPv4 one where only its number is given; IndexError when it is gone already."""
        if isinstance(connection, int):
            self._cores[4].delete(whole("connection", connection, 0, 2**32 - 1))
        else:
            if not isinstance(connection, Connection):
                raise ArgumentError(f"expected a Connection or its number, got {type(connection).__name__}")
            self._cores[connection.family.version].delete(connection.index)

    def flush(self) -> int:
        """Delete all connections, those with NAT_CLASH too (nf_ct_iterate_cleanup); return how many."""
        n = 0
        for core in self._cores.values():
            for index in np.flatnonzero(core.arrays["conns"]["flags"][: core.high_water] & CONN_LIVE).tolist():
                n += 1
                # the tunnel of a PPTP connection goes with it
                with suppress(IndexError):
                    core.delete(index)
        return n

    def load(self, text: str, source: str = "<conntrack>") -> int:
        """Take over the connections of a dump: `conntrack -L`, `-o extended` or /proc/net/nf_conntrack text.

        Returns how many. What a dump does not show is taken as the kernel takes it for `conntrack -I`: TCP windows are
        learnt anew, and a masquerading interface is not known. Helpers that do not exist here are left out. Raises
        InputError naming source, line and what is wrong; then none is taken over.
        """
        found = []
        for number, line in enumerate(text_of(text, source).splitlines(), 1):
            if not line.strip() or line.startswith("conntrack v"):
                continue
            try:
                found.append((number, line, parse_line(line)))
            except InputError as error:
                raise _broken(source, number, line, error) from None
        self._check_room(found, source)
        done: list[tuple[int, int]] = []
        try:
            for entry in found:
                c = entry[2]
                done.append((c.family.version, self._insert(c)))
                self._give_helper(c, done[-1][1])
        except BaseException as error:
            # an interruption, too, leaves nothing of the dump
            for version, loaded in reversed(done):
                self._cores[version].delete(loaded)
            if isinstance(error, ValueError):
                raise _broken(source, *entry[:2], error) from None
            raise
        return len(done)

    def _insert(self, c: Connection) -> int:
        index: int = self._cores[c.family.version].insert(
            c.original, c.reply, c.proto, c.status, c.state, c.timeout, c.mark, c.zone, c.zone_dir
        )
        return index

    def _check_room(self, found: list[tuple[int, str, Connection]], source: str) -> None:
        """Raise InputError for the first of these connections that has no place, before any is taken over."""
        seen: set[tuple[int, ...]] = set()
        room = self._max_connections - len(self)
        for k, (number, line, c) in enumerate(found):
            core = self._cores.get(c.family.version)
            if core is None:
                raise _broken(source, number, line, "this node has no IPv6")
            if k >= room:
                raise _broken(source, number, line, f"the table holds {len(self) + k} connections, its maximum")
            keys = [
                (c.family.version, c.proto, c.zone if c.zone_dir & bit else 0, *ends)
                for bit, ends in ((1, c.original), (2, c.reply))
            ]
            if not seen.isdisjoint(keys):
                raise _broken(source, number, line, "a connection with this tuple exists")
            seen.update(keys)
            if any(core.find(src, dst, sport, dport, proto, zone) for _, proto, zone, src, dst, sport, dport in keys):
                # linux-5.4 counts the attempt
                with suppress(ValueError):
                    self._insert(c)
                raise _broken(source, number, line, "a connection with this tuple exists")

    def _give_helper(self, c: Connection, index: int) -> None:
        kind, proto = HELPERS.get(c.helper, (0, 0))
        if kind and c.proto == proto:
            helps = np.zeros(1, HELP)
            helps["kind"] = kind
            self._cores[c.family.version].adopt_help(helps, np.array([index], np.uint32), np.zeros(1, np.uint32))

    def to_pandas(self) -> Any:
        """Return the connections as a pandas DataFrame, addresses as text; InputError when pandas is missing."""
        try:
            pandas = import_module("pandas")
        except ImportError:
            raise InputError("to_pandas() needs pandas: pip install pandas") from None
        rows = [
            {
                "proto": PROTOCOL_NAMES.get(c.proto, str(c.proto)),
                **_named(c, "", c.original), **_named(c, "reply_", c.reply),
                "timeout": c.timeout, "status": c.status, "state": c.state, "mark": c.mark, "zone": c.zone,
            }
            for c in self
        ]  # fmt: skip
        return pandas.DataFrame(rows)

    def to_numpy(self, version: int = 4) -> NDArray[Any]:
        """Return the live records of IPv4 (or 6) as CONN[n], a copy."""
        core = self._cores[version]
        used = core.arrays["conns"][: core.high_water]
        live: NDArray[Any] = used[_listed(used)].copy()
        return live

    def format(self, style: str = "conntrack") -> str:
        """Return the table as text: "conntrack" (-L), "extended" or "proc"; ValueError for another style."""
        if style not in ("conntrack", "extended", "proc"):
            raise ValueError(f"style {style!r}: known are conntrack, extended, proc")
        return "".join(format_line(c, style == "extended", style == "proc") + "\n" for c in self)


def _listed(records: NDArray[Any]) -> Any:
    """Return which records are connections that listings show: those with NAT_CLASH are hidden, as in the kernel."""
    return (records["flags"] & CONN_LIVE != 0) & (records["status"] & Status.NAT_CLASH == 0)


def _broken(source: str, number: int, line: str, why: object) -> InputError:
    return InputError(f"{source}:{number}: {excerpt(str(why), 1000)}\n  in the line: {excerpt(line)}")


def _named(c: Connection, prefix: str, t: tuple[int, int, int, int]) -> dict[str, object]:
    src, dst, sport, dport = t
    to_text = c.family.to_text
    return {
        f"{prefix}src": to_text(src),
        f"{prefix}dst": to_text(dst),
        f"{prefix}sport": sport,
        f"{prefix}dport": dport,
    }
