"""The manual pages, made of the same text as the help: `make man` writes them to docs/man, and a wheel installs them.

Source of the form: man(7), groff_man(7).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from .. import __version__
from . import COMMANDS, EXAMPLES, STATUS_WORDS, examples_of, group

COMPLETION = """Shells complete commands, options, kernels, clouds and the factors of --vary. bash: put
`eval "$(_FASTNAT_COMPLETE=bash_source fastnat)"` into ~/.bashrc; zsh: the same with zsh_source in ~/.zshrc; fish:
`_FASTNAT_COMPLETE=fish_source fastnat | source` in ~/.config/fish/completions/fastnat.fish."""


def roff(text: str) -> str:
    """Return text as it stands within a page."""
    said = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    said = said.replace("`", "\\(ga").replace("'", "\\(aq").replace('"', "\\(dq")
    # a line that begins with a full stop would be a request
    return re.sub(r"^\.", "\\\\&.", said, flags=re.MULTILINE)


def paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text."""
    return [roff(" ".join(part.split())) for part in re.split(r"\n\s*\n", text.strip())]


def page(name: str, short: str, command: click.Command, examples: Sequence[tuple[str, str]]) -> str:
    """Return the manual page of a command, or of fastnat itself."""
    # by its parent a command has -h
    parent = click.Context(group, **group.context_settings)
    context = click.Context(command, parent, name, **command.context_settings)
    title = name.replace(" ", "-")
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f'.TH {title.upper()} 1 "" "fastnat {__version__}" "fastnat"', ".SH NAME"]
    lines += [f"{roff(title)} \\- {roff(short)}", ".SH SYNOPSIS", f".B {roff(name)}", roff(usage), ".SH DESCRIPTION"]
    for text in paragraphs(command.help or ""):
        lines += [text, ".PP"]
    lines[-1] = ".SH OPTIONS"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record:
            lines += [".TP", f".B {roff(record[0])}", roff(record[1])]
    if isinstance(command, click.Group):
        lines.append(".SH COMMANDS")
        for known, what in COMMANDS.items():
            lines += [".TP", f".BR {roff(title)}\\-{roff(known)} (1)", roff(what)]
    lines.append(".SH EXAMPLES")
    for words, what in examples:
        lines += [".TP", f".B fastnat {roff(words)}", roff(what)]
    lines += [".SH EXIT STATUS", roff(STATUS_WORDS.removeprefix("Exit status: "))]
    if isinstance(command, click.Group):
        lines += [".SH COMPLETION", *paragraphs(COMPLETION)]
    else:
        lines += [".SH SEE ALSO", ".BR fastnat (1)"]
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Return every page by the name of its file."""
    made = {"fastnat.1": page("fastnat", "Linux connection tracking and NAT on a virtual clock", group, EXAMPLES)}
    context = click.Context(group)
    for name, short in COMMANDS.items():
        command = group.get_command(context, name)
        assert command
        made[f"fastnat-{name}.1"] = page(f"fastnat {name}", short, command, examples_of(name))
    return made


def main(words: Sequence[str]) -> int:
    """Write the pages to a folder; with --check return 1 if those that are there are not these."""
    folder, check = Path(words[0]), "--check" in words
    made = pages()
    there = {path.name: path.read_text() for path in folder.glob("*.1")}
    if check:
        stale = sorted(name for name in made.keys() | there.keys() if made.get(name) != there.get(name))
        print(
            "\n".join(f"{folder / name}: is not what the help says: make man" for name in stale), end="\n" * bool(stale)
        )
        return 1 if stale else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name in there.keys() - made.keys():
        (folder / name).unlink()
    for name, text in made.items():
        (folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
