"""What rules may do with first packets that they cannot tell apart: all translations that come up, class by class.

Rules cut source addresses and ports into classes (rules/runs.py). Where nothing else of a packet decides but chance,
all packets of one class to one destination have the same outcomes, but for the sender's own address and port.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import Family
from ..core.layout import MatchKind, RangeFlag, TargetKind
from ..dtypes import CtInfo, Reason, Verdict
from ..engine import Engine
from ..util.mixing import classes_of, ends_of, folded, scrambled
from .asked_sources import AskedSources, starts_of

# matches that ask for what is the same for all first packets of a class, and chance
BY_CLASS = (
    MatchKind.LISTED, MatchKind.SPORT, MatchKind.DPORT, MatchKind.TCP_FLAGS, MatchKind.ICMP_TYPE,
    MatchKind.MULTIPORT_SRC, MatchKind.MULTIPORT_DST, MatchKind.MULTIPORT_EITHER, MatchKind.MARK,
    MatchKind.ADDRTYPE_DST, MatchKind.IPRANGE_SRC, MatchKind.IPRANGE_DST, MatchKind.CTSTATE, MatchKind.CTPROTO,
    MatchKind.CT_STATUS, MatchKind.RANDOM, MatchKind.LENGTH, MatchKind.L4_HEADER, MatchKind.CONST,
)  # fmt: skip
TRANSLATING = (TargetKind.SNAT, TargetKind.DNAT, TargetKind.REDIRECT)
# NETMAP, zones and proxies look at more of a packet
PLAIN = (
    *TRANSLATING, TargetKind.NONE, TargetKind.ACCEPT, TargetKind.DROP, TargetKind.REJECT, TargetKind.RETURN,
    TargetKind.JUMP, TargetKind.GOTO, TargetKind.POLICY_ACCEPT, TargetKind.POLICY_DROP, TargetKind.CHAIN_END,
    TargetKind.MASQUERADE, TargetKind.MARK, TargetKind.NOTRACK, TargetKind.DISPATCH, TargetKind.TOS, TargetKind.TTL,
    TargetKind.TCPMSS,
)  # fmt: skip
# packets that are sent into one table
BESIDE = 1 << 15
# so many draws, divided by the chance of what is drawn, miss it in one of 1e9 cases
SURE = 21
# of so many spans of sources the numbers of kinds have a bit each, above those of classes
SPANS = 32
# whether the translation of an entry is one of those that rules draw
UNKNOWN, COMES_UP, NEVER = range(3)


def decide_by_class(engine: Engine, family: Family) -> bool:
    """Tell whether what becomes of a first packet depends on its class, its destination and chance alone."""
    there = engine.stack_of(family.version).core.arrays
    rules, ranges = there["rules"], there["targets"]
    if len(there["bases"]) or len(there["services"]) or len(there["fib_rules"]) or (there["routes"]["hops"] > 1).any():
        return False
    # sources that are looked up in place of being classes
    if there["dispatches"]["apart"].any():
        return False
    kinds = np.concatenate([there["matches"]["kind"], rules["match"]["kind"]])
    if not np.isin(kinds, BY_CLASS).all() or not np.isin(rules["target"], PLAIN).all():
        return False
    # of several addresses a hash of the sender's chooses; of several ports DNAT draws one
    there_to = ranges[rules["target_arg"][np.isin(rules["target"], TRANSLATING)]]
    pool = (there_to["flags"] & RangeFlag.MAP_IPS != 0) & (there_to["min_addr"] != there_to["max_addr"])
    redrawn = ranges[rules["target_arg"][np.isin(rules["target"], (TargetKind.DNAT, TargetKind.REDIRECT))]]
    drawn = (redrawn["flags"] & RangeFlag.PROTO_SPECIFIED != 0) & (redrawn["min_proto"] != redrawn["max_proto"])
    return not (pool.any() or drawn.any())


def within(addresses: NDArray[Any], first: int, last: int, family: Family) -> NDArray[np.bool_]:
    """Return which addresses of a family lie in a span."""
    if not addresses.dtype.names:
        here: NDArray[np.bool_] = (addresses >= first) & (addresses <= last)
        return here
    ends = np.array([family.pack(first), family.pack(last)], addresses.dtype)
    place = classes_of(ends, addresses)
    # the first class of two lies in front, the last one begins with the last address
    among: NDArray[np.bool_] = (place == 1) | (addresses == ends[1])
    return among


def kinds_of_sources(engine: Engine, family: Family, batch: NDArray[Any]) -> NDArray[np.uint64]:
    """Return one number for each PACKET, equal where no rule on the way to one destination tells sources apart."""
    asked = AskedSources(engine.node.rules_of(family), family)
    finest = engine.core_of(family.version).arrays["class_start"]
    if not asked.told or not len(batch):
        return classes_of(finest, batch["src"]).astype(np.uint64)
    kinds = classes_of(starts_of(engine.node, asked.everywhere, family), batch["src"]).astype(np.uint64)
    _, first, where, counts = np.unique(
        folded(batch["dst"]), return_index=True, return_inverse=True, return_counts=True
    )
    groups = np.split(np.argsort(where.reshape(-1), kind="stable"), np.cumsum(counts)[:-1])
    for at, members in zip(first, groups, strict=True):
        spans = asked.towards(family.unpack(batch["dst"][at]))
        src = batch["src"][members]
        if len(spans) > SPANS:
            kinds[members] = classes_of(finest, src)
            continue
        for k, (low, high) in enumerate(spans):
            kinds[members] |= within(src, low, high, family).astype(np.uint64) << np.uint64(63 - k)
    return kinds


def translation(src: NDArray[Any], dst: NDArray[Any], dport: NDArray[Any], own: NDArray[Any]) -> NDArray[np.uint64]:
    """Return translations as one number each: destination, and the source where it is not the sender's own address."""
    return scrambled(scrambled(ends_of(dst, dport)) ^ np.where(src == own, 0, folded(src)))


