"""fastnat trace: one packet, explained."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..engine import Engine
from ..engine.settings import PROFILES
from ..engine.trace import Trace
from ..engine.trace import trace as explain
from ..errors import InputError
from ..iptables.context import MAX_ID
from ..util.escapes import json_text
from .terminal import Date, Terminal, load_node, never_matching, say, warn, warn_of_rules
from .terminal import start_from as load

FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32}


@click.command()
@click.argument("node", required=False)
@click.option("-p", "--proto", default="udp", show_default=True, help="udp, tcp, icmp, sctp or a number.")
@click.option("-s", "--src", default="10.244.1.2", show_default=True)
@click.option("--sport", type=click.IntRange(0, 65535), default=40_000, show_default=True, help="For ICMP: the id.")
@click.option("-d", "--dst", default="203.0.113.10", show_default=True)
@click.option("--dport", type=click.IntRange(0, 65535), default=53, show_default=True, help="For ICMP: type * 256.")
@click.option("-i", "--iface", default="cni0", show_default=True, help="Where it enters; 'local': the node sends it.")
@click.option("--flags", default="S", show_default=True, help="TCP flags: letters of FSRPAU.")
@click.option("--mark", type=click.IntRange(0, 2**32 - 1), default=0)
@click.option("--uid", type=click.IntRange(0, MAX_ID), help="Of the node's own packet: the user that sends it.")
@click.option("--gid", type=click.IntRange(0, MAX_ID), help="Of the node's own packet: the group that sends it.")
@click.option("--epoch", type=Date(), help="When it comes, for rules with -m time: seconds since 1970, or a date, UTC.")
@click.option("--profile", type=click.Choice(list(PROFILES)), default="linux-6.18", show_default=True)
@click.option("--start-from", metavar="FILE", help="`conntrack -L` text of the connections to start with.")
@click.option("--lenient", is_flag=True, help="Load unsupported rules as never matching.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--kernel", is_flag=True, help="Print the lines that the kernel's TRACE target logs.")
@click.option("--json", "as_json", is_flag=True, help="Print all of it as JSON.")
def trace(
    node: str | None,
    proto: str,
    src: str,
    sport: int,
    dst: str,
    dport: int,
    iface: str,
    flags: str,
    mark: int,
    uid: int | None,
    gid: int | None,
    epoch: float | None,
    profile: str,
    start_from: str | None,
    lenient: bool,
    seed: int,
    kernel: bool,
    as_json: bool,
) -> None:
    """Show how NODE (default: the packaged k8s-worker) treats one packet, rule by rule."""
    loaded = load_node(node, lenient)
    known = len(never_matching(loaded))
    engine = Engine(loaded, profile=profile, seed=seed, epoch=epoch)
    # those whose sets are missing, or that ask for a date
    warn_of_rules(loaded, known)
    engine.uid, engine.gid = uid, gid
    if start_from is not None:
        load(engine, start_from)
    if set(flags) - set(FLAGS):
        raise InputError(f"--flags {flags!r}: expected letters of {''.join(FLAGS)}")
    try:
        packet = engine.packets(
            proto=int(proto) if proto.isdigit() else proto, src=src, sport=sport, dst=dst, dport=dport, iface=iface,
            tcp_flags=sum(FLAGS[f] for f in flags) if proto in ("tcp", "6") else 0, mark=mark,
        )  # fmt: skip
    except (KeyError, ValueError, OverflowError) as error:
        raise InputError(f"no such packet: {error}") from None
    told = explain(engine, packet)
    if told.owner_assumed:
        asked = " and ".join(told.owner_assumed)
        remedy = " and ".join(f"--{name}" for name in told.owner_assumed)
        warn(f"fastnat: the answer depends on who sends the packet; {asked} 0 (root) is assumed: give {remedy}")
    if as_json:
        shown = asdict(told) | {"connection": str(told.connection) if told.connection else None}
        click.echo(json_text(shown, indent=1))
    elif kernel:
        for line in told.lines():
            say(line)
    else:
        show(told)


def show(told: Trace) -> None:
    """Print a trace for people."""
    console = Terminal()
    if told.steps:
        console.say("Rules that matched, in order")
        rows = []
        for step in told.steps:
            before = f"({step.skipped} before it did not match) " if step.skipped else ""
            rows.append([step.hook, step.table, step.chain, f"{step.number}: {before}{step.text}"])
        console.table(("hook", "table", "chain", "rule"), rows, left=4)
    else:
        console.say("No rule was asked.")
    src, sport, dst, dport = told.before
    console.say(f"in      {told.proto} {src}:{sport} > {dst}:{dport}")
    if told.verdict == "drop":
        console.say(f"dropped: {told.reason}")
    else:
        src, sport, dst, dport = told.after
        where = "to the node itself" if told.verdict == "local" else f"on {told.out_iface}"
        console.say(f"out     {told.proto} {src}:{sport} > {dst}:{dport} {where} ({told.ctinfo})")
    console.say(f"chosen  {told.mapping}")
    if told.connection:
        console.say(f"entry   {told.connection}")
