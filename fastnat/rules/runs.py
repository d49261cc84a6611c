"""Where rules cut addresses and ports into classes, and runs of rules that ask for one key."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..addresses import V4, Family, fold
from ..core.layout import DispatchKey
from ..iptables import Match, Rule

BY_DST, BY_DPORT, BY_SRC = int(DispatchKey.DST), int(DispatchKey.DPORT), int(DispatchKey.SRC)
BY_MARK, BY_IN, BY_CT_SRC = int(DispatchKey.MARK), int(DispatchKey.IN), int(DispatchKey.CT_SRC)
# a run of this many rules with exact keys is looked up rather than walked
MIN_RUN = 8
# the number of a device that there is not
NO_IFACE = 0xFFFF
FULL_MARK = 0xFFFFFFFF


@dataclass
class Run:
    """Consecutive rules start..end-1 of a chain that all ask for one exact key; shift: open bits of their networks."""

    start: int
    end: int
    kind: int
    keys: list[int]
    shift: int = 0


# the open bits of the network that a rule asks for, and the key
Key = tuple[int, int]


def network_key(addr: int, mask: int, full: int) -> Key | None:
    """Return the key of a network, None for a mask that is no prefix, or leaves all open."""
    if mask == 0 or not is_prefix(mask, full):
        return None
    shift = (~mask & full).bit_length()
    return shift, fold(addr >> shift)


def exact_key(kind: int, rule: Rule, full: int, ifaces: Mapping[str, int] | None = None) -> Key | None:
    """Return the only key of this kind with which a packet can match the rule; None if there are several.

    ifaces: the numbers of devices. A match counts only as the rule's first: one in front of it may count what it sees.
    """
    if kind == BY_DST:
        return None if rule.invert_dst else network_key(rule.dst, rule.dmask, full)
    if kind == BY_SRC:
        return None if rule.invert_src else network_key(rule.src, rule.smask, full)
    if kind == BY_IN:
        if not rule.in_iface or rule.invert_in or rule.in_iface.endswith("+"):
            return None
        return 0, (ifaces or {}).get(rule.in_iface, NO_IFACE)
    if kind in (BY_MARK, BY_CT_SRC):
        return _first_match_key(kind, rule.matches[0], full) if rule.matches else None
    if rule.proto not in (6, 17) or rule.invert_proto:
        return None
    ports = (m.values[0] for m in rule.matches if m.kind == "dport" and not m.invert and m.values[0] == m.values[1])
    port = next(ports, None)
    return None if port is None else (0, rule.proto << 16 | port)


def _first_match_key(kind: int, m: Match, full: int) -> Key | None:
    if m.invert:
        return None
    if kind == BY_MARK:
        return (0, m.values[0]) if m.kind == "mark" and m.values[1] == FULL_MARK else None
    if m.kind != "ctaddr" or m.values[3] != 0:
        return None
    return network_key(m.values[1], m.values[2], full)


def find_runs(
    rules: list[Rule], kinds: tuple[int, ...], full: int, ifaces: Mapping[str, int] | None = None
) -> list[Run]:
    """Return the runs of at least MIN_RUN rules, in order."""
    if len(rules) < MIN_RUN:
        return []
    keys = {kind: [exact_key(kind, r, full, ifaces) for r in rules] for kind in kinds}
    ends = {kind: _ends(of_kind) for kind, of_kind in keys.items()}
    runs, at = [], 0
    while at < len(rules):
        # the longest, and of those the one with the narrowest keys
        kind = max(kinds, key=lambda k: (ends[k][at], -(keys[k][at] or (0, 0))[0]))
        end = ends[kind][at]
        if end - at >= MIN_RUN:
            found = [k for k in keys[kind][at:end] if k is not None]
            runs.append(Run(at, end, kind, [key for _, key in found], found[0][0]))
        at = max(end, at + 1)
    return runs


def _ends(keys: list[Key | None]) -> list[int]:
    """Return for each rule the end of the longest run from there on: equal open bits, no rule without a key."""
    ends = list(range(len(keys)))
    for n in reversed(range(len(keys))):
        key, following = keys[n], keys[n + 1] if n + 1 < len(keys) else None
        if key is not None:
            ends[n] = ends[n + 1] if following is not None and following[0] == key[0] else n + 1
    return ends


# cuts of addrtype and of the martian checks
FIXED_CUTS = {
    4: {1, 127 << 24, 128 << 24, 0xE0000000, 0xF0000000, 0xFFFFFFFF},
    6: {1, 2, 0xFFFF << 32, 0x10000 << 32, 0xFE80 << 112, 0xFEC0 << 112, 0xFF << 120},
}


def address_cuts(rules: list[Rule], matches: list[Match], family: Family = V4, apart: Collection[int] = ()) -> set[int]:
    """Return the addresses at which the answer of some rule may change.

    matches: those of the rules; apart: the ids of rules whose sources are looked up in place of being classes.
    """
    networks = {(r.src, r.smask) for r in rules if not apart or id(r) not in apart}
    networks.update((r.dst, r.dmask) for r in rules)
    cuts, full = set(FIXED_CUTS[family.version]), family.full
    for addr, mask in networks:
        cuts.add(addr & mask)
        cuts.add((addr | ~mask & full) + 1)
    for m in matches:
        if m.kind in ("iprange-src", "iprange-dst"):
            cuts.update((m.values[0], m.values[1] + 1))
    return {c for c in cuts if c <= full}


def port_starts(matches: list[Match], which: str) -> NDArray[np.void]:
    """Return the ports at which the answer of some match may change, from 0 (sport, dport; ICMP: type and code)."""
    starts = {0}
    for m in matches:
        values = m.values
        if m.kind == "multiport":
            # source, destination, or either
            wanted = values[0] == 2 or values[0] == ("sport", "dport").index(which)
            values = values[1:] if wanted else ()
        elif m.kind == "icmp-type" and which == "dport":
            values = (values[0] << 8 | values[1], values[0] << 8 | values[2]) if values[0] != 0xFF else ()
        elif m.kind != which:
            continue
        starts.update(values[::2])
        starts.update(v + 1 for v in values[1::2])
    return np.array(sorted(s for s in starts if s < 65536), np.uint32)


def is_prefix(mask: int, full: int) -> bool:
    """Tell whether a mask is a prefix: ones, then zeros."""
    return (~mask & full) & ((~mask & full) + 1) == 0
