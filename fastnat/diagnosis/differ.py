"""Do two nodes decide alike? Packets that cover the rules of both, full lives of connections, and what differs first.

Where rules draw (statistic, random ports), answers are compared as distributions, from many draws, and count as
different only if chance explains that once in a thousand million times.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import FAMILIES, V6, Family
from ..dtypes import CONN_MARKED, HZ, PROTOCOL_NAMES, CtInfo, Reason, Verdict, records_of
from ..engine import Engine
from ..node import Node
from ..util.mixing import folded, scrambled
from .datagrams import is_built, process_datagrams
from .nft_reach import Watched
from .wanted import Fields, Wishes, family_versions

# packets of a batch, the time between two of them [s], and packets after which both begin anew
BATCH, PAUSE, MOST_HISTORY = 512, 0.37, 20_000
# of rounds, those whose first packets have all their bytes, and how many these are
WHOLE, WHOLE_BATCH = 0.25, 128
# draws of one sequence that tell whether its answers are drawn at all, and of which shares are compared: one by one, or
# many packets at once; what chance must not explain
FEW, DRAWS, MANY_DRAWS, CHANCE = 12, 400, 40_000, 1e-9
# packets of one client to one server in a row, for rules that count
BURST = 24
# runs that shorten a sequence
SHORTENING = 400
ROOM = 1 << 17
SYN, ACK, FIN, RST = 2, 16, 1, 4
TCP, WITH_PORTS = 6, (6, 17, 132, 136)
Towards = tuple[int, int, int, int]


@dataclass(frozen=True)
class Sent:
    """A packet of a sequence: what, when [s], and in words."""

    version: int
    fields: Fields
    now: float


@dataclass
class Difference:
    """What differs: the shortest sequence found, whose last packet has two answers; drawn: with two shares."""

    sequence: list[Sent]
    answers: tuple[str, str]
    drawn: bool = False


@dataclass
class Compared:
    """What a comparison found: packets sent, the first difference, and the rules that no packet reached.

    without_ipv6: which node has no IPv6 where the other has, None if both have or neither has.
    """

    packets: int = 0
    without_ipv6: int | None = None
    difference: Difference | None = None
    unreached: tuple[list[str], ...] = ()

    @property
    def alike(self) -> bool:
        """Tell that nothing was found in which both differ."""
        return self.difference is None and self.without_ipv6 is None


class Pair:
    """Two engines that are asked the same. watched: their rules of nftables count who reaches them."""

    def __init__(self, nodes: list[Node], profiles: list[str], seed: int = 0, watched: bool = False) -> None:
        self.nodes, self.profiles, self.seed = nodes, profiles, seed
        self.watched = [Watched.of(node) for node in nodes] if watched else []
        self.made = [
            Engine(node, profile, seed, max_connections=ROOM, epoch=0.0)
            for node, profile in zip([w.node for w in self.watched] or nodes, profiles, strict=True)
        ]
        self.numbers = [{name: n for n, name in enumerate(engine.iface_names)} for engine in self.made]

    def fresh(self, seed: int | None = None) -> list[Engine]:
        """Return both engines as they were before any packet."""
        return [engine.fork(seed) for engine in self.made]

    def batch(self, which: int, fields: list[Fields], family: Family) -> NDArray[Any]:
        """Return packets for one of both, PACKET[n]."""
        made = np.zeros(len(fields), records_of(family).PACKET)
        for name in ("proto", "sport", "dport", "mark", "length"):
            made[name] = [getattr(f, name) for f in fields]
        made["tcp_flags"] = [f.flags for f in fields]
        made["iface"] = [self.numbers[which][f.iface] for f in fields]
        addr = records_of(family).ADDR
        for name in ("src", "dst"):
            made[name] = np.array([family.pack(getattr(f, name)) for f in fields], addr)
        return made


def send(
    pair: Pair, which: int, engine: Engine, fields: list[Fields], family: Family, now: float
) -> tuple[NDArray[Any], NDArray[Any], list[tuple[Any, ...]]]:
    """Send packets to one of both; return PACKET[n], RESULT[n], and what is observable of each."""
    batch = pair.batch(which, fields, family)
    if not fields[0].whole:
        out = engine.process(batch, now)
        return batch, out, seen(engine, batch, out, family)
    out, rewritten = process_datagrams(engine, fields, np.ascontiguousarray(batch["iface"]), now, family)
    return batch, out, seen(engine, batch, out, family, rewritten)


def seen(
    engine: Engine, batch: NDArray[Any], out: NDArray[Any], family: Family, rewritten: list[str] | None = None
) -> list[tuple[Any, ...]]:
    """Return what is observable of each packet: verdict, way, addresses, ports that are not drawn, its connection.

    rewritten: of datagrams, what was rewritten in their bytes.
    """
    core = engine.core_of(family.version)
    conns, marks = core.arrays["conns"], core.arrays["tcp"]["mark"]
    numbers = out["conn"].astype(np.int64)
    held = (numbers < core.high_water) & (out["verdict"] != Verdict.DROP)
    there = np.where(held, numbers, 0)
    # a jiffy has no exact float
    now = np.uint32(round(engine.now * HZ) & 0xFFFFFFFF)
    left = np.where(held, (conns["timeout"][there] - now).astype(np.int32), -1)
    status, zone = (np.where(held, conns[name][there], 0) for name in ("status", "zone"))
    mark = np.where(held & (conns["flags"][there] & CONN_MARKED != 0), marks[there], 0)
    names = engine.iface_names
    found: list[tuple[Any, ...]] = []
    for k in range(len(out)):
        row = out[k]
        if row["verdict"] == Verdict.DROP:
            found.append(("drop", int(row["reason"])))
            continue
        kept = row["sport"] == batch["sport"][k]
        found.append((
            int(row["verdict"]), int(row["ctinfo"]), names[row["out_iface"]], family.unpack(row["src"]),
            family.unpack(row["dst"]), int(row["dport"]), "kept" if kept else "changed", int(left[k]), int(status[k]),
            int(mark[k]), int(zone[k]), rewritten[k] if rewritten else "",
        ))  # fmt: skip
    return found


def in_words(answer: tuple[Any, ...], family: Family) -> str:
    """Return an answer for people."""
    if answer[0] == "drop":
        return f"dropped ({Reason(answer[1]).name.lower().replace('_', ' ')})"
    verdict, ctinfo, iface, src, dst, dport, kept, left, _, mark, zone, rewritten = answer
    where = "to the node itself" if verdict == Verdict.LOCAL else f"on {iface}"
    ends = f"from {family.to_text(src)} (port {kept}) to {family.to_text(dst)} port {dport}"
    said = f"{where}, {ends}, {CtInfo(ctinfo).name}"
    if left >= 0:
        said += f", entry lives {left / HZ:g} s"
    said += (f", mark {mark:#x}" if mark else "") + (f", zone {zone}" if zone else "")
    return said + (f", {rewritten}" if rewritten else "")


class Comparison:
    """Two nodes under comparison: packets go to both until something differs.

    drawn: (family, protocol, address, port) towards which answers were found to differ by chance alone.
    """

    def __init__(self, pair: Pair, seed: int, progress: Callable[[int], None] | None) -> None:
        self.pair, self.progress, self.draw = pair, progress, Random(seed)
        self.wishes = {v: Wishes(pair.nodes, FAMILIES[v], self.draw) for v in family_versions(pair.nodes)}
        self.drawn: set[Towards] = set()
        self.result = Compared()
        # packets that each rule has met, by family, of both
        self.reached: tuple[dict[int, Any], dict[int, Any]] = ({}, {})
        self.engines: list[Engine] = []
        self.history: list[Sent] = []
        self.begin()

    def begin(self) -> None:
        """Go on with both as they were before any packet."""
        self.note_reached()
        self.engines, self.history, self.now = self.pair.fresh(), [], 0.0

    def note_reached(self) -> None:
        """Add what the rules have counted beyond the counters of their text."""
        for reached, made, engine in zip(self.reached, self.pair.made, self.engines or self.pair.made, strict=True):
            for version, stack in engine.stacks.items():
                before = made.stacks[version].core.rule_counters()["packets"]
                met = stack.core.rule_counters()["packets"] - before
                reached[version] = reached.get(version, 0) + met
        for watched, engine in zip(self.pair.watched, self.engines, strict=bool(self.engines)):
            watched.note(engine)

    def round(self) -> None:
        """Send some batches of each family."""
        for version, wish in self.wishes.items():
            for fields in talks(wish, self.draw, FAMILIES[version]):
                self.now += PAUSE if self.draw.random() < 0.9 else self.draw.choice((3.0, 12.0, 31.0, 125.0))
                at = self.ask(fields, version)
                sent = [Sent(version, f, self.now) for f in fields]
                self.history += sent
                if at is not None:
                    sequence = self.history[: len(self.history) - len(sent) + at + 1]
                    self.result.difference = confirmed(self.pair, sequence, self.wishes[version].asks_source_ports)
                    if self.result.difference:
                        return
                    self.drawn.add(towards(sent[at]))
                if at is not None or len(self.history) > MOST_HISTORY:
                    # what follows a difference, even one by chance, differs, too
                    self.begin()

    def ask(self, fields: list[Fields], version: int) -> int | None:
        """Send packets, and answers to those that passed, to both; return the first that differs."""
        family = FAMILIES[version]
        answers, outs, batches = [], [], []
        for which, engine in enumerate(self.engines):
            batch, out, answer = send(self.pair, which, engine, fields, family, self.now)
            answers.append(answer)
            outs.append(out)
            batches.append(batch)
        self.count(len(fields))
        known = [(version, f.proto, f.dst, f.dport) in self.drawn for f in fields]
        for k, (a, b) in enumerate(zip(*answers, strict=True)):
            if a != b and not known[k]:
                return k
        # answers to what chance has sent elsewhere say nothing
        passed = (outs[0]["verdict"] == Verdict.FORWARD) & (outs[1]["verdict"] == Verdict.FORWARD) & ~np.array(known)
        places = np.flatnonzero(passed)
        back = []
        for engine, out, batch in zip(self.engines, outs, batches, strict=True):
            reply = answers_to(batch[places], out[places])
            back.append(replies_seen(engine, reply, engine.process(reply, self.now), family))
        self.count(len(places))
        for k, (a, b) in enumerate(zip(*back, strict=True)):
            if a != b:
                return int(places[k])
        return None

    def count(self, n: int) -> None:
        """Count packets."""
        self.result.packets += n
        if self.progress:
            self.progress(n)


def compare(
    nodes: list[Node], profiles: list[str], seconds: float = 10.0, seed: int = 0, most: int = 10_000_000,
    progress: Callable[[int], None] | None = None,
) -> Compared:  # fmt: skip
    """Compare two nodes for so many seconds, or packets, until something differs.

    Raises InputError, RuleError if a node cannot be used.
    """
    comparison = Comparison(Pair(nodes, profiles, seed, watched=True), seed, progress)
    end = monotonic() + seconds
    result = comparison.result
    have = [V6 in node.more_families for node in nodes]
    result.without_ipv6 = have.index(False) if any(have) and not all(have) else None
    while result.difference is None and monotonic() < end and result.packets < most:
        comparison.round()
    comparison.note_reached()
    pair = comparison.pair
    result.unreached = tuple(
        unreached(made, reached) + watched.unreached
        for made, reached, watched in zip(pair.made, comparison.reached, pair.watched, strict=True)
    )
    return result


def talks(wish: Wishes, draw: Random, family: Family) -> Iterator[list[Fields]]:
    """Yield batches: first packets, later ones and ends of connections, and bursts of one client.

    Some first packets have all their bytes, as rules may write into these (TCPMSS, TTL, DSCP, payload).
    """
    first = [wish.packet() for _ in range(BATCH)]
    if draw.random() < WHOLE:
        built = [f for f in first if is_built(f, family)][:WHOLE_BATCH]
        # who sends a datagram sends no mark with it
        first = [replace(f, whole=True, mark=0, length=60) for f in built] or first
    yield first
    again = draw.sample(first, len(first) // 4)
    ended, cut = again[: len(again) // 2], again[len(again) // 2 :]
    if ended:
        yield [with_flags(f, ACK) for f in again]
        yield [with_flags(f, FIN | ACK) for f in ended] + [with_flags(f, RST) for f in cut]
        yield [with_flags(f, ACK) for f in ended]
    burst = []
    for _ in range(4):
        f = wish.packet()
        burst += [replace(f, sport=f.sport + k & 0xFFFF) for k in range(BURST)]
    yield burst


def with_flags(f: Fields, flags: int) -> Fields:
    """Return a header with other TCP flags."""
    return replace(f, flags=flags if f.proto == TCP else 0, whole=False)


def answers_to(batch: NDArray[Any], out: NDArray[Any]) -> NDArray[Any]:
    """Return what the other side sends back; of the FINs half are answered by a FIN, half by an ACK (CLOSE_WAIT)."""
    reply = np.zeros(len(batch), batch.dtype)
    for here, there in (("src", "dst"), ("dst", "src"), ("sport", "dport"), ("dport", "sport")):
        reply[here] = out[there]
    reply["iface"], reply["proto"], reply["length"] = out["out_iface"], batch["proto"], 60
    flags = np.where(batch["tcp_flags"] & SYN, SYN | ACK, ACK)
    flags = np.where((batch["tcp_flags"] & FIN != 0) & (batch["sport"] & 1 != 0), FIN | ACK, flags)
    reply["tcp_flags"] = np.where(batch["proto"] == TCP, flags, 0)
    return reply


def replies_seen(engine: Engine, reply: NDArray[Any], out: NDArray[Any], family: Family) -> list[tuple[Any, ...]]:
    """Return what is observable of answers; whether their ports are kept depends on what was drawn before."""
    return [a if a[0] == "drop" else (*a[:6], "kept", *a[7:]) for a in seen(engine, reply, out, family)]


def towards(sent: Sent) -> Towards:
    """Return where a packet goes."""
    return sent.version, sent.fields.proto, sent.fields.dst, sent.fields.dport


def unreached(engine: Engine, reached: dict[int, Any]) -> list[str]:
    """Return the rules of iptables that no packet has met, as they are written; reached: packets by family and rule."""
    found = []
    for version, counted in reached.items():
        for (table, chain, rule), n in zip(engine.stacks[version].ruleset.origin, counted.tolist(), strict=True):
            if rule is not None and not n:
                tool = "ip6tables" if version == 6 else "iptables"
                found.append(f"{tool} -t {table}: {rule.text or f'a rule of {chain.name}'}")
    return found


def last_answers(pair: Pair, sequence: list[Sent], seed: int | None = None) -> list[tuple[Any, ...]]:
    """Return how both answer the last packet of a sequence, and its reply, sent one by one."""
    return [run_through(pair, which, engine, sequence) for which, engine in enumerate(pair.fresh(seed))]


def run_through(pair: Pair, which: int, engine: Engine, sequence: list[Sent]) -> tuple[Any, ...]:
    """Send a sequence to one engine; return how it answers the last packet, and its reply."""
    answer: tuple[Any, ...] = ()
    for sent in sequence:
        family = FAMILIES[sent.version]
        batch, out, answers = send(pair, which, engine, [sent.fields], family, max(sent.now, engine.now))
        answer = answers[0]
        if out["verdict"][0] == Verdict.FORWARD:
            reply = answers_to(batch, out)
            answer = (*answer, "reply", *replies_seen(engine, reply, engine.process(reply, engine.now), family)[0])
    return answer


def confirmed(pair: Pair, sequence: list[Sent], asks_source_ports: bool) -> Difference | None:
    """Return a difference that chance does not explain, by as short a sequence as was found; None where it may."""
    last = sequence[-1]
    alone = significant(pair, [last], asks_source_ports)
    if alone:
        return alone
    near = [s for s in sequence[:-1] if s.fields.src == last.fields.src or s.fields.dst == last.fields.dst][-200:]
    for some in ([*near, last], sequence[-3 * BATCH :], sequence):
        first = last_answers(pair, some)
        if first[0] != first[1]:
            return significant(pair, shortened(pair, some), asks_source_ports)
    return None


def shortened(pair: Pair, sequence: list[Sent]) -> list[Sent]:
    """Return a part of a sequence whose last packet still differs."""
    size, runs = max(len(sequence) // 2, 1), 0
    while size >= 1 and runs < SHORTENING:
        at = 0
        while at < len(sequence) - 1 and runs < SHORTENING:
            less = sequence[:at] + sequence[min(at + size, len(sequence) - 1) :]
            runs += 1
            answers = last_answers(pair, less)
            if answers[0] != answers[1]:
                sequence = less
            else:
                at += size
        size //= 2
    return sequence


def significant(pair: Pair, sequence: list[Sent], asks_source_ports: bool) -> Difference | None:
    """Return the difference if both answer otherwise whatever is drawn, or with other shares."""
    counted = [Counter(last_answers(pair, sequence, seed)[which] for seed in range(1, FEW + 1)) for which in (0, 1)]
    family = FAMILIES[sequence[-1].version]
    if all(len(c) == 1 for c in counted):
        a, b = (next(iter(c)) for c in counted)
        return None if a == b else Difference(sequence, (told(a, b, family), told(b, a, family)))
    draws = DRAWS
    by_header = sequence[0].fields.proto in WITH_PORTS and not sequence[0].fields.whole
    if len(sequence) == 1 and not asks_source_ports and by_header:
        draws = MANY_DRAWS
        counted = [drawn_at_once(pair, which, sequence[0], draws) for which in (0, 1)]
    else:
        counted = [
            Counter(last_answers(pair, sequence, seed)[which] for seed in range(1, draws + 1)) for which in (0, 1)
        ]
    # many are as unlikely as can be: of those the one whose share differs most, and came up first
    worst = min(
        [*counted[0], *counted[1]],
        key=lambda k: (chance(counted[0][k], counted[1][k], draws), -abs(counted[0][k] - counted[1][k])),
    )
    if chance(counted[0][worst], counted[1][worst], draws) > CHANCE:
        return None
    shares = [c[worst] / draws for c in counted]
    said = told(worst, (), family)
    return Difference(sequence, (f"{shares[0]:.1%} of the time {said}", f"{shares[1]:.1%} of the time"), True)


def drawn_at_once(pair: Pair, which: int, sent: Sent, draws: int) -> Counter[tuple[Any, ...]]:
    """Return how often each answer is given to packets that differ only by source ports, for which no rule asks."""
    engine, family = pair.made[which].fork(1), FAMILIES[sent.version]
    batch = np.repeat(pair.batch(which, [sent.fields], family), draws)
    batch["sport"] = 1024 + np.arange(draws)
    out = engine.process(batch, sent.now)
    # most answers are the same: one of each kind is looked at
    key = np.zeros(draws, np.uint64)
    kept = out["sport"] == batch["sport"]
    for column in (out["verdict"], out["reason"], out["ctinfo"], out["out_iface"], out["dport"], kept):
        key = scrambled(key ^ column.astype(np.uint64))
    key = scrambled(key ^ folded(out["src"])) ^ folded(out["dst"])
    _, first, counts = np.unique(key, return_index=True, return_counts=True)
    answers = seen(engine, batch[first], out[first], family)
    counted: Counter[tuple[Any, ...]] = Counter()
    for answer, n in zip(answers, counts.tolist(), strict=True):
        counted[answer] += n
    return counted


def told(answer: tuple[Any, ...], other: tuple[Any, ...], family: Family) -> str:
    """Return an answer in words; its reply's where only that differs from the other one's."""
    parts = split(answer)
    if other and parts[0] == split(other)[0] and len(parts) > 1:
        return f"its reply: {in_words(parts[1], family)}"
    return in_words(parts[0], family)


def split(answer: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Return the answer to a packet, and that to its reply if there is one."""
    if "reply" not in answer:
        return [answer]
    at = answer.index("reply")
    return [answer[:at], answer[at + 1 :]]


def chance(a: int, b: int, n: int) -> float:
    """Return how likely two counts out of n draws each differ so much by chance (two proportions, normal)."""
    pooled = (a + b) / (2 * n)
    if pooled in (0, 1):
        return 1.0
    z = abs(a - b) / math.sqrt(2 * n * pooled * (1 - pooled))
    return math.erfc(z / math.sqrt(2))


def packet_text(sent: Sent) -> str:
    """Return a packet of a sequence in words."""
    f, family = sent.fields, FAMILIES[sent.version]
    name = PROTOCOL_NAMES.get(f.proto, str(f.proto))
    ends = f"{family.to_text(f.src)} port {f.sport} > {family.to_text(f.dst)} port {f.dport}"
    flags = "".join(letter for bit, letter in ((1, "F"), (2, "S"), (4, "R"), (16, "A")) if f.flags & bit)
    more = (f" flags {flags}" if flags else "") + (f" mark {f.mark:#x}" if f.mark else "")
    more += f" length {f.length}" if f.length != 60 else ""
    return f"t={sent.now:g} s, {name} {ends} in {f.iface}{more}" + (" with all its bytes" if f.whole else "")
