"""Plots of runs as PNG, SVG or PDF; needs matplotlib (fastnat[report])."""

from __future__ import annotations

import logging
import textwrap
import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..addresses import end_text
from ..errors import InputError
from ..util.escapes import plain
from ..util.interrupts import uninterrupted
from ..util.output import Output, Outputs
from ..util.text import number_of
from .document import Document
from .question import question
from .summary import over_rate

if TYPE_CHECKING:
    from ..conntrack.port_spaces import PortSpace

TITLE = "When do the SNAT ports run out?"
DASHES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (5, 1)))
MARKERS = ("o", "s", "^", "D")


def figure_of(width: float, height: float) -> Any:
    """Return an empty figure [inches]; InputError without matplotlib."""
    # where a user has no home it says at length that its cache lies elsewhere
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    try:
        # extension modules take Ctrl-C while they are loaded as a module that is missing
        with uninterrupted():
            from matplotlib.figure import Figure
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install 'fastnat[report]'") from None
    except OSError as error:
        raise InputError(f"--plot: {error}") from None
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


def styled(n: int) -> dict[str, Any]:
    """Return how the line with this number is drawn: told apart without its colour, the first one below all others."""
    return {
        "color": f"C{n % 10}", "linestyle": DASHES[n % len(DASHES)], "linewidth": 1.6 if n else 3.2,
        "marker": MARKERS[n % len(MARKERS)], "markevery": 0.12 if n else 0.1, "markersize": 5,
    }  # fmt: skip


def titled(figure: Any, axes: Any, title: str, said: str) -> None:
    """Write the title over a figure, and what was asked over its first chart."""
    figure.suptitle(title, fontsize=13, weight="bold", x=0.01, ha="left")
    wide = int(figure.get_size_inches()[0] * 14)
    lines = textwrap.wrap(_shown(said), wide, max_lines=4, placeholder=" ...")
    axes.set_title("\n".join(lines), loc="left", fontsize=8, color="0.3")


def keyed(figure: Any, axes: Any) -> None:
    """Write the key of a chart below the whole figure, where it hides no data."""
    handles, names = axes.get_legend_handles_labels()
    short = [textwrap.shorten(name, 60, placeholder="...") if len(name) > 60 else name for name in names]
    columns = max(min(int(figure.get_size_inches()[0] * 11 / (max(map(len, short), default=1) + 8)), len(short)), 1)
    figure.legend(handles, short, loc="outside lower left", ncols=columns, fontsize=8, frameon=False)


def shares(axes: Any, values: Sequence[float]) -> None:
    """Make an axis of shares logarithmic, with 0 at its foot."""
    least = min((v for v in values if v > 0), default=0.001)
    floor = 10.0 ** np.floor(np.log10(max(least, 1e-6)) + 1e-9)
    axes.set_yscale("symlog", linthresh=floor, linscale=0.5)
    axes.yaxis.set_major_formatter(lambda v, _: f"{100 * v:.6g}%")
    axes.set_ylim(-0.05 * floor, 1.3)


def percent(axis: Any) -> None:
    """Write the ticks of an axis as percent."""
    axis.set_major_formatter(lambda v, _: f"{100 * v:.6g}%")


def counted(axis: Any) -> None:
    """Write the ticks of an axis with commas."""
    axis.set_major_formatter(lambda v, _: f"{v:,.6g}")


def draw(doc: Document, path: str | Output) -> None:
    """Write failure share, occupancy and probes of every variant, and probes against occupancy, as one PNG."""
    along = "time" if doc.timed else "sent"
    unit = "time [s]" if doc.timed else "flows opened"
    first = doc.firsts[0][1]
    figure = figure_of(9, 18 if first.by_destination else 15)
    panels = figure.subplots(5 if first.by_destination else 4, 1)
    for axes, title, x, y, across, up in (
        (panels[0], "", along, "fail", unit, "share of new flows (log scale)"),
        (panels[1], "Ports in use", along, "occupancy", unit, "share of the fullest port space"),
        (panels[2], "What the port search takes", along, "probes_per_conn", unit, "ports tried for a flow"),
        (panels[3], "Ports tried against ports in use: by half of the flows; grey: by 99 of 100", "occupancy",
         "probes_p50", "share of the fullest port space", "ports tried for a flow"),
    ):  # fmt: skip
        for n, (variant, o) in enumerate(doc.firsts):
            points = [(getattr(r, x), getattr(r, y)) for r in o.rows]
            axes.plot(*np.array(points).T, label=_shown(variant), **styled(n))
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.grid(alpha=0.3)
        (percent if x == "occupancy" else counted)(axes.xaxis)
    for n, (_, o) in enumerate(doc.firsts):
        grey = {**styled(n), "color": "0.6"}
        panels[3].plot([r.occupancy for r in o.rows], [r.probes_p99 for r in o.rows], **grey, zorder=1)
    titled(figure, panels[0], TITLE, question(doc.work, doc.node, doc.profile, doc.date))
    shares(panels[0], [r.fail for _, o in doc.firsts for r in o.rows])
    percent(panels[1].yaxis)
    keyed(figure, panels[0])
    if first.by_destination:
        counts = np.array([each for _, each in first.by_destination]).T
        end = first.by_destination[-1][0]
        shown = panels[4].imshow(counts, aspect="auto", cmap="Greys", extent=(0, end or 1, len(counts) + 0.5, 0.5))
        panels[4].set_title("Connections of each destination", loc="left", fontsize=10)
        panels[4].set_xlabel("time [s]")
        panels[4].set_ylabel("destination")
        panels[4].yaxis.get_major_locator().set_params(integer=True)
        counted(figure.colorbar(shown, ax=panels[4], label="connections").ax.yaxis)
    _save(figure, path)


