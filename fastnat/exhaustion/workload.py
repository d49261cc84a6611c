"""What is opened: destinations, clients, arrivals and how long flows are held, as text says it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from ..addresses import V4, Family, family_of
from ..errors import InputError
from ..util.text import decimal, excerpt, finite, shown, whole

# clients for rules that name no source: 10.244.0.0/14 and fd00:10:244::/64
ANY_CLIENTS = {4: (0x0AF40000, 14), 6: (0xFD00_0010_0244 << 80, 64)}
SPORTS = ("random", "ephemeral", "sequential", "any")
# how TCP flows end: by both sides, by a RST, never, or by one side alone (CLOSE_WAIT)
CLOSES = ("fin", "rst", "none", "client", "server")
# flows of a run, each of some hundred bytes; flows a second; the longest time, thirty years [s]
MAX_FLOWS, MAX_RATE, MAX_SECONDS = 100_000_000, 1e12, 1e9
# of a lognormal hold time: its mean is e**50 times its median
MAX_SIGMA = 10
# seconds between two packets of a UDP flow that is held: within nf_conntrack_udp_timeout, 30
KEEPALIVE = 20.0
# hold times from which a share of a distribution is read
DRAWS = 20_000
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
                                 that are not the node's own; when they are used up they come again with the next port.
                                 On iface "local" it is the node itself: one address
    sport : int or str           the clients' source ports: one for all, "random" or "sequential" from 32768..60999
                                 (net.ipv4.ip_local_port_range of Linux clients; None is "random"), or "any"
    rate : float                 flows a second of virtual time, 0: all at time 0
    stages : tuple of (seconds, rate at the begin, rate at the end)   instead of a constant rate; the last one's end
                                 rate goes on
    poisson : bool               arrivals at random; otherwise evenly spaced
    hold : float, str or None    seconds that a flow lasts, or "exp:MEAN", "uniform:LOW-HIGH", "lognormal:MEDIAN,SIGMA",
                                 "pareto:MINIMUM,SHAPE". None: a flow is its first packet. It needs a rate
    replies : bool               UDP is answered; TCP always is when it is held
    close : str                  how TCP flows end: "fin" by both sides, "rst", "none"; "client" or "server": only this
                                 side closes, and the other one never does (CLOSE_WAIT)
    cpus : int                   packets that pass set-up before the first of them confirms
    iface : str                  where flows enter the node; "local": the node opens them
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

    @property
    def family(self) -> Family:
        """The family of the destinations."""
        return family_of(self.destinations[0][0]) if self.destinations else V4

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
            holds(self.hold, 1, default_rng(0))

    def _check_ends(self) -> None:
        """Check who speaks to whom."""
        if not self.destinations:
            raise InputError("there is no destination: give at least one")
        family = self.family
        for address, port in self.destinations:
            if family_of(address) is not family:
                raise InputError(
                    f"destination {shown(address)}: all have to be IPv{family.version}, as the first one is"
                )
            try:
                family.to_int(address)
            except ValueError as error:
                raise InputError(f"destination {shown(address)}: {error}") from None
            whole(f"port of {address}:", port, 0, 65535)
        if self.sport is not None and self.sport not in SPORTS:
            whole("source port", self.sport, 1, 65535)
        if self.network is not None:
            network_of(self.network, family)
        if self.weights:
            if len(self.weights) != len(self.destinations):
                raise InputError(f"{len(self.weights)} weights for {len(self.destinations)} destinations")
            if not all(w >= 0 for w in self.weights) or not 0 < sum(self.weights) < math.inf:
                raise InputError("weights are numbers that are not negative, and not all of them are 0")


def zipf(n: int, exponent: float) -> tuple[float, ...]:
    """Return n weights that fall as 1/rank**exponent."""
    return tuple(float(1 / rank**exponent) for rank in range(1, n + 1))


def holds(spec: float | str, n: int, rng: Generator) -> NDArray[np.float64]:
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


def shares_of(work: Workload) -> dict[tuple[int, int], float]:
    """Return the share of the flows that go to each (address, port); one that is named twice has both shares."""
    weights = work.weights or (1.0,) * len(work.destinations)
    whole_of, shares = sum(weights), dict[tuple[int, int], float]()
    for (address, port), weight in zip(work.destinations, weights, strict=True):
        end = work.family.to_int(address), port
        shares[end] = shares.get(end, 0.0) + weight / whole_of
    return shares


def stage_points(stages: tuple[tuple[float, float, float], ...]) -> tuple[list[float], list[float]]:
    """Return times [s], and how many flows the stages have opened by each of them."""
    seconds, arrived = [0.0], [0.0]
    for lasts, first, last in stages:
        # within a ramp the count grows as a parabola: a hundred chords
        steps = np.linspace(0, 1, 101 if first != last else 2)[1:]
        seconds += (seconds[-1] + steps * lasts).tolist()
        arrived += (arrived[-1] + lasts * (first * steps + (last - first) * steps**2 / 2)).tolist()
    return seconds, arrived


def span(work: Workload) -> float:
    """Return how long it takes on average to open all flows [s]."""
    rate, seconds, flows = work.rate, 0.0, float(work.flows)
    if work.stages:
        times, arrived = stage_points(work.stages)
        if flows <= arrived[-1]:
            return float(np.interp(flows, arrived, times))
        rate, seconds, flows = work.stages[-1][2], times[-1], flows - arrived[-1]
    return seconds + flows / rate if rate else seconds


def check_duration(work: Workload) -> None:
    """Raise InputError where opening all flows takes longer than can be simulated."""
    if span(work) > MAX_SECONDS:
        raise InputError(
            f"opening {work.flows:,} flows at this rate takes more than {MAX_SECONDS:.0e} s: raise the rate"
        )


def network_of(text: str, family: Family = V4) -> tuple[int, int]:
    """Return address and prefix length of "a.b.c.d/len", or of IPv6; InputError for anything else."""
    try:
        address, _, length = text.partition("/")
        bits = decimal(length, 0, family.bits, "prefix length") if length else family.bits
        return family.to_int(address), bits
    except (ValueError, AttributeError) as error:
        raise InputError(f"client network {shown(text)}: {error}") from None
