"""Going on with a node whose rules, sets, addresses, routes or sysctls have changed; see Engine.reload."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import InputError
from ..node import Node
from .stack import Stack


def prepare(stacks: dict[int, Stack], node: Node, names: list[str]) -> dict[int, Callable[[], Stack]]:
    """Return for each stack what exchanges its tables for those of the node as it is now.

    names: the interfaces that packets have been named by. Raises as Engine() does; nothing has changed then.
    """
    if node.iface_names[: len(names)] != names:
        raise InputError("interfaces may be added, not taken away or renamed: make a new Engine")
    if node.has_ipv6 and 6 not in stacks:
        raise InputError("this engine was made without IPv6: make a new Engine")
    return {version: stack.prepare_reload(node) for version, stack in stacks.items()}
