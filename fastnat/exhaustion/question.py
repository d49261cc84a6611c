"""A question in words, for the head of a report: what is opened, how fast, by whom, to where, which kernel, when."""

from __future__ import annotations

from datetime import UTC, datetime

from ..addresses import end_text
from ..errors import InputError
from ..util.text import number_of
from .outcome import listed
from .workload import Workload, hold_spec

DATE = "%Y-%m-%dT%H:%M:%SZ"
CLOSES = {"fin": "", "rst": "ended by a RST", "none": "never closed", "client": "closed by the client alone",
          "server": "closed by the server alone"}  # fmt: skip


def now() -> str:
    """Return the present time as a document holds it."""
    return datetime.now(UTC).strftime(DATE)


def question(work: Workload, node: str, profile: str, date: str = "", counted: bool = True) -> str:
    """Return a question in a sentence; date: when it was answered, "" where nobody knows; counted: of so many flows."""
    parts = [f"{flows_of(work, counted)} to {destinations_of(work)}", hold_of(work), clients_of(work)]
    said = ", ".join(part for part in parts if part)
    return f"{said}; node {node}, kernel {profile}{day_of(date)}."


def day_of(date: str) -> str:
    """Return the end of a sentence that says when something was asked."""
    try:
        day = datetime.strptime(date, DATE)
    except ValueError:
        return ""
    return f"; asked on {day.day} {day:%B %Y}"


def flows_of(work: Workload, counted: bool = True) -> str:
    """Return how many flows are opened, and how fast."""
    kind = f"{work.flows:,} {work.proto.upper()} flows" if counted else f"{work.proto.upper()} flows"
    if work.stages:
        ramps = [
            f"{a:,g} flows/s for {t:,g} s" if a == b else f"{a:,g} to {b:,g} flows/s within {t:,g} s"
            for t, a, b in work.stages
        ]
        return f"{kind}: {listed(ramps, 3)},"
    if not work.rate:
        # flows that last are asked for their rate
        return f"{kind} all at once" if work.hold is None else f"As many {work.proto.upper()} flows a second as pass"
    spaced = " at random" if work.poisson else ""
    return f"{kind} at a rate of {work.rate:,g} a second{spaced}"


def hold_of(work: Workload) -> str:
    """Return how long a flow lasts, and how it ends."""
    if work.hold is None:
        return "each its first packet alone"
    end = CLOSES.get(work.close, "") if work.proto == "tcp" else "answered" if work.replies else ""
    return hold_in_words(work.hold) + (f" and {end}" if end else "")


def hold_in_words(hold: float | str) -> str:
    """Return a hold time in words."""
    try:
        kind, numbers = hold_spec(hold)
    except InputError:
        # of a file that somebody wrote by hand
        return f"held {hold}"
    said = {
        "": "{0:,g} s", "exp": "{0:,g} s on average (exponential)", "uniform": "{0:,g} to {1:,g} s",
        "lognormal": "{0:,g} s in the median (lognormal, sigma {1:g})",
        "pareto": "{0:,g} s at the least (Pareto, shape {1:g})",
    }[kind].format(*numbers)  # fmt: skip
    return f"held {said}"


def clients_of(work: Workload) -> str:
    """Return who opens the flows, with which source ports."""
    if work.iface == "local":
        return "opened by the node itself"
    who = f"from {number_of(work.clients, 'client')}"
    who = who if work.clients else "each from a client of its own"
    if isinstance(work.sport, int):
        return f"{who}, with source port {work.sport}" + (" and those behind it" if work.clients else "")
    return f"{who}, with {work.sport or 'random'} source ports"


def destinations_of(work: Workload) -> str:
    """Return where the flows go."""
    return listed([end_text(*end) for end in work.destinations], 3)
