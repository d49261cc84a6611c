"""fastnat replay: a capture through a node."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import BinaryIO, cast

import click

from .. import capture
from ..capture.replay import VERDICTS, Replay
from ..conntrack import format_event
from ..engine import Engine
from ..util.interrupts import uninterrupted
from ..util.output import Output, Outputs
from .forms import Answer, Paper, forms, tell
from .options import order_option, profile_option
from .terminal import (
    Interrupted,
    Whole,
    given,
    ignore_interrupts,
    load_node,
    never_matching,
    warn_of_owner,
    warn_of_rules,
    working,
)
from .terminal import start_from as load

# between two packets all connections of a full table may expire at once
EVENTS = 1 << 20
EXAMPLES = (
    ("replay node/ in.pcapng -w out.pcapng --verdicts out.jsonl", "what becomes of a capture, packet by packet"),
    ("replay node/ in.pcapng --conntrack table.txt --events events.txt", "the table at the end, and how it came about"),
    ("replay node/ in.pcapng -o json", "the counts of the verdicts, for a program"),
)


@click.command()
@click.argument("node")
@click.argument("captured", metavar="CAPTURE")
@click.option("-w", "--write", "write", metavar="OUT.pcapng", help="Packets that leave, with their egress interface.")
@click.option("--verdicts", metavar="OUT.jsonl", help="One JSON line per input packet.")
@click.option("--conntrack", metavar="OUT.txt", help="The table at the end, as conntrack -L -o extended.")
@click.option("--stats", metavar="OUT.json", help="The counters at the end, by their conntrack -S names.")
@click.option("--rules", metavar="OUT.rules", help="The IPv4 rules with the counters of the run, as iptables-save -c.")
@click.option("--rules6", metavar="OUT.rules", help="The IPv6 rules, as ip6tables-save -c.")
@click.option("--nft", metavar="OUT.nft", help="The rules of nftables with counters and elements, as nft list ruleset.")
@click.option("--nft-json", metavar="OUT.json", help="The same as JSON, as nft -j list ruleset.")
@click.option("--events", metavar="OUT.txt", help="What happened to connections, as conntrack -E prints it.")
@click.option("--iface", help="Where packets enter, if the capture does not say, or to override it.")
@profile_option()
@click.option("--start-from", metavar="FILE", help="`conntrack -L` text of the connections to start with.")
@order_option()
@click.option("--lenient", is_flag=True, help="Load unsupported rules as never matching.")
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="What random numbers begin with.")
@forms()
def replay(
    node: str,
    captured: str,
    write: str | None,
    verdicts: str | None,
    conntrack: str | None,
    stats: str | None,
    rules: str | None,
    rules6: str | None,
    nft: str | None,
    nft_json: str | None,
    events: str | None,
    iface: str | None,
    profile: str,
    start_from: str | None,
    lenient: bool,
    seed: int,
    form: str,
) -> None:
    """Run CAPTURE (pcap or pcapng; - for standard input) through the node directory NODE.

    Ctrl-C ends the run at the end of a batch; the files then describe the packets up to that point.
    """
    asked = {
        "--write": write, "--verdicts": verdicts, "--events": events, "--conntrack": conntrack, "--rules": rules,
        "--rules6": rules6, "--nft": nft, "--nft-json": nft_json, "--stats": stats,
    }  # fmt: skip
    counts = dict.fromkeys(VERDICTS, 0)
    stopped = False
    with Outputs() as outputs:
        files = {option: outputs.open(option, path) for option, path in asked.items()}
        kept = EVENTS if files["--events"] else 0
        # the capture says when time 0 is
        loaded = load_node(node, lenient)
        told = len(never_matching(loaded))
        engine = Engine(loaded, profile=profile, seed=seed, events=kept, epoch=0.0)
        warn_of_rules(loaded, told)
        if rules6 is not None:
            # a node without IPv6 is said to be one before anything runs
            engine.stack_of(6)
        if start_from is not None:
            load(engine, start_from)
        try:
            run(engine, iface, captured, files, counts)
        except KeyboardInterrupt:
            stopped = True
            ignore_interrupts()
        at_the_end: dict[str, Callable[[], str]] = {
            "--conntrack": lambda: engine.conntrack.format("extended"), "--rules": engine.save_rules,
            "--rules6": lambda: engine.save_rules(6), "--nft": engine.list_nft,
            "--nft-json": lambda: engine.list_nft(as_json=True),
            "--stats": lambda: json.dumps(engine.stats, indent=1) + "\n",
        }  # fmt: skip
        for option, text in at_the_end.items():
            output = files[option]
            if output:
                output.write_text(text())
    warn_of_owner(engine)
    found = {**counts, "connections": len(engine.conntrack)}

    def show(paper: Paper) -> None:
        paper.say(", ".join(f"{n} {what}" for what, n in counts.items()) + f"; {len(engine.conntrack)} connections")

    tell(form, Answer(show, lambda: found, list(found), lambda: [list(found.values())]))
    if stopped:
        sys.stdout.flush()
        names = " and ".join(path for path in asked.values() if path is not None) or "the line above"
        raise Interrupted(f"{names}: as they are after the first {sum(counts.values()):,} packets")


def run(
    engine: Engine, iface: str | None, captured: str, files: dict[str, Output | None], counts: dict[str, int]
) -> None:
    """Run a capture; count and write the answers to each batch before Ctrl-C takes effect."""
    # a writer only asks a file to write
    out, lines, told = cast("BinaryIO | None", files["--write"]), files["--verdicts"], files["--events"]
    packets = capture.Writer(out) if out else None
    replayed = Replay(engine, iface)
    with working("replaying") as say:
        for batch in capture.read_batches(given(captured)):
            with uninterrupted():
                for answers in replayed.run([batch]):
                    for name, n in zip(VERDICTS, answers.counts(), strict=True):
                        counts[name] += n
                    if lines:
                        lines.write_text("".join(line.json() for line in answers.lines()))
                    if told:
                        told.write_text("".join(format_event(e, engine.profile) + "\n" for e in engine.all_events()))
                    if packets:
                        answers.write(packets)
                say(f"replaying: {sum(counts.values()):,} packets")
