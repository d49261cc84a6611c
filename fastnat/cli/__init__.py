"""The command line: one module a command, loaded when it is asked for.

Exit status: 0; 1 the answer is no; 2 usage, bad input, an output that cannot be written; 130 Ctrl-C.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from .. import __version__, _command
from ..errors import FastnatError
from ..util.output import is_full
from .terminal import STATUS, ignore_interrupts, warn

# what each is for, in a few words
COMMANDS = {
    "exhaust": "when SNAT ports run out, and what changes it",
    "plan": "how many SNAT addresses and what table a load needs",
    "sweep": "a grid of questions, on all cores or a cluster",
    "report": "a run as text, a page, JUnit XML, metrics",
    "top": "the fullest port spaces of a dump",
    "doctor": "which failure the files of a node show",
    "diff": "whether two nodes, or two kernels, decide alike",
    "trace": "which rules a packet meets",
    "conntrack": "the connections of a node, as conntrack -L",
    "snapshot": "collect a node directory on a live node",
    "replay": "a capture through a node",
    "check": "whether a node's rules load",
    "bench": "what the engine takes on a node",
}
FAILED = 2
STATUS_WORDS = (
    "Exit status: 0; 1 the answer is no (--max-fail or --fail-on exceeded, check or doctor found faults, diff a "
    "difference, a load fits no cloud); 2 usage, bad input, or an output that cannot be written; 130 Ctrl-C, after a "
    "line that says what is kept."
)
# pairs of the words of a command and what they do
EXAMPLES = (
    ("exhaust", "when a packaged Kubernetes worker runs out of SNAT ports, and how"),
    ("snapshot node/", "collects your own node, as root"),
    ("exhaust node/ --proto tcp --dst 203.0.113.10:443", "asks it the same question"),
)


def examples_text(examples: Sequence[tuple[str, str]]) -> str:
    """Return examples as the end of a help text, which keeps its lines."""
    lines = [line for words, what in examples for line in (f"  fastnat {words}", f"      {what}")]
    return "\n".join(["\b", "Examples:", *lines])


def examples_of(cmd_name: str) -> Sequence[tuple[str, str]]:
    """Return the examples of a command: pairs of its words and what they do."""
    found: Sequence[tuple[str, str]] = import_module(f".{cmd_name}", __name__).EXAMPLES
    return found


class Commands(click.Group):
    """The commands, each the function of its name in the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{cmd_name}", __name__), cmd_name)
        command.short_help = COMMANDS[cmd_name]
        command.epilog = f"{examples_text(examples_of(cmd_name))}\n\n{STATUS_WORDS}"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Load the module of the command that was asked for."""
        found = super().resolve_command(ctx, args)
        _command.loaded()
        return found


@click.group(
    cls=Commands,
    epilog=f"{examples_text(EXAMPLES)}\n\n{STATUS_WORDS}",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, "-V", "--version", prog_name="fastnat")
def group() -> None:
    """Linux connection tracking and NAT on a virtual clock.

    Numbers take units: 72k flows, 3k/s, 5%, 30s or 5m, marks such as 0x10. Every command takes -o text, json, csv or
    md; files are written only where an option names them. NODE is a directory that `fastnat snapshot` wrote.
    """


def main() -> None:
    """Run the command line and exit; every error is one message, whatever the input."""
    if "_FASTNAT_COMPLETE" in os.environ:
        import_module(".completion", __name__)
        group.main(prog_name="fastnat")
    status = _standard_streams() or run(sys.argv[1:])
    ignore_interrupts()
    _finish()
    sys.exit(status)


def run(words: Sequence[str]) -> int:
    """Run a command; return its exit status once all of its output is written."""
    context: click.Context | None = None
    try:
        context = group.make_context("fastnat", list(words))
        with context:
            group.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        return _flushed(end.exit_code)
    except SystemExit as end:
        return _flushed(end.code if isinstance(end.code, int) else FAILED)
    except KeyboardInterrupt as stopped:
        ignore_interrupts()
        # if Ctrl-C left an exec() of text, as in making a dataclass, Python ends itself by SIGINT; another undoes that
        exec("")
        _flushed(0)
        warn(f"fastnat: interrupted: {str(stopped) or 'nothing is kept, no file was changed'}")
        return _command.INTERRUPTED
    except click.ClickException as error:
        _show_usage(error)
        return error.exit_code
    except (FastnatError, OSError) as error:
        if getattr(error, "errno", None) == errno.EPIPE:
            return context.meta.get(STATUS, 0) if context else 0
        said = f"{error}" if isinstance(error, FastnatError) else _said(error)
        # a buffered standard output fails again, for the same reason
        if _flushed(0) == 0 or not said.startswith("standard output: "):
            warn(f"fastnat: {said}")
        return FAILED
    except MemoryError as error:
        warn(f"fastnat: there is not enough memory for this: {error}")
        return FAILED
    return 0


def _flushed(status: int) -> int:
    """Return the exit status; FAILED if the output cannot be written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return status
    except OSError as error:
        warn(f"fastnat: {_said(error)}")
        return FAILED
    return status


def _said(error: OSError) -> str:
    """Return an error of the system in words; those without a file are of standard output."""
    return f"{error.filename or 'standard output'}: {error.strerror or error}"


def _show_usage(error: click.ClickException) -> None:
    context = getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        said = error.format_message()
    else:
        usage = f"{context.get_usage()}\nTry '{context.command_path} --help' for help.\n\n" if context else ""
        said = f"{usage}Error: {error.format_message()}"
    for line in said.split("\n"):
        warn(line)


def _standard_streams() -> int:
    """Check standard input, output and error; return an exit status if nothing could be printed."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            # the next file that is opened must not become standard output
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    why = "it is closed; send it to /dev/null instead" if sys.stdout is None else ""
    if not why and is_full(os.fstat(1)):
        why = os.strerror(errno.ENOSPC)
    if why:
        warn(f"fastnat: standard output: {why}")
    return FAILED if why else 0


def _finish() -> None:
    """Leave no output that the interpreter would fail to write at exit."""
    for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), fd)
