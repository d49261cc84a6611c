"""What would change a failure, and by how much: the next connections, simulated from the dump on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..addresses import family_of
from ..conntrack.port_spaces import PortSpace
from ..engine import Engine
from ..errors import FastnatError
from ..exhaustion import Workload
from ..exhaustion.outcome import Outcome
from ..exhaustion.simulation import run
from ..exhaustion.variants import Variant, apply
from ..node import Node
from ..node.model import LOCAL
from ..node.timeouts import PREFIX

FLOWS = 4000
# clients of the flows, with source ports of their own choice
CLIENTS = 500
CHANGES = [
    Variant((), "as it is"), Variant((("addresses", 2),), "one more SNAT address"),
    Variant((("random-fully", True),), "--random-fully"), Variant((("profile", "linux-5.4"),), "linux-5.4 instead"),
    Variant((("profile", "linux-6.18"),), "linux-6.18 instead"),
]  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """A change, and the share of the next connections that fail under it."""

    change: str
    fails: float
    flows: int
    early_drops: int = 0


def minimal_node(space: PortSpace) -> Node:
    """Return a node that masquerades to a port space's address, where no files describe the real one."""
    six = ":" in space.address
    node = Node()
    own, inside = (f"{space.address}/128", "fd00:10:244::1/64") if six else (f"{space.address}/32", "10.244.0.1/16")
    node.add_interface("eth0", [own])
    node.add_interface("cni0", [inside])
    node.add_route("::/0" if six else "0.0.0.0/0", dev="eth0")
    rules = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
    if six:
        node.load_rules6(rules)
        node.sysctls["net.ipv6.conf.all.forwarding"] = "1"
    else:
        node.load_rules(rules)
    return node


def try_changes(
    node: Node, space: PortSpace, dump: str, name: str, profile: str, table: int | None,
    progress: Callable[[int], None] | None = None,
) -> list[Tried]:  # fmt: skip
    """Return what share of new connections into a port space fails, as it is and under each change."""
    work = Workload(
        ((space.dst, space.dport),), space.proto, FLOWS, clients=CLIENTS, sport="any", iface=entrance(node, space)
    )
    tried = []
    for change in CHANGES:
        if dict(change.factors).get("profile") == profile:
            continue
        outcome = outcome_under(change, node, work, dump, name, profile, table, progress)
        if outcome is not None:
            tried.append(Tried(change.label, outcome.failed / FLOWS, FLOWS, outcome.stats.get("early_drop", 0)))
    return tried


def outcome_under(
    change: Variant, node: Node, work: Workload, dump: str, name: str, profile: str, table: int | None,
    progress: Callable[[int], None] | None,
) -> Outcome | None:  # fmt: skip
    """Return the outcome of a run from a dump on, under a change; None where the node cannot be changed so."""
    try:
        changed, load, kernel = apply(change, node, work, profile)
        if table is not None:
            changed.sysctls[PREFIX + "max"] = str(table)
        engine = Engine(changed, kernel, epoch=0.0)
        engine.conntrack.load(dump, name, [])
        return run(engine, load, progress)
    except FastnatError:
        return None


def entrance(node: Node, space: PortSpace) -> str:
    """Return an interface by which a node's clients enter: not the one with the NAT address."""
    family = family_of(space.address)
    address = family.to_int(space.address)
    own = [i for i in node.interfaces.values() if not i.loopback]
    inside = [i.name for i in own if all(a.local != address for a in i.addresses_of(family))]
    return next(iter([*inside, *(i.name for i in own), LOCAL]))
