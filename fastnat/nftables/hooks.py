"""Where base chains stand: families, types, hooks, and the names of priorities.

Source: nft(8), CHAINS, tables 6 and 7; uapi netfilter_ipv4.h; chain_type_name_lookup and std_prios of nftables. A named
priority in a hook that nft 1.0.6 does not have it in is taken, as newer versions take it.
"""

from __future__ import annotations

INET = ("prerouting", "input", "forward", "output", "postrouting")
# the hooks of a device, and in which step of the core their chains are called
OF_DEVICE = {"ingress": "prerouting", "egress": "egress"}
PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}
BRIDGE = {"dstnat": -300, "filter": -200, "out": 100, "srcnat": 300}
# where a priority is listed by its name: those hooks alone have it in nft 1.0.6
NAMED_IN = {"dstnat": ("prerouting",), "srcnat": ("postrouting",)}
HOOKS = {
    "ip": INET, "ip6": INET, "inet": (*INET, "ingress"), "bridge": INET, "arp": ("input", "output"),
    "netdev": ("ingress", "egress"),
}  # fmt: skip
TYPES = {
    "filter": (*INET, "ingress", "egress"),
    "nat": ("prerouting", "input", "output", "postrouting"),
    "route": ("output",),
}
# how far from its number a priority is listed by name
NEAR = 10
# where packets get their connection
CONNTRACK = -200


def too_early(kind: str, priority: int) -> str:
    """Return why a chain cannot have a priority, or nothing: NAT needs the connection."""
    if kind == "nat" and priority <= CONNTRACK:
        return f"a chain of type nat has a priority above {CONNTRACK}, where connections are looked up"
    return ""


def wrong(family: str, kind: str, hook: str) -> str:
    """Return why there is no such base chain, or nothing."""
    if kind not in TYPES:
        return f"type {kind!r} is not known; there are {', '.join(TYPES)}"
    if hook not in HOOKS[family]:
        return f"family {family} has no hook {hook!r}; it has {', '.join(HOOKS[family])}"
    if hook not in TYPES[kind]:
        return f"a chain of type {kind} cannot be in {hook}; it can be in {', '.join(TYPES[kind])}"
    if kind != "filter" and family not in ("ip", "ip6", "inet"):
        return f"family {family} has only chains of type filter"
    return ""


def names(family: str) -> tuple[str, ...]:
    """Return the names of priorities that a family has."""
    return tuple(BRIDGE if family == "bridge" else {"filter": 0} if family in ("arp", "netdev") else PRIORITIES)


def priority(family: str, name: str) -> int | None:
    """Return the number of a named priority, None if there is no such name."""
    return (BRIDGE if family == "bridge" else PRIORITIES).get(name) if name in names(family) else None


def priority_text(family: str, hook: str, number: int) -> str:
    """Return a priority as nft lists it: `filter`, `dstnat - 10`, or a number."""
    table = BRIDGE if family == "bridge" else PRIORITIES
    near = [(abs(number - table[n]), n) for n in names(family) if hook in NAMED_IN.get(n, (hook,))]
    distance, name = min(near, default=(NEAR + 1, ""))
    if distance > NEAR:
        return str(number)
    if distance == 0:
        return name
    return f"{name} {'+' if number > table[name] else '-'} {distance}"