class Classes:
    """First packets, PACKET[n], all of protocols with ports, by what the rules of an engine can tell of them.

    packets: the first one of each class; number: int64[n], the class of each.
    """

    def __init__(self, engine: Engine, family: Family, batch: NDArray[Any]) -> None:
        self.engine, self.family = engine, family
        starts = engine.core_of(family.version).arrays["port_start0"].astype(np.int64)
        place = np.searchsorted(starts, batch["sport"], "right")
        key = scrambled(kinds_of_sources(engine, family, batch))
        for column in (folded(batch["dst"]), batch["dport"], place, batch["proto"], batch["iface"]):
            key = scrambled(key ^ column.astype(np.uint64))
        _, first, number = np.unique(key, return_index=True, return_inverse=True)
        self.packets, self.number = batch[first], number.reshape(-1)
        # the ports of each
        self.low, self.behind = starts[place[first] - 1], np.append(starts, 1 << 16)[place[first]]

    def tell(self, wanted: NDArray[np.uint64], chance: float, tries: int) -> NDArray[np.int64]:
        """Tell whether a translation, as translation() has it, comes up for each packet: int64[n].

        chance: the least one that a rule gives to an outcome; tries: packets among which all outcomes come up. UNKNOWN
        where a class has fewer ports.
        """
        told = np.full(len(wanted), UNKNOWN)
        wanted = self.numbered(wanted, self.number)
        few = min(math.ceil(SURE / chance), tries)
        for begin, end in ((0, few), (few, tries))[: 1 + (few < tries)]:
            there, over = [np.zeros(0, np.uint64)], np.zeros(len(self.packets), np.bool_)
            for some, found in self.outcomes(np.unique(self.number[told == UNKNOWN]), begin, end):
                there.append(np.unique(self.numbered(found, some[:, np.newaxis])[found != 0]))
                # without chance the first packets are all treated alike
                over[some] = end == tries or (found == found[:, :1]).all(axis=1)
            comes_up = np.isin(wanted, np.concatenate(there))
            told[comes_up] = COMES_UP
            told[(told == UNKNOWN) & over[self.number]] = NEVER
        return told

    @staticmethod
    def numbered(translations: NDArray[np.uint64], classes: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return translations and the classes for which they come up as one number each."""
        return scrambled(translations ^ scrambled(classes.astype(np.uint64)))

    def outcomes(self, which: NDArray[np.int64], begin: int, end: int) -> Iterator[tuple[Any, ...]]:
        """Send packets of some classes from their ports begin..end - 1; yield the outcomes of some classes at a time.

        Yields their numbers, and the translations that came up for each as translation() has them, 0 where a packet
        was lost or is not tracked: uint64[classes, packets]. Classes of fewer ports are left out.
        """
        n = end - begin
        which = which[self.low[which] + end <= self.behind[which]]
        for a in range(0, len(which), max(BESIDE // n, 1)):
            mine = which[a : a + max(BESIDE // n, 1)]
            batch = np.repeat(self.packets[mine], n)
            batch["sport"] = (self.low[mine, np.newaxis] + np.arange(begin, end)).ravel()
            engine = self.engine.fork()
            out = engine.process(batch, engine.now)
            # who finds no port is translated as the rules say before he is lost
            lost = (out["verdict"] == Verdict.DROP) & (out["reason"] != Reason.CLASH)
            lost |= out["ctinfo"] == CtInfo.UNTRACKED
            found = np.where(lost, 0, translation(out["src"], out["dst"], out["dport"], batch["src"]))
            yield mine, found.reshape(-1, n)
