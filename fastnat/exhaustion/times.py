"""Times as people write them: 90, "90s", "5m", "2h", "300ms", and hold times made of them."""

from __future__ import annotations

import re

from ..util.text import finite, shown
from .workload import MAX_SECONDS

TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?$")
UNITS = {"ms": 0.001, "s": 1.0, "": 1.0, "m": 60.0, "h": 3600.0}


def seconds(value: object) -> float:
    """Return a time: a number of seconds, or "90s", "5m", "2h", "300ms"; ValueError for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return finite(value, 0, MAX_SECONDS)
    found = TIME.match(value.strip()) if isinstance(value, str) else None
    if not found:
        raise ValueError(f"{shown(value)} is no time; accepted are seconds, or a number with ms, s, m or h")
    return finite(float(found[1]) * UNITS[found[2] or ""], 0, MAX_SECONDS)


def hold_of(value: object) -> float | str:
    """Return a hold time, its times turned to seconds; ValueError for what is none."""
    kind, colon, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not colon:
        return seconds(value)
    separator = "-" if kind == "uniform" else ","
    words = rest.split(separator)
    times = words if kind == "uniform" else words[:1]
    return f"{kind}:" + separator.join([*(repr(seconds(w)) for w in times), *words[len(times) :]])
