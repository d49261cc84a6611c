"""Plots of runs as PNG, SVG or PDF; needs matplotlib (fastnat[report])."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..util.escapes import plain
from ..util.output import Output, Outputs
from .document import Document

if TYPE_CHECKING:
    from ..conntrack.port_spaces import PortSpace


def figure_of(width: float, height: float) -> Any:
    """Return an empty figure [inches]; InputError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install 'fastnat[report]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def open_plot(outputs: Outputs, path: str | None) -> Output | None:
    """Return the file for --plot, None without; InputError without matplotlib or for a form that it cannot write."""
    if path is None:
        return None
    figure_of(1, 1)
    _form(path)
    return outputs.open("--plot", path)


def _form(path: str) -> str:
    """Return the form of a picture by its name's ending, PNG without one."""
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    form = Path(path).suffix.lower().removeprefix(".") or "png"
    if form not in known:
        raise InputError(f"--plot {path}: no form of pictures; name it .png, or one of {', '.join(sorted(known))}")
    return form


def _save(figure: Any, file: str | Output) -> None:
    """Write a figure to a file."""
    output = file if isinstance(file, Output) else Output(file, "--plot")
    drawn = BytesIO()
    with warnings.catch_warnings():
        # a label in a script that the font has no glyphs for is drawn as boxes
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(drawn, dpi=120, format=_form(output.path))
    output.write(drawn.getvalue())
    if output is not file:
        output.commit()


def _shown(text: object) -> str:
    """Return text as matplotlib draws it as it is: dollars begin no formula, "_" at the begin hides it in no legend."""
    said = plain(text).replace("$", r"\$")
    return f" {said}" if said.startswith("_") else said


def draw(doc: Document, path: str | Output) -> None:
    """Write failure share, occupancy and probes of every variant, and probes against occupancy, as one PNG."""
    along = "time" if doc.timed else "sent"
    unit = "seconds" if doc.timed else "flows opened"
    first = doc.firsts[0][1]
    figure = figure_of(8, 15 if first.by_destination else 12)
    panels = figure.subplots(5 if first.by_destination else 4, 1)
    for axes, x, y, across, up in (
        (panels[0], along, "fail", unit, "share of new flows that fail"),
        (panels[1], along, "occupancy", unit, "occupancy of the fullest port space"),
        (panels[2], along, "probes_per_conn", unit, "probes per flow"),
        (panels[3], "occupancy", "probes_p50", "occupancy", "probes: half (solid), 99 of 100 (dashed)"),
    ):
        for variant, o in doc.firsts:
            axes.plot([getattr(r, x) for r in o.rows], [getattr(r, y) for r in o.rows], label=_shown(variant))
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.grid(alpha=0.3)
    for n, (_, o) in enumerate(doc.firsts):
        panels[3].plot([r.occupancy for r in o.rows], [r.probes_p99 for r in o.rows], "--", color=f"C{n}")
    panels[0].set_ylim(-0.02, 1.02)
    panels[0].legend()
    if first.by_destination:
        counts = np.array([each for _, each in first.by_destination]).T
        end = first.by_destination[-1][0]
        panels[4].imshow(counts, aspect="auto", cmap="Greys", extent=(0, end or 1, len(counts), 0))
        panels[4].set_xlabel("seconds")
        panels[4].set_ylabel(f"destination; dark: {counts.max():,} live")
    _save(figure, path)


def draw_ports(space: PortSpace, path: str | Output) -> None:
    """Write a raster of the ports 1024..65535 of one port space, 256 a row, those in use dark."""
    figure = figure_of(7, 7)
    axes = figure.subplots()
    axes.imshow(space.taken.reshape(-1, 256), cmap="Greys", aspect="auto", extent=(0, 256, 65536, 1024))
    where = f"{space.address} to {space.proto} {space.dst}:{space.dport}"
    axes.set_title(_shown(f"{where}: {space.used:,} of 64,512 in use"))
    axes.set_xlabel("port, within a row of 256")
    axes.set_ylabel("first port of the row")
    _save(figure, path)


def draw_plan(points: list[tuple[float, int]], path: str | Output) -> None:
    """Write the SNAT addresses that are needed against the rate: points of (flows a second, addresses)."""
    figure = figure_of(7, 4)
    axes = figure.subplots()
    rates, needed = np.array(points).T
    axes.step(rates, needed, where="pre", marker="o")
    axes.set_xlabel("flows a second")
    axes.set_ylabel("SNAT addresses needed")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    _save(figure, path)


def draw_history(runs: list[dict[str, Any]], path: str | Output) -> None:
    """Write how the times of `fastnat bench` runs changed; those of other machines mean something else."""
    figure = figure_of(9, 5)
    axes = figure.subplots()
    for name in runs[-1]["times"]:
        if name != "load_rules":
            values = [r["times"].get(name, {}).get("ns", np.nan) for r in runs]
            axes.plot([_shown(r["date"][:16]) for r in runs], values, marker="o", label=_shown(name))
    axes.set_ylabel("ns")
    axes.set_yscale("log")
    axes.tick_params(axis="x", rotation=30)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    _save(figure, path)


def draw_sweep(rows: list[dict[str, str]], path: str | Output) -> None:
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
        axes.plot(rates, times, marker="o", label=_shown(label))
    axes.set_xlabel("flows a second")
    axes.set_ylabel("seconds to the first failure")
    axes.legend()
    axes.grid(alpha=0.3)
    _save(figure, path)
