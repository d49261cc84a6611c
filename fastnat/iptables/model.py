"""The rule model: what iptables-save text says, in host byte order.

Sources: iptables-extensions(8), iptables-save(8) of iptables 1.8.9; netfilter flags of nf_nat.h.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..core.layout import RangeFlag

BUILT_IN = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
IGNORED_TABLES = ("security",)
# all that iptables, and iptables-nft, have
TABLES = (*BUILT_IN, *IGNORED_TABLES)

MAP_IPS, PERSISTENT = int(RangeFlag.MAP_IPS), int(RangeFlag.PERSISTENT)
PROTO_SPECIFIED, PROTO_OFFSET = int(RangeFlag.PROTO_SPECIFIED), int(RangeFlag.PROTO_OFFSET)
PROTO_RANDOM, RANDOM_FULLY = int(RangeFlag.PROTO_RANDOM), int(RangeFlag.PROTO_RANDOM_FULLY)


@dataclass(slots=True)
class Match:
    """One match: its kind, whether it is inverted, its parameters; `name` is that of a set or list."""

    kind: str
    invert: bool = False
    values: tuple[int, ...] = ()
    name: str = ""
    # the only hooks in which the kernel lets it stand; (): all
    hooks: tuple[str, ...] = ()


@dataclass(slots=True)
class Target:
    """What a rule does; `name` is the extension, a verdict, or a chain."""

    name: str = ""
    goto: bool = False
    min_addr: int = 0
    max_addr: int = 0
    min_proto: int = 0
    max_proto: int = 0
    base_proto: int = 0
    flags: int = 0
    value: int = 0
    mask: int = 0
    mask2: int = 0
    op: int = 0


@dataclass(slots=True)
class Rule:
    """One rule; addresses are host-order integers, interfaces patterns as written.

    Rules that say the same may share their matches and their target: replace these, do not change them.
    """

    chain: str
    line: int
    text: str
    src: int = 0
    smask: int = 0
    dst: int = 0
    dmask: int = 0
    invert_src: bool = False
    invert_dst: bool = False
    in_iface: str = ""
    out_iface: str = ""
    invert_in: bool = False
    invert_out: bool = False
    proto: int = 0
    invert_proto: bool = False
    # -f: only fragments that are not the first; invert_fragment: only the others
    fragment: bool = False
    invert_fragment: bool = False
    matches: list[Match] = field(default_factory=list)
    target: Target = field(default_factory=Target)
    packets: int = 0
    bytes: int = 0


@dataclass
class Chain:
    """A chain: policy "-" for user chains; counters are the policy's."""

    name: str
    policy: str = "-"
    packets: int = 0
    bytes: int = 0
    rules: list[Rule] = field(default_factory=list)


@dataclass
class Table:
    """A table: chains in the order of the text."""

    name: str
    chains: dict[str, Chain] = field(default_factory=dict)


@dataclass
class Rules:
    """All rules of one text."""

    tables: dict[str, Table]
    source: str
    warnings: list[str] = field(default_factory=list)
    # what cannot be answered never matches, and is named in `warnings`
    lenient: bool = False
