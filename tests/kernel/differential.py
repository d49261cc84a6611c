"""A case through the kernel and the engine: packets, then the table and all counters; and how to make it small."""

import json
import platform
import re
import time
from dataclasses import replace
from pathlib import Path

import fastnat
from kernel import recorder

FOUND = Path(__file__).with_name("found")
COUNTERS = ("found", "invalid", "insert_failed", "drop", "early_drop", "error", "clash_resolve", "chaintoolong")
# connections that have less than this to live may be gone on one side [s]
NEAR_THE_END = 3


class Difference(AssertionError):
    """What differs, of which kind, behind which packets."""

    def __init__(self, kind, what, packets):
        super().__init__(f"{kind}: {what}")
        self.kind, self.packets = kind, packets


def run(case):
    """Run a case through both; raise Difference at the first packet, or at the end, where they differ.

    It ends where a port is drawn at random, for the kernel draws another. Returns the number of packets compared.
    """
    kernel = recorder.Namespace(case)
    packets = []
    try:
        nat = fastnat.Engine(case.node())
        start, answer, talk = time.monotonic(), None, case.traffic()
        while True:
            try:
                iface, data = next(talk) if not packets else talk.send(answer)
            except StopIteration:
                break
            packets.append((iface, data))
            if nat.stats["random_draws"]:
                return len(packets) - 1
            verdict, mine = nat.process_packet(data, iface, now=time.monotonic() - start)
            mine = mine if verdict == fastnat.Verdict.FORWARD else None
            out = kernel.pass_packet(iface, data, wait=0.001 if mine is None else 0.2)
            answer = out[1] if out else None
            if mine != answer and not nat.stats["random_draws"]:
                shown = [d.hex() if d else "nothing" for d in (data, answer, mine)]
                said = "\n".join(map(" ".join, zip(("in", "kernel", "engine"), shown, strict=True)))
                raise Difference("packet", said, packets)
        compare(case, kernel, nat, packets)
    finally:
        kernel.close()
    return len(packets)


def compare(case, kernel, nat, packets):
    """Compare tables, conntrack -S and the counters of rules."""
    theirs, mine = lines(kernel.table(case.family)), lines(nat.conntrack.format("extended").splitlines())
    lasting = [{k for k, left in side.items() if left > NEAR_THE_END} for side in (theirs, mine)]
    if lasting[0] - set(mine) or lasting[1] - set(theirs):
        said = f"kernel only {lasting[0] - set(mine)}, engine only {lasting[1] - set(theirs)}"
        raise Difference("table", said, packets)
    counted = kernel.stats()
    stats = {c: (counted[c], nat.stats[c]) for c in COUNTERS if counted[c] != nat.stats[c]}
    if stats:
        raise Difference("counters", f"kernel and engine: {stats}", packets)
    saved = [rule_counters(t) for t in (kernel.save_rules(case.family), nat.save_rules(case.family))]
    if saved[0] != saved[1]:
        raise Difference("rules", f"kernel {saved[0] - saved[1]}, engine {saved[1] - saved[0]}", packets)


def lines(table):
    """Return {line without timeout: seconds left}."""
    found = (re.match(r"(\S+ +\d+ \S+ +\d+) (\d+) (.*)", line) for line in table)
    return {f"{m[1]} {m[3]}": int(m[2]) for m in found if m}


def rule_counters(text):
    """Return {(table, chain, number, counters)} of the rules of a case; the raw table is the recorder's."""
    found, table, numbers = set(), "", {}
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        counted = re.match(r"(\[\d+:\d+\]) -A (\S+)", line)
        if counted and table != "raw":
            numbers[table, counted[2]] = numbers.get((table, counted[2]), 0) + 1
            found.add((table, counted[2], numbers[table, counted[2]], counted[1]))
    return found


def fails(case):
    try:
        run(case)
    except Difference as difference:
        return difference
    return None


def with_packets(case, packets):
    return replace(case, traffic=lambda: (packet for packet in packets))


def shrink(case, difference, budget=120.0):
    """Return a smaller case and packets that still differ in that way: fewer packets, then fewer rules."""
    packets = difference.packets

    def still(smaller):
        found = fails(smaller)
        return found is not None and found.kind == difference.kind

    deadline, size = time.monotonic() + budget, len(packets) // 2
    while size and time.monotonic() < deadline:
        at = 0
        while at < len(packets) and time.monotonic() < deadline:
            fewer = packets[:at] + packets[at + size :]
            if fewer and still(with_packets(case, fewer)):
                packets = fewer
            else:
                at += size
        size //= 2
    rules = case.rules.splitlines()
    for line in [r for r in rules if r.startswith("-A")]:
        fewer = [r for r in rules if r is not line]
        smaller = replace(with_packets(case, packets), rules="\n".join(fewer) + "\n")
        if time.monotonic() < deadline and still(smaller):
            rules = fewer
    return replace(with_packets(case, packets), rules="\n".join(rules) + "\n"), packets


def keep(name, case, packets):
    """Write a case with the kernel's answers to found/, where test_found.py runs it from then on."""
    kernel = recorder.Namespace(case)
    try:
        record = [
            [iface, data.hex(), out[1].hex() if (out := kernel.pass_packet(iface, data)) else None]
            for iface, data in packets
        ]
    finally:
        kernel.close()
    FOUND.mkdir(exist_ok=True)
    path = FOUND / f"{name}.json"
    said = {
        "kernel": platform.release(),
        "family": case.family,
        "rules": case.rules,
        "sets": case.sets,
        "packets": record,
    }
    path.write_text(json.dumps(said, indent=0) + "\n")
    return path
