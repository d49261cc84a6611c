"""Applying a node whose rules, sets, addresses, routes or sysctls have changed; see Engine.reload."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import InputError
from ..node import Node
from .stack import Stack


def prepare(
    stacks: dict[int, Stack], node: Node, names: list[str], counters: bool, commands: bool = False
) -> dict[int, Callable[[], Stack]]:
    """Return for each stack a function that exchanges its tables for those of the node as it is now.

    names: the interfaces by which packets were named so far; commands: those of nft made the rules of nftables out of
    those before. Raises the errors of Engine(); then nothing has changed.
    """
    if node.iface_names[: len(names)] != names:
        raise InputError("reload() can add interfaces, not remove or rename them: make a new Engine")
    if node.has_ipv6 and 6 not in stacks:
        raise InputError("this engine was made without IPv6: make a new Engine")
    return {version: stack.prepare_reload(node, counters, commands) for version, stack in stacks.items()}
