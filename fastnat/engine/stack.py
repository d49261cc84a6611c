"""What an engine holds for one family: its datapath and the rules compiled for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .. import iptables
from ..addresses import V4, V6, Family
from ..core.datapath import Datapath
from ..core.datapath6 import Datapath as Datapath6
from ..core.layout import MatchKind, NftExprKind
from ..dtypes import HZ, Records, records_of
from ..iptables import counters
from ..iptables.model import RANDOM_FULLY
from ..nftables.compile import compile_ruleset
from ..nftables.program import Program, source_nat
from ..nftables.twins import twins
from ..node import Node
from ..rules.compiler import Ruleset, compile_rules, shared_lists, with_arrays_of
from . import arrays, nft_state
from .settings import Settings, config_of

DATAPATHS: dict[int, type[Datapath]] = {4: Datapath, 6: Datapath6}
# exclusive-ored to seed and key: IPv6 draws other numbers than IPv4
SALT = {4: 0, 6: 0x6A09E667F3BCC908}


def compiled(node: Node, family: Family, settings: Settings, before: Ruleset | None = None) -> tuple[Ruleset, Program]:
    """Return a node's rules of one family, of iptables and of nftables, compiled; before: those whose place they take.

    Raises RuleError, InputError if that is impossible.
    """
    rules = node.rules_of(family) or iptables.parse("")
    dated = settings.epoch is not None
    shared = shared_lists(node.rules_of(V4), node.rules_of(V6))
    ruleset = compile_rules(rules, node.iface_names, node.sets, family, node.unsupported_sets, dated, before, shared)
    indexes = {iface.index: number for number, iface in enumerate(node.interfaces.values(), 1)}
    program = compile_ruleset(
        node.nft, node.iface_names, indexes, family, set(ruleset.hook_entry), node.nft_last, dated=dated,
        seed=settings.seed ^ SALT[family.version],
        owners={"uid": node.users, "gid": node.groups},
        devices={name: (i.group, i.link_type, i.kind) for name, i in node.interfaces.items()},
        twins=twins(node.nft, "ip" if family is V4 else "ip6", rules.tables),
    )  # fmt: skip
    return ruleset, program


@dataclass(frozen=True)
class Stack:
    """One family's half of an engine.

    ruleset: what rules of iptables say; its arrays are the datapath's own, read-only.
    program: what rules of nftables say. iface_names: of the node, by number.
    """

    family: Family
    settings: Settings
    core: Datapath
    ruleset: Ruleset
    program: Program
    iface_names: list[str]

    @classmethod
    def of(cls, node: Node, family: Family, settings: Settings) -> Stack:
        """Return a stack with empty tables for a node."""
        salt = SALT[family.version]
        own = replace(settings, seed=settings.seed ^ salt, key=settings.key ^ salt)
        (ruleset, program), records = compiled(node, family, own), records_of(family)
        core = DATAPATHS[family.version](
            arrays.new_tables(node, family, ruleset, program, own), config_of(node, family, ruleset, program, own),
            records.PACKET, records.RESULT,
        )  # fmt: skip
        return cls(family, own, core, with_arrays_of(ruleset, core), program, node.iface_names)

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.family.version

    @property
    def records(self) -> Records:
        """The dtypes of this family."""
        return records_of(self.family)

    @property
    def is_tracking(self) -> bool:
        """Whether conntrack sees packets."""
        return self.core.is_tracking

    @property
    def asks_frames(self) -> bool:
        """Whether rules ask for the link-layer addresses of packets."""
        macs = self.ruleset.matches["kind"] == MatchKind.MAC
        exprs = self.program.arrays["nft_exprs"]
        return bool(macs.any() or (exprs["kind"] == NftExprKind.FRAME).any())

    @property
    def nbytes(self) -> int:
        """Bytes that the tables have touched."""
        return arrays.bytes_of(self.core)

    def fork(self, seed: int | None = None) -> Stack:
        """Return an independent stack in the same state; with a seed it draws other random numbers from now on."""
        core = arrays.fork(self.core)
        if seed is not None:
            core.reseed(seed ^ SALT[self.version])
        return replace(self, core=core, ruleset=with_arrays_of(self.ruleset, core))

    def prepare_reload(self, node: Node, counters: bool, commands: bool = False) -> Callable[[], Stack]:
        """Compile a node as it is now; return a function that exchanges the tables and returns the new stack.

        counters: rules that were loaded anew begin with the counters of their text (iptables-restore -c); commands: the
        rules of nftables are those before, changed by commands. Raises the errors of Engine(), before anything has
        changed. The exchange deletes the connections masqueraded with an address that the node has lost
        (masq_inet_event).
        """
        core, before = self.core, self.ruleset
        ruleset, program = compiled(node, self.family, self.settings, before)
        now = int(core.now * HZ + 0.5)
        program.begin(now)
        connections = self.settings.max_connections
        tables = arrays.node_tables(node, self.family, ruleset, program, connections, now)
        arrays.keep_services(core, tables, arrays.ipvs_tables(node, self.family, connections))
        config = config_of(node, self.family, ruleset, program, self.settings)
        names = self.iface_names == node.iface_names
        if names and ruleset.sets is before.sets:
            tables["elements"] = core.writable("elements")
        same = ruleset.parsed is before.parsed
        if not same and not counters:
            ruleset.rules["packets"] = ruleset.rules["bytes"] = 0

        def exchange() -> Stack:
            core.forget_memos()
            had = self._masquerading()
            old = dict(core.arrays)
            core.reload(tables, config, nft_state.kept_policies(self.program, program, commands))
            if program.bases or self.program.bases:
                nft_state.keep(core, old, self.program, program, commands)
            arrays.keep_lists(core, old, before, ruleset)
            if same:
                arrays.restore_rules(core, old["matches"], np.array([old["rules"]["packets"], old["rules"]["bytes"]]))
            for iface, address in had - self._masquerading():
                core.flush_masqueraded(iface, address)
            own = with_arrays_of(ruleset, core)
            return replace(self, ruleset=own, program=program, iface_names=node.iface_names)

        return exchange

    def _masquerading(self) -> set[tuple[int, int]]:
        """Return (interface, ifa_address) of the node's addresses; of a point-to-point link that is the peer."""
        return {(int(a["iface"]), self.family.unpack(a["peer"])) for a in self.core.arrays["addresses"]}

    def set_random_fully(self) -> None:
        """Set the flag of --random-fully in the rules with SNAT and MASQUERADE."""
        with self.core as core:
            core.writable("targets")["flags"][self.ruleset.targets_of("SNAT", "MASQUERADE")] |= RANDOM_FULLY
            exprs = core.writable("nft_exprs")
            exprs["b"][source_nat(exprs)] |= RANDOM_FULLY
            core.forget_memos()

    def save_rules(self) -> str:
        """Return the rules as `iptables-save -c` prints them."""
        return counters.save(self.ruleset.origin, self.core.rule_counters())


def stacks_of(node: Node, settings: Settings) -> dict[int, Stack]:
    """Return the stacks of the families that a node has, by 4 and 6; IPv4 is always there."""
    families = [V4, *node.more_families]
    shared = replace(settings, bitmap_bytes=settings.bitmap_bytes // len(families))
    return {family.version: Stack.of(node, family, shared) for family in families}
