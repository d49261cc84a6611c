"""fastnat trace: one packet, explained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from ..addresses import end_text, family_of
from ..dtypes import PROTOCOLS
from ..engine import Engine
from ..engine.reasons import REASONS
from ..engine.trace import Trace
from ..engine.trace import trace as explain
from ..errors import InputError
from ..iptables.context import MAX_ID
from ..util.text import end_of
from .forms import Answer, Paper, forms, tell
from .options import order_option, profile_option
from .terminal import Date, Mark, Whole, load_node, never_matching, protocol_of, warn, warn_of_rules, working
from .terminal import start_from as load

# types of what answers an echo, by protocol
ECHO_REPLIES = {1: 0, 58: 129}
# types of an echo
ECHOES = {1: 8, 58: 128}
HEADER = ("packet", "hook", "table", "chain", "rule", "skipped", "text")
EXAMPLES = (
    ("trace node/ -p udp -s 10.244.1.2 -d 203.0.113.10 --dport 53 -i cni0", "which rules a packet meets"),
    ("trace node/ -p tcp --dport 443 --reply", "also how the answer to it is treated"),
    ("trace node/ -p icmp --mark 0x10 -o kernel", "as the kernel's TRACE target logs it"),
)
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32}


@click.command()
@click.argument("node", required=False)
@click.option("-p", "--proto", default="udp", show_default=True, help="udp, tcp, icmp, sctp or a number.")
@click.option("-s", "--src", default="10.244.1.2", show_default=True, help="Its source: IP or IP:PORT, [IPv6]:PORT.")
@click.option("--sport", type=Whole(0, 65535), help="40000 by default; for ICMP: the id.")
@click.option("-d", "--dst", default="203.0.113.10", show_default=True, help="Its destination, like --src.")
@click.option("--dport", type=Whole(0, 65535), help="53 by default; for ICMP type * 256, by default an echo.")
@click.option("-i", "--iface", default="cni0", show_default=True, help="Where it enters; 'local': the node sends it.")
@click.option("--flags", default="S", show_default=True, help="TCP flags: letters of FSRPAU.")
@click.option("--mark", type=Mark(), default=0, help="The packet's mark: 16 or 0x10.")
@click.option("--uid", type=Whole(0, MAX_ID), help="Of the node's own packet: the user that sends it.")
@click.option("--gid", type=Whole(0, MAX_ID), help="Of the node's own packet: the group that sends it.")
@click.option("--epoch", type=Date(), help="When it comes, for rules with -m time: seconds since 1970, or a date, UTC.")
@profile_option()
@click.option("--start-from", metavar="FILE", help="`conntrack -L` text of the connections to start with.")
@order_option()
@click.option("--lenient", is_flag=True, help="Load unsupported rules as never matching.")
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="What random numbers begin with.")
@click.option("--reply", is_flag=True, help="Also show how the answer to it is treated.")
@forms("kernel", flags=["kernel", "json"])
def trace(
    node: str | None,
    proto: str,
    src: str,
    sport: int | None,
    dst: str,
    dport: int | None,
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
    reply: bool,
    form: str,
) -> None:
    """Show how NODE (default: the packaged k8s-worker) treats one packet, rule by rule."""
    loaded = load_node(node, lenient)
    known = len(never_matching(loaded))
    with working("loading the node"):
        engine = Engine(loaded, profile=profile, seed=seed, epoch=epoch)
    # those whose sets are missing, or that ask for a date
    warn_of_rules(loaded, known)
    engine.uid, engine.gid = uid, gid
    if start_from is not None:
        load(engine, start_from)
    if set(flags) - set(FLAGS):
        raise InputError(f"--flags {flags!r}: expected letters of {''.join(FLAGS)}")
    try:
        number = protocol_of(proto)
        src, sport = end_with(src, sport, "--sport")
        dst, dport = end_with(dst, dport, "--dport")
        if sport is None:
            sport = 40_000
        if dport is None:
            dport = ECHOES[number] << 8 if number in ECHOES else 53
        if family_of(src) is not family_of(dst):
            raise InputError(f"{src} and {dst} are addresses of two families; give both, --src and --dst")
        packet = engine.packets(
            proto=number, src=src, sport=sport, dst=dst, dport=dport, iface=iface,
            tcp_flags=sum(FLAGS[f] for f in flags) if number == PROTOCOLS["tcp"] else 0, mark=mark,
        )  # fmt: skip
    except (KeyError, ValueError, OverflowError) as error:
        raise InputError(f"no such packet: {error}") from None
    told = explain(engine, packet)
    if told.owner_assumed:
        asked = " and ".join(told.owner_assumed)
        remedy = " and ".join(f"--{name}" for name in told.owner_assumed)
        warn(f"fastnat: the answer depends on who sends the packet; {asked} 0 (root) is assumed: give {remedy}")
    traces = [told, *([explain(engine, answer_to(engine, packet))] if reply and told.verdict != "drop" else [])]
    tell(form, answer(traces))


def end_with(text: str, port: int | None, option: str) -> tuple[str, int | None]:
    """Return the address and the port of an end, which the option may say beside it; ValueError: they differ."""
    address, said = end_of(text)
    if said is not None and port not in (None, said):
        raise ValueError(f"{text} and {option} {port} are two ports")
    return address, port if said is None else said


def answer(traces: list[Trace]) -> Answer:
    """Return the traces of a packet, and of the answer to it, in every form."""

    def write(paper: Paper, one: Callable[[Paper, Trace], None]) -> None:
        for n, told in enumerate(traces):
            if n:
                paper.say("The answer to it")
            one(paper, told)

    def document() -> Any:
        entries = ("connection", "holder")
        shown = [
            asdict(t) | {name: str(getattr(t, name)) if getattr(t, name) else None for name in entries} for t in traces
        ]
        return shown[0] | ({"reply": shown[1]} if len(shown) > 1 else {})

    def lines() -> str:
        said = [line for n, told in enumerate(traces) for line in (["The answer to it"] * (n > 0) + told.lines())]
        return "".join(f"{line}\n" for line in said)

    rows = [
        [way, s.hook, s.table, s.chain, s.number, s.skipped, s.text]
        for way, told in zip(("packet", "answer"), traces, strict=False) for s in told.steps
    ]  # fmt: skip
    return Answer(lambda paper: write(paper, show), document, HEADER, lambda: rows, {"kernel": lines})


def answer_to(engine: Engine, packet: NDArray[Any]) -> NDArray[Any]:
    """Send a packet through the engine; return what its destination answers."""
    out, back = engine.process(packet, engine.now), packet.copy()
    for here, there in (("src", "dst"), ("dst", "src"), ("sport", "dport"), ("dport", "sport")):
        back[here] = out[there]
    if packet["proto"][0] in ECHO_REPLIES:
        # an id stands where ports do, and the type of the answer is another one
        back["sport"], back["dport"] = out["sport"], ECHO_REPLIES[int(packet["proto"][0])] << 8
    back["iface"], back["mark"] = out["out_iface"], 0
    back["tcp_flags"] = np.where(packet["tcp_flags"] & FLAGS["S"], FLAGS["S"] | FLAGS["A"], packet["tcp_flags"])
    return back


def dropped(told: Trace) -> str:
    """Return in words why a packet was dropped."""
    if told.reason == "clash" and told.probes > 1:
        return f"{told.probes} ports were tried, none was free: lost at confirm (insert_failed, drop)"
    if told.reason == "clash":
        return "another connection has its tuple: lost at confirm"
    return f"{told.reason}: {REASONS[told.reason]}" if told.reason in REASONS else told.reason


def ends_text(ends: tuple[str, int, str, int]) -> str:
    """Return where a packet comes from and goes to."""
    src, sport, dst, dport = ends
    return f"{end_text(src, sport)} > {end_text(dst, dport)}"


def show(console: Paper, told: Trace) -> None:
    """Print a trace for people."""
    if told.steps:
        console.say("Rules that matched, in order")
        rows = []
        for step in told.steps:
            before = f"({step.skipped} before it did not match) " if step.skipped else ""
            rows.append([step.hook, step.table, step.chain, f"{step.number}: {before}{step.text}"])
        console.table(("hook", "table", "chain", "rule"), rows, left=4)
    else:
        console.say("No rule was asked.")
    if told.waypoints:
        console.say("Where it was, and how it left there")
        rows = [[w.place, w.says, ends_text(w.ends), hex(w.mark) if w.mark else ""] for w in told.waypoints]
        console.table(("place", "found", "packet", "mark"), rows, left=4)
    console.say(f"in      {told.proto} {ends_text(told.before)}")
    if told.verdict == "drop":
        console.say(f"dropped: {dropped(told)}")
    else:
        where = "to the node itself" if told.verdict == "local" else f"on {told.out_iface}"
        console.say(f"out     {told.proto} {ends_text(told.after)} {where} ({told.ctinfo})")
    console.say(f"chosen  {told.mapping}")
    if told.holder:
        console.say(f"taken by {told.holder}")
    if told.connection:
        console.say(f"entry   {told.connection}")