def draw_ports(space: PortSpace, path: str | Output) -> None:
    """Write a raster of the ports 1024..65535 of one port space, 256 a row, those in use dark."""
    figure = figure_of(7, 7)
    axes = figure.subplots()
    axes.imshow(space.every_port()[1024:].reshape(-1, 256), cmap="Greys", aspect="auto", extent=(0, 256, 65536, 1024))
    where = f"{space.address} to {space.proto} {end_text(space.dst, space.dport)}"
    titled(figure, axes, f"{space.used:,} of {space.ports:,} ports are in use (dark)", where)
    axes.set_xlabel("port within a row of 256")
    axes.set_ylabel("first port of the row")
    axes.set_xticks(range(0, 257, 32))
    axes.set_yticks([1024, *range(8192, 65_537, 8192)])
    counted(axes.yaxis)
    _save(figure, path)


def draw_plan(asked: str, points: list[tuple[float, int]], path: str | Output) -> None:
    """Write the SNAT addresses that are needed against the rate: points of (flows a second, addresses)."""
    figure = figure_of(8, 5)
    axes = figure.subplots()
    titled(figure, axes, "How many SNAT addresses does this load need?", asked)
    rates, needed = np.array(points).T
    axes.plot(rates, needed, marker="o")
    axes.set_xlabel("flows a second")
    axes.set_ylabel("SNAT addresses needed")
    axes.set_ylim(0, max(*needed, 1) * 1.1)
    axes.set_xlim(left=0)
    axes.yaxis.get_major_locator().set_params(integer=True)
    counted(axes.xaxis)
    axes.grid(alpha=0.3)
    _save(figure, path)


def draw_history(runs: list[dict[str, Any]], path: str | Output) -> None:
    """Write how the times of `fastnat bench` runs changed; those of other machines mean something else."""
    figure = figure_of(9, 6)
    axes = figure.subplots()
    said = f"{number_of(len(runs), 'run')}; the last one {runs[-1]['date'][:16].replace('T', ' ')}"
    titled(figure, axes, "What the engine's operations took, run by run", said)
    names = [name for name in runs[-1]["times"] if name != "load_rules"]
    for n, name in enumerate(names):
        values = [r["times"].get(name, {}).get("ns", np.nan) for r in runs]
        axes.plot(range(len(runs)), values, label=_shown(name), **{**styled(n), "markevery": 1})
    # few enough dates for them to stand beside each other
    every = range(0, len(runs), -(-len(runs) // 8))
    dates = ["\n".join(_shown(part) for part in runs[n]["date"][:16].split("T")) for n in every]
    axes.set_xticks(list(every), dates)
    axes.set_xlabel("run")
    axes.set_ylabel("time of an operation [ns] (log scale)")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda v, _: f"{v:,.6g}")
    low, high = axes.get_ylim()
    named = "2357" if high > 10 * low else "23456789"
    axes.yaxis.set_minor_formatter(lambda v, _: f"{v:,.6g}" if f"{v:.0e}"[0] in named else "")
    axes.grid(alpha=0.3)
    keyed(figure, axes)
    _save(figure, path)


def draw_sweep(asked: str, rows: list[dict[str, str]], path: str | Output) -> None:
    """Write the time to the first failure against the rate, a line for each other combination of a sweep's rows."""
    lines = over_rate(rows, "first_failure_time")
    if not lines:
        raise InputError("--plot needs a sweep over rates: rate = [100, 200] in [vary]")
    figure = figure_of(9, 6)
    axes = figure.subplots()
    titled(figure, axes, "When does the first flow fail?", asked)
    for n, line in enumerate(lines):
        rates, times = np.array(line.points).reshape(-1, 2).T
        axes.plot(rates, times, label=_shown(line.name), **{**styled(n), "markevery": 1})
    axes.set_xlabel("flows a second")
    axes.set_ylabel("time to the first failure [s]")
    counted(axes.xaxis)
    counted(axes.yaxis)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    keyed(figure, axes)
    _save(figure, path)
