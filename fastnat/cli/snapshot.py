"""fastnat snapshot: collect a node directory on a live node."""

from __future__ import annotations

from pathlib import Path

import click

from ..addresses import FAMILIES
from ..node.snapshot import snapshot as take
from .forms import COMMON, Answer, Paper, tell
from .terminal import load_node, warn

EXAMPLES = (
    ("snapshot node/", "as root on the node: writes the directory node/"),
    ("snapshot node/ --conntrack -o json", "also the table of connections; says what was left out, for a program"),
)


@click.command()
@click.argument("directory", required=False)
@click.option("--conntrack", is_flag=True, help="Also the table of connections, for --start-from and top.")
@click.option(
    "-o", "--output", metavar="FORM",
    help=f"What standard output holds, text by default: {', '.join(COMMON)}. Without DIRECTORY: the directory.",
)  # fmt: skip
def snapshot(directory: str | None, output: str | None, conntrack: bool) -> None:
    """Write this machine's rules, addresses, routes and NAT sysctls to a new DIRECTORY, with its own tools.

    It only reads the state of the machine.
    """
    form = output or "text"
    if directory is None:
        # how it was said before
        if output is None or output in COMMON:
            raise click.UsageError("Missing argument 'DIRECTORY'.")
        directory, form = output, "text"
    if form not in COMMON:
        raise click.UsageError(f"-o {form}: expected one of {', '.join(COMMON)}")
    done = take(Path(directory), conntrack)
    for name, why in sorted(done.left_out.items()):
        warn(f"without {name}: {why}")
    node = load_node(directory, lenient=True)
    for parsed in map(node.rules_of, FAMILIES.values()):
        for warning in parsed.warnings if parsed else []:
            warn(warning)

    def show(paper: Paper) -> None:
        paper.say(f"{directory}: {', '.join(done.written)}")
        paper.say(f"next: fastnat exhaust {directory} --dst IP:PORT")

    document = {"directory": directory, "written": done.written, "left_out": done.left_out}
    files = [*((name, "") for name in done.written), *sorted(done.left_out.items())]
    tell(form, Answer(show, lambda: document, ("file", "left_out"), lambda: files))
