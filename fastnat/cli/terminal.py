"""What commands share: escaped text on the terminal, finite numbers, Ctrl-C that waits until work is done."""

from __future__ import annotations

import contextlib
import errno
import io
import math
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from ..addresses import FAMILIES
from ..conntrack.dump import read as read_dump
from ..engine import Engine
from ..engine.engine import MAX_DATE
from ..errors import InputError
from ..iptables.context import DATE_FORM
from ..node import Node
from ..util import units
from ..util.arguments import protocol
from ..util.escapes import plain
from ..util.files import read_text
from ..util.text import number_of
from .options import take_order

# what leads over to the line of an input, see RuleError
ITS_LINE = re.compile(r"\n  in(?=:| the (?:line|rule):)")
# a command notes its exit status here before it prints, so that `| head` does not turn a no into a yes
STATUS = "fastnat.status"
# lines of a dump, or rules, that are named one by one
NAMED = 10
NEVER = "never matches: "
# seconds of silence
PATIENCE = 1.0
# of rules of nftables, those that ask for the owner
SENDER = re.compile(r"\bsk[ug]id\b")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; the message says what was kept."""


class Terminal(Console):
    """A console that prints text as it is: no markup, no emoji codes, no colours for numbers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def on_broken_pipe(self) -> None:
        """Leave it to main(), which knows the exit status."""
        raise BrokenPipeError(errno.EPIPE, "")

    def say(self, text: str) -> None:
        """Print one line, however long; control characters in it are escaped."""
        self.print(shown(text), soft_wrap=True)

    def say_all(self, lines: Iterable[str]) -> None:
        """Print lines as `say` does, all at once: rich takes 50 us for each call."""
        if said := "\n".join(map(plain, lines)):
            self.print(Text(said), soft_wrap=True)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, title: str = "") -> None:
        """Print rows under a header; nothing is ever cut.

        The first `left` columns are aligned left, the others right. If a row is wider than the terminal, each row
        becomes lines of "name  value". A pipe has no width.
        """
        lines = [[plain(cell) for cell in row] for row in (header, *rows)]
        widths = [max(cell_len(line[k]) for line in lines) for k in range(len(header))]
        width = sum(widths) + 2 * (len(widths) - 1)
        if title:
            self.say(title)
        if self.is_terminal and width > self.width:
            self._cards(lines)
            return
        head, *body = (_aligned(line, widths, left) for line in lines)
        self.print(Text(head, style="bold"), soft_wrap=True)
        self.say_all(["-" * width, *body])

    def _cards(self, lines: list[list[str]]) -> None:
        """Print each row as lines of name and value, headed by its first one."""
        header, *rows = lines
        name = max(map(cell_len, header))
        for row in rows:
            self.print(Text(f"{header[0]} {row[0]}", style="bold"), soft_wrap=True)
            for said, cell in zip(header[1:], row[1:], strict=True):
                self.print(Text(f"  {said}{' ' * (name - cell_len(said))}  {cell}"), soft_wrap=True)


