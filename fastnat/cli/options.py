"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from ..engine.settings import PROFILES
from ..node import Node

# where the context of a command keeps what --nft-last says
ORDER = "fastnat.nft_last"
# the node where none is given
PACKAGED = "k8s-worker (packaged)"


def profile_option() -> Callable[[Callable[..., Any]], Any]:
    """Return the option that names a kernel."""
    return click.option(
        "--profile", type=click.Choice(list(PROFILES)), default="linux-6.18", show_default=True,
        help="The kernel that decides.",
    )  # fmt: skip


def order_option() -> Callable[[Callable[..., Any]], Any]:
    """Return the option that says in which order both kinds of rules were loaded; take_order() applies it to a node."""
    return click.option(
        "--nft-last", is_flag=True, expose_value=False, callback=note_order,
        help="rules.nft was loaded after rules.v4: at equal priority its chains run first.",
    )  # fmt: skip


def note_order(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    """Keep what --nft-last says for the nodes that the command loads."""
    ctx.meta[ORDER] = value


def take_order(node: Node) -> None:
    """Let a node that a command has loaded know of --nft-last."""
    ctx = click.get_current_context(silent=True)
    node.nft_last |= bool(ctx and ctx.meta.get(ORDER))


def complete_profiles(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return kernels, also behind a comma."""
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [CompletionItem(f"{before}{comma}{p}") for p in PROFILES if p.startswith(last) and p not in given]
