"""fastnat doctor: which of the failures that look alike it is, out of whatever files are at hand."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import click

from ..addresses import family_of
from ..diagnosis import remedies
from ..diagnosis.causes import NAMES, Facts, Finding, facts_of, findings
from ..diagnosis.recognise import COMMANDS, Evidence, collect
from ..diagnosis.stale import Stale, stale
from ..engine import Engine
from ..engine.settings import MAX_CONNECTIONS
from ..errors import InputError
from ..exhaustion.source_nat import pool_of
from .forms import Answer, Paper, forms, tell
from .options import profile_option
from .terminal import Bar, answer_no, warn, working

ANSWERS = {"yes": "yes", "no": "no", "unknown": "cannot tell"}
MOST_GROUPS = 20
STALE = ("count", "what", "proto", "towards", "was", "today", "dies", "command", "others")
EXAMPLES = (
    ("doctor dump.txt node/", "which failure a dump of a node shows"),
    ("doctor before.txt after.txt dmesg.txt", "conntrack -S, twice, and the kernel's log"),
    ("doctor dump.txt node/ --stale -o csv", "every entry that today's rules would treat otherwise"),
)


@click.command()
@click.argument("files", nargs=-1, required=True)
@click.option("--stale", "only_stale", is_flag=True, help="Only list entries that today's rules would treat otherwise.")
@profile_option()
@click.option("--no-simulation", is_flag=True, help="Do not try what would change it.")
@forms(flags=["json"])
def doctor(files: tuple[str, ...], only_stale: bool, profile: str, no_simulation: bool, form: str) -> None:
    """Say which failure FILES show: any of `conntrack -L`, `conntrack -S` (once or twice), dmesg, sysctls, rules...

    Files are recognised by their text, in any order; a node directory stands for the files in it. Exit status 1: a
    failure was found.
    """
    with working("reading the files"):
        evidence = collect(list(files))
        # who asks for stale entries alone does not wait for the rest
        facts = Facts(evidence) if only_stale else facts_of(evidence, profile)
    with Bar("looking at the entries") as bar:
        found = stale_of(evidence, facts, profile, bar)
        answers = [*findings(facts), stale_finding(evidence, found)] if not only_stale else []
        tried = [] if no_simulation or only_stale else tried_on(evidence, facts, answers, profile, bar)
    if only_stale and found is None:
        raise InputError(f"stale entries: {missing_for_stale(evidence)}")
    if not only_stale and not (evidence.dumps or evidence.stats or evidence.logs or facts.limit is not None):
        said = "; ".join(evidence.said)
        wanted = ", ".join(COMMANDS[kind] for kind in ("connections", "counters", "kernel log"))
        raise InputError(f"nothing here shows a failure ({said}); give {wanted}, or some of them")
    ill = any(f.answer == "yes" for f in answers) or bool(only_stale and found and found.count)
    if ill:
        answer_no()
    if form in ("text", "md"):
        for line in evidence.said:
            warn(f"fastnat: {line}")

    def write(paper: Paper) -> None:
        if not only_stale:
            show(paper, answers, tried)
        if found:
            show_stale(paper, found, whole=only_stale)

    rows = [[f.cause, f.answer, f.because, f.needs] for f in answers]
    header: tuple[str, ...] = ("failure", "answer", "because", "needs")
    if only_stale and found:
        header = STALE
        rows = [[getattr(g, name) for name in header] for g in found.groups]
    tell(form, Answer(write, lambda: document(evidence, answers, found, tried), header, lambda: rows))
    if ill:
        sys.exit(1)


def stale_of(evidence: Evidence, facts: Facts, profile: str, bar: Bar) -> Stale | None:
    """Return the stale entries, None where files are missing."""
    if missing_for_stale(evidence) or evidence.node is None:
        return None
    name, text = evidence.dumps[-1]
    most = min(max(text.count("\n") + 16, 65_536), MAX_CONNECTIONS)
    fresh = Engine(evidence.node, profile, seed=1, max_connections=most, epoch=0.0)
    loaded = fresh.fork()
    left_out: list[str] = []
    loaded.conntrack.load(text, name, left_out)
    if left_out:
        evidence.said.append(f"{name}: {len(left_out):,} lines are left out; the first: {left_out[0]}")
    return stale(fresh, loaded, lambda n: bar.advance(bar.task, n))


def missing_for_stale(evidence: Evidence) -> str:
    """Return which file is missing to judge entries by, "" if none is."""
    wanted = {"connections": bool(evidence.dumps), "addresses": evidence.node is not None, "rules": evidence.has_rules}
    missing = [COMMANDS[kind] for kind, there in wanted.items() if not there]
    return f"give {' and '.join(missing)}" if missing else ""


def stale_finding(evidence: Evidence, found: Stale | None) -> Finding:
    """Return whether entries are stale."""
    if found is None:
        return Finding("stale", "unknown", "entries and today's rules are compared", missing_for_stale(evidence)[5:])
    said = f"{found.count:,} of {found.judged:,} entries would be treated otherwise by today's rules"
    return Finding("stale", "yes" if found.count else "no", said, figures={"stale": float(found.count)})


def tried_on(
    evidence: Evidence, facts: Facts, answers: list[Finding], profile: str, bar: Bar
) -> list[remedies.Tried]:  # fmt: skip
    """Return what would change a lack of ports."""
    worst = facts.worst
    if worst is None or not evidence.dumps or not any(f.cause == "ports" and f.answer == "yes" for f in answers):
        return []
    bar.update(bar.task, description="trying what would change it")
    name, text = evidence.dumps[-1]
    space = worst.space
    known = evidence.node if evidence.has_rules else None
    limit = facts.limit if facts.limit is not None else MAX_CONNECTIONS // 4
    node = known or remedies.minimal_node(space)
    family = family_of(space.address)
    pool = pool_of(node, family, family.to_int(space.address))
    following = remedies.Next(space, text, name, limit, known is not None, pool)
    return remedies.try_changes(node, following, profile, lambda n: bar.advance(bar.task, n))


def document(evidence: Evidence, answers: list[Finding], found: Stale | None, tried: list[Any]) -> dict[str, Any]:
    """Return the answer for JSON."""
    return {
        "files": evidence.said, "findings": [asdict(f) for f in answers], "changes": [asdict(t) for t in tried],
        "stale": None if found is None else {
            "entries": found.count, "judged": found.judged, "left_out": found.left_out,
            "groups": [asdict(g) for g in found.groups],
        },
    }  # fmt: skip


def show(console: Paper, answers: list[Finding], tried: list[remedies.Tried]) -> None:
    """Print the answer first, then why, then what would change it."""
    yes = [f for f in answers if f.answer == "yes"]
    unknown = [f for f in answers if f.answer == "unknown"]
    for f in yes:
        console.say(f"{NAMES[f.cause][0].upper()}{NAMES[f.cause][1:]}: {f.because}.")
    if not yes:
        console.say(
            "No failure is shown by these files." if unknown else "Nothing is wrong with connection tracking here."
        )
    rows = [[f.cause.replace("_", " "), ANSWERS[f.answer], f.because] for f in answers]
    console.table(("failure", "answer", "because"), rows, left=3)
    if tried:
        console.say("Of the next connections to that destination fail (simulated from this dump on):")
        console.table(("change", "fail"), [[t.change, f"{t.fails:.2%}"] for t in tried], left=1)
    for needs in dict.fromkeys(f.needs for f in unknown if f.needs):
        causes = ", ".join(f.cause.replace("_", " ") for f in unknown if f.needs == needs)
        console.say(f"{needs} would tell about: {causes}.")


def show_stale(console: Paper, found: Stale, whole: bool) -> None:
    """Print the stale entries, grouped."""
    if not found.count and whole:
        console.say(f"None of {found.judged:,} entries is stale: today's rules would treat each as it is.")
    if found.count:
        console.say(f"{found.count:,} of {found.judged:,} entries are stale: they go on as they began.")
        groups = found.groups if whole else found.groups[:MOST_GROUPS]
        rows = [[f"{g.count:,}", g.what, g.proto, g.towards, g.was, g.today, f"{g.dies:,.0f} s"] for g in groups]
        console.table(("entries", "what", "proto", "to", "was", "today", "dies in"), rows, left=7)
        console.say_all(
            f"{g.command}   # removes {g.others:,} other entries, too" if g.others else g.command for g in groups
        )
        if len(groups) < len(found.groups):
            console.say(f"... and {len(found.groups) - len(groups):,} groups more: fastnat doctor --stale lists them")
    for why, n in found.left_out.items():
        console.say(f"{n:,} entries were not judged: {why}.")
