"""A connection and its text, printed as conntrack(8) and /proc print it, and parsed from that."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from typing import Any

from ..addresses import V4, V6, Family, family_of
from ..dtypes import (
    EVENT_PROTOINFO,
    HZ,
    PROTOCOL_NAMES,
    SCTP_STATES,
    TCP_STATES,
    Event,
    Status,
)
from ..errors import InputError
from ..node.timeouts import MAX_TIMEOUT
from ..util.text import decimal, excerpt


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
    # packets and bytes of the original and of the reply direction, where nf_conntrack_acct was on when it began
    counts: tuple[tuple[int, int], tuple[int, int]] | None = None

    def __str__(self) -> str:
        return format_line(self)


def tuple_of(row: Any, direction: int) -> tuple[int, int, int, int]:
    """Return (src, dst, sport, dport) of a record's original (0) or reply (1) tuple."""
    t = row["tuples"][direction]
    unpack = (V6 if t.dtype["src"].names else V4).unpack
    return unpack(t["src"]), unpack(t["dst"]), int(t["sport"]), int(t["dport"])


def counts_of(acct: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return packets and bytes of both directions out of an ACCT."""
    packets, octets = acct["packets"].tolist(), acct["bytes"].tolist()
    return (packets[0], octets[0]), (packets[1], octets[1])


def _tuple_text(c: Connection, t: tuple[int, int, int, int], full: bool) -> str:
    src, dst, sport, dport = t
    show = c.family.to_text if c.family is V4 else exploded if full else inet_ntop
    text = f"src={show(src)} dst={show(dst)}"
    if c.proto == c.family.icmp:
        return f"{text} type={dport >> 8} code={dport & 255} id={sport}"
    if c.proto in (6, 17, 132, 136) or (c.proto == 33 and not full):
        return f"{text} sport={sport} dport={dport}"
    if c.proto == 47:
        return f"{text} srckey={sport:#x} dstkey={dport:#x}"
    return text


def exploded(address: int) -> str:
    """Return an IPv6 address as /proc writes it (%pI6)."""
    return ":".join(f"{address >> shift & 0xFFFF:04x}" for shift in range(112, -1, -16))


def inet_ntop(address: int) -> str:
    """Return an IPv6 address as conntrack(8) writes it: IPv4-mapped and IPv4-compatible ones with dots."""
    return socket.inet_ntop(socket.AF_INET6, address.to_bytes(16, "big"))


def _counts_text(c: Connection, direction: int) -> list[str]:
    """Return the words about what a direction has had; none without accounting."""
    return [] if c.counts is None else ["packets={} bytes={}".format(*c.counts[direction])]


def format_line(c: Connection, extended: bool = False, proc: bool = False) -> str:
    """Return a connection as `conntrack -L`, `-o extended` or /proc/net/nf_conntrack print it."""
    # conntrack(8) still knows the name and the ports of DCCP, the kernel since 6.17 neither
    name = PROTOCOL_NAMES.get(c.proto, "unknown") if c.proto != 33 or not proc else "unknown"
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
    parts += _counts_text(c, 0)
    if not c.status & Status.SEEN_REPLY:
        parts.append("[UNREPLIED]")
    parts.append(_tuple_text(c, c.reply, proc))
    if c.zone and c.zone_dir == 2:
        parts.append(f"zone-reply={c.zone}")
    parts += _counts_text(c, 1)
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
        family, int(event["conn"]), int(event["tuples"][0]["proto"]), tuple_of(event, 0), tuple_of(event, 1),
        int(event["status"]), int(event["state"]), seconds, int(event["mark"]), zone, zone_dir,
        counts=counts_of(event["acct"]) if event["counted"] else None,
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


# match a run of letters only from its beginning
PAIR = re.compile(r"(?<![a-z-])([a-z-]++)=(\S+)")
SECONDS = re.compile(r"[0-9]+")
OFFLOAD, OFFLOAD_TIMEOUT = {"[OFFLOAD]", "[HW_OFFLOAD]"}, 86_400  # NF_CT_DAY of nf_flow_table_core.c
# what ctnetlink takes [s]; the kernel then bounds it by what jiffies can compare
LONGEST = 2**32 - 1


# how lines of other forms of a dump begin, and the option that made them
OTHER_FORMS = (("<", "xml"), ("-A -t ", "save"))


def parse_line(line: str) -> Connection:
    """Return the connection that a line of `conntrack -L`, `-o extended` or /proc/net/nf_conntrack shows.

    Raises InputError that says what is missing or not understood. The record number is 0.
    """
    try:
        return _parse_line(line)
    except ValueError as error:
        raise InputError(str(error)) from None


def _parse_line(line: str) -> Connection:
    words = line.split()
    if words and words[0].startswith("["):
        raise ValueError("an event of `conntrack -E`, not an entry of the table; give what `conntrack -L` prints")
    if words[:1] in (["ipv4"], ["ipv6"]):
        words = words[2:]
    if len(words) < 4 or not SECONDS.fullmatch(words[1]):
        for begin, option in OTHER_FORMS:
            if line.lstrip().startswith(begin):
                raise ValueError(f"this is what `conntrack -L -o {option}` prints; give `conntrack -L` without it")
        raise ValueError("expected protocol, number, timeout and two tuples, as `conntrack -L` prints them")
    proto = decimal(words[1], 0, 255, "protocol")
    # for an entry in a flow table the kernel prints neither timeout nor state, because neither can run out
    offloaded = not OFFLOAD.isdisjoint(words)
    shorter = OFFLOAD_TIMEOUT if offloaded else 0
    timeout = decimal(words[2], 0, LONGEST, "timeout") if SECONDS.fullmatch(words[2]) else shorter
    states: tuple[str, ...] = {6: TCP_STATES, 132: SCTP_STATES}.get(proto, ())
    state = next((w for w in words[2:5] if w in states), None)
    if states and state is None and offloaded:
        state = "ESTABLISHED"
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
    status |= Status.ASSURED if "[ASSURED]" in words or offloaded else 0
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
    return Connection(
        family, 0, proto, original, reply, int(status), number, seconds, mark, zone, zone_dir, helper,
        counts=_parse_counts(pairs),
    )  # fmt: skip


def _parse_counts(pairs: dict[str, list[str]]) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return packets and bytes of both directions; None if the line has none."""
    said = [pairs.get(key, []) for key in ("packets", "bytes")]
    if said == [[], []]:
        return None
    if [len(words) for words in said] != [2, 2]:
        raise ValueError("expected packets= and bytes= behind both tuples: is the line cut?")
    packets, octets = ([decimal(word, 0, 2**64 - 1, "a count") for word in words] for words in said)
    return (packets[0], octets[0]), (packets[1], octets[1])


def _parse_tuple(family: Family, proto: int, pairs: dict[str, list[str]], n: int) -> tuple[int, int, int, int]:
    keys = {family.icmp: ("id", "type"), 47: ("srckey", "dstkey")}.get(proto, ("sport", "dport"))
    if proto == family.icmp and len(pairs.get("id", [])) == 3:
        # the last is the connection's own, with `-o id`
        del pairs["id"][2]
    # /proc of a kernel since 6.17 shows no ports of DCCP
    has_ports = proto in (6, 17, 47, 132, 136, family.icmp) or (proto == 33 and "sport" in pairs)
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
