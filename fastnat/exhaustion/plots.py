"""Plots of runs as PNG; needs matplotlib (fastnat[report])."""

from __future__ import annotations

from typing import Any

from ..errors import InputError
from .report import first_seeds


def draw(doc: dict[str, Any], path: str) -> None:
    """Write failure share, occupancy and probes of every variant as one PNG; InputError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install 'fastnat[report]'") from None
    timed = bool(doc["workload"]["rate"] or doc["workload"]["stages"])
    along = "time" if timed else "sent"
    figure = Figure(figsize=(8, 9), layout="constrained")
    panels = figure.subplots(3, 1, sharex=True)
    for axes, key, label in zip(
        panels, ("fail", "occupancy", "probes_per_conn"),
        ("share of new flows that fail", "occupancy of the port spaces", "probes per flow"), strict=True,
    ):  # fmt: skip
        for run in first_seeds(doc):
            axes.plot([r[along] for r in run["rows"]], [r[key] for r in run["rows"]], label=run["variant"])
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
    panels[0].set_ylim(-0.02, 1.02)
    panels[0].legend()
    panels[-1].set_xlabel("seconds" if timed else "flows opened")
    figure.savefig(path, dpi=120)
