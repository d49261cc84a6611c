"""Why a packet is treated as it is: hooks and rules walked, the address and port chosen, and by which step.

Source: the TRACE target, iptables-extensions(8) ("TRACE: tablename:chainname:type:rulenum"); get_unique_tuple
(nf_nat_core.c).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..addresses import Family
from ..conntrack import Connection
from ..dtypes import PACKET6, PROTOCOL_NAMES, RECORDS4, CtInfo, Reason, Verdict, records_of
from ..errors import ArgumentError, InputError
from ..iptables import Chain, Rule
from ..util.escapes import plain
from ..util.text import shown
from . import waypoints
from .nft_trace import MOST, Met, met
from .waypoints import Waypoint

if TYPE_CHECKING:
    from .engine import Engine

# the tables of each hook in the order of their priorities
HOOKS = {
    "PREROUTING": ("raw", "mangle", "nat"), "INPUT": ("mangle", "filter", "nat"), "FORWARD": ("mangle", "filter"),
    "OUTPUT": ("raw", "mangle", "nat", "filter"), "POSTROUTING": ("mangle", "nat"),
}  # fmt: skip
# of the tables of iptables, as a trace of nftables is merged with them
PRIORITIES = {
    **{("raw", hook): -300 for hook in ("PREROUTING", "OUTPUT")},
    **{("mangle", hook): -150 for hook in HOOKS},
    **{("nat", hook): -100 for hook in ("PREROUTING", "OUTPUT")},
    **{("nat", hook): 100 for hook in ("INPUT", "POSTROUTING")},
}
DECIDING = {"ACCEPT", "DROP", "REJECT", "SNAT", "DNAT", "MASQUERADE", "REDIRECT", "NETMAP"}


@dataclass(frozen=True)
class Step:
    """One rule or policy that the packet met; `kind` is rule, return or policy, `number` counts from 1 in its chain."""

    hook: str
    table: str
    chain: str
    kind: str
    number: int
    text: str
    # rules before it, since the last step of this chain, that did not match
    skipped: int
    # of rules of nftables: what the rule says, and the priority of the base chain that led to it
    verdict: str = ""
    priority: int = 0

    def as_nft(self) -> str:
        """Return a step through rules of nftables as `nft monitor trace` prints it."""
        where = f"trace id 00000001 {self.table} {self.chain}"
        if self.kind == "policy":
            return f"{where} policy {self.verdict}"
        if self.text == "end of the chain":
            return f"{where} verdict continue"
        return f"{where} rule {self.text} (verdict {self.verdict})"


@dataclass(frozen=True)
class Trace:
    """What became of one packet; addresses as text, `mapping` says which step chose the translation."""

    verdict: str
    reason: str
    ctinfo: str
    out_iface: str
    proto: str
    before: tuple[str, int, str, int]
    after: tuple[str, int, str, int]
    steps: list[Step]
    mapping: str
    probes: int
    connection: Connection | None
    # "uid", "gid": rules asked for them and nobody had given them, see Engine.uid
    owner_assumed: list[str]
    # where it has been: conntrack, routing, and each hook that it came through
    waypoints: list[Waypoint]
    # who has the first tuple that was looked up for its source and was taken; it was given another one, or lost
    holder: Connection | None

    def lines(self) -> list[str]:
        """Return the matched rules as the kernel's TRACE target and `nft monitor trace` print them."""
        src, sport, dst, dport = self.before
        who = f"SRC={src} DST={dst} PROTO={self.proto.upper()} SPT={sport} DPT={dport}"
        return [
            plain(s.as_nft() if s.verdict else f"TRACE: {s.table}:{s.chain}:{s.kind}:{s.number} {who}")
            for s in self.steps
        ]


class Walk:
    """Finds the path through the rules from the counters that a packet has changed."""

    def __init__(self, origin: list[tuple[str, Chain, Rule | None]], moved: Any) -> None:
        self.chains: dict[tuple[str, str], Chain] = {(table, chain.name): chain for table, chain, _ in origin}
        self.rules: dict[int, int] = {}
        self.policies: dict[tuple[str, str], int] = {}
        for (table, chain, rule), count in zip(origin, moved.tolist(), strict=True):
            if rule is not None:
                self.rules[id(rule)] = count
            else:
                self.policies[table, chain.name] = count
        self.steps: list[Step] = []

    def table(self, hook: str, table: str) -> None:
        """Follow a table's chain of a hook, if the packet was there."""
        chain = self.chains.get((table, hook))
        if chain is None or not (self.policies[table, hook] or any(self.rules[id(r)] for r in chain.rules)):
            return
        if not self._chain(hook, table, chain) and self.policies[table, hook]:
            self.policies[table, hook] -= 1
            number = len(chain.rules) + 1
            self.steps.append(Step(hook, table, hook, "policy", number, f"policy {chain.policy}", 0))

    def _chain(self, hook: str, table: str, chain: Chain) -> bool:
        """Follow a chain; return whether a rule decided."""
        skipped = 0
        for number, rule in enumerate(chain.rules, 1):
            if not self.rules[id(rule)]:
                skipped += 1
                continue
            self.rules[id(rule)] -= 1
            name = rule.target.name
            kind = "return" if name == "RETURN" else "rule"
            self.steps.append(Step(hook, table, chain.name, kind, number, rule.text, skipped))
            skipped = 0
            callee = self.chains.get((table, name))
            if callee is not None and self._chain(hook, table, callee):
                return True
            if rule.target.goto or name == "RETURN":
                return False
            if name in DECIDING:
                return True
        if chain.policy == "-":
            number = len(chain.rules) + 1
            self.steps.append(Step(hook, table, chain.name, "return", number, "end of the chain", skipped))
        return False


