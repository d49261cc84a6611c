"""What nft refuses of a rule that it can read, before the kernel sees it.

Source: evaluate.c of nftables 1.0.6, recorded by its answers (tests/kernel/refusals.py). A rule is read from left to
right: what it has asked says which protocol its packets are of. The kernel itself takes these rules from programs that
speak to it directly, so that listings of what it holds are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable

from . import fields
from .datatypes import TYPES
from .kinds import kinds_of
from .tree import (
    Assign,
    Concat,
    Ct,
    Dynamic,
    Elements,
    Expression,
    Hash,
    Listed,
    Lookup,
    Match,
    Meta,
    Nat,
    Operation,
    Option,
    Other,
    Payload,
    Reject,
    Statement,
    Table,
    Value,
    Verdict,
    VerdictMap,
)

OF_NETWORK = {"ip": "ip", "icmp": "ip", "igmp": "ip", "ip6": "ip6", "icmpv6": "ip6"}
OF_OPTIONS = {"ip": "ip", "exthdr": "ip6"}
PROTOCOLS = (Meta("l4proto"), Payload("ip", "protocol"), Payload("ip6", "nexthdr"))
FAMILIES = {"ipv4": "ip", "2": "ip", "ipv6": "ip6", "10": "ip6", "ip": "ip", "ip6": "ip6"}
PORTS = ("proto-src", "proto-dst")
# families whose packets are IPv4 and IPv6
OF_BOTH = ("inet", "bridge", "netdev")
BY_ICMP = {"icmp": "ip", "icmpv6": "ip6"}
CODES = {"icmp": TYPES["icmp_code"], "icmpv6": TYPES["icmpv6_code"], "icmpx": TYPES["icmpx_code"]}
# of two protocols or more the rule has asked for one
SEVERAL = "several"


class Doubt(ValueError):
    """Why nft does not load a rule that the kernel itself takes."""


class Evaluated:
    """What is known of the packets of a rule, by the statements that were read."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.l3 = table.family if table.family in ("ip", "ip6") else ""
        self.l4 = ""
        self.ended = False

    def statement(self, s: Statement) -> None:
        """Look at the next statement; ValueError says why the kernel refuses it, Doubt why nft alone does."""
        if self.ended:
            raise Doubt("a statement behind one that ends the rule has no effect")
        reader = STATEMENTS.get(type(s))
        if reader is not None:
            reader(self, s)

    def expression(self, x: Expression | None) -> None:
        """Look at an expression that is read."""
        reader = EXPRESSIONS.get(type(x))
        if reader is not None:
            reader(self, x)

    def _payload(self, x: Payload) -> None:
        network = OF_NETWORK.get(x.protocol)
        if network is not None:
            self.l3 = self.l3 or network
        if x.protocol in fields.L4_PROTOCOLS:
            self.l4 = x.protocol

    def _option(self, x: Option) -> None:
        self.l3 = self.l3 or OF_OPTIONS.get(x.kind, "")

    def _meta(self, x: Meta) -> None:
        if x.key == "nfproto" and self.table.family != "inet":
            raise Doubt("meta nfproto is only useful in tables of family inet")

    def _ct(self, x: Ct) -> None:
        if x.family and self.table.family in ("ip", "ip6") and x.family != self.table.family:
            raise Doubt(f"conflicting protocols specified: {self.table.family} vs. {x.family}")
        if x.key in PORTS:
            if not self.l4:
                raise Doubt(f"a rule with ct {x.key} asks for a protocol first, as `meta l4proto tcp` does")
            if not x.direction:
                raise ValueError(f"the kernel refuses this: write `ct original {x.key}` or `ct reply {x.key}`")
        elif x.key in ("saddr", "daddr") and not x.direction:
            raise ValueError(f"the kernel refuses this: write `ct original {x.key}` or `ct reply {x.key}`")

    def _concat(self, x: Concat) -> None:
        for item in x.items:
            self.expression(item)

    def _operation(self, x: Operation) -> None:
        self.expression(x.left)
        self.expression(x.right)

    def _lookup(self, x: Lookup) -> None:
        self.expression(x.key)

    def _hash(self, x: Hash) -> None:
        self.expression(x.of)

    def _match(self, m: Match) -> None:
        self.expression(m.left)
        self.expression(m.right)
        if m.op == "!":
            kinds = kinds_of(self.table, m.left)[0]
            if not (len(kinds) == 1 and kinds[0].flags):
                raise Doubt("! stands in front of flags alone; write != in front of other values")
        if isinstance(m.right, Elements) and any(e.data is not None for e in m.right.items):
            raise ValueError("a mapping outside of a map; write `vmap {...}` where it says verdicts")
        if m.op in ("", "=="):
            self._implied(m)

    def _implied(self, m: Match) -> None:
        """Note the protocol that a comparison asks for."""
        left = m.left
        # most fields ask for nothing more
        if type(left) is Payload:
            if left.field not in ("protocol", "nexthdr", "type"):
                return
        elif type(left) is Meta:
            if left.key not in ("l4proto", "nfproto"):
                return
        elif type(left) is not Ct:
            return
        said = values(m.right)
        if not said:
            return
        if m.left in PROTOCOLS:
            names = [name for text in said if (name := protocol_of(text, m.left != PROTOCOLS[0]))]
            self.l4 = (names[0] if len(said) == 1 else SEVERAL) if names else self.l4
        elif isinstance(m.left, Ct) and m.left.key == "protocol" and self.l3 and len(said) == 1:
            self.l4 = protocol_of(said[0], False) or self.l4
        elif m.left == Meta("nfproto") or (isinstance(m.left, Ct) and m.left.key == "l3proto"):
            self.l3 = self.l3 or (FAMILIES.get(said[0], "") if len(said) == 1 else "")
        elif m.left == Payload("ether", "type") and len(said) == 1:
            self.l3 = self.l3 or FAMILIES.get(said[0], "")

    def _vmap(self, s: VerdictMap) -> None:
        self.expression(s.key)

    def _assign(self, s: Assign) -> None:
        self.expression(s.key)
        self.expression(s.value)

    def _dynamic(self, s: Dynamic) -> None:
        self.expression(s.element.key)
        self.expression(s.element.data)
        made = self.table.sets.get(s.table)
        if made is not None and s.op != "meter":
            asked, given = (kinds_of(self.table, x)[0] for x in (made, s.element.key))
            if given and [k.bits for k in asked] != [k.bits for k in given]:
                raise Doubt(f"datatype mismatch: {s.table} holds other values")

    def _verdict(self, s: Verdict) -> None:
        # behind a chain in braces nft takes more
        made = self.table.chains.get(s.chain)
        self.ended = s.kind != "continue" and not (made is not None and made.inline)

    def _reject(self, s: Reject) -> None:
        self.ended = True
        if s.kind == "icmpx" and self.table.family not in OF_BOTH:
            raise Doubt("reject with icmpx stands in tables of family inet alone")
        if s.kind == "tcp reset" and self.l4 not in ("", "tcp", SEVERAL):
            raise Doubt(f"no reset answers {self.l4}")
        of = BY_ICMP.get(s.kind)
        if of and self.l3 and of != self.l3:
            raise Doubt(f"conflicting protocols specified: {self.l3} vs. {of}")
        if s.kind in CODES and s.code:
            try:
                CODES[s.kind].number(s.code)
            except ValueError as error:
                raise Doubt(str(error)) from None

    def _nat(self, s: Nat) -> None:
        self.ended = True
        self._target(s.family, s.address, s.kind)
        self.expression(s.address)
        if s.port is not None and not self.l4:
            raise Doubt(f"a port of {s.kind} stands behind a protocol alone, as in `meta l4proto tcp {s.kind} ...`")
        self.expression(s.port)

    def _target(self, family: str, address: object, kind: str) -> None:
        """Look at the family of an address to which a statement sends packets."""
        if family and self.l3 and family != self.l3:
            raise Doubt(f"conflicting protocols specified: {self.l3} vs. {family}")
        if address and not family and not self.l3:
            raise Doubt(f"in a table of family {self.table.family} write `{kind} ip to` or `{kind} ip6 to`")

    def _other(self, s: Other) -> None:
        if s.name == "tproxy":
            if not self.l4:
                raise Doubt("tproxy asks for a protocol first, as `meta l4proto tcp` does")
            words = list(s.words)
            family = words.pop(0) if words[0] in ("ip", "ip6") else ""
            self._target(family, words[1:2] and not words[1].startswith(":"), "tproxy")
        elif s.name in ("dup", "fwd"):
            self.ended = s.name == "fwd"
            if self.table.family in ("inet", "bridge") or (s.name == "fwd" and self.table.family != "netdev"):
                raise Doubt(f"{s.name} in a table of family {self.table.family}")
        elif s.name == "queue":
            self.ended = True


