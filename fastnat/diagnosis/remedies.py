"""What would change a failure, and by how much: the next connections, simulated from the dump on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from ..addresses import family_of
from ..conntrack.port_spaces import PortSpace
from ..dtypes import CONN_LIVE, PROTOCOLS, Verdict, records_of
from ..engine import Engine
from ..engine.flows import SYN, known_interfaces_of
from ..errors import FastnatError
from ..exhaustion.drawing import initial_sequence
from ..exhaustion.source_nat import Change
from ..node import Node
from ..node.model import LOCAL
from ..node.timeouts import PREFIX
from ..util.mixing import folded, scrambled

FLOWS, PART = 4000, 1000
# flows drawn for each that is needed, as some have a tuple that is in the table; clients beside one that are like it
DRAWN, BESIDE = 4, 8
ONE_MORE = "one more SNAT address"
# of these flows so many have to come to the port space, or today's rules have another one for them
MOST = 0.5


@dataclass(frozen=True)
class Tried:
    """A change, and the share of the next connections that fail under it."""

    change: str
    fails: float
    flows: int
    early_drops: int = 0


@dataclass(frozen=True)
class Next:
    """The next connections into a port space, and from which dump on; table: nf_conntrack_max, if it is known.

    known: whether a node's files say where clients enter, or a minimal node stands for it; pool: the first and last of
    the addresses among which the rules choose the port space's.
    """

    space: PortSpace
    dump: str
    name: str
    table: int | None
    known: bool
    pool: tuple[int, int]

    def engine(self, node: Node, profile: str) -> Engine:
        """Return an engine with the connections of the dump."""
        if self.table is not None:
            node.sysctls = {**node.sysctls, PREFIX + "max": str(self.table)}
        engine = Engine(node, profile, epoch=0.0)
        engine.conntrack.load(self.dump, self.name, [])
        return engine

    def packets(self, engine: Engine) -> NDArray[Any]:
        """Return the first packets: of the clients that the port space has, or others beside them, from new ports."""
        family = family_of(self.space.address)
        conns = engine.core_of(family.version).arrays["conns"]
        conns = conns[conns["flags"] & CONN_LIVE != 0]
        original, reply = conns["tuples"][:, 0], conns["tuples"][:, 1]
        proto = PROTOCOLS[self.space.proto]
        mine = original[(reply["proto"] == proto) & self.leads(reply["dst"], reply["src"], reply["sport"])]
        rng = default_rng(0)
        chosen = mine[rng.integers(0, len(mine), DRAWN * FLOWS)] if len(mine) else mine
        batch = np.zeros(len(chosen), records_of(family).PACKET)
        for field in ("src", "dst", "dport", "proto"):
            batch[field] = chosen[field]
        batch["sport"] = rng.integers(1024, 65536, len(batch))
        # the last half is there if the clients themselves have no port left
        others = batch[len(batch) // 2 :]
        low = others["src"]["low"] if others["src"].dtype.names else others["src"]
        low ^= rng.integers(1, BESIDE, len(others)).astype(low.dtype)
        known = np.ones(len(batch), np.bool_)
        if self.known:
            batch["iface"], known = known_interfaces_of(engine.node, batch["src"], family)
        else:
            batch["iface"] = engine.node.iface_number(entrance(engine.node, self.space))
        batch = batch[known & ~np.isin(keys_of(batch), keys_of(original))]
        batch = batch[np.sort(np.unique(keys_of(batch), return_index=True)[1])][:FLOWS]
        batch["length"] = 60
        if proto == PROTOCOLS["tcp"]:
            batch["tcp_flags"], batch["isn"] = SYN, initial_sequence(batch, np.full(len(batch), engine.now))
        return batch

    def leads(self, near: NDArray[Any], far: NDArray[Any], port: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which flows have an address of the pool towards the port space's destination."""
        family = family_of(self.space.address)
        unique, where = np.unique(near, return_inverse=True)
        own = np.array([self.pool[0] <= family.unpack(a) <= self.pool[1] for a in unique], np.bool_)
        end = np.array([family.pack(family.to_int(self.space.dst))], far.dtype)
        found: NDArray[np.bool_] = own[where.reshape(-1)] & (far == end[0]) & (port == self.space.dport)
        return found


def keys_of(ends: NDArray[Any]) -> NDArray[np.uint64]:
    """Return packets or tuples of the original direction as one number each."""
    key = np.zeros(len(ends), np.uint64)
    for column in (folded(ends["src"]), folded(ends["dst"]), ends["sport"], ends["dport"], ends["proto"]):
        key = scrambled(key ^ column.astype(np.uint64))
    return key


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
    node: Node, following: Next, profile: str, progress: Callable[[int], None] | None = None
) -> list[Tried]:  # fmt: skip
    """Return what share of the next connections fails, as it is and under each change.

    Nothing where today's rules have another port space for them.
    """
    family = family_of(following.space.address)
    before, out = following_under(node, following, profile, progress)
    if not before.flows or following.leads(out["src"], out["dst"], out["dport"]).mean() < MOST:
        return []
    base = family.to_int(following.space.address)
    kernel = "linux-5.4" if profile != "linux-5.4" else "linux-6.18"
    changes: list[tuple[str, Change | None, str]] = [
        (ONE_MORE, Change(family, addresses=following.pool[1] - following.pool[0] + 2, base=base), profile),
        ("--random-fully", Change(family, random_fully=True), profile),
        (f"{kernel} instead", None, kernel),
    ]
    tried = [before]
    for label, change, under in changes:
        try:
            changed = change.apply(node) if change else node
            tried.append(following_under(changed, following, under, progress, label)[0])
        except FastnatError:
            # the node cannot be changed so
            continue
    return tried


def following_under(
    node: Node, following: Next, profile: str, progress: Callable[[int], None] | None, label: str = "as it is"
) -> tuple[Tried, NDArray[Any]]:  # fmt: skip
    """Return what became of the next connections under a change, and their RESULT[n]."""
    engine = following.engine(copy.copy(node), profile)
    batch, before = following.packets(engine), engine.stats["early_drop"]
    parts = [np.zeros(0, records_of(family_of(following.space.address)).RESULT)]
    for a in range(0, len(batch), PART):
        parts.append(engine.process(batch[a : a + PART], engine.now))
        if progress:
            progress(len(parts[-1]))
    out = np.concatenate(parts)
    failed = int((out["verdict"] == Verdict.DROP).sum())
    early = engine.stats["early_drop"] - before
    return Tried(label, failed / max(len(out), 1), len(out), early), out


def entrance(node: Node, space: PortSpace) -> str:
    """Return an interface by which a node's clients enter: not the one with the NAT address."""
    family = family_of(space.address)
    address = family.to_int(space.address)
    own = [i for i in node.interfaces.values() if not i.loopback]
    inside = [i.name for i in own if all(a.local != address for a in i.addresses_of(family))]
    return next(iter([*inside, *(i.name for i in own), LOCAL]))