def trace(engine: Engine, packet: Any, now: float | None = None) -> Trace:
    """Run one packet header on a copy of the engine and tell what happened; the engine itself does not change.

    packet: PACKET[1] as Engine.packets() builds it. now: seconds, the engine's own time if None.
    """
    if not isinstance(packet, np.ndarray) or packet.dtype not in (RECORDS4.PACKET, PACKET6):
        what = packet.dtype if isinstance(packet, np.ndarray) else type(packet).__name__
        raise ArgumentError(f"expected one packet header as Engine.packets() builds it, got {shown(what)}")
    if packet.shape != (1,):
        raise InputError(f"expected one packet header, got {packet.shape}: trace them one by one")
    other = engine.fork()
    # from here on it says what rules ask of this packet
    other.uid = engine.uid
    stack = other.stack_of(6 if packet.dtype == PACKET6 else 4)
    family, core = stack.family, stack.core
    core.log_packets(
        np.zeros(2 * MOST if stack.program.bases else 0, np.uint32),
        np.zeros(waypoints.MOST, records_of(family).WAYPOINT),
    )
    counted, stats = core.rule_counters()["packets"].copy(), dict(other.stats)
    result = other.process(packet, engine.now if now is None else now)[0]
    moved = core.rule_counters()["packets"] - counted
    delta = {k: v - stats[k] for k, v in other.stats.items()}
    walk = Walk(stack.ruleset.origin, moved.astype(np.int64))
    hooks = _hooks(int(packet["iface"][0]), Verdict(int(result["verdict"])))
    for hook in hooks:
        for table in HOOKS[hook]:
            walk.table(hook, table)
    rules, log, holder = core.taken_log()
    steps = _in_order(hooks, walk.steps, met(stack.program, rules))
    passed = waypoints.waypoints_of(log, core.arrays["routes"], other.iface_names, family)
    before, after = (_ends(family, row) for row in (packet[0], result))
    number = int(result["conn"])
    found = other.conntrack.at(family.version, number) if number < core.high_water else None
    verdict = Verdict(int(result["verdict"]))
    return Trace(
        verdict.name.lower(), Reason(int(result["reason"])).name.lower(), CtInfo(int(result["ctinfo"])).name,
        other.iface_names[int(result["out_iface"])] if verdict == Verdict.FORWARD else "",
        PROTOCOL_NAMES.get(int(packet["proto"][0]), str(int(packet["proto"][0]))),
        before, after, steps, _mapping(delta, before, after, found, verdict), int(result["probes"]), found,
        other.owner_assumed, passed,
        engine.conntrack.at(family.version, holder) if holder < engine.core_of(family.version).high_water else None,
    )  # fmt: skip


def _in_order(hooks: tuple[str, ...], steps: list[Step], others: list[Met]) -> list[Step]:
    """Return the steps through iptables and nftables in the order in which the hooks call them."""
    found = [Step(m.hook, m.table, m.chain, m.kind, m.number, m.text, m.skipped, m.verdict, m.priority) for m in others]
    if not found:
        return steps
    # chains at a device are called before and behind those of IP
    hooks = ("INGRESS", *hooks, "EGRESS")
    own = [replace(s, priority=PRIORITIES.get((s.table, s.hook), 0)) for s in steps]
    return sorted(own + found, key=lambda s: (hooks.index(s.hook) if s.hook in hooks else 0, s.priority))


def _hooks(iface: int, verdict: Verdict) -> tuple[str, ...]:
    if iface == 0:
        return ("OUTPUT", "POSTROUTING", "INPUT")
    if verdict == Verdict.LOCAL:
        return ("PREROUTING", "INPUT")
    # a dropped packet may have reached any of them; the counters of chains that it did not see are unchanged
    return ("PREROUTING", "INPUT", "FORWARD", "POSTROUTING")


def _ends(family: Family, row: Any) -> tuple[str, int, str, int]:
    src, dst = (family.to_text(family.unpack(row[name])) for name in ("src", "dst"))
    return src, int(row["sport"]), dst, int(row["dport"])


def _mapping(
    delta: dict[str, int],
    before: tuple[str, int, str, int],
    after: tuple[str, int, str, int],
    found: Connection | None,
    verdict: Verdict,
) -> str:
    """Say which step of get_unique_tuple decided."""
    if found is None and verdict != Verdict.DROP:
        return "not tracked: no translation"
    if not delta["new"]:
        if verdict == Verdict.DROP and found is not None:
            return "an established connection: it lasts, only the packet was dropped"
        if verdict == Verdict.DROP:
            return "none of it lasts: the packet was dropped"
        return "an established connection: its own translation, no rule was asked"
    if delta["port_searches"]:
        return f"port search: {delta['port_search_probes']} tuples looked up, the last one is free"
    if delta["bysource_reuse"]:
        return "the mapping that this source has towards another destination (find_appropriate_src)"
    if before == after:
        return "nothing to translate: the tuple is free as it is"
    if before[1] == after[1] and before[3] == after[3]:
        return "address changed, port kept: no connection has that tuple"
    return "address and port from the rule"
