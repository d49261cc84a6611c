"""Going on with a node whose rules, sets, addresses, routes or sysctls have changed; see Engine.reload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..addresses import V4, V6, Family
from ..errors import InputError
from ..rules.compiler import with_arrays_of
from ..util.interrupts import uninterrupted
from .arrays import node_tables
from .settings import config_of

if TYPE_CHECKING:
    from .engine import Engine


def reload(engine: Engine) -> None:
    """Give the datapaths the tables of the node as it is now; on an error nothing has changed."""
    node = engine.node
    before, names = engine.iface_names, node.iface_names
    if names[: len(before)] != before:
        raise InputError("interfaces may be added, not taken away or renamed: make a new Engine")
    if node.has_ipv6 and engine.ruleset6 is None:
        raise InputError("this engine was made without IPv6: make a new Engine")
    families = [(V6 if version == 6 else V4, core) for version, core in engine._cores.items()]
    engine.iface_names = names
    try:
        rulesets = {core: engine._compile(family) for family, core in families}
        made = {
            core: (
                node_tables(node, family, rulesets[core]),
                config_of(node, family, rulesets[core], engine._settings(family)),
            )
            for family, core in families
        }
        files = node.texts()
    except BaseException:
        engine.iface_names = before
        raise
    # half of it would be two sets of rules
    with uninterrupted():
        for family, core in families:
            core.forget_memos()
            had = core.arrays["addresses"].copy()
            core.reload(*made[core])
            for iface, address in _lost(family, had, core.arrays["addresses"]):
                core.flush_masqueraded(iface, address)
        engine.ruleset = with_arrays_of(rulesets[engine._core], engine._core)
        if engine._core6 is not None:
            engine.ruleset6 = with_arrays_of(rulesets[engine._core6], engine._core6)
        engine._iface_numbers = {name: n for n, name in enumerate(names)}
        engine.node_files = files
        if engine.random_fully:
            engine.set_random_fully()


def _lost(family: Family, before: NDArray[Any], after: NDArray[Any]) -> set[tuple[int, int]]:
    """Return (interface, ifa_address) of the addresses that are gone; of a point-to-point link that is the peer."""
    had, has = ({(int(a["iface"]), family.unpack(a["peer"])) for a in x} for x in (before, after))
    return had - has
