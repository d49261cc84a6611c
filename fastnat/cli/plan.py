"""fastnat plan: how many SNAT addresses, ports and table entries a load needs."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import click

from ..errors import InputError
from ..exhaustion import Workload, scenario
from ..exhaustion.html import clouds_page, plan_page
from ..exhaustion.outcome import PORTS, verdict
from ..exhaustion.plan import Cloud, Plan, cloud_plan, clouds
from ..exhaustion.plan import plan as make
from ..exhaustion.plots import draw_plan, open_plot
from ..exhaustion.question import day_of, hold_in_words, now, question
from ..exhaustion.times import hold_of
from ..exhaustion.workload import mean_hold
from ..node.timeouts import PREFIX
from ..util.output import Outputs
from ..util.text import number_of
from .completion import complete_clouds
from .forms import Answer, Paper, forms, spoken, tell
from .options import PACKAGED, order_option, profile_option
from .terminal import Bar, Count, Date, Rate, Share, Whole, answer_no, load_node, warn_of_senders

CLOUDS = ("cloud", "ports in use", "needed", "at the most", "fails", "fits")
# what a plan holds beside its figures
NO_FIGURES = ("found", "fewer", "size", "cut_short", "few_clients")
EXAMPLES = (
    ("plan node/ --rate 1k/s --hold exp:5", "how many addresses, and what table, a load needs"),
    ("plan --rate 500/s --hold 30s --fails 0.1% -o html >plan.html", "a page for others, with parts of the load"),
    ("plan --rate 3k/s --hold 2s --cloud all", "which cloud's NAT carries it"),
)


@click.command()
@click.argument("node", required=False)
@click.option(
    "--rate", type=Rate(0.001, 1e9),
    help="Flows a second (3000, 3k/s, 180k/min), all together; required, but for --cloud list.",
)  # fmt: skip
@click.option("--hold", default="1", show_default=True, metavar="TIME", help="How long a flow lasts: 30, 5m, exp:30.")
@click.option("--dst", multiple=True, metavar="IP:PORT", help="[IPv6]:PORT and NET/LEN:PORT, too; repeatable.")
@click.option("--proto", type=click.Choice(["udp", "tcp"]), default="tcp", show_default=True, help="Of the flows.")
@click.option("--clients", type=Count(1), default=1000, show_default=True, help="Client addresses.")
@click.option("--iface", default="cni0", show_default=True, help="Where flows enter; local: the node opens them.")
@click.option("--network", metavar="NET", help="Addresses of the clients; by default of the first SNAT rule.")
@profile_option()
@order_option()
@click.option(
    "--fails",
    type=Share(min_open=True),
    default=0.001,
    show_default=True,
    help="Share of flows that may fail: 0.001, 0.1%.",
)
@click.option(
    "--cloud", metavar="NAME", help="A cloud's NAT instead of a node: a name, all, or list.",
    shell_complete=complete_clouds,
)  # fmt: skip
@click.option("--instances", type=Count(1), default=1, show_default=True, help="Instances behind the cloud's NAT.")
@click.option(
    "--epoch", type=Date(), help="When it begins, for rules with -m time: seconds since 1970, or a date, UTC."
)
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="What random numbers begin with.")
@click.option("--plot", metavar="PNG", help="Addresses needed for a quarter, half... of the rate (fastnat[report]).")
@forms("html", flags=["json"])
def plan(
    node: str | None, rate: float | None, hold: str, dst: tuple[str, ...], proto: str, clients: int, iface: str,
    network: str | None, profile: str, fails: float, cloud: str | None, instances: int, epoch: float | None, seed: int,
    plot: str | None, form: str,
) -> None:  # fmt: skip
    """Print how many SNAT addresses and table entries NODE (default: the packaged k8s-worker) needs for a load."""
    if cloud == "list":
        tell(form, listing(clouds()))
        return
    if rate is None:
        raise click.UsageError("Missing option '--rate'.")
    try:
        held = hold_of(hold)
    except ValueError as error:
        raise InputError(f"--hold: {error}") from None
    if cloud is not None:
        if plot is not None:
            raise InputError("--plot: a cloud's plan cannot be drawn; leave --plot out, or give a node")
        in_a_cloud(cloud, Load(rate, held, fails, instances), form)
        return
    destinations = tuple(end for d in dst for end in scenario.endpoints(d)) or (("203.0.113.10", 443),)
    work = Workload(
        destinations, proto, rate=rate, hold=held, clients=clients, sport="random", iface=iface, network=network
    )
    if proto == "udp":
        work = replace(work, replies=True)
    with Outputs() as outputs:
        drawing = open_plot(outputs, plot)
        loaded = load_node(node, epoch=epoch)
        warn_of_senders(loaded, iface)
        with Bar("simulating") as bar:
            made = make(loaded, work, profile, fails, seed, bar.addresses)
            points: list[tuple[float, int]] = []
            if drawing or form == "html":
                rates = [rate * k / 4 for k in (1, 2, 3)]
                loads = [replace(work, rate=r) for r in rates]
                less = [make(loaded, load, profile, fails, seed, bar.addresses).addresses for load in loads]
                points = [*zip(rates, less, strict=True), (rate, made.addresses)]
        asked = question(work, node if node is not None else PACKAGED, profile, now(), counted=False)
        if drawing:
            draw_plan(asked, points, drawing)
    figures, said = as_figures(made), words_of(made, held, fails, loaded.sysctl(PREFIX + "max", 262_144))
    page = {"html": lambda: plan_page(asked, said, figures, points)}
    tell(form, Answer(spoken(said), lambda: figures, list(figures), lambda: [list(figures.values())], page))


def as_figures(made: Plan) -> dict[str, Any]:
    """Return a plan for JSON: its figures, and those of the run that showed it."""
    figures = {f.name: getattr(made, f.name) for f in fields(made) if f.name not in NO_FIGURES}
    run = {name: getattr(made.found, name) for name in ("width", "flows", "seconds", "lifetimes")}
    return {**figures, **run, "with_one_address_less": made.fewer.fails if made.fewer else None}


def words_of(made: Plan, held: float | str, fails: float, there: int) -> list[str]:
    """Return a plan in words; there: the node's nf_conntrack_max."""
    if made.found.outcome.kind == "untracked":
        return [f"No SNAT address is needed. {verdict(made.found.outcome)}"]
    table = f"nf_conntrack_max = {made.max_connections}, nf_conntrack_buckets = {made.buckets}"
    table += " (a quarter above the load)" + (f"; this node has {there}." if 0 < there < made.max_connections else ".")
    lasts = f"for {made.lifetime:.0f} s, {hold_in_words(held)} and then for the timeout"
    if made.cut_short:
        lasts = f"for {made.lifetime:.0f} s on average, {hold_in_words(held)}"
    if not made.addresses:
        said = [
            "No SNAT address is needed: these rules do not SNAT this traffic, so no SNAT port can run out.",
            f"Each flow keeps its entry {lasts}: {made.live:,.0f} at a time.",
        ]
        return [line for line in (*said, made.cut_short, made.few_clients, table) if line]
    own = ", as the rules have them, are enough" if made.of_the_rules else ""
    less = f"; with one address less at least {made.fewer.fails:.1%}" if made.fewer else ""
    said = [
        f"{number_of(made.addresses, 'SNAT address', 'es')}{own}: then {made.fails:.3%} of the flows fail, "
        f"{fails:.3%} may.",
        f"Simulated: {made.found}{less}.",
        f"Each flow keeps its port {lasts}: {made.live:,.0f} at a time, {made.busiest:,.0f} to the busiest "
        f"destination; {number_of(made.size, 'port')} an address.",
        made.cut_short,
    ]
    if made.of_the_rules:
        if made.addresses > made.by_arithmetic:
            said.append(f"By arithmetic {made.by_arithmetic} would do; fewer than the rules have are not tried.")
    elif made.addresses > made.by_arithmetic:
        said.append(f"Arithmetic says {made.by_arithmetic}: the port search gives up before all ports are taken.")
    elif made.busiest > made.size * made.addresses and made.found.outcome.stats.get("evicted", 0):
        said.append(
            "That is more than there are ports: linux-6.18 takes over ports of connections in TIME_WAIT for a new SYN."
        )
    return [line for line in (*said, made.few_clients, table) if line]


