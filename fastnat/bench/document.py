"""What `fastnat bench --json` writes, how two of them differ, and the conditions of --fail-on."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..util.files import read_text
from ..util.text import excerpt
from .paired import NAMES, Pair

FORMAT = 2
# what must be equal for times of two files to mean the same; counts depend on the node and the profile alone
ENVIRONMENT = ("node", "profile", "cpu", "fastnat", "python", "numpy")
CONDITION = re.compile(r"(\w+)\s*([<>])\s*([+-]?\d{1,18}(?:\.\d{1,18})?)\s*(%)?")
# instructions of one build differ by less between two runs
SAME = 0.005


def load(path: Path) -> dict[str, Any]:
    """Read what --json wrote; InputError when it is something else."""
    text = read_text(path)
    try:
        doc: Any = json.loads(text)
        sound = doc["format"] == FORMAT and isinstance(doc["date"], str)
        # the date names a file of --history
        sound = sound and not set(doc["date"]) & set("/\0") and all(map(_number, doc["counters"].values()))
        sound = sound and all(_number(t[key]) for t in doc["times"].values() for key in ("ns", "low", "high"))
        sound = sound and all(isinstance(doc["environment"][name], str) for name in ENVIRONMENT)
        sound = sound and all(map(_number, doc["instructions"].values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise InputError(f"{path}: not what `fastnat bench --json` of this version wrote")
    found: dict[str, Any] = doc
    return found


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18


@dataclass(frozen=True)
class Change:
    """One figure then and now; the change in percent lies between low and high; `sure`: not both sides of 0."""

    name: str
    before: float
    after: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Whether anything has changed."""
        return self.low > 0 or self.high < 0 or (self.low == self.high and self.after != self.before)

    @property
    def percent(self) -> float:
        """Change in percent of what it was."""
        return percent(self.before, self.after)


def percent(before: float, after: float) -> float:
    """Return a change in percent."""
    if not before:
        return 0.0 if not after else float("inf")
    return (after - before) / abs(before) * 100


def differing(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return which parts of the environment differ, each with both values."""
    old, new = before["environment"], after["environment"]
    return [f"{name} ({old[name]}, now {new[name]})" for name in ENVIRONMENT if old[name] != new[name]]


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """Return how the counts of both documents changed: what is the same in every run of one build on one node."""
    found = []
    for part, same in (("counters", 0.0), ("instructions", SAME)):
        for name, value in after[part].items():
            old = before[part].get(name)
            if old is not None:
                moved = percent(old, value)
                moved = 0.0 if abs(moved) <= same * 100 else moved
                found.append(Change(name, old, value if moved else old, moved, moved))
    return found


def time_changes(pairs: list[Pair]) -> list[Change]:
    """Return the changes of times that were measured in turns."""
    return [Change(p.name, p.against_ns, p.ns, p.low, p.high) for p in pairs]


@dataclass(frozen=True)
class Condition:
    """One condition of --fail-on: about a change, in percent or not, or about the figure itself."""

    text: str
    name: str
    above: bool
    number: float
    relative: bool
    in_percent: bool


def conditions(expressions: tuple[str, ...]) -> list[Condition]:
    """Return the conditions of --fail-on, several in one expression separated by commas."""
    return [parsed(part.strip()) for expression in expressions for part in expression.split(",")]


def parsed(text: str) -> Condition:
    """Return one condition; InputError for anything else."""
    said = CONDITION.fullmatch(text)
    if not said:
        raise InputError(f"--fail-on {excerpt(text)!r}: expected NAME>+N, NAME>+N%, NAME<-N% or NAME>N")
    name, operator, number, in_percent = said.groups()
    relative = number[0] in "+-"
    if in_percent and not relative:
        raise InputError(f"--fail-on {text!r}: a percentage is a change, write +{number}% or -{number}%")
    return Condition(text, name, operator == ">", float(number), relative, bool(in_percent))


def failing(condition: Condition, found: list[Change], figures: dict[str, float]) -> bool:
    """Tell whether "probes_p99>+0", "new>+5%" or "rules_per_new>40" holds.

    With a sign, the condition is about the change, with % in percent of the old figure; of a time the least of the
    pairs counts. Without a sign, it is about the figure itself. InputError for a figure that there is not.
    """
    change = next((c for c in found if c.name == condition.name), None)
    if not condition.relative:
        if condition.name not in figures:
            raise _unknown(condition, figures)
        return _beyond(condition, figures[condition.name], figures[condition.name])
    if change is None:
        raise _unknown(condition, {c.name: 0 for c in found})
    low, high = change.low, change.high
    if not condition.in_percent:
        # of the old figure, where that is not 0
        of = abs(change.before) / 100
        low, high = (low * of, high * of) if of else (change.after, change.after)
    return _beyond(condition, low, high)


def _beyond(condition: Condition, low: float, high: float) -> bool:
    return low > condition.number if condition.above else high < condition.number


def _unknown(condition: Condition, known: dict[str, float]) -> InputError:
    if condition.name in NAMES or re.fullmatch(
        r"(new|established)_\w+|search_\d+|process_packet|load_rules", condition.name
    ):
        why = f"times of two runs are not compared; --against a build or node compares {', '.join(NAMES)}"
        return InputError(f"--fail-on {condition.text!r}: {why}")
    return InputError(
        f"--fail-on {condition.text!r}: no figure {condition.name!r}; there are {', '.join(known) or 'none'}"
    )
