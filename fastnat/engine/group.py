"""EngineGroup: flows spread over threads, each with an engine and a slice of the NAT ports of its own.

A group differs from one kernel, because its shards share no table. A client keeps its own source port only if that lies
in the slice of its shard, and one slice can run out of ports while another has some left. It is made for connections
that clients behind `inside` open to the outside, and for those of the node itself. Who answers is met by another shard,
which does not know the connection, where DNAT led it to a server behind `inside`, and where both ends are there;
connections that a helper announces are unknown, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.datapath import Datapath
from ..dtypes import RECORDS4, RECORDS6
from ..errors import ArgumentError, BusyError, ClockError, InputError
from ..iptables.model import PROTO_SPECIFIED
from ..node import Node
from ..util.text import shown, whole
from .engine import Engine, count_of, first_of, numbers_of, time_of
from .packets import packets
from .stack import Stack

# FIRST_PORT and N_PORTS of core/shards.pxd
FIRST_PORT, PORTS = 1024, 64_512
MAX_SHARDS = 64
# packets below which waking a thread takes longer than running them
FEW = 2048


class EngineGroup:
    """Engines that work in parallel: the core releases the GIL, and sorts the packets of a batch into shards.

    Parameters
    ----------
    node : Node
    inside : sequence of str     interfaces of the clients. The source address of a packet that enters there chooses the
                                 shard; of other packets, the slice of the destination port if they are for a NAT
                                 address of the node (ICMP: of the identifier), else the destination address; of what
                                 the node sends to the outside, the slice of its source port. Protocols without ports
                                 are the first shard's
    shards : int                 1..64, by default 2
    profile, seed, max_connections, prefault, epoch   as of Engine; max_connections is of all shards together

    Raises
    ------
    InputError, ArgumentError    as Engine; an invalid number of shards or interface

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
        *,
        prefault: bool = False,
        epoch: float | None = None,
    ) -> None:
        if not isinstance(node, Node):
            raise ArgumentError(f"node: expected a Node, got {type(node).__name__}")
        shards = whole("shards", shards, 1, MAX_SHARDS)
        seed, max_connections = whole("seed", seed, 0, 2**64 - 1), whole("max_connections", max_connections, 1, 2**31)
        try:
            names = None if isinstance(inside, str) else list(inside)
        except TypeError:
            names = None
        if names is None:
            raise ArgumentError(f"inside: expected a list of names of interfaces, got {shown(inside, 60)}")
        self.node, self.shards = node, shards
        is_inside = np.zeros(len(node.iface_names), np.uint8)
        is_inside[[node.iface_number(name) for name in names]] = 1
        each = -(-max_connections // shards)
        self.engines = [
            Engine(node, profile, (seed + k) % 2**64, max_connections=each, prefault=prefault, epoch=epoch)
            for k in range(shards)
        ]
        # first port of each slice, and the one behind the last
        self.starts = FIRST_PORT + np.arange(shards + 1) * PORTS // shards
        for k, engine in enumerate(self.engines):
            for stack in engine.stacks.values():
                self._slice(stack, int(self.starts[k]), int(self.starts[k + 1]) - 1)
                stack.core.take_shard(is_inside, self._translated(stack), self._behind(stack, is_inside), shards, k)
        self.busy = Lock()
        # the caller's thread runs a shard, too
        self.pool = ThreadPoolExecutor(max(shards - 1, 1), "fastnat")

    @staticmethod
    def _slice(stack: Stack, first: int, last: int) -> None:
        """Let every SNAT and MASQUERADE rule choose ports of a slice; rules with ports of their own keep them."""
        stack.core.set_slice(first, last)
        targets = stack.core.writable("targets")
        for n in stack.ruleset.targets_of("SNAT", "MASQUERADE"):
            if not targets[n]["flags"] & PROTO_SPECIFIED:
                targets[n]["flags"] |= PROTO_SPECIFIED
                targets[n]["min_proto"], targets[n]["max_proto"] = first, last

    def _translated(self, stack: Stack) -> NDArray[np.uint8]:
        """Return the addresses that connections get, the node's own and those of SNAT rules: bytes of sorted ranges."""
        family, ruleset = stack.family, stack.ruleset
        chosen = ruleset.targets[ruleset.targets_of("SNAT")]
        ranges = [(family.unpack(t["min_addr"]), family.unpack(t["max_addr"])) for t in chosen]
        if stack.program.snat is None:
            raise InputError(
                "a rule of nftables takes the address of its snat from a packet, or from a map that rules fill: "
                "a group needs to know them all; give them in the rule"
            )
        ranges += stack.program.snat
        for interface in self.node.interfaces.values():
            own = interface.addresses_of(family)
            ranges += [(a.local, a.local) for a in own]
        return _bytes_of(ranges, stack)

    @staticmethod
    def _behind(stack: Stack, is_inside: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the addresses to which routes lead through the interfaces of the clients: bytes of sorted ranges."""
        starts, routes = stack.core.arrays["class_start"], stack.core.arrays["routes"]
        tables = stack.core.arrays["class_route"].reshape(-1, len(starts))
        # of several tables the first that has a route
        route = tables[(tables != 0).argmax(axis=0), np.arange(len(starts))]
        is_behind = np.append(0, is_inside[routes["iface"]])[route]
        firsts = [stack.family.unpack(a) for a in starts] + [stack.family.full + 1]
        return _bytes_of([(firsts[n], firsts[n + 1] - 1) for n in np.flatnonzero(is_behind)], stack)

    def packets(self, **fields: Any) -> NDArray[np.void]:
        """Return packets(...) with interface names resolved on this node."""
        return packets(node=self.node, **fields)

    def shard_of(self, batch: NDArray[np.void]) -> NDArray[np.uint16]:
        """Return the number of the shard that each packet belongs to: uint16[n]."""
        numbers: NDArray[np.uint16] = self.engines[0].core_for(batch).shards_of(batch)
        return numbers

    def process(
        self, batch: NDArray[np.void], now: float | NDArray[np.float64] = 0.0, out: NDArray[np.void] | None = None
    ) -> NDArray[np.void]:
        """Run a batch of packet headers; see Engine.process. `conn` of a result counts within its shard.

        Threads pay off above some thousand packets a batch; a batch of fewer than 2048 runs in the caller's thread.
        """
        now = self._begins(now)
        cores = [engine.core_for(batch) for engine in self.engines]
        if out is None:
            out = np.empty(batch.size, RECORDS6.RESULT if batch.dtype == RECORDS6.PACKET else RECORDS4.RESULT)
        with self._at_work(cores) as others:
            # before anything happens in any shard
            cores[0].check_batch(batch, now, out)
            self._follow(cores, now)
            self._run([partial(c.process_shard, batch, now, out) for c in cores], batch.size, others)
        return out

    def process_frames(
        self,
        buffer: NDArray[np.uint8],
        offsets: NDArray[np.int64],
        iface: str | NDArray[np.uint16] = "local",
        now: float | NDArray[np.float64] = 0.0,
        *,
        version: int = 4,
    ) -> NDArray[np.void]:
        """Run datagrams of one family that lie in one buffer, rewriting them in place; see Engine.process_frames.

        An ICMP error goes to the shard of the packet that it quotes. `conn` of a result counts within its shard.
        """
        now = self._begins(now)
        n = count_of(offsets)
        numbers = numbers_of(self.node, iface, n)
        cores = [engine.core_of(version) for engine in self.engines]
        result = self.engines[0].stack_of(version).records.RESULT
        out, shards = np.empty(max(n, 0), result), np.empty(max(n, 0), np.uint16)
        with self._at_work(cores) as others:
            cores[0].check_frames(buffer, offsets, numbers, now, out)
            self._follow(cores, now)
            # whose each is, before any is rewritten: a thread for each part of them
            ends = [n * k // self.shards for k in range(self.shards + 1)]
            parts = zip(cores, ends, ends[1:], strict=False)
            self._run(
                [partial(c.shards_of_frames, buffer, offsets, numbers, shards, a, b) for c, a, b in parts],
                n, others,
            )  # fmt: skip
            self._run(
                [partial(c.process_shard_frames, buffer, offsets, numbers, shards, now, out) for c in cores],
                n, others,
            )  # fmt: skip
        return out

    def _begins(self, now: float | NDArray[np.float64]) -> float | NDArray[np.float64]:
        """Return the time of a batch as cores take it; ClockError when it begins before that of any shard."""
        if not isinstance(now, np.ndarray) or not now.ndim:
            now = time_of(now)
        first = first_of(now)
        if isinstance(first, float) and not first >= self.now:
            raise ClockError(f"time goes back from {self.now} s to {first} s")
        return now

    @contextmanager
    def _at_work(self, cores: list[Datapath]) -> Iterator[list[Future[None]]]:
        """Keep the group for this call, which appends to the list what runs in other threads than its own."""
        if not self.busy.acquire(blocking=False):
            raise BusyError("another thread is calling this group: one thread at a time")
        others: list[Future[None]] = []
        try:
            for core in cores:
                core.halt(False)
            yield others
        finally:
            # after an interruption wait until the others have stopped, too
            for core in cores:
                core.halt(True)
            wait(others)
            self._catch_up(cores)
            self.busy.release()

    def _follow(self, cores: list[Datapath], now: float | NDArray[np.float64]) -> None:
        """Bring the other family of every shard to the time at which this one begins."""
        for engine, core in zip(self.engines, cores, strict=True):
            engine.follow(core, now)

    def _catch_up(self, cores: list[Datapath]) -> None:
        """Bring the other family of every shard to the time at which this one has ended."""
        for engine, core in zip(self.engines, cores, strict=True):
            engine.catch_up(core)

    def _run(self, parts: list[Callable[[], None]], n: int, others: list[Future[None]]) -> None:
        """Do the part of every shard, n packets in all: the first in the caller's thread, and all if there are few."""
        if n >= FEW:
            others += [self.pool.submit(part) for part in parts[1:]]
            parts = parts[:1]
        for part in parts:
            part()
        for other in others:
            other.result()

    @property
    def processed(self) -> list[int]:
        """For each shard, the packets of the last batch that it has looked at: all, unless it was interrupted."""
        return [engine.processed for engine in self.engines]

    @property
    def now(self) -> float:
        """Virtual time [s]."""
        return max(engine.now for engine in self.engines)

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


def _bytes_of(ranges: list[tuple[int, int]], stack: Stack) -> NDArray[np.uint8]:
    """Return ranges of addresses as bytes of pairs, ascending and apart from each other."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return np.array([stack.family.pack(a) for r in merged for a in r], stack.records.ADDR).view(np.uint8)