def _aligned(line: Sequence[str], widths: Sequence[int], left: int) -> str:
    """Return a row of a table as a line; the first `left` columns are aligned left."""
    cells = [
        cell + " " * (w - cell_len(cell)) if k < left else " " * (w - cell_len(cell)) + cell
        for k, (cell, w) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


class Bar(Progress):
    """A bar for runs whose number nobody knows before: it begins anew with each; on a terminal only."""

    def __init__(self, what: str) -> None:
        console = Terminal(stderr=True)
        super().__init__(console=console, transient=True, disable=not console.is_terminal)
        self.what, self.task, self.done = what, self.add_task(what, total=None), 0

    def opened(self, flows: int, of: int) -> None:
        """Note that a run of so many flows has opened some more."""
        self.done = (self.done if self.done < of else 0) + flows
        self.update(self.task, completed=self.done, total=of)

    def addresses(self, n: int, flows: int, of: int) -> None:
        """Note the same of a run with n addresses."""
        self.update(self.task, description=f"{self.what} {number_of(n, 'SNAT address', 'es')}")
        self.opened(flows, of)


@contextlib.contextmanager
def working(what: str) -> Iterator[Callable[[str], None]]:
    """Say what is being done, and for how long already, once it takes a second; on a terminal only.

    Yields what changes the words.
    """
    console, done, words = Terminal(stderr=True), threading.Event(), [what]
    if not console.is_terminal:
        yield lambda _: None
        return

    def show() -> None:
        if done.wait(PATIENCE):
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(words[0], total=None)
            while not done.wait(0.2):
                bar.update(task, description=words[0])

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield lambda said: words.__setitem__(0, said)
    finally:
        done.set()
        thread.join()


class Whole(click.IntRange):
    """A whole number within a range, without a unit."""

    name = "number"


class Quantity(click.FloatRange):
    """A number of a unit within a range; neither infinite nor NaN."""

    unit: units.Unit

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number; UsageError for anything else."""
        try:
            number = super().convert(self.unit.read(value), param, ctx)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number.", param, ctx)
        if self.unit.whole and number >= sys.maxsize:
            self.fail(f"{number:.3g} is more than this machine counts.", param, ctx)
        return int(number) if self.unit.whole else number


class Count(Quantity):
    """How many: 72000, 72k, 2M."""

    name, unit = "count", units.COUNT


class Rate(Quantity):
    """Flows a second: 3000, 3k/s, 180k/min."""

    name, unit = "rate", units.RATE


class Share(Quantity):
    """A share of all: 0.05 or 5%."""

    name, unit = "share", units.SHARE

    def __init__(self, min_open: bool = False) -> None:
        super().__init__(0, 1, min_open=min_open)


class Seconds(Quantity):
    """A time [s]: 90, 90s, 5m, 2h, 300ms."""

    name, unit = "time", units.TIME


class Mark(Quantity):
    """A packet's mark: 16 or 0x10."""

    name, unit = "mark", units.MARK

    def __init__(self) -> None:
        super().__init__(0, 2**32 - 1)


class Date(click.ParamType):  # type: ignore[type-arg]  # a class without arguments in click before 8.2
    """Seconds since 1970, or a date of UTC as `-m time` writes it: 2026-11-26T20:00."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds since 1970; UsageError for anything else."""
        try:
            return seconds_of(str(value))
        except ValueError:
            self.fail(f"{value!r} is neither seconds since 1970 nor {DATE_FORM}.", param, ctx)


def protocol_of(text: str) -> int:
    """Return the number of a protocol that a name or a number says; InputError for anything else."""
    return protocol(int(text) if text.isascii() and text.isdigit() else text.lower())


def seconds_of(text: str) -> float:
    """Return the seconds since 1970 that a number or a date says; ValueError for anything else."""
    try:
        number = float(text)
    except ValueError:
        day = datetime.fromisoformat(text.removesuffix("Z"))
        number = (day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp()
    if not 0 <= number <= MAX_DATE:
        raise ValueError(text)
    return number


def shown(text: object) -> Text:
    """Return text for a console or a cell of its tables, with control characters escaped."""
    return Text(plain(text))


def load_node(path: str | None, lenient: bool = False, epoch: float | None = None) -> Node:
    """Load a node directory, the packaged one for None; print to standard error what is assumed or not modelled.

    epoch: when virtual time 0 is, for rules with -m time [s since 1970].
    """
    with working("loading the node"):
        node = Node.load(path, lenient) if path is not None else Node.example()
    node.epoch = epoch
    take_order(node)
    for note in node.notes:
        warn(f"fastnat: note: {note}")
    warn_of_rules(node)
    return node


def never_matching(node: Node) -> list[str]:
    """Return the warnings about rules that never match because --lenient loaded them."""
    parsed = [rules for rules in map(node.rules_of, FAMILIES.values()) if rules]
    every = [said for rules in parsed for said in rules.warnings] + node.nft.warnings
    return [said for said in every if said.startswith(NEVER)]


def warn_of_rules(node: Node, told: int = 0) -> None:
    """Name the rules that never match, beyond those that were told before."""
    said = never_matching(node)[told:]
    for warning in said[:NAMED]:
        warn(f"fastnat: {warning}")
    if len(said) > NAMED:
        warn(f"fastnat: {len(said):,} rules never match; the first {NAMED} are named above")


def warn_of_senders(node: Node, iface: str) -> None:
    """Say that rules ask who sends the flows of the node itself, where they do and the flows are that."""
    asked = any(m.kind == "owner" for rules in map(node.rules_of, FAMILIES.values()) if rules
                for t in rules.tables.values() for chain in t.chains.values() for rule in chain.rules
                for m in rule.matches) or SENDER.search(node.nft_text)  # fmt: skip
    if iface == "local" and asked:
        warn("fastnat: rules ask who sends the flows of the node itself: root (uid 0, gid 0) is assumed")


def given(name: str) -> Path:
    """Return the path of an input; of standard input for -."""
    if name != "-":
        return Path(name)
    if sys.stdin is None:
        raise InputError("-: standard input is closed; give a file")
    return Path("/dev/stdin")


def start_from(engine: Engine, path: str) -> None:
    """Load the connections of a dump; name and count the impossible lines on standard error."""
    take_over(engine, read_text(given(path)), path)


def take_over(engine: Engine, text: str, path: str, quiet: bool = False) -> None:
    """Load the connections of a dump's text; unless `quiet`, name and count the impossible lines."""
    left_out: list[str] = []
    with working(f"loading {plain(path)}"):
        loaded = engine.conntrack.load(text, path, left_out)
    if left_out and not loaded:
        # a file that is no dump at all: as `fastnat top` refuses it
        read_dump(io.BytesIO(text.encode(errors="replace")), path)
    if quiet or not left_out:
        return
    for said in left_out[:NAMED]:
        warn(f"fastnat: left out: {said}")
    more = f"; the first {NAMED} are named above" if len(left_out) > NAMED else ""
    warn(f"fastnat: {path}: {len(left_out):,} lines are left out, {loaded:,} connections are loaded{more}")


def warn_of_owner(engine: Engine) -> None:
    """Say that rules asked who sent a packet of the node itself, if nobody had said that."""
    if engine.owner_assumed:
        asked = " and ".join(engine.owner_assumed)
        warn(
            f"fastnat: rules asked who sends packets of the node itself; {asked} 0 (root) was assumed: "
            "`fastnat trace` shows the answers for others, Engine.uid and .gid set them"
        )


def say(text: object) -> None:
    """Print one line on standard output, control characters escaped."""
    click.echo(plain(text))


def warn(text: object) -> None:
    """Print one line on standard error, control characters escaped; do nothing if it is closed.

    Errors name the line that they are about in a line of its own.
    """
    with contextlib.suppress(OSError):
        click.echo(plain(ITS_LINE.sub("; in", str(text))), err=True)


def answer_no() -> None:
    """Note that the answer is no, exit status 1, before anything is printed."""
    click.get_current_context().meta[STATUS] = 1


def ignore_interrupts() -> None:
    """Ignore further Ctrl-C while results are written."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
