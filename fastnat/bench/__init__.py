"""Measuring the engine on a node: counts that are the same in every run; times in turns with another build or node."""

from .document import (
    FORMAT,
    Change,
    Condition,
    changes,
    conditions,
    differing,
    failing,
    load,
    parsed,
    time_changes,
)
from .measure import SIZES, Bench, measure
from .paired import Pair, paired

__all__ = [
    "FORMAT", "SIZES", "Bench", "Change", "Condition", "Pair", "changes", "conditions", "differing", "failing",
    "load", "measure", "paired", "parsed", "time_changes",
]  # fmt: skip
