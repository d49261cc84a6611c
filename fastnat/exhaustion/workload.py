"""What is opened: destinations, clients, arrivals and how long flows last, as text says it and as arrays of draws.

Sources: ip-sysctl (ip_local_port_range); RFC 6528 for initial sequence numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import mask_of, to_int, to_text
from ..core.layout import TcpState, TimeoutIndex
from ..dtypes import HZ
from ..errors import InputError
from ..node.arrays import route_array
from ..node.timeouts import timeouts_of
from ..util.text import decimal, excerpt, finite, shown, whole

if TYPE_CHECKING:
    from ..engine import Engine
    from ..node import Node

LOW_EPHEMERAL, HIGH_EPHEMERAL = 32768, 60999
ANY_CLIENTS = (0x0AF40000, 14)  # 10.244.0.0/14, for rules that name no source
# initial sequence numbers grow by one every 64 ns, as Linux's do
ISN_NS = 64
SPORTS = ("random", "ephemeral", "sequential", "any")
CLOSES = ("fin", "rst", "none")
# flows of a run, each of some hundred bytes; flows a second; the longest time, thirty years [s]
MAX_FLOWS, MAX_RATE, MAX_SECONDS = 100_000_000, 1e12, 1e9
# of a lognormal hold time: its mean is e**50 times its median
MAX_SIGMA = 10
# UDP flows answered for longer than this are streams
STREAM_AFTER = 2.0
# hold times from which a share of a distribution is read
DRAWS = 20_000
# sysctls that lingers() names
LINGERS = (
    "", "nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream", "nf_conntrack_tcp_timeout_time_wait",
    "nf_conntrack_tcp_timeout_close",
)  # fmt: skip
DISTRIBUTIONS = {
    "exp": ("MEAN", 1), "uniform": ("LOW-HIGH", 2), "lognormal": ("MEDIAN,SIGMA", 2), "pareto": ("MINIMUM,SHAPE", 2),
}  # fmt: skip


@dataclass(frozen=True)
class Workload:
    """What to open: flows to destinations, each from a client address of its own unless `clients` says fewer.

    Attributes
    ----------
    destinations : tuple of (address, port)
    weights : tuple of float     shares of the flows, one a destination; (): all in turn
    proto : "udp" or "tcp"
    flows : int                  how many are opened
    clients : int                client addresses, 0: one for each flow. They are the addresses of `network`
                                 ("a.b.c.d/len"; None: the source network of the node's first SNAT or MASQUERADE rule)
                                 that are not the node's own; when they are used up they come again with the next port
    sport : int or str           the clients' source ports: one for all, "random" or "sequential" from 32768..60999
                                 (net.ipv4.ip_local_port_range of Linux clients; None is "random"), or "any"
    rate : float                 flows a second of virtual time, 0: all at time 0
    stages : tuple of (seconds, rate at the begin, rate at the end)   instead of a constant rate; the last one's end
                                 rate goes on
    poisson : bool               arrivals at random; otherwise evenly spaced
    hold : float, str or None    seconds that a flow lasts, or "exp:MEAN", "uniform:LOW-HIGH", "lognormal:MEDIAN,SIGMA",
                                 "pareto:MINIMUM,SHAPE". None: a flow is its first packet. It needs a rate
    replies : bool               UDP is answered; TCP always is when it is held
    close : "fin", "rst" or "none"   how TCP flows end
    cpus : int                   packets that pass set-up before the first of them confirms
    iface : str                  where flows enter the node
    """

    destinations: tuple[tuple[str, int], ...]
    proto: str = "udp"
    flows: int = 72_000
    clients: int = 0
    sport: int | str | None = 40_000
    rate: float = 0.0
    iface: str = "cni0"
    network: str | None = None
    hold: float | str | None = None
    weights: tuple[float, ...] = ()
    stages: tuple[tuple[float, float, float], ...] = ()
    poisson: bool = False
    replies: bool = False
    close: str = "fin"
    cpus: int = 1

    def check(self) -> None:
        """Raise InputError for what cannot be simulated."""
        self._check_ends()
        whole("flows", self.flows, 1, MAX_FLOWS)
        whole("clients", self.clients, 0, 2**32 - 1)
        whole("cpus", self.cpus, 1, 256)
        if self.proto not in ("udp", "tcp"):
            raise InputError(f"proto {shown(self.proto)} is not udp or tcp")
        if self.close not in CLOSES:
            raise InputError(f"close {shown(self.close)} is not one of {', '.join(CLOSES)}")
        try:
            finite(self.rate, 0, MAX_RATE)
            for lasts, *rates in self.stages:
                finite(lasts, 0, MAX_SECONDS)
                for rate in rates:
                    finite(rate, 0, MAX_RATE)
        except (ValueError, TypeError) as error:
            raise InputError(f"rate or stage: {error}") from None
        if self.hold is not None and not self.rate and not self.stages:
            raise InputError("holding flows needs a rate: without one all of them are opened at the same time")
        if self.hold is not None:
            holds(self.hold, 1, np.random.default_rng(0))

    def _check_ends(self) -> None:
        """Check who speaks to whom."""
        if not self.destinations:
            raise InputError("there is no destination: give at least one")
        for address, port in self.destinations:
            try:
                to_int(address)
            except ValueError as error:
                raise InputError(f"destination {shown(address)}: {error}") from None
            whole(f"port of {address}:", port, 0, 65535)
        if self.sport is not None and self.sport not in SPORTS:
            whole("source port", self.sport, 1, 65535)
        if self.network is not None:
            network_of(self.network)
        if self.weights:
            if len(self.weights) != len(self.destinations):
                raise InputError(f"{len(self.weights)} weights for {len(self.destinations)} destinations")
            if not all(w >= 0 for w in self.weights) or not 0 < sum(self.weights) < math.inf:
                raise InputError("weights are numbers that are not negative, and not all of them are 0")


def zipf(n: int, exponent: float) -> tuple[float, ...]:
    """Return n weights that fall as 1/rank**exponent."""
    return tuple(float(1 / rank**exponent) for rank in range(1, n + 1))


def holds(spec: float | str, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw how long n flows last [s]; InputError for a distribution that is not understood."""
    kind, numbers = hold_spec(spec)
    if kind == "":
        return np.full(n, numbers[0])
    if kind == "exp":
        return rng.exponential(numbers[0], n)
    if kind == "uniform":
        return rng.uniform(numbers[0], numbers[1], n)
    with np.errstate(over="ignore"):
        if kind == "lognormal":
            drawn = rng.lognormal(math.log(numbers[0]), numbers[1], n)
        else:
            drawn = numbers[0] * (1 + rng.pareto(numbers[1], n))
    return np.minimum(drawn, MAX_SECONDS)


def hold_spec(spec: float | str) -> tuple[str, list[float]]:
    """Return name ("" for a constant) and numbers of a hold time."""
    text = str(spec)
    kind, colon, rest = text.partition(":")
    try:
        if not colon:
            return "", [finite(float(text), 0, MAX_SECONDS)]
        numbers = [float(word) for word in (rest.split("-") if kind == "uniform" else rest.split(","))]
        if kind not in DISTRIBUTIONS or len(numbers) != DISTRIBUTIONS[kind][1]:
            raise ValueError
        if not all(0 < n <= MAX_SECONDS for n in numbers) or (kind == "lognormal" and numbers[1] > MAX_SIGMA):
            raise ValueError
        if kind == "uniform" and numbers[0] > numbers[1]:
            raise ValueError
    except ValueError:
        known = ", ".join(f"{name}:{shape}" for name, (shape, _) in DISTRIBUTIONS.items())
        raise InputError(f"hold time {excerpt(text)!r}: expected seconds, or one of {known}") from None
    return kind, numbers


def mean_hold(spec: float | str) -> float:
    """Return the mean of a hold time [s]; infinite for a Pareto distribution of shape 1 or less."""
    kind, numbers = hold_spec(spec)
    if kind in ("", "exp"):
        return numbers[0]
    if kind == "uniform":
        return sum(numbers) / 2
    if kind == "lognormal":
        return numbers[0] * math.exp(numbers[1] ** 2 / 2)
    return numbers[0] * numbers[1] / (numbers[1] - 1) if numbers[1] > 1 else math.inf


def lifetime(node: Node, work: Workload, profile: str = "linux-6.18") -> float:
    """Return how long the entry of a flow stays in the table on average [s]: its hold time and what follows it."""
    timeouts = timeouts_of(node, profile)
    hold = mean_hold(work.hold or 0.0)
    if work.proto == "udp":
        streams = share_of_streams(work)
        return hold + (streams * timeouts[TimeoutIndex.UDP_STREAM] + (1 - streams) * timeouts[TimeoutIndex.UDP]) / HZ
    if work.hold is None:
        return timeouts[TcpState.SYN_SENT] / HZ
    tail = {"fin": TcpState.TIME_WAIT, "rst": TcpState.CLOSE, "none": TcpState.ESTABLISHED}[work.close]
    return hold + timeouts[tail] / HZ


def share_of_streams(work: Workload) -> float:
    """Return the share of UDP flows that are answered for so long that conntrack takes them for streams."""
    if not work.replies or work.hold is None:
        return 0.0
    return float((holds(work.hold, DRAWS, np.random.default_rng(0)) > STREAM_AFTER).mean())


def lingers(work: Workload) -> str:
    """Return the sysctl that says how long a flow keeps its port behind its end; "" where no time passes, or none does.

    Without --hold no TCP flow is ever closed.
    """
    if not work.rate and not work.stages:
        return ""
    if work.proto == "udp":
        return "nf_conntrack_udp_timeout_stream" if share_of_streams(work) > 0.5 else "nf_conntrack_udp_timeout"
    if work.hold is None or work.close == "none":
        return ""
    return "nf_conntrack_tcp_timeout_time_wait" if work.close == "fin" else "nf_conntrack_tcp_timeout_close"


def busiest_share(work: Workload) -> float:
    """Return the share of the flows that go to the destination with most of them."""
    weights = work.weights or (1.0,) * len(work.destinations)
    return max(weights) / sum(weights)


def arrival_times(work: Workload, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return when each flow is opened, in seconds from the beginning, rising."""
    if not work.rate and not work.stages:
        return np.zeros(work.flows)
    counts = np.cumsum(rng.exponential(1.0, work.flows)) if work.poisson else np.arange(1.0, work.flows + 1)
    if not work.stages:
        with np.errstate(over="ignore"):
            return _within(counts / work.rate)
    seconds, arrived = [0.0], [0.0]
    for lasts, first, last in work.stages:
        # within a ramp the count grows as a parabola: a hundred chords
        steps = np.linspace(0, 1, 101 if first != last else 2)[1:]
        seconds += (seconds[-1] + steps * lasts).tolist()
        arrived += (arrived[-1] + lasts * (first * steps + (last - first) * steps**2 / 2)).tolist()
    times = np.interp(counts, arrived, seconds)
    beyond = counts > arrived[-1]
    last = work.stages[-1][2]
    if beyond.any() and not last:
        raise InputError(f"the stages open {int(arrived[-1]):,} flows, not {work.flows:,}, and end with a rate of 0")
    with np.errstate(over="ignore"):
        times[beyond] = seconds[-1] + (counts[beyond] - arrived[-1]) / (last or 1)
    return _within(times)


def _within(times: NDArray[np.float64]) -> NDArray[np.float64]:
    if times[-1] > MAX_SECONDS:
        why = f"opening {len(times):,} flows at this rate takes more than {MAX_SECONDS:.0e} s: raise the rate"
        raise InputError(why)
    return times


def network_of(text: str) -> tuple[int, int]:
    """Return address and prefix length of "a.b.c.d/len"; InputError for anything else."""
    try:
        address, _, length = text.partition("/")
        return to_int(address), decimal(length, 0, 32, "prefix length") if length else 32
    except (ValueError, AttributeError) as error:
        raise InputError(f"client network {shown(text)}: {error}") from None


def client_addresses(engine: Engine, network: str | None) -> NDArray[Any]:
    """Return the addresses that may open flows, uint32[n]; InputError when there is none."""
    base, length = ANY_CLIENTS
    if network is not None:
        base, length = network_of(network)
    else:
        for _, _, rule in engine.stacks[4].ruleset.origin:
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


def source_ports(work: Workload, n_clients: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return the source port of every flow; flow k is opened by client k modulo n_clients."""
    k = np.arange(work.flows)
    size = HIGH_EPHEMERAL + 1 - LOW_EPHEMERAL
    if work.sport == "any":
        return rng.integers(1024, 65536, work.flows)
    if work.sport is None or work.sport == "random":
        return rng.integers(LOW_EPHEMERAL, HIGH_EPHEMERAL + 1, work.flows)
    if work.sport == "sequential":
        return LOW_EPHEMERAL + k // n_clients % size
    return 1 + (int(work.sport) - 1 + k // n_clients) % 65535


def destination_of(work: Workload, rng: np.random.Generator) -> NDArray[Any]:
    """Return the number of the destination of every flow."""
    if not work.weights:
        return np.arange(work.flows) % len(work.destinations)
    shares = np.array(work.weights) / sum(work.weights)
    return rng.choice(len(work.destinations), work.flows, p=shares)


def initial_sequence(batch: NDArray[Any], seconds: NDArray[np.float64]) -> NDArray[Any]:
    """Return the upper halves of the initial sequence numbers: a hash of the addresses and ports, plus a clock.

    As independent of each other as a keyed hash's (RFC 6528), also where addresses and ports count up: the port search
    compares a SYN with neighbours, and must not find all of them newer.
    """
    ends = scrambled(batch["src"].astype(np.uint64) << np.uint64(32) | batch["dst"])
    ends = scrambled(ends + (batch["sport"].astype(np.uint64) << np.uint64(16) | batch["dport"])) >> np.uint64(32)
    clock = (seconds * (1e9 / ISN_NS)).astype(np.uint64)
    upper: NDArray[Any] = (ends + clock & np.uint64(0xFFFFFFFF)) >> np.uint64(16)
    return upper


def scrambled(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return 64 bits each of which depends on all those given (the finalizer of SplitMix64)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)
