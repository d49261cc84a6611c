"""Entries of a dump that today's rules would treat otherwise: they go on as they began until they die.

An entry's first packet is run again through the node as it is now. Where rules choose by chance (statistic, numgen, a
service with several backends), an entry is stale only if its own translation is none of those that come up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..addresses import FAMILIES, Family
from ..core.layout import MatchKind, NftExprKind
from ..dtypes import HZ, MATCH, PROTOCOL_NAMES, PROTOCOLS, CtInfo, Reason, Verdict, records_of
from ..engine import Engine
from ..engine.flows import SYN, known_interfaces_of
from ..rules.forms import PLACES
from ..util.mixing import folded, scrambled
from ..util.records import parts, picked, put
from .outcomes import BESIDE, COMES_UP, NEVER, UNKNOWN, Classes, decide_by_class, translation

# sources of entries that are alike, and packets of each, for which all translations that rules draw are looked for; of
# these so many at first
SOURCES, TRIES, FEW = 4, 2048, 64
BATCH = 1 << 16
# entries of which each is judged by itself where they differ, not by some of its group
EACH = 1 << 14
# what is less likely may not come up in so few of them
RARE = 0.1
# entries for which a few packets are tried in one engine
TOGETHER = 512
# what may tell source ports apart that are of one class
ASKS_PORTS = (MatchKind.SET, MatchKind.CT_PORT)
# of iptables and of nftables: what other packets change
COUNTING = (
    MatchKind.NTH, MatchKind.RECENT, MatchKind.LIMIT, MatchKind.HASHLIMIT, MatchKind.QUOTA, MatchKind.CONNLIMIT,
)  # fmt: skip
NFT_COUNTING = (
    NftExprKind.LIMIT, NftExprKind.QUOTA, NftExprKind.CONNLIMIT, NftExprKind.OBJECT, NftExprKind.DYNSET,
    NftExprKind.LAST,
)  # fmt: skip
# the field of MATCH that holds the chance of -m statistic --mode random, of 2**31
BELOW = (MATCH.names or ())[PLACES[MatchKind.RANDOM]["below"]]
# what says more of routes, addresses or sysctls that were not given than of rules
NOWHERE = (Reason.NO_ROUTE, Reason.MARTIAN, Reason.OUT_DEVICE, Reason.NOT_FORWARDING, Reason.INTERFACE)
# of an entry whose first packet would be found again or find no port beside the others: engines that see fewer of them
AGAIN = 6
# protocols with ports: of the others a tuple has ids and keys
WITH_PORTS = (6, 17, 132, 136)


@dataclass(frozen=True)
class Group:
    """Entries that are stale in one way.

    was, today: in words; count; dies: seconds until the last of them does, if no packet renews it; command: removes
    them; others: entries beside them that it removes, too.
    """

    what: str
    proto: str
    towards: str
    was: str
    today: str
    count: int
    dies: float
    command: str
    others: int


@dataclass(frozen=True)
class Stale:
    """All that was found: groups, the largest first; judged: entries; left_out: entries that could not be, by why."""

    groups: list[Group]
    judged: int
    left_out: dict[str, int]

    @property
    def count(self) -> int:
        """Entries that are stale."""
        return sum(g.count for g in self.groups)


def stale(fresh: Engine, loaded: Engine, progress: Callable[[int], None] | None = None) -> Stale:
    """Return which connections of an engine a node would treat otherwise now.

    fresh: an engine of the node as it is, without connections and with room for them; loaded: one into which a dump
    was loaded.
    """
    groups: list[Group] = []
    left_out: dict[str, int] = {}
    judged = 0
    for version in loaded.stacks:
        core = loaded.core_of(version)
        records = core.arrays["conns"][: core.high_water]
        live = records["flags"] & 1 != 0
        # of a dump that has just been loaded all are
        records = records if live.all() else records[live]
        if not len(records):
            continue
        judge = Judge(fresh, FAMILIES[version], records, progress)
        judge.run()
        for why, n in judge.left_out().items():
            left_out[why] = left_out.get(why, 0) + n
        judged += int(judge.known.sum())
        groups += judge.groups(core.now)
    return Stale(sorted(groups, key=lambda g: -g.count), judged, left_out)


def may_depend_on_others(engine: Engine) -> bool:
    """Tell whether rules, sets or virtual services decide by what earlier packets did."""
    if engine.node.services:
        return True
    for stack in engine.stacks.values():
        there = stack.core.arrays
        exprs = there["nft_exprs"]
        in_turn = (exprs["kind"] == NftExprKind.NUMGEN) & (exprs["sreg"] != 1)
        counted = np.isin(there["matches"]["kind"], COUNTING).any() or np.isin(exprs["kind"], NFT_COUNTING).any()
        if counted or in_turn.any():
            return True
    return False


def may_ask_ports(engine: Engine) -> bool:
    """Tell whether rules may treat two source ports differently that are of one class of the core."""
    for stack in engine.stacks.values():
        there = stack.core.arrays
        kinds = np.concatenate([there["matches"]["kind"], there["rules"]["match"]["kind"]])
        if len(there["bases"]) or np.isin(kinds, ASKS_PORTS).any():
            return True
    return False


def draws_by_hash(engine: Engine) -> bool:
    """Tell whether rules of nftables choose by a hash of the packet."""
    hashes = (NftExprKind.JHASH, NftExprKind.SYMHASH)
    return any(bool(np.isin(s.core.arrays["nft_exprs"]["kind"], hashes).any()) for s in engine.stacks.values())


def least_chance(engine: Engine) -> float:
    """Return the least probability that a rule gives to one of its outcomes by chance; 1 where none does."""
    least = 1.0
    for stack in engine.stacks.values():
        there = stack.core.arrays
        # a rule of one match holds it itself
        matches, exprs = np.concatenate([there["matches"], there["rules"]["match"]]), there["nft_exprs"]
        below = matches[BELOW]
        chances = below[matches["kind"] == MatchKind.RANDOM] / 2.0**31
        numbers = exprs["b"][(exprs["kind"] == NftExprKind.NUMGEN) & (exprs["sreg"] == 1)].astype(np.float64)
        outcomes = np.concatenate([chances, 1 - chances, 1 / np.maximum(numbers, 1)])
        least = min(least, float(outcomes[outcomes > 0].min(initial=1.0)))
    return least


def ranks(values: NDArray[Any]) -> NDArray[np.int64]:
    """Return for each value how many equal ones stand before it."""
    _, where = np.unique(values, return_inverse=True)
    where = where.reshape(-1)
    order = np.argsort(where, kind="stable")
    starts = np.searchsorted(where[order], where[order])
    found = np.empty(len(values), np.int64)
    found[order] = np.arange(len(values)) - starts
    return found


# options of conntrack -D: which tuple they are about, and its field
FILTERS = {
    "-d": ("original", "dst"), "--orig-port-dst": ("original", "dport"), "-r": ("reply", "src"),
    "--reply-port-src": ("reply", "sport"), "-q": ("reply", "dst"),
}  # fmt: skip


def told_of(
    client: str, dst: str, server: str, mapped: str, out_src: str, out_dst: str,
    number: int, dport: int, sport: int, out_dport: int, verdict: int, reason: int, ctinfo: int,
) -> tuple[str, ...]:  # fmt: skip
    """Return (what, protocol, towards, was, today, filter of the command) of an entry.

    client, dst, dport: of its original tuple; server, sport, mapped: source, its port and destination of the reply
    tuple; out_*: what its first packet would become today.
    """
    proto, ports = PROTOCOL_NAMES.get(number, str(number)), number in WITH_PORTS

    def end(name: str, port: int) -> str:
        return name if not ports else f"[{name}]:{port}" if ":" in name else f"{name}:{port}"

    towards, was, today = end(dst, dport), end(server, sport), end(out_dst, out_dport)
    aim = f"-d {dst} --orig-port-dst {dport}" if ports else f"-d {dst}"
    both = f"{aim} -r {server} --reply-port-src {sport}" if ports else f"{aim} -r {server}"
    if verdict == Verdict.DROP:
        return "dropped today", proto, towards, was, Reason(reason).name.lower().replace("_", " "), both
    if ctinfo == CtInfo.UNTRACKED:
        return "not tracked today", proto, towards, was, today, both
    if was != today:
        what = "no DNAT today" if today == towards else "DNAT today" if was == towards else "another backend today"
        return what, proto, towards, was, today, both
    what = "no SNAT today" if out_src == client else "SNAT today" if mapped == client else "another SNAT address today"
    # clients that are no longer, or not yet, translated are one group
    if mapped == client:
        return what, proto, towards, "(the client's own)", out_src, aim
    return what, proto, "any", mapped, "(the client's own)" if out_src == client else out_src, f"-q {mapped}"


class Judge:
    """Compares the entries of one family with what their first packets would meet today.

    known: bool[n], which entries were judged; same: which are as they would be; out: RESULT[n] of the last run.
    """

    def __init__(
        self, fresh: Engine, family: Family, records: NDArray[Any], progress: Callable[[int], None] | None
    ) -> None:
        self.fresh, self.family, self.records, self.progress = fresh, family, records, progress
        self.original, self.reply = (parts(records, "tuples", k) for k in (0, 1))
        n = len(records)
        self.batch, self.way = self.first_packets()
        self.known, self.same = np.zeros((2, n), np.bool_)
        self.out = np.zeros(n, records_of(family).RESULT)
        self.zoned = (records["tuples"]["zone"] != 0).any(axis=1)
        # by the options of a filter: what it asks of each entry as one number, and how many entries have which
        self.filters: dict[tuple[str, ...], tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = {}
        self.chance = chance = least_chance(fresh)
        self.others_matter, self.rare = may_depend_on_others(fresh), chance < RARE
        # what three draws in a row lead to stays away from so many packets in one of 1e13 cases
        self.tries = int(min(TRIES, max(30 / chance**3, FEW + 1)))
        # a hash whose seed the kernel draws gives this flow what it likes, and the next one something else
        self.by_hash = draws_by_hash(fresh)
        self.by_class = not self.others_matter and decide_by_class(fresh, family)

    def first_packets(self) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the packets that opened the entries, and which of them have a way into the node."""
        batch = np.zeros(len(self.records), records_of(self.family).PACKET)
        for name in ("src", "dst", "sport", "dport", "proto"):
            batch[name] = self.original[name]
        batch["length"] = 60
        batch["tcp_flags"] = np.where(batch["proto"] == PROTOCOLS["tcp"], SYN, 0)
        batch["iface"], known = known_interfaces_of(self.fresh.node, batch["src"], self.family)
        return batch, known

    def run(self) -> None:
        """Judge all entries that can be."""
        pending = np.flatnonzero(self.way & ~self.zoned)
        for _ in range(AGAIN):
            pending = pending[~self.opened(pending)]
            pending = pending[self.way[pending]]
            if not len(pending):
                break
        self.same = self.known & self.as_it_was(np.arange(len(self.records)))
        differ = np.flatnonzero(self.known & ~self.same)
        if self.by_class:
            told = self.tell_by_class(differ)
            self.same[differ] = told == COMES_UP
            differ = differ[told == UNKNOWN]
        groups = self.alike(differ)
        if self.others_matter or self.by_hash or sum(map(len, groups)) > EACH:
            for members, drawn in zip(groups, self.are_drawn(groups), strict=True):
                self.same[members] |= drawn
        elif groups:
            # a source, or its port, may leave to chance what is none for others of the group
            every = np.concatenate(groups)
            self.same[every] |= self.sent_again(every) == COMES_UP

    def opened(self, at: NDArray[Any]) -> NDArray[np.bool_]:
        """Run first packets through an engine that has seen none; return which were judged, their results in out."""
        engine = self.fresh.fork()
        good = np.zeros(len(at), np.bool_)
        for a in range(0, len(at), BATCH):
            part = at[a : a + BATCH]
            out = engine.process(picked(self.batch, part), engine.now)
            # among so many some find the tuple of another one, or no port
            lost = (out["verdict"] == Verdict.DROP) & np.isin(out["reason"], (Reason.CLASH, Reason.TABLE_FULL))
            fine = ~lost & np.isin(out["ctinfo"], (CtInfo.NEW, CtInfo.UNTRACKED))
            fine |= (out["verdict"] == Verdict.DROP) & ~lost
            nowhere = np.isin(out["reason"], NOWHERE)
            self.way[part[nowhere]] = False
            fine &= ~nowhere
            put(self.out, part[fine], picked(out, fine))
            good[a : a + len(part)] = fine
            if self.progress:
                self.progress(len(part))
        self.known[at[good]] = True
        return good

    def as_it_was(self, at: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which results translate as the entries do; of a SNAT only the address counts, as ports are drawn."""
        out, reply = picked(self.out, at), picked(self.reply, at)
        same = (out["dst"] == reply["src"]) & (out["src"] == reply["dst"]) & (out["verdict"] != Verdict.DROP)
        ports = np.isin(self.batch["proto"][at], WITH_PORTS)
        found: NDArray[np.bool_] = (
            same & (~ports | (out["dport"] == reply["sport"])) & (out["ctinfo"] != CtInfo.UNTRACKED)
        )
        return found

    def alike(self, differ: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return entries that differ, those together that were and would be translated in one way."""
        if not len(differ):
            return []
        o, r, out = (picked(records, differ) for records in (self.original, self.reply, self.out))
        ports = np.isin(o["proto"], WITH_PORTS)
        key = np.zeros(len(differ), np.uint64)
        ends = [folded(a) for a in (o["dst"], r["src"], out["dst"])]
        columns = [
            o["proto"], out["verdict"], out["reason"], out["ctinfo"] == CtInfo.UNTRACKED, *ends,
            *(np.where(ports, port, 0) for port in (o["dport"], r["sport"], out["dport"])),
            *(np.where(near == o["src"], 0, folded(near)) for near in (r["dst"], out["src"])),
        ]  # fmt: skip
        for column in columns:
            key = scrambled(key ^ column.astype(np.uint64))
        _, where, counts = np.unique(key, return_inverse=True, return_counts=True)
        order = np.argsort(where.reshape(-1), kind="stable")
        return np.split(differ[order], np.cumsum(counts)[:-1])

    def tell_by_class(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tell what comes up by packets of the same class; UNKNOWN where a class has too few ports."""
        told, ported = np.full(len(at), UNKNOWN), np.isin(self.original["proto"][at], WITH_PORTS)
        if self.chance == 1:
            told[ported] = NEVER
            return told
        at = at[ported]
        reply = picked(self.reply, at)
        wanted = translation(reply["dst"], reply["src"], reply["sport"], self.original["src"][at])
        told[ported] = Classes(self.fresh, self.family, picked(self.batch, at)).tell(wanted, self.chance, self.tries)
        return told

    def are_drawn(self, groups: list[NDArray[np.int64]]) -> list[bool]:
        """Tell of which groups the translation is one of those that rules draw for such packets today."""
        samples = [self.samples(members) for members in groups]
        if not samples:
            return []
        every = np.concatenate(samples)
        told = np.full(len(every), UNKNOWN)
        if self.others_matter or self.by_hash:
            told[(self.out["verdict"][every] == Verdict.DROP) | (self.out["ctinfo"][every] == CtInfo.UNTRACKED)] = NEVER
            together = np.flatnonzero((told == UNKNOWN) & np.isin(self.original["proto"][every], WITH_PORTS))
            told[together] = self.first_look(every[together])
        else:
            told = self.sent_again(every)
        drawn, begin = [], 0
        for mine in samples:
            said = told[begin : begin + len(mine)]
            begin += len(mine)
            drawn.append(bool((said == COMES_UP).any()) or any(self.comes_up(int(k)) for k in mine[said == UNKNOWN]))
        return drawn

    def samples(self, members: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return some of a group's entries, of different sources."""
        sources, first = np.unique(self.original["src"][members], return_index=True)
        chosen: NDArray[np.int64] = members[
            first[np.linspace(0, len(sources) - 1, min(len(sources), SOURCES)).astype(int)]
        ]
        return chosen

    def sent_again(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Send the first packets of these entries again and again, as if each were the first; tell what comes up."""
        told = np.full(len(at), UNKNOWN)
        if not may_ask_ports(self.fresh):
            self.tell_by_ports(at, told)
        left = np.flatnonzero(told == UNKNOWN)
        told[left] = self.tell_by_turns(at[left])
        return told

    def tell_by_ports(self, at: NDArray[np.int64], told: NDArray[np.int64]) -> None:
        """Tell what comes up by packets from other source ports that no rule tells from the entry's, in one table."""
        starts = self.fresh.core_of(self.family.version).arrays["port_start0"].astype(np.int64)
        place = np.searchsorted(starts, self.original["sport"][at], "right")
        first, behind = starts[place - 1], np.append(starts, 1 << 16)[place]
        for begin, n in ((0, FEW), (FEW, self.tries - FEW)):
            pending = np.flatnonzero((told == UNKNOWN) & np.isin(self.original["proto"][at], WITH_PORTS))
            for a in range(0, len(pending), max(BESIDE // n, 1)):
                mine = pending[a : a + max(BESIDE // n, 1)]
                # a port of a source that another entry has tried would have its mapping
                offset = begin + self.tries * ranks(self.original["src"][at[mine]])
                mine, offset = (x[first[mine] + offset + n <= behind[mine]] for x in (mine, offset))
                batch = np.repeat(self.batch[at[mine]], n)
                batch["sport"] = ((first[mine] + offset)[:, np.newaxis] + np.arange(n)).ravel()
                engine = self.fresh.fork()
                out = engine.process(batch, engine.now)
                there = self.translates_as(np.repeat(at[mine], n), out).reshape(-1, n).any(axis=1)
                out = out.reshape(-1, n)
                alike = np.full(len(mine), not self.rare)
                for name in ("dst", "src", "dport", "verdict", "ctinfo"):
                    alike &= (out[name] == out[name][:, :1]).all(axis=1)
                never = ~there & (alike | (begin > 0))
                told[mine[there]], told[mine[never]] = COMES_UP, NEVER

    def tell_by_turns(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tell what comes up by the packets as they are, each time into an empty table."""
        told = np.full(len(at), NEVER)
        for a in range(0, len(at), EACH):
            pending = np.arange(a, min(a + EACH, len(at)))
            engine = self.fresh.fork()
            drawn, first = engine.stats["random_draws"], self.out[at[pending]]
            for n in range(1, self.tries + 1):
                part = at[pending]
                out = engine.process(self.batch[part], engine.now)
                there = self.translates_as(part, out)
                told[pending[there]] = COMES_UP
                if engine.stats["random_draws"] == drawn:
                    # nothing is left to chance
                    break
                engine.conntrack.flush()
                if n == 1:
                    first = out.copy()
                    alike = np.ones(len(pending), np.bool_)
                for name in ("dst", "src", "dport", "verdict"):
                    alike &= out[name] == first[name]
                # of what is rare a few packets show nothing
                left = ~there & ((n < FEW) | ~alike | self.rare)
                pending, first, alike = pending[left], first[left], alike[left]
                if not len(pending):
                    break
        return told

    def translates_as(self, at: NDArray[np.int64], out: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which results translate as these entries do, but for the port that a SNAT draws."""
        reply, lost = self.reply[at], (out["verdict"] == Verdict.DROP) & (out["reason"] != Reason.CLASH)
        ports = np.isin(self.original["proto"][at], WITH_PORTS)
        lost |= out["ctinfo"] == CtInfo.UNTRACKED
        found: NDArray[np.bool_] = (
            (out["dst"] == reply["src"]) & (out["src"] == reply["dst"]) & ~lost
            & (~ports | (out["dport"] == reply["sport"]))
        )  # fmt: skip
        return found

    def first_look(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Try a few packets for each of these entries, with those of many others; tell what that says about each.

        Entries of one source, destination and protocol share their packets.
        """
        o, reply = self.original[at], self.reply[at]
        _, first, where = np.unique(o[["src", "dst", "dport", "proto"]], return_index=True, return_inverse=True)
        where, told = where.reshape(-1), np.full(len(at), UNKNOWN)
        for a in range(0, len(first), TOGETHER):
            batch = np.repeat(self.batch[at[first[a : a + TOGETHER]]], FEW)
            batch["sport"] = np.tile(np.arange(1024, 1024 + FEW), len(batch) // FEW)
            engine = self.fresh.fork()
            out = engine.process(batch, engine.now).reshape(-1, FEW)
            mine = np.flatnonzero((where >= a) & (where < a + TOGETHER))
            tried, entry = out[where[mine] - a], reply[mine, np.newaxis]
            there = (tried["dst"] == entry["src"]) & (tried["src"] == entry["dst"]) & (tried["dport"] == entry["sport"])
            alike = np.isin(tried["reason"], (Reason.CLASH, Reason.TABLE_FULL), invert=True).all(axis=1)
            for name in ("dst", "src", "dport"):
                alike &= (tried[name] == tried[name][:, :1]).all(axis=1)
            told[mine] = np.where(
                there.any(axis=1), COMES_UP, np.where(alike & (not self.others_matter), NEVER, UNKNOWN)
            )
        return told

    def comes_up(self, k: int) -> bool:
        """Tell whether packets as that of an entry are sometimes translated as it is."""
        batch = np.repeat(self.batch[k : k + 1], TRIES)
        if batch["proto"][0] in WITH_PORTS:
            batch["sport"] = np.arange(1024, 1024 + TRIES)
        else:
            batch["sport"] += np.arange(TRIES, dtype=np.uint16)
        engine, reply = self.fresh.fork(), self.reply[k]
        for part in (batch[:FEW], batch[FEW:]):
            out = engine.process(part, engine.now)
            there = (out["dst"] == reply["src"]) & (out["src"] == reply["dst"])
            if batch["proto"][0] in WITH_PORTS:
                there &= out["dport"] == reply["sport"]
            if there.any():
                return True
            # without chance the first packets have all been treated alike
            if all((out[name] == out[name][0]).all() for name in ("dst", "src", "dport")):
                break
        return False

    def left_out(self) -> dict[str, int]:
        """Return how many entries were not judged, by why."""
        found = {
            "in a zone": int(self.zoned.sum()),
            "no route leads to their source or destination": int((~self.way & ~self.zoned).sum()),
            "another entry of the dump has their tuple": int((~self.known & self.way & ~self.zoned).sum()),
        }  # fmt: skip
        return {why: n for why, n in found.items() if n}

    def groups(self, now: float) -> list[Group]:
        """Return the stale entries, grouped by what they were and would be."""
        found: dict[tuple[str, ...], dict[str, list[NDArray[np.int64]]]] = {}
        groups = self.alike(np.flatnonzero(self.known & ~self.same))
        for members, (what, proto, towards, was, today, which) in zip(groups, self.words(groups), strict=True):
            found.setdefault((what, proto, towards, was, which), {}).setdefault(today, []).append(members)
        return [
            # where rules draw, entries that were alike would not be
            self.group(key, next(iter(parts)) if len(parts) == 1 else f"one of {len(parts):,}", parts, now)
            for key, parts in found.items()
        ]

    def words(self, groups: list[NDArray[np.int64]]) -> Iterator[tuple[str, ...]]:
        """Yield (what, protocol, towards, was, today, filter of the command) of each group."""
        at = np.array([members[0] for members in groups], np.int64)
        o, r, out = self.original[at], self.reply[at], self.out[at]
        addresses = (map(self.family.to_text, self.family.unpack_all(a)) for a in (
            o["src"], o["dst"], r["src"], r["dst"], out["src"], out["dst"],
        ))  # fmt: skip
        numbers = (column.tolist() for column in (
            o["proto"], o["dport"], r["sport"], out["dport"], out["verdict"], out["reason"], out["ctinfo"],
        ))  # fmt: skip
        return map(told_of, *addresses, *numbers)

    def group(
        self, key: tuple[str, ...], today: str, parts: dict[str, list[NDArray[np.int64]]], now: float
    ) -> Group:  # fmt: skip
        """Return one group with the command that removes it."""
        what, proto, towards, was, which = key
        members = np.concatenate([part for same in parts.values() for part in same])
        left = (self.records["timeout"][members].astype(np.uint32) - np.uint32(int(now * HZ) & 0xFFFFFFFF)).astype(
            np.int32
        )
        removed = self.matching(members[0], which)
        family = "-f ipv6 " if self.family.version == 6 else ""
        return Group(
            what, proto, towards, was, today, len(members), max(float(left.max()) / HZ, 0.0),
            f"conntrack -D {family}-p {proto} {which}", removed - len(members),
        )  # fmt: skip

    def matching(self, k: int, which: str) -> int:
        """Return how many entries a command's filter removes."""
        options = tuple(which.split()[::2])
        if options not in self.filters:
            key = self.original["proto"].astype(np.uint64)
            for option in options:
                side, name = FILTERS[option]
                key = scrambled(key ^ folded(getattr(self, side)[name]))
            self.filters[options] = key, *np.unique(key, return_counts=True)
        key, there, counts = self.filters[options]
        return int(counts[np.searchsorted(there, key[k])])
