"""Plots of runs as PNG; needs matplotlib (fastnat[report])."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from .report import first_seeds

if TYPE_CHECKING:
    from ..occupancy import PortSpace


def figure_of(width: float, height: float) -> Any:
    """Return an empty figure [inches]; InputError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install 'fastnat[report]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def draw(doc: dict[str, Any], path: str) -> None:
    """Write failure share, occupancy and probes of every variant, and probes against occupancy, as one PNG."""
    timed = bool(doc["workload"]["rate"] or doc["workload"]["stages"])
    along = "time" if timed else "sent"
    unit = "seconds" if timed else "flows opened"
    first = doc["runs"][0]
    figure = figure_of(8, 15 if first["by_destination"] else 12)
    panels = figure.subplots(5 if first["by_destination"] else 4, 1)
    for axes, x, y, across, up in (
        (panels[0], along, "fail", unit, "share of new flows that fail"),
        (panels[1], along, "occupancy", unit, "occupancy of the port spaces"),
        (panels[2], along, "probes_per_conn", unit, "probes per flow"),
        (panels[3], "occupancy", "probes_p50", "occupancy", "probes: half (solid), 99 of 100 (dashed)"),
    ):
        for run in first_seeds(doc):
            axes.plot([r[x] for r in run["rows"]], [r[y] for r in run["rows"]], label=run["variant"])
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.grid(alpha=0.3)
    for n, run in enumerate(first_seeds(doc)):
        far = [r["probes_p99"] for r in run["rows"]]
        panels[3].plot([r["occupancy"] for r in run["rows"]], far, "--", color=f"C{n}")
    panels[0].set_ylim(-0.02, 1.02)
    panels[0].legend()
    if first["by_destination"]:
        counts = np.array([each for _, each in first["by_destination"]]).T
        end = first["by_destination"][-1][0]
        panels[4].imshow(counts, aspect="auto", cmap="Greys", extent=(0, end or 1, len(counts), 0))
        panels[4].set_xlabel("seconds")
        panels[4].set_ylabel(f"destination; dark: {counts.max():,} live")
    figure.savefig(path, dpi=120)


def draw_ports(space: PortSpace, path: str) -> None:
    """Write a raster of the ports 1024..65535 of one port space, 256 a row, those in use dark."""
    figure = figure_of(7, 7)
    axes = figure.subplots()
    axes.imshow(space.taken.reshape(-1, 256), cmap="Greys", aspect="auto", extent=(0, 256, 65536, 1024))
    axes.set_title(f"{space.address} to {space.proto} {space.dst}:{space.dport}: {space.used:,} of 64,512 in use")
    axes.set_xlabel("port, within a row of 256")
    axes.set_ylabel("first port of the row")
    figure.savefig(path, dpi=120)


def draw_plan(points: list[tuple[float, int]], path: str) -> None:
    """Write the SNAT addresses that are needed against the rate: points of (flows a second, addresses)."""
    figure = figure_of(7, 4)
    axes = figure.subplots()
    rates, needed = np.array(points).T
    axes.step(rates, needed, where="pre", marker="o")
    axes.set_xlabel("flows a second")
    axes.set_ylabel("SNAT addresses needed")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def draw_history(runs: list[dict[str, Any]], path: str) -> None:
    """Write how the times of `fastnat bench` runs changed, as ratios to R."""
    figure = figure_of(9, 5)
    axes = figure.subplots()
    for name in runs[-1]["times"]:
        if name != "load_rules":
            values = [r["times"].get(name, {}).get("ratio", np.nan) for r in runs]
            axes.plot([r["date"][:16] for r in runs], values, marker="o", label=name)
    axes.set_ylabel("R")
    axes.set_yscale("log")
    axes.tick_params(axis="x", rotation=30)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def draw_sweep(rows: list[dict[str, str]], path: str) -> None:
    """Write the time to the first failure against the rate, a line for each other combination of a sweep's rows."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        factors = dict(word.split("=", 1) for word in row["variant"].split())
        rate = factors.pop("rate", None)
        if rate is None:
            raise InputError("--plot needs a sweep over rates: rate = [100, 200] in [vary]")
        label = " ".join(f"{name}={value}" for name, value in factors.items()) or "as it is"
        lines.setdefault(label, []).append((float(rate), float(row["first_failure_time"] or "nan")))
    figure = figure_of(8, 5)
    axes = figure.subplots()
    for label, points in lines.items():
        rates, times = np.array(sorted(points)).T
        axes.plot(rates, times, marker="o", label=label)
    axes.set_xlabel("flows a second")
    axes.set_ylabel("seconds to the first failure")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
