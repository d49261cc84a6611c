"""The commands in the documents and what they print: blocks marked `console`, a command after each `$ `.

`python tests/laboratory/console.py` writes the present output into README.md and docs/guides; the tests compare.
"""

import os
import re
import shlex
from pathlib import Path

from click.testing import CliRunner

from fastnat.cli import group

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)


def commands(block):
    """Return the (command, output) pairs of a block."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def output_of(command):
    """Return what a command prints, as a terminal of 100 columns that is no terminal."""
    words = shlex.split(command)
    assert words[0] == "fastnat", command
    here = Path.cwd()
    os.chdir(ROOT)
    try:
        result = CliRunner(env={"COLUMNS": "100"}).invoke(group, words[1:])
    finally:
        os.chdir(here)
    assert result.exit_code in (0, 1), f"{command}: {result.exception!r} {result.output}"
    return re.sub(r"[ \t]+$", "", result.stdout, flags=re.MULTILINE)


def filled(text):
    """Return a document with the present output of its commands."""

    def block(found):
        shown = "".join(f"$ {command}\n{output_of(command)}" for command, _ in commands(found[1]))
        return f"```console\n{shown}```"

    return BLOCK.sub(block, text)


if __name__ == "__main__":
    for path in DOCUMENTS:
        path.write_text(filled(path.read_text()))
        print(path.relative_to(ROOT))
