"""What standard output holds: the option -o of every command, and the one place that knows the forms.

Every command takes text (for people), json (everything), csv (rows of bare numbers) and md (text as Markdown); some
take more. Forms of before, such as --json, say the same as -o.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from itertools import islice
from typing import Any, Protocol

import click

from ..util.escapes import cell, json_text, json_texts, markdown
from .terminal import Terminal

# of CSV that are written at a time
ROWS = 1000
COMMON = ("text", "json", "csv", "md")
# what a form is, for the help; the keys of a command's forms are among these
MEANINGS = {
    "text": "for people", "json": "everything", "csv": "rows of bare numbers", "md": "Markdown",
    "html": "a page in one file", "junit": "JUnit XML", "prometheus": "metrics", "kernel": "the lines of TRACE",
    "conntrack": "conntrack -L", "extended": "conntrack -L -o extended", "proc": "/proc/net/nf_conntrack",
    "github": "github-action-benchmark", "bencher": "Bencher Metric Format",
}  # fmt: skip


class Paper(Protocol):
    """What an answer for people is written on: a terminal, or Markdown."""

    def say(self, text: str) -> None:
        """Write a line."""

    def say_all(self, lines: Iterable[str]) -> None:
        """Write many lines."""

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, title: str = "") -> None:
        """Write rows under a header; the first `left` columns are text, the others numbers."""


class Markdown:
    """Paper that becomes Markdown."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def say(self, text: str) -> None:
        """Write a paragraph."""
        if text.strip():
            self.parts.append(markdown(text))

    def say_all(self, lines: Iterable[str]) -> None:
        """Write a paragraph each."""
        for line in lines:
            self.say(line)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, title: str = "") -> None:
        """Write a table."""
        self.say(title)
        lines = [[markdown(c) for c in row] for row in (header, *rows)]
        lines.insert(1, ["---" if k < left else "---:" for k in range(len(header))])
        self.parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))

    def text(self) -> str:
        """Return what was written."""
        return "\n\n".join(self.parts) + "\n" if self.parts else ""


@dataclass(frozen=True)
class Answer:
    """An answer in every form.

    show: writes what people read, for text and md; document: what json holds, an iterator that of a list, which is
    written as it comes; header and rows: what csv holds; more: other forms of a command, or its own for one of these,
    each as what returns the text.
    """

    show: Callable[[Paper], None]
    document: Callable[[], Any]
    header: Sequence[str]
    rows: Callable[[], Iterable[Sequence[Any]]]
    more: Mapping[str, Callable[[], str]] = field(default_factory=dict)


def tell(form: str, answer: Answer) -> None:
    """Print an answer in a form."""
    if form in answer.more:
        click.echo(answer.more[form](), nl=False)
    elif form == "json":
        document = answer.document()
        for text in json_texts(document) if isinstance(document, Iterator) else [json_text(document, indent=1)]:
            click.echo(text, nl=False)
        click.echo()
    elif form == "csv":
        for text in csv_texts(answer.header, answer.rows()):
            click.echo(text, nl=False)
    elif form == "md":
        paper = Markdown()
        answer.show(paper)
        click.echo(paper.text(), nl=False)
    else:
        answer.show(Terminal())


def spoken(lines: Sequence[str]) -> Callable[[Paper], None]:
    """Return what writes these lines."""

    def show(paper: Paper) -> None:
        for line in lines:
            paper.say(line)

    return show


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV: text that no spreadsheet evaluates, numbers as they are, None as nothing."""
    return "".join(csv_texts(header, rows))


def csv_texts(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yield csv_text() in parts, as there may be millions of rows."""
    rows = iter(rows)
    part: list[Sequence[Any]] = [header]
    while part:
        file = StringIO(newline="")
        writer = csv.writer(file)
        for row in part:
            writer.writerow([cell(value) if isinstance(value, str) else value for value in row])
        yield file.getvalue()
        part = list(islice(rows, ROWS))


def forms(*more: str, flags: Sequence[str] = (), default: str = "text") -> Callable[[Callable[..., Any]], Any]:
    """Return what gives a command -o, and its flags of before; the command gets `form`.

    more: forms beside the common ones; flags: those that are options of their own, too.
    """
    known = [*COMMON, *more]

    def decorate(command: Callable[..., Any]) -> Any:
        @functools.wraps(command)
        def wrapped(*words: Any, output: str | None, **options: Any) -> Any:
            given = [f"--{name}" for name in flags if options.pop(f"as_{name}")]
            asked = [*given, *([f"-o {output}"] if output else [])]
            if len({word.split()[-1].lstrip("-") for word in asked}) > 1:
                raise click.UsageError(f"{asked[0]} and {asked[1]} exclude each other")
            return command(*words, form=output or (given[0][2:] if given else default), **options)

        for name in flags:
            wrapped = click.option(f"--{name}", f"as_{name}", is_flag=True, help=f"The same as -o {name}.")(wrapped)
        return form_option(known, default)(wrapped)

    return decorate


def form_option(known: Sequence[str], default: str = "text") -> Callable[[Callable[..., Any]], Any]:
    """Return the option -o with these forms."""
    said = ", ".join(f"{name} ({MEANINGS[name]})" for name in known)
    return click.option(
        "-o", "--output", type=click.Choice(known), metavar="FORM",
        help=f"What standard output holds, {default} by default: {said}.",
    )  # fmt: skip
