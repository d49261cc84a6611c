"""fastnat plan: how many SNAT addresses, ports and table entries a load needs."""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from typing import Any

import click

from ..errors import InputError
from ..exhaustion import Workload, scenario
from ..exhaustion.outcome import PORTS
from ..exhaustion.plan import Cloud, Plan, cloud_plan, clouds
from ..exhaustion.plan import plan as make
from ..exhaustion.plots import draw_plan, open_plot
from ..exhaustion.times import hold_of
from ..exhaustion.workload import mean_hold
from ..util.escapes import json_text
from ..util.output import Outputs
from .terminal import Bar, Count, Date, Rate, Share, Terminal, answer_no, load_node, say, warn_of_senders


@click.command()
@click.argument("node", required=False)
@click.option(
    "--rate", type=Rate(0.001, 1e9), required=True, help="Flows a second (3000, 3k/s, 180k/min), all together."
)
@click.option("--hold", default="1", show_default=True, metavar="TIME", help="How long a flow lasts: 30, 5m, exp:30.")
@click.option("--dst", multiple=True, metavar="IP:PORT", help="[IPv6]:PORT and NET/LEN:PORT, too; repeatable.")
@click.option("--proto", type=click.Choice(["udp", "tcp"]), default="tcp", show_default=True)
@click.option("--clients", type=Count(1), default=1000, show_default=True, help="Client addresses.")
@click.option("--iface", default="cni0", show_default=True, help="Where flows enter; local: the node opens them.")
@click.option("--profile", default="linux-6.18", show_default=True)
@click.option(
    "--fails",
    type=Share(min_open=True),
    default=0.001,
    show_default=True,
    help="Share of flows that may fail: 0.001, 0.1%.",
)
@click.option("--cloud", help="A cloud's NAT instead of a node: a name, all, or list.")
@click.option("--instances", type=Count(1), default=1, show_default=True, help="Instances behind the cloud's NAT.")
@click.option(
    "--epoch", type=Date(), help="When it begins, for rules with -m time: seconds since 1970, or a date, UTC."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--plot", metavar="PNG", help="Addresses needed for a quarter, half... of the rate (fastnat[report]).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def plan(
    node: str | None, rate: float, hold: str, dst: tuple[str, ...], proto: str, clients: int, iface: str, profile: str,
    fails: float, cloud: str | None, instances: int, epoch: float | None, seed: int, plot: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Print how many SNAT addresses and table entries NODE (default: the packaged k8s-worker) needs for a load."""
    try:
        held = hold_of(hold)
    except ValueError as error:
        raise InputError(f"--hold: {error}") from None
    if cloud is not None:
        if plot is not None:
            raise InputError("--plot: a cloud's plan cannot be drawn; leave --plot out, or give a node")
        in_a_cloud(cloud, rate, held, fails, instances, as_json)
        return
    destinations = tuple(end for d in dst for end in scenario.endpoints(d)) or (("203.0.113.10", 443),)
    work = Workload(destinations, proto, rate=rate, hold=held, clients=clients, sport="random", iface=iface)
    if proto == "udp":
        work = replace(work, replies=True)
    with Outputs() as outputs:
        drawing = open_plot(outputs, plot)
        loaded = load_node(node, epoch=epoch)
        warn_of_senders(loaded, iface)
        with Bar("simulating") as bar:
            made = make(loaded, work, profile, fails, seed, bar.addresses)
            if drawing:
                rates = [rate * k / 4 for k in (1, 2, 3)]
                loads = [replace(work, rate=r) for r in rates]
                points = [make(loaded, load, profile, fails, seed, bar.addresses).addresses for load in loads]
        if drawing:
            draw_plan([*zip(rates, points, strict=True), (rate, made.addresses)], drawing)
    if as_json:
        click.echo(json_text(as_figures(made), indent=1))
        return
    show(made, work, fails)


def as_figures(made: Plan) -> dict[str, Any]:
    """Return a plan for JSON: its figures, and those of the run that showed it."""
    figures = {f.name: getattr(made, f.name) for f in fields(made) if f.name not in ("found", "fewer", "size")}
    run = {name: getattr(made.found, name) for name in ("width", "flows", "seconds", "lifetimes")}
    return {**figures, **run, "with_one_address_less": made.fewer.fails if made.fewer else None}


def show(made: Plan, work: Workload, fails: float) -> None:
    """Print a plan in words."""
    say = Terminal().say
    plural = "es" if made.addresses > 1 else ""
    say(f"{made.addresses} SNAT address{plural}: then {made.fails:.3%} of the flows fail, {fails:.3%} may.")
    less = f"; with one address less at least {made.fewer.fails:.1%}" if made.fewer else ""
    say(f"Simulated: {made.found}{less}.")
    say(
        f"Each flow keeps its port for {made.lifetime:.0f} s (held {work.hold} s, then the timeout): "
        f"{made.live:,.0f} at a time, {made.busiest:,.0f} to the busiest destination; {made.size:,} ports an address."
    )
    if made.addresses > made.by_arithmetic:
        say(f"Arithmetic says {made.by_arithmetic}: the port search gives up before all ports are taken.")
    elif made.busiest > made.size * made.addresses:
        say("That is more than there are ports: linux-6.18 takes over ports of connections in TIME_WAIT for a new SYN.")
    say(f"nf_conntrack_max = {made.max_connections}, nf_conntrack_buckets = {made.buckets} (a quarter above the load).")


def in_a_cloud(name: str, rate: float, hold: float | str, fails: float, instances: int, as_json: bool) -> None:
    """Print what a load to one destination needs behind a cloud's NAT."""
    known = clouds()
    if name == "list":
        for model in known.values():
            say(f"{model.name}: {model.title}: {model.says}")
            click.echo(f"  {model.source}")
        return
    if name == "all":
        compare_clouds(known, rate, hold, fails, instances, as_json)
        return
    if name not in known:
        raise InputError(f"--cloud {name!r}: expected all, list, or one of {', '.join(known)}")
    c: Cloud = known[name]
    made: dict[str, Any] = cloud_plan(c, rate, mean_hold(hold), fails, instances)
    if not made["possible"]:
        answer_no()
    if as_json:
        click.echo(json_text({"cloud": c.name, "source": c.source, **made}, indent=1))
    else:
        show_cloud(c, made)
    if not made["possible"]:
        sys.exit(1)


def compare_clouds(
    known: dict[str, Cloud], rate: float, hold: float | str, fails: float, instances: int, as_json: bool
) -> None:  # fmt: skip
    """Print in one table what a load needs in each cloud; exit status 1 if it fits into none."""
    made = {c.name: cloud_plan(c, rate, mean_hold(hold), fails, instances) for c in known.values()}
    fits = any(m["possible"] for m in made.values())
    if not fits:
        answer_no()
    if as_json:
        told = [{"cloud": name, "source": known[name].source, **m} for name, m in made.items()]
        click.echo(json_text(told, indent=1))
    else:
        rows = [
            [name, f"{m['live']:,.0f}", *needed_of(m), f"{m['fails']:.3%}", "yes" if m["possible"] else "no"]
            for name, m in made.items()
        ]
        Terminal().table(("cloud", "ports in use", "needed", "at the most", "fails", "fits"), rows, left=1)
    if not fits:
        sys.exit(1)


def needed_of(made: dict[str, Any]) -> tuple[str, str]:
    """Return what a load needs in a cloud, and what the cloud gives."""
    if "addresses" in made:
        plural = "es" if made["addresses"] > 1 else ""
        return f"{made['addresses']:,} address{plural}", f"{made['max_addresses']:,} addresses"
    return f"{made['ports_per_instance']:,} ports an instance", f"{PORTS:,} ports an instance"


def show_cloud(c: Cloud, made: dict[str, Any]) -> None:
    """Print in words what a load needs in one cloud."""
    say(f"{c.title}: {c.says} ({c.source})")
    say(f"{made['live']:,.0f} ports in use at a time, {c.reuse_after:.0f} s of rest after each flow included.")
    if "addresses" in made:
        limit = "" if made["possible"] else f"; it takes at most {made['max_addresses']}"
        say(f"{made['addresses']} addresses: {made['fails']:.3%} of the flows fail{limit}.")
    else:
        say(
            f"{made['ports_per_instance']:,} ports an instance: {made['fails']:.3%} of the flows fail; "
            f"with the default of {made['default']:,}: {made['fails_by_default']:.1%}."
        )
    if not made["possible"]:
        say("That is more than it offers: spread the load over more destinations, or hold flows open.")
