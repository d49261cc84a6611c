"""fastnat diff: whether two nodes, or two kernels, decide alike."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from ..addresses import FAMILIES
from ..diagnosis.differ import Compared, Difference, Pair, compare, packet_text, send
from ..engine.settings import PROFILES
from ..engine.trace import trace
from ..errors import InputError
from .forms import Answer, Paper, forms, tell
from .options import complete_profiles, order_option
from .terminal import Bar, Count, Seconds, Whole, answer_no, load_node

MOST_RULES = 20
HEADER = ("kind", "number", "text")
EXAMPLES = (
    ("diff node/ new/", "whether new rules decide as the old ones do"),
    ("diff node/ --profile linux-6.18,linux-5.4", "whether two kernels do"),
    ("diff node/ new/ --seconds 5m -o json", "a longer look, for a program"),
)


@click.command()
@click.argument("node_a")
@click.argument("node_b", required=False)
@click.option(
    "--profile",
    metavar="A[,B]",
    default="linux-6.18",
    show_default=True,
    help="One kernel, or one for each.",
    shell_complete=complete_profiles,
)
@click.option("--seconds", type=Seconds(0.1, 86_400), default=10.0, show_default=True, help="How long to look: 10, 5m.")
@click.option(
    "--packets",
    type=Count(1),
    default=10_000_000,
    show_default=True,
    help="How many packets to try at most: 5000, 10M.",
)
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="What random numbers begin with.")
@order_option()
@click.option("--lenient", is_flag=True, help="Load unsupported rules as never matching.")
@forms(flags=["json"])
def diff(
    node_a: str, node_b: str | None, profile: str, seconds: float, packets: int, seed: int, lenient: bool, form: str
) -> None:
    """Send packets that cover the rules of NODE_A and NODE_B to both, and show the first one that they treat otherwise.

    Without NODE_B: NODE_A under the two kernels of --profile. Exit status 1: they differ.
    """
    profiles = (profile.split(",") * 2)[:2]
    for name in profiles:
        if name not in PROFILES:
            raise InputError(f"--profile {name!r}: known are {', '.join(PROFILES)}")
    if node_b is None and profiles[0] == profiles[1]:
        raise InputError("nothing to compare: give two nodes, or --profile with two kernels")
    nodes = [load_node(node_a, lenient)]
    nodes.append(load_node(node_b, lenient) if node_b is not None else nodes[0])
    with Bar("comparing") as bar:
        result = compare(nodes, profiles, seconds, seed, packets, lambda n: bar.advance(bar.task, n))
    names = (
        [f"{node_a} ({profiles[0]})", f"{node_b or node_a} ({profiles[1]})"]
        if profiles[0] != profiles[1]
        else [node_a, node_b or node_a]
    )
    if not result.alike:
        answer_no()
    told = Answer(
        lambda paper: show(paper, result, names, lambda: Pair(nodes, profiles, seed)),
        lambda: document(result, names), HEADER, lambda: rows_of(result, names),
    )  # fmt: skip
    tell(form, told)
    if not result.alike:
        sys.exit(1)


def rows_of(result: Compared, names: list[str]) -> list[list[Any]]:
    """Return the packets of the difference with what became of the last one, and the rules that none reached."""
    found = result.difference
    sent = found.sequence if found else []
    answers = [f"{name}: {answer}" for name, answer in zip(names, found.answers, strict=True)] if found else []
    rows: list[list[Any]] = [["packet", n, packet_text(s)] for n, s in enumerate(sent, 1)]
    rows += [["answer", n, said] for n, said in enumerate(answers, 1)]
    if result.without_ipv6 is not None:
        rows.append(["without_ipv6", result.without_ipv6 + 1, names[result.without_ipv6]])
    return rows + [["unreached", n, rule] for n, rules in enumerate(result.unreached, 1) for rule in rules]


def ipv6_in_words(lacking: int, names: list[str]) -> str:
    """Return which node has IPv6, and which has none."""
    return f"{names[lacking]} has neither IPv6 addresses nor rules.v6, {names[1 - lacking]} has"


def document(result: Compared, names: list[str]) -> dict[str, object]:
    """Return the answer for JSON."""
    found = result.difference
    return {
        "nodes": names, "packets": result.packets, "alike": result.alike,
        "without_ipv6": None if result.without_ipv6 is None else names[result.without_ipv6],
        "difference": None if found is None else {
            "sequence": [packet_text(s) for s in found.sequence], "answers": list(found.answers), "drawn": found.drawn,
        },
        "unreached": [list(rules) for rules in result.unreached],
    }  # fmt: skip


def show(console: Paper, result: Compared, names: list[str], pair: Callable[[], Pair]) -> None:
    """Print the answer, and why; pair: makes engines of both, for the rules that a packet met."""
    if result.without_ipv6 is not None:
        console.say(f"They differ in IPv6, which was not compared: {ipv6_in_words(result.without_ipv6, names)}.")
    if result.difference is None:
        of = "" if result.without_ipv6 is None else " of IPv4"
        console.say(f"No difference in {result.packets:,} packets{of}.")
        for name, rules in zip(names, result.unreached, strict=True):
            if rules:
                plural = "rules were" if len(rules) > 1 else "rule was"
                console.say(f"{name}: {len(rules):,} {plural} never reached:")
                for rule in rules[:MOST_RULES]:
                    console.say(f"  {rule}")
                if len(rules) > MOST_RULES:
                    console.say(f"  ... and {len(rules) - MOST_RULES:,} more")
        return
    found = result.difference
    console.say(f"They differ, after {result.packets:,} packets tried. The shortest sequence found:")
    for sent in found.sequence:
        console.say(f"  {packet_text(sent)}")
    console.say("whose last packet is treated so:")
    for name, answer in zip(names, found.answers, strict=True):
        console.say(f"  {name}: {answer}")
    if not found.drawn:
        explain(console, found, names, pair())


def explain(console: Paper, found: Difference, names: list[str], pair: Pair) -> None:
    """Print the rules that the last packet met in both."""
    for which, (name, engine) in enumerate(zip(names, pair.fresh(), strict=True)):
        for sent in found.sequence[:-1]:
            send(pair, which, engine, [sent.fields], FAMILIES[sent.version], max(sent.now, engine.now))
        last = found.sequence[-1]
        seen = trace(engine, pair.batch(which, [last.fields], FAMILIES[last.version]), max(last.now, engine.now))
        console.say(f"Rules met in {name}")
        rows = [[s.hook, s.table, s.chain, f"{s.number}: {s.text}"] for s in seen.steps]
        if rows:
            console.table(("hook", "table", "chain", "rule"), rows, left=4)
        console.say(f"chosen  {seen.mapping}")