@dataclass(frozen=True)
class Load:
    """What clouds are asked for: rate [flows/s], hold time, share that may fail, instances."""

    rate: float
    hold: float | str
    fails: float
    instances: int

    def plan(self, cloud: Cloud) -> dict[str, Any]:
        """Return what it needs in a cloud."""
        return cloud_plan(cloud, self.rate, mean_hold(self.hold), self.fails, self.instances)

    def compared(self, cloud: Cloud) -> dict[str, Any]:
        """Return what it needs in a cloud among others: one that is far too small is no error."""
        live = self.rate * (mean_hold(self.hold) + cloud.reuse_after)
        try:
            return self.plan(cloud)
        except InputError:
            if not math.isfinite(live):
                raise
            return {"live": live, "possible": False}

    def __str__(self) -> str:
        """Say it in words."""
        behind = f" from {self.instances:,} instances" if self.instances > 1 else ""
        return (
            f"{self.rate:,g} flows a second to one destination{behind}, {hold_in_words(self.hold)}, of which "
            f"{self.fails:.3%} may fail{day_of(now())}."
        )


def in_a_cloud(name: str, load: Load, form: str) -> None:
    """Print what a load to one destination needs behind a cloud's NAT; exit status 1 if it fits into none asked for."""
    known = clouds()
    if name not in ("all", *known):
        raise InputError(f"--cloud {name!r}: expected all, list, or one of {', '.join(known)}")
    asked = list(known.values()) if name == "all" else [known[name]]
    made = {c.name: load.compared(c) if name == "all" else load.plan(c) for c in asked}
    fits = any(m["possible"] for m in made.values())
    if not fits:
        answer_no()
    told = [{"cloud": n, "source": known[n].source, **m} for n, m in made.items()]
    header = list(dict.fromkeys(key for t in told for key in t))
    cells = rows_of(made)

    def show(paper: Paper) -> None:
        if name == "all":
            paper.table(CLOUDS, cells)
        else:
            spoken(cloud_words(known[name], made[name]))(paper)

    def page() -> str:
        fitting = [n for n, m in made.items() if m["possible"]]
        said = f"It fits {', '.join(fitting)}." if fitting else "It fits none of them."
        more = cloud_words(known[name], made[name]) if name != "all" else []
        sources = [f"{c.title}: {c.says} ({c.source})" for c in asked]
        return clouds_page(str(load), [said, *more[1:]], CLOUDS, cells, sources)

    document = told if name == "all" else told[0]
    rows = [[t.get(key) for key in header] for t in told]
    tell(form, Answer(show, lambda: document, header, lambda: rows, {"html": page}))
    if not fits:
        sys.exit(1)


