"""fastnat replay: a capture through a node."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import click

from .. import capture
from ..conntrack import format_event
from ..engine import Engine
from ..files import read_text
from ..node import Node
from ..replay import VERDICTS, Replay
from ..tables import PROFILES

# between two packets: all connections of a full table may fall due at once
EVENTS = 1 << 20


@click.command()
@click.argument("node")
@click.argument("captured", metavar="CAPTURE")
@click.option("-w", "--write", "write", metavar="OUT.pcapng", help="Packets that leave, with their egress interface.")
@click.option("--verdicts", metavar="OUT.jsonl", help="One JSON line per input packet.")
@click.option("--conntrack", metavar="OUT.txt", help="The table at the end, as conntrack -L -o extended.")
@click.option("--stats", metavar="OUT.json", help="The counters at the end, by their conntrack -S names.")
@click.option("--rules", metavar="OUT.rules", help="The IPv4 rules with the counters of the run, as iptables-save -c.")
@click.option("--events", metavar="OUT.txt", help="What happened to connections, as conntrack -E prints it.")
@click.option("--iface", help="Where packets enter; for captures that do not say, and to override.")
@click.option("--profile", type=click.Choice(list(PROFILES)), default="linux-6.18", show_default=True)
@click.option("--start-from", metavar="FILE", help="`conntrack -L` text of the connections that are there already.")
@click.option("--lenient", is_flag=True, help="Take rules that are not supported as never matching.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def replay(
    node: str,
    captured: str,
    write: str | None,
    verdicts: str | None,
    conntrack: str | None,
    stats: str | None,
    rules: str | None,
    events: str | None,
    iface: str | None,
    profile: str,
    start_from: str | None,
    lenient: bool,
    seed: int,
) -> None:
    """Run CAPTURE (pcap or pcapng) through the node directory NODE."""
    engine = Engine(Node.load(node, lenient), profile=profile, seed=seed, events=EVENTS if events else 0)
    if start_from:
        engine.conntrack.load(read_text(Path(start_from)), start_from)
    counts = dict.fromkeys(VERDICTS, 0)
    with contextlib.ExitStack() as stack:
        packets = capture.Writer(stack.enter_context(Path(write).open("wb"))) if write else None
        lines = stack.enter_context(Path(verdicts).open("w")) if verdicts else None
        told = stack.enter_context(Path(events).open("w")) if events else None
        for answers in Replay(engine, iface).run(capture.read_batches(captured)):
            for name, n in zip(VERDICTS, answers.counts(), strict=True):
                counts[name] += n
            if lines:
                lines.writelines(answers.lines())
            if told:
                told.writelines(format_event(e, profile) + "\n" for e in engine.all_events())
            if packets:
                packets.write_all(answers.emitted())
    if conntrack:
        Path(conntrack).write_text(engine.conntrack.format("extended"))
    if rules:
        Path(rules).write_text(engine.save_rules())
    if stats:
        Path(stats).write_text(json.dumps(engine.stats, indent=1) + "\n")
    click.echo(", ".join(f"{n} {what}" for what, n in counts.items()) + f"; {len(engine.conntrack)} connections")
