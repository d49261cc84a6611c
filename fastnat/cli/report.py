"""fastnat report: what `fastnat exhaust --json` wrote, in other forms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from ..exhaustion.document import Document, load
from ..exhaustion.html import to_html
from ..exhaustion.plots import draw, open_plot
from ..exhaustion.report import MAX_FAIL, to_junit, to_markdown, to_prometheus, to_text
from ..util.output import Outputs
from .terminal import Share

FORMS: dict[str, Callable[[Document], str]] = {
    "text": to_text, "md": to_markdown, "html": to_html, "prometheus": to_prometheus,
}  # fmt: skip


@click.command()
@click.argument("run")
@click.option("-o", "--output", type=click.Choice([*FORMS, "junit"]), default="text", show_default=True)
@click.option(
    "--max-fail",
    type=Share(),
    default=MAX_FAIL,
    show_default=True,
    help="Share of flows that may fail, for JUnit.",
)
@click.option("--plot", metavar="PNG", help="Failures, occupancy and probes (needs fastnat[report]).")
def report(run: str, output: str, max_fail: float, plot: str | None) -> None:
    """Print RUN, a file that `fastnat exhaust --json` wrote, in another form."""
    with Outputs() as outputs:
        drawing = open_plot(outputs, plot)
        doc = load(Path(run))
        if drawing:
            draw(doc, drawing)
    click.echo(to_junit(doc, max_fail) if output == "junit" else FORMS[output](doc), nl=False)