def values(x: Expression) -> list[str]:
    """Return the values with which something is compared; none if it is compared with anything else."""
    if isinstance(x, Value):
        return [x.text]
    items = [e.key for e in x.items] if isinstance(x, Elements) else x.items if isinstance(x, Listed) else ()
    found = [item.text for item in items if isinstance(item, Value)]
    return found if len(found) == len(items) else []


def protocol_of(text: str, known_alone: bool) -> str:
    """Return the name of a protocol; known_alone: "" of one without a header that nft knows."""
    try:
        number = TYPES["inet_proto"].number(text)
    except ValueError:
        return ""
    return fields.L4_NAMES.get(number, "" if known_alone else text)


EXPRESSIONS: dict[type, Callable[..., None]] = {
    Payload: Evaluated._payload, Option: Evaluated._option, Meta: Evaluated._meta, Ct: Evaluated._ct,
    Concat: Evaluated._concat, Listed: Evaluated._concat, Operation: Evaluated._operation, Lookup: Evaluated._lookup,
    Hash: Evaluated._hash,
}  # fmt: skip
STATEMENTS: dict[type, Callable[..., None]] = {
    Match: Evaluated._match, VerdictMap: Evaluated._vmap, Assign: Evaluated._assign, Dynamic: Evaluated._dynamic,
    Verdict: Evaluated._verdict, Reject: Evaluated._reject, Nat: Evaluated._nat, Other: Evaluated._other,
}  # fmt: skip
