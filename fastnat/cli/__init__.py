"""The command line: one module a command, loaded when it is asked for."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from .. import __version__
from ..errors import FastnatError

COMMANDS = (
    "exhaust", "plan", "sweep", "report", "top", "trace", "conntrack", "snapshot", "replay", "check", "bench",
)  # fmt: skip


class Commands(click.Group):
    """The commands, each the function of its name in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, None for a name that is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{cmd_name}", __name__), cmd_name)
        return command


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="fastnat")
def group() -> None:
    """Linux connection tracking and NAT on a virtual clock."""


def main() -> None:
    """Run the command line; bad input exits with 2 and one message."""
    try:
        group()
    except FastnatError as error:
        click.echo(f"fastnat: {error}", err=True)
        sys.exit(2)
