"""Where rules cut addresses and ports into classes, and runs of rules that ask for one key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..addresses import V4, Family, fold
from ..core.layout import DispatchKey
from ..iptables import Rule

BY_DST, BY_DPORT, BY_SRC = int(DispatchKey.DST), int(DispatchKey.DPORT), int(DispatchKey.SRC)
# a run of this many rules with exact keys is looked up rather than walked
MIN_RUN = 8


@dataclass
class Run:
    """Consecutive rules start..end-1 of a chain that all ask for one exact key."""

    start: int
    end: int
    kind: int
    keys: list[int]


def exact_key(kind: int, rule: Rule, full: int) -> int | None:
    """Return the only key of this kind with which a packet can match the rule; None if there are several."""
    if kind == BY_DST:
        return fold(rule.dst) if rule.dmask == full and not rule.invert_dst else None
    if kind == BY_SRC:
        return fold(rule.src) if rule.smask == full and not rule.invert_src else None
    if rule.proto not in (6, 17) or rule.invert_proto:
        return None
    ports = (m.values[0] for m in rule.matches if m.kind == "dport" and not m.invert and m.values[0] == m.values[1])
    port = next(ports, None)
    return None if port is None else rule.proto << 16 | port


def find_runs(rules: list[Rule], kinds: tuple[int, ...], full: int) -> list[Run]:
    """Return the runs of at least MIN_RUN rules, in order."""
    if len(rules) < MIN_RUN:
        return []
    keys = {kind: [exact_key(kind, r, full) for r in rules] for kind in kinds}
    runs, at = [], 0
    while at < len(rules):
        best = Run(at, at, 0, [])
        for kind in kinds:
            end = at
            while end < len(rules) and keys[kind][end] is not None:
                end += 1
            if end > best.end:
                best = Run(at, end, kind, [k for k in keys[kind][at:end] if k is not None])
        if best.end - at >= MIN_RUN:
            runs.append(best)
        at = max(best.end, at + 1)
    return runs


def _network_cuts(addr: int, mask: int, full: int) -> tuple[int, int]:
    return addr & mask, (addr | ~mask & full) + 1


# cuts of addrtype and of the martian checks
FIXED_CUTS = {
    4: {1, 127 << 24, 128 << 24, 0xE0000000, 0xF0000000, 0xFFFFFFFF},
    6: {1, 2, 0xFE80 << 112, 0xFEC0 << 112, 0xFF << 120},
}


def address_cuts(rules: list[Rule], family: Family = V4) -> set[int]:
    """Return the addresses at which the answer of some rule may change."""
    cuts = set(FIXED_CUTS[family.version])
    for r in rules:
        cuts.update(_network_cuts(r.src, r.smask, family.full))
        cuts.update(_network_cuts(r.dst, r.dmask, family.full))
        for m in r.matches:
            if m.kind in ("iprange-src", "iprange-dst"):
                cuts.update((m.values[0], m.values[1] + 1))
    return {c for c in cuts if c <= family.full}


def port_starts(rules: list[Rule], which: str) -> NDArray[np.void]:
    """Return the ports at which the answer of some rule may change, from 0 ("sport", "dport"; ICMP: type and code)."""
    starts = {0}
    for r in rules:
        for m in r.matches:
            values = m.values
            if m.kind == "multiport":
                # source, destination, or either
                wanted = values[0] == 2 or values[0] == ("sport", "dport").index(which)
                values = values[1:] if wanted else ()
            elif m.kind == "icmp-type" and which == "dport":
                values = (values[0] << 8 | values[1], values[0] << 8 | values[2]) if values[0] != 0xFF else ()
            elif m.kind != which:
                values = ()
            starts.update(values[::2])
            starts.update(v + 1 for v in values[1::2])
    return np.array(sorted(s for s in starts if s < 65536), np.uint32)


def is_prefix(mask: int, full: int) -> bool:
    """Tell whether a mask is a prefix: ones, then zeros."""
    return (~mask & full) & ((~mask & full) + 1) == 0