def listing(known: dict[str, Cloud]) -> Answer:
    """Return what is known of the clouds."""

    def show(paper: Paper) -> None:
        for model in known.values():
            paper.say(f"{model.name}: {model.title}: {model.says}")
            paper.say(f"  {model.source}")

    header = [f.name for f in fields(Cloud)]
    rows = [[getattr(c, name) for name in header] for c in known.values()]
    return Answer(show, lambda: [asdict(c) for c in known.values()], header, lambda: rows)


def rows_of(made: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Return a row for each cloud."""
    return [
        [name, f"{m['live']:,.0f}", *needed_of(m), f"{m['fails']:.3%}" if "fails" in m else "-",
         "yes" if m["possible"] else "no"]
        for name, m in made.items()
    ]  # fmt: skip


def needed_of(made: dict[str, Any]) -> tuple[str, str]:
    """Return what a load needs in a cloud, and what the cloud gives."""
    if "addresses" in made:
        return number_of(made["addresses"], "address", "es"), number_of(made["max_addresses"], "address", "es")
    if "ports_per_instance" not in made:
        return "far more than it has", "-"
    return f"{number_of(made['ports_per_instance'], 'port')} an instance", f"{PORTS:,} ports an instance"


def cloud_words(c: Cloud, made: dict[str, Any]) -> list[str]:
    """Return in words what a load needs in one cloud."""
    said = [
        f"{c.title}: {c.says} ({c.source})",
        f"{made['live']:,.0f} ports in use at a time, {c.reuse_after:.0f} s of rest after each flow included.",
    ]
    if "addresses" in made:
        limit = "" if made["possible"] else f"; it takes at most {made['max_addresses']}"
        said.append(f"{made['addresses']} addresses: {made['fails']:.3%} of the flows fail{limit}.")
    else:
        said.append(
            f"{made['ports_per_instance']:,} ports an instance: {made['fails']:.3%} of the flows fail; "
            f"with the default of {made['default']:,}: {made['fails_by_default']:.1%}."
        )
    if not made["possible"]:
        said.append("That is more than it offers: spread the load over more destinations, or hold flows open.")
    return said
