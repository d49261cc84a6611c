"""EngineGroup: flows spread over threads, each with an engine and a slice of the NAT ports of its own.

This is another machine than one kernel: its shards share no table. A client's own source port is kept only if it lies
in the slice of its shard; the ports of one slice can run out while another has some left.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dtypes import PACKET, RESULT
from .engine import Engine
from .errors import InputError
from .iptables.model import PROTO_SPECIFIED
from .node import Node
from .node_arrays import route_array
from .packets import packets
from .ruleset import TARGET_CODES

FIRST_PORT, PORTS = 1024, 64_512
MAX_SHARDS = 64
MIX = np.uint32(0x9E3779B1)
LOCAL = (2, 3)
# packets sorted by shard at a time: what that takes stays in the cache
CHUNK = 32_768


class EngineGroup:
    """IPv4 engines that work side by side; Engine.process releases the GIL.

    Parameters
    ----------
    node : Node
    inside : sequence of str     interfaces of the clients; packets that enter there go by their source address, others
                                 by the slice of their destination port where they are for a NAT address of the node,
                                 and by their destination address elsewhere
    shards : int                 1..64, by default 2
    profile, seed, max_connections   as of Engine; max_connections is of all shards together

    Raises
    ------
    InputError                   as Engine; a number of shards or interface that cannot be

    Notes
    -----
    The same seed, input and number of shards give the same output, however the threads are scheduled.
    """

    def __init__(
        self,
        node: Node,
        inside: list[str] | tuple[str, ...],
        shards: int = 2,
        profile: str = "linux-6.18",
        seed: int = 0,
        max_connections: int = 262_144,
    ) -> None:
        if not 1 <= shards <= MAX_SHARDS:
            raise InputError(f"shards {shards} is not in 1..{MAX_SHARDS}")
        self.node, self.shards = node, shards
        # one place more, for numbers that no interface has
        self.is_inside = np.zeros(len(node.iface_names) + 1, np.bool_)
        self.is_inside[[node.iface_number(name) for name in inside]] = True
        each = -(-max_connections // shards)
        self.engines = [Engine(node, profile, (seed + k) % 2**64, max_connections=each) for k in range(shards)]
        # first port of each slice, and the one behind the last
        self.starts = FIRST_PORT + np.arange(shards + 1) * PORTS // shards
        for k, engine in enumerate(self.engines):
            self._slice(engine, int(self.starts[k]), int(self.starts[k + 1]) - 1)
        routes = route_array(node)
        self.own = routes["dst"][np.isin(routes["kind"], LOCAL)]
        rules, targets = self.engines[0].ruleset.rules, self.engines[0].ruleset.targets
        chosen = targets[rules["target_arg"][rules["target"] == TARGET_CODES["SNAT"]]]
        self.ranges = list(zip(chosen["min_addr"].tolist(), chosen["max_addr"].tolist(), strict=True))
        self.pool = ThreadPoolExecutor(shards, "fastnat")

    def _slice(self, engine: Engine, first: int, last: int) -> None:
        """Let every SNAT and MASQUERADE rule choose ports of a slice; rules with ports of their own keep them."""
        rules, targets = engine.ruleset.rules, engine.ruleset.targets
        for n in rules["target_arg"][np.isin(rules["target"], (TARGET_CODES["SNAT"], TARGET_CODES["MASQUERADE"]))]:
            if not targets[n]["flags"] & PROTO_SPECIFIED:
                targets[n]["flags"] |= PROTO_SPECIFIED
                targets[n]["min_proto"], targets[n]["max_proto"] = first, last

    def packets(self, **fields: Any) -> NDArray[Any]:
        """Return packets(...) with interface names resolved on this node."""
        return packets(node=self.node, **fields)

    def shard_of(self, batch: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the number of the shard that each packet belongs to."""
        inside = self.is_inside[np.minimum(batch["iface"], len(self.is_inside) - 1)]
        shard = self._by_address(np.where(inside, batch["src"], batch["dst"]))
        outside = np.flatnonzero(~inside)
        if len(outside):
            dst = batch["dst"][outside]
            translated = np.isin(dst, self.own)
            for low, high in self.ranges:
                translated |= (dst >= low) & (dst <= high)
            back = outside[translated]
            by_port = np.searchsorted(self.starts, batch["dport"][back], "right") - 1
            shard[back] = np.clip(by_port, 0, self.shards - 1)
        return shard

    def _by_address(self, addresses: NDArray[np.uint32]) -> NDArray[np.uint8]:
        # the upper half of a product, scaled to the number of shards
        spread = (addresses * MIX >> np.uint32(16)) * np.uint32(self.shards) >> np.uint32(16)
        return spread.astype(np.uint8)

    def process(self, batch: NDArray[Any], now: float | NDArray[Any] = 0.0) -> NDArray[Any]:
        """Run a batch of packet headers; see Engine.process. `conn` of a result counts within its shard."""
        if batch.dtype != PACKET:
            raise InputError("a group runs IPv4 headers (PACKET)")
        out = np.empty(len(batch), RESULT)
        for a in range(0, len(batch), CHUNK):
            b = min(a + CHUNK, len(batch))
            self._chunk(batch[a:b], now[a:b] if isinstance(now, np.ndarray) else now, out[a:b])
        return out

    def _chunk(self, batch: NDArray[Any], now: float | NDArray[Any], out: NDArray[Any]) -> None:
        shard = self.shard_of(batch)
        parts = [np.flatnonzero(shard == k) for k in range(self.shards)]
        times = [now[part] if isinstance(now, np.ndarray) else now for part in parts]
        results = self.pool.map(Engine.process, self.engines, [batch.take(part) for part in parts], times)
        for part, result in zip(parts, results, strict=True):
            out[part] = result

    def advance(self, now: float) -> None:
        """Let virtual time pass to now [s] in every shard."""
        for engine in self.engines:
            engine.advance(now)

    @property
    def stats(self) -> dict[str, int]:
        """Counters of all shards together."""
        return {name: sum(e.stats[name] for e in self.engines) for name in self.engines[0].stats}

    def __len__(self) -> int:
        """Return the connections of all shards."""
        return sum(len(e.conntrack) for e in self.engines)

    def close(self) -> None:
        """End the threads; the engines stay."""
        self.pool.shutdown()
