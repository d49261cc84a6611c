"""fastnat report: what `fastnat exhaust --json` wrote, in other forms."""

from __future__ import annotations

import click

from ..exhaustion.document import load
from ..exhaustion.plots import draw, open_plot
from ..exhaustion.report import MAX_FAIL, to_text
from ..util.output import Outputs
from .forms import forms, tell
from .runs import run_answer
from .terminal import Share, given

EXAMPLES = (
    ("report run.json -o html >run.html", "a page that shows the run to others"),
    ("report run.json -o junit --max-fail 1%", "for a CI server: a variant that fails more is red"),
    ("report run.json --plot run.png", "the curves as a picture"),
)


@click.command()
@click.argument("run")
@click.option(
    "--max-fail",
    type=Share(),
    default=MAX_FAIL,
    show_default=True,
    help="Share of flows that may fail, for JUnit.",
)
@click.option("--plot", metavar="PNG", help="Failures, occupancy and probes (needs fastnat[report]).")
@forms("html", "junit", "prometheus")
def report(run: str, form: str, max_fail: float, plot: str | None) -> None:
    """Print RUN, a file that `fastnat exhaust --json` wrote (- for standard input), in another form."""
    with Outputs() as outputs:
        drawing = open_plot(outputs, plot)
        doc = load(given(run))
        if drawing:
            draw(doc, drawing)
    tell(form, run_answer(doc, doc.results, max_fail, text=lambda: to_text(doc)))
