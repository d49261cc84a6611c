"""Hold times as people write them: 90, "90s", "5m", "exp:2h", "lognormal:300ms,1.5"."""

from __future__ import annotations

from ..util.text import finite
from ..util.units import TIME
from .workload import MAX_SECONDS


def seconds(value: object) -> float:
    """Return a time: a number of seconds, or "90s", "5m", "2h", "300ms"; ValueError for anything else."""
    return finite(TIME.read(value), 0, MAX_SECONDS)


def hold_of(value: object) -> float | str:
    """Return a hold time, its times turned to seconds; ValueError for what is none."""
    kind, colon, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not colon:
        return seconds(value)
    separator = "-" if kind == "uniform" else ","
    words = rest.split(separator)
    times = words if kind == "uniform" else words[:1]
    return f"{kind}:" + separator.join([*(repr(seconds(w)) for w in times), *words[len(times) :]])
