"""Opening flows until SNAT ports run out, and saying how it went."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .addresses import mask_of, to_array, to_int, to_text
from .dtypes import PACKET, PROTOCOLS, Reason, Verdict
from .engine import Engine
from .errors import InputError
from .node_arrays import route_array
from .packets import packets

ROW = 1000
PORTS = 64512
FIN, SYN, ACK = 1, 2, 16
# seconds between two packets of a UDP flow that is held: within nf_conntrack_udp_timeout, 30
KEEPALIVE = 20.0
ANY_CLIENTS = (0x0AF40000, 14)  # 10.244.0.0/14, for rules that name no source
LOW_EPHEMERAL, HIGH_EPHEMERAL = 32768, 60999


@dataclass(frozen=True)
class Workload:
    """What to open: flows to destinations in turn, each from a client address of its own unless `clients` says fewer.

    Clients are the addresses of `network` ("a.b.c.d/len"; None: the source network of the node's first SNAT or
    MASQUERADE rule) that are not the node's own; when they are used up, they come again with the next source port.

    Rates are flows per second of virtual time, 0: all at time 0. `sport` None draws from the ephemeral range
    32768..60999 (net.ipv4.ip_local_port_range). Without `hold` a flow is its first packet. With it [s], which needs a
    rate, UDP flows send a packet every KEEPALIVE seconds for that long; TCP flows shake hands, and are closed
    after that time by FIN from both sides, so that they enter TIME_WAIT.
    """

    destinations: tuple[tuple[str, int], ...]
    proto: str = "udp"
    flows: int = 72_000
    clients: int = 0
    sport: int | None = 40_000
    rate: float = 0.0
    iface: str = "cni0"
    network: str | None = None
    hold: float | None = None


@dataclass(frozen=True)
class Row:
    """A thousand flows: `fail` is a share; occupancy counts live connections a SNAT port and destination."""

    sent: int
    count: int
    occupancy: float
    fail: float
    probes_per_conn: float
    ns_per_conn: float


@dataclass(frozen=True)
class Outcome:
    """A whole run; `reasons` counts the failed flows by why they failed."""

    rows: list[Row]
    opened: int
    failed: int
    first_failure: int | None
    one_in_thousand: int | None
    reasons: dict[str, int]
    translated: int


def client_addresses(engine: Engine, network: str | None) -> NDArray[Any]:
    """Return the addresses that may open flows, uint32[n]; InputError when there is none."""
    base, length = ANY_CLIENTS
    if network is not None:
        try:
            text, _, prefix = network.partition("/")
            base, length = to_int(text), int(prefix or 32)
        except ValueError as error:
            raise InputError(f"client network {network!r}: {error}") from None
    else:
        for _, _, rule in engine.ruleset.origin:
            if rule and rule.target.name in ("SNAT", "MASQUERADE") and rule.smask and not rule.invert_src:
                base, length = rule.src, rule.smask.bit_count()
                break
    length = max(length, 8)
    addresses = np.arange(2 if length < 31 else 0, 1 << (32 - length), dtype=np.uint32) + np.uint32(
        base & mask_of(length)
    )
    routes = route_array(engine.node)
    own = routes["dst"][np.isin(routes["kind"], (2, 3))]
    addresses = addresses[~np.isin(addresses, own)]
    if len(addresses) == 0:
        raise InputError(f"no client address left in {to_text(base)}/{length}: all are the node's own")
    return addresses


class Held:
    """Flows that are open, and the packets that they still send."""

    def __init__(self, engine: Engine, work: Workload) -> None:
        self.engine, self.proto, self.hold = engine, work.proto, work.hold
        self.sent: list[NDArray[Any]] = []
        self.left: list[NDArray[Any]] = []
        self.opened: list[NDArray[Any]] = []
        self.last: list[NDArray[Any]] = []

    def open(self, batch: NDArray[Any], out: NDArray[Any], times: NDArray[Any]) -> None:
        """Take over the flows of a batch that were forwarded; TCP ones shake hands."""
        if self.hold is None:
            return
        good = out["verdict"] == Verdict.FORWARD
        batch, out = batch[good], out[good]
        if self.proto == "tcp":
            self._answer(out, SYN | ACK)
            self._send(batch, ACK)
        self.sent.append(batch)
        self.left.append(out)
        self.opened.append(times[good])
        self.last.append(times[good].copy())

    def _send(self, batch: NDArray[Any], flags: int) -> None:
        again = batch.copy()
        again["tcp_flags"] = flags
        self.engine.process(again, self.engine.now)

    def _answer(self, out: NDArray[Any], flags: int) -> None:
        back = np.zeros(len(out), PACKET)
        for here, there in (("src", "dst"), ("dst", "src"), ("sport", "dport"), ("dport", "sport")):
            back[here] = out[there]
        back["iface"], back["proto"], back["tcp_flags"] = out["out_iface"], PROTOCOLS[self.proto], flags
        self.engine.process(back, self.engine.now)

    def step(self) -> None:
        """Send what is due by now: packets that keep UDP flows, FINs that end TCP flows."""
        if self.hold is None:
            return
        now = self.engine.now
        # flows were opened in order of time: those that are over are the first ones
        while self.opened and self.opened[0][-1] + self.hold <= now:
            if self.proto == "tcp":
                self._send(self.sent[0], FIN | ACK)
                self._answer(self.left[0], FIN | ACK)
                self._send(self.sent[0], ACK)
            for kept in (self.sent, self.left, self.opened, self.last):
                del kept[0]
        if self.proto == "udp":
            for sent, last in zip(self.sent, self.last, strict=True):
                due = now - last >= KEEPALIVE
                if due.any():
                    self._send(sent[due], 0)
                    last[due] = now


def run(engine: Engine, work: Workload, progress: Callable[[int], None] | None = None) -> Outcome:
    """Open the workload's flows in rows of 1000.

    Raises InputError when the interface does not exist, no client address is left, or `hold` comes without a rate.
    """
    if work.hold is not None and not work.rate:
        raise InputError("holding flows needs a rate: without one all of them are opened at the same time")
    rng = np.random.default_rng(engine.seed)
    iface = engine.node.iface_number(work.iface)
    dst = to_array([d for d, _ in work.destinations])
    dport = np.array([p for _, p in work.destinations], np.uint16)
    sources = client_addresses(engine, work.network)
    sources = sources[: work.clients or work.flows]
    held = Held(engine, work)
    rows: list[Row] = []
    reasons: dict[str, int] = {}
    pain = first_failure = None
    failed = translated = 0
    for start in range(0, work.flows, ROW):
        k = np.arange(start, min(start + ROW, work.flows))
        if work.sport is None:
            sport = rng.integers(LOW_EPHEMERAL, HIGH_EPHEMERAL + 1, len(k))
        else:
            sport = 1 + (work.sport - 1 + k // len(sources)) % 65535
        batch = packets(
            proto=work.proto, src=sources[k % len(sources)], dst=dst[k % len(dst)], sport=sport,
            dport=dport[k % len(dport)], iface=iface, tcp_flags=SYN if work.proto == "tcp" else 0,
        )  # fmt: skip
        now = engine.now + (np.arange(1, len(k) + 1) / work.rate if work.rate else np.zeros(len(k)))
        before = time.perf_counter_ns()
        out = engine.process(batch, now)
        spent = time.perf_counter_ns() - before
        held.open(batch, out, now)
        bad = out["verdict"] == Verdict.DROP
        translated += int(((out["src"] != batch["src"]) & ~bad).sum())
        for code, n in zip(*np.unique(out["reason"][bad], return_counts=True), strict=True):
            name = Reason(int(code)).name.lower()
            reasons[name] = reasons.get(name, 0) + int(n)
        if bad.any() and first_failure is None:
            first_failure = start + int(np.argmax(bad)) + 1
        share = int(bad.sum()) / len(k)
        failed += int(bad.sum())
        if share >= 0.001 and pain is None:
            pain = start + len(k)
        count = len(engine.conntrack)
        occupancy = count / (PORTS * len(work.destinations))
        rows.append(Row(start + len(k), count, occupancy, share, float(out["probes"].mean()), spent / len(k)))
        held.step()
        if progress:
            progress(len(k))
    return Outcome(rows, work.flows - failed, failed, first_failure, pain, reasons, translated)


def verdict(o: Outcome) -> str:
    """Return the answer in words: which of the three look-alike failures it is, and where it starts."""
    if not o.failed and not o.translated:
        return "No flow was translated: these rules do not SNAT this traffic, so no SNAT port can run out."
    if not o.failed:
        return f"All {o.opened:,} flows found a port."
    why = max(o.reasons, key=lambda k: o.reasons[k])
    what = {
        "clash": "SNAT ports to one destination ran out: the port search gave up and the flow was lost at confirm "
        "(insert_failed, drop)",
        "table_full": "the conntrack table is full (nf_conntrack_max): packets are dropped before NAT is asked",
    }.get(why, f"flows were dropped: {why.replace('_', ' ')}")
    counts = f"First failure at flow {o.first_failure:,}; {o.failed:,} of {o.opened + o.failed:,} failed."
    return f"{what[0].upper()}{what[1:]}. {counts}"
