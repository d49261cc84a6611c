"""Which rules turn connection tracking on.

Source: nf_ct_netns_get in the init functions of nft_ct.c, nft_nat.c, nft_masq.c, nft_redir.c, nft_connlimit.c and
nft_synproxy.c, Linux 6.18: the kernel calls it when a rule, a set or an object is made, whether packets reach it or
not.
"""

from __future__ import annotations

from .tree import Ct, CtCount, Nat, Other, Table, nodes

# named objects that ask for conntrack, in rules or not
OBJECTS = {"ct helper", "ct expectation", "ct timeout", "synproxy"}


def turns_tracking_on(table: Table, own: str) -> bool:
    """Tell whether a table, dormant or not, turns conntrack on for a family, own: "ip" or "ip6"."""
    if any(kind in OBJECTS for kind, _ in table.objects):
        return True
    # not what a set was declared with; what elements carry that rules added is a copy, which asks for nothing
    held = [(made.statements, [e for e in made.elements if not e.grown]) for made in table.sets.values()]
    return any(asks(node, own) for node in nodes([*table.chains.values(), *held]))


def asks(node: object, own: str) -> bool:
    """Tell whether a part of a rule or set asks for conntrack; notrack and an empty chain of type nat do not."""
    if isinstance(node, Nat):
        return node.family in ("", own)
    return isinstance(node, Ct | CtCount) or (isinstance(node, Other) and node.name in ("synproxy", "flow"))
