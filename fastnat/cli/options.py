"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from ..engine.settings import PROFILES

# the node where none is given
PACKAGED = "k8s-worker (packaged)"


def profile_option() -> Callable[[Callable[..., Any]], Any]:
    """Return the option that names a kernel."""
    return click.option(
        "--profile", type=click.Choice(list(PROFILES)), default="linux-6.18", show_default=True,
        help="The kernel that decides.",
    )  # fmt: skip


def complete_profiles(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return kernels, also behind a comma."""
    before, comma, last = incomplete.rpartition(",")
    given = before.split(",")
    return [CompletionItem(f"{before}{comma}{p}") for p in PROFILES if p.startswith(last) and p not in given]
