"""A tree in the form in which nft lists it: values by the names of their type, what follows from the rest left out.

Source: evaluate.c, netlink_delinearize.c, segtree.c and mergesort.c of nftables 1.0.6, by what `nft list ruleset`
prints.
Invariants: a tree and its canonical form decide alike; canonical trees of a text and of its JSON are equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import count
from typing import Any as Untyped

from . import fields, timeouts
from .datatypes import IFACE, PROTOCOL_NAMES, TYPES, Datatype, duration, integer, seconds
from .kinds import Kinds, has_wide_data, kinds_of
from .tree import (
    INLINE,
    NOWHERE,
    Any,
    Assign,
    Chain,
    Concat,
    Counter,
    Ct,
    Dynamic,
    Element,
    Elements,
    Expression,
    Hash,
    Limit,
    Listed,
    Lookup,
    Match,
    Meta,
    Named,
    Nat,
    Numgen,
    Object,
    Operation,
    Option,
    Other,
    Payload,
    Place,
    Prefix,
    Range,
    Reference,
    Reject,
    Route,
    Rule,
    Ruleset,
    Set,
    Statement,
    Table,
    Value,
    Verdict,
    VerdictMap,
)

# the types of ICMP that have a field; nft lists a comparison with one type only as the field
TYPES_WITH = {
    ("icmp", "id"): ("echo-reply", "echo-request"), ("icmp", "sequence"): ("echo-reply", "echo-request"),
    ("icmp", "mtu"): ("destination-unreachable",), ("icmp", "gateway"): ("redirect",),
    ("icmpv6", "id"): ("echo-request", "echo-reply"), ("icmpv6", "sequence"): ("echo-request", "echo-reply"),
    ("icmpv6", "mtu"): ("packet-too-big",), ("icmpv6", "packet-too-big"): ("packet-too-big",),
    ("icmpv6", "parameter-problem"): ("parameter-problem",), ("icmpv6", "max-delay"): ("mld-listener-query",),
}  # fmt: skip
# keys of ct that make the kernel count packets and bytes of connections
ACCOUNTS = ("packets", "bytes", "avgpkt")
# of `ct timeout` and `ct expectation`, in the order in which they are listed
OBJECT_WORDS = ("protocol", "dport", "timeout", "size", "l3proto", "policy")
# keys of ct that both directions have
OF_BOTH = ("l3proto", "protocol")
PROTOCOL = Meta("protocol")
# what a rule that rejects with a TCP reset asks for
ABOUT_TCP = Match("==", Meta("l4proto"), Value("tcp"))
# what names no field of a header
LEAVES = frozenset((Value, Verdict, Counter, Meta, Ct, Elements, Named, Prefix, Range, Limit, Numgen))
# what NAT mostly says
VALUES = {Value, type(None)}
# protocols whose ports `th` names
WITH_PORTS = ("tcp", "udp", "udplite", "sctp", "dccp")
ADDRESSES = ("saddr", "daddr")
# bits of fields that the kernel compares at once in a word, and at the most
FAST, WIDE = 32, 128
# what a set has room for if it does not say, and rules add to it
DYNAMIC_SIZE = 65_535
DEFAULT_CODES = {"icmp": "port-unreachable", "icmpv6": "port-unreachable", "icmpx": "port-unreachable"}
CODES = {"icmp": TYPES["icmp_code"], "icmpv6": TYPES["icmpv6_code"], "icmpx": TYPES["icmpx_code"]}
FAMILY_NUMBERS = {"ip": "ipv4", "ip6": "ipv6", "icmp": "ipv4", "icmpv6": "ipv6", "igmp": "ipv4"}
# by what a reject in a table of both families answers a packet of one
ANSWERS = {"ipv4": "icmp", "ipv6": "icmpv6"}


def canonical(ruleset: Ruleset) -> Ruleset:
    """Bring a rule set into the form in which nft lists it; the same object is returned."""
    for table in ruleset.tables.values():
        number_inline(table)
        writer = Writer(ruleset, table)
        fill_by_rules(table, writer.filled)
        for named in table.sets.values():
            writer.named(named)
        for chain in table.chains.values():
            chain.rules[:] = [writer.rule(rule) for rule in chain.rules]
        for made in table.objects.values():
            object_words(table, made)
    return ruleset


def number_inline(table: Table) -> None:
    """Number the chains that stand in rules in the order of those; a chain without its rule goes with it."""
    waiting = [chain for chain in table.chains.values() if not chain.inline]
    if len(waiting) == len(table.chains):
        return
    found = {chain.name: chain for chain in waiting}
    free = (name for n in count() if (name := f"{INLINE}{n}") not in found)
    for chain in waiting:
        inner: list[Chain] = []
        for rule in chain.rules:
            made: list[Statement] = []
            for s in rule.statements:
                there = table.chains.get(s.chain) if isinstance(s, Verdict) else None
                if isinstance(s, Verdict) and there is not None and there.inline:
                    inner.append(replace(there, name=next(free)))
                    made.append(Verdict(s.kind, inner[-1].name))
                else:
                    made.append(s)
            rule.statements = tuple(made)
        found |= {there.name: there for there in inner}
        waiting += inner
    table.chains = found


def filled_by_rules(table: Table) -> set[str]:
    """Return the names of the sets that rules change."""
    rules = (rule for chain in table.chains.values() for rule in chain.rules)
    names = {s.table for rule in rules for s in rule.statements if type(s) is Dynamic and s.op != "meter"}
    return {name for name in names & table.sets.keys() if not {"constant", "interval"} & set(table.sets[name].flags)}


def fill_by_rules(table: Table, filled: set[str]) -> None:
    """Give sets that rules add to the flag that says so, which the kernel needs."""
    for named in map(table.sets.__getitem__, filled):
        if "dynamic" not in named.flags:
            named.flags = tuple(sorted((*named.flags, "dynamic")))


def object_words(table: Table, made: Object) -> None:
    """Add what an object has by default: a ct helper is of the table's family."""
    words = dict(made.words)
    if made.kind == "ct helper":
        words.setdefault("l3proto", table.family)
        of_ip = ("irc", "netbios-ns", "pptp", "snmp")
        if words["l3proto"] == "inet" and words.get("type") in of_ip:
            words["l3proto"] = "ip"
        made.words = tuple(words.items())
    elif made.kind in ("ct timeout", "ct expectation"):
        words.setdefault("l3proto", table.family)
        if made.kind == timeouts.KIND:
            words["policy"] = timeouts.policy_text(made)
        if "timeout" in words:
            words["timeout"] = duration(seconds(words["timeout"]))
        made.words = tuple((name, words[name]) for name in OBJECT_WORDS if name in words)


class Writer:
    """Rewrites what stands in one table."""

    def __init__(self, ruleset: Ruleset, table: Table) -> None:
        self.ruleset, self.table = ruleset, table

    @cached_property
    def filled(self) -> set[str]:
        """The sets that rules change."""
        return filled_by_rules(self.table)

    def named(self, named: Set) -> None:
        """Rewrite a named set, its elements in the order in which they are listed."""
        key, data = kinds_of(self.table, named)
        if "dynamic" in named.flags and named.size is None and named.name in self.filled:
            named.size = DYNAMIC_SIZE
        if named.timeout is not None and "timeout" not in named.flags:
            named.flags = (*named.flags, "timeout")
        named.intervals = named.intervals or (bool(data) and has_wide_data(named.elements))
        named.elements[:] = self.items(named.elements, key, data, named.auto_merge, named.auto_merge)
        if named.timeout is not None or named.statements:
            named.elements[:] = [with_own(e, named) for e in named.elements]
        if named.intervals and len(data) == 1 and data[0].form == "address":
            named.elements[:] = with_prefixes(named.elements, data[0])

    def items(
        self,
        items: list[Element] | tuple[Element, ...],
        key: Kinds,
        data: Kinds,
        merge: bool = False,
        intervals: bool = False,
    ) -> list[Element]:
        """Rewrite elements; merge: those that touch one another become one; intervals: the set may have some."""
        found = [
            Element(
                self.value(e.key, key), self.value(e.data, data) if e.data is not None else None, e.timeout, e.expires,
                e.comment, e.statements, e.timeless, e.grown,
            )
            for e in items
        ]  # fmt: skip
        if merge and len(key) == 1 and key[0].form == "name":
            found = without_covered(found)
        # a prefix of all bits makes intervals of a set, too
        if len(key) == 1 and (intervals or any(isinstance(e.key, (Range, Prefix)) for e in items)):
            found = merged(found, key[0]) if merge else [replace(e, key=range_of(e.key, key[0])) for e in found]
        if len(key) > 1 and any(
            isinstance(part, (Range, Prefix)) for e in found for part in getattr(e.key, "items", ())
        ):
            # the kernel keeps those in an order of its own
            return found
        names = [e.key.text for e in found if isinstance(e.key, Value)]
        if len(key) == 1 and key[0].form == "name" and len(names) == len(found) and not any("*" in n for n in names):
            # hashed names are numbers of the machine
            return sorted(found, key=lambda e: int.from_bytes(getattr(e.key, "text", "").encode(), "little"))
        return sorted(found, key=lambda e: place_of(e.key, key))

    def rule(self, rule: Rule) -> Rule:
        """Rewrite a rule."""
        statements = tuple(map(self.statement, with_ct_families(self.table.family, rule.statements)))
        if not depend_on_others(statements):
            rule.statements = statements
            return rule
        pairs = list(zip(statements, rule.places or (NOWHERE,) * len(statements), strict=True))
        pairs = without_own(self.table.family, self.rejects(with_protocol(with_tcp(pairs))))
        kept = fields_in_order(without_implied(self.table.family, with_types(pairs)))
        rule.statements, rule.places = tuple(s for s, _ in kept), tuple(p for _, p in kept)
        return rule

    def statement(self, s: Statement) -> Statement:
        """Rewrite a statement."""
        if isinstance(s, Match):
            return self.match(s)
        if isinstance(s, (Verdict, Counter)):
            return s
        if isinstance(s, VerdictMap):
            return VerdictMap(self.left(s.key), self.table_of(s.table, self.kinds(s.key)))
        if isinstance(s, Assign):
            return Assign(self.left(s.key), self.right(s.value, self.kinds(s.key)))
        if isinstance(s, Nat):
            return self.nat(s)
        if isinstance(s, Dynamic):
            size = DYNAMIC_SIZE if s.op == "meter" and s.size is None else s.size
            return replace(s, element=self.changed(s), size=size)
        if isinstance(s, Reference):
            return replace(s, name=self.left(s.name))
        if isinstance(s, Other) and s.name == "tproxy" and s.words[0] == self.table.family:
            return replace(s, words=s.words[1:])
        return s

    def rejects(self, pairs: Pairs) -> Pairs:
        """Rewrite rejects: by which protocol they answer follows from what the rule has asked before."""
        asked, found = "", list(pairs)
        for at, (s, place) in enumerate(pairs):
            if isinstance(s, Reject):
                said = found[at] = self.reject(s, asked), place
                number = FAMILY_NUMBERS.get(said[0].kind)
                if self.table.family == "inet" and number and not asked:
                    # nft asks for the family in front of all that the rule says
                    found.insert(0, (Match("==", Meta("nfproto"), Value(number)), place))
                break
            asked = ANSWERS.get(family_asked(s), asked)
        return without_answered(found)

    def kinds(self, expression: Expression) -> Kinds:
        """Return the types of an expression."""
        return kinds_of(self.table, expression)[0]

    def match(self, m: Match) -> Match:
        """Rewrite a comparison."""
        kinds = self.kinds(m.left)
        if type(m.right) is Value and type(m.left) in (Payload, Meta) and kinds and not kinds[0].flags:
            # most comparisons: with one value, of which nothing else depends on anything
            text, op = kinds[0].listing(m.right.text), "!=" if m.op == "!" else m.op or "=="
            return m if (text, op) == (m.right.text, m.op) else Match(op, m.left, Value(text))
        m = without_xor(m, kinds)
        left, right = self.left(m.left), self.right(m.right, kinds)
        if (
            isinstance(right, Elements)
            and isinstance(m.right, Elements)
            and len(m.right.items) == 1
            and not right.joined
        ):
            only = right.items[0]
            # nft keeps a concatenation in its braces
            if not only.statements and not only.comment and not isinstance(only.key, Concat):
                right = only.key
        flags = (
            kinds
            and kinds[0].flags
            and not isinstance(right, (Elements, type(None)))
            and not isinstance(m.left, Operation)
        )
        if kinds and kinds[0].flags and not isinstance(right, Elements):
            right = flag_list(right, kinds[0])
        op = m.op or ("in" if flags and isinstance(right, (Value, Listed)) else "==")
        if op == "!" and not flags:
            op = "!="
        if flags and op in ("==", "!=") and isinstance(right, Listed) and kinds[0].name == "tcp_flag":
            # of all flags at once nft lists the number
            right = Value(kinds[0].text(first_number(right, kinds[0])))
        if kinds and kinds[0].form == "hour" and op in ("==", "!="):
            op, right = across_midnight(op, right, kinds[0])
        return self.flag_test(masked_prefix(Match(op, left, right), kinds), kinds)

    def flag_test(self, m: Match, kinds: Kinds) -> Match:
        """Rewrite `flags & a == 0` and its kind: some of the flags are set, or none."""
        left = m.left
        if not (kinds and kinds[0].flags and isinstance(left, Operation) and left.op == "&" and m.op in ("==", "!=")):
            return m
        if first_number(left.right, kinds[0]) == (1 << kinds[0].bits) - 1:
            return Match(m.op, left.left, m.right)
        if (
            isinstance(m.right, Value)
            and first_number(m.right, kinds[0]) == 0
            and isinstance(left.right, (Value, Listed))
        ):
            return Match("!" if m.op == "==" else "in", left.left, left.right)
        return m

    def left(self, x: Expression) -> Expression:
        """Rewrite an expression that brings its own types."""
        if isinstance(x, Operation):
            kinds = self.kinds(x.left) or self.kinds(x.right)
            right = self.right(x.right, kinds if x.op in "&|^" else (integer(32),))
            if kinds and kinds[0].flags and isinstance(right, (Operation, Listed, Value)):
                right = flag_list(right, kinds[0])
            left = self.value(x.left, kinds) if isinstance(x.left, Value) else self.left(x.left)
            return masked(Operation(x.op, left, right), kinds)
        if isinstance(x, Concat):
            return Concat(tuple(map(self.left, x.items)))
        if isinstance(x, Lookup):
            return Lookup(self.left(x.key), self.table_of(x.table, self.kinds(x.key)))
        if isinstance(x, Hash) and x.of is not None:
            return replace(x, of=self.left(x.of))
        if isinstance(x, Ct) and x.key in ACCOUNTS:
            self.ruleset.accounted = True
        if isinstance(x, Ct) and x.key in OF_BOTH:
            return replace(x, direction="")
        if isinstance(x, Route) and x.key == "nexthop" and self.table.family in ("ip", "ip6"):
            return replace(x, family=self.table.family)
        return x

    def right(self, x: Expression, kinds: Kinds) -> Expression:
        """Rewrite what is compared with, or assigned to, an expression of these types."""
        if isinstance(x, Lookup):
            return Lookup(self.left(x.key), self.table_of(x.table, self.kinds(x.key), kinds))
        if isinstance(x, Operation) and self.kinds(x):
            return self.left(x)
        return self.value(x, kinds)

    def table_of(self, x: Elements | Named, key: Kinds, data: Kinds = ()) -> Elements | Named:
        """Rewrite the elements of an anonymous map."""
        return Elements(tuple(dict.fromkeys(self.items(x.items, key, data)))) if isinstance(x, Elements) else x

    def value(self, x: Expression, kinds: Kinds) -> Expression:
        """Rewrite values of these types."""
        kind = kinds[0] if kinds else None
        if isinstance(x, Value):
            text = kind.listing(x.text) if kind else x.text
            return x if text == x.text else Value(text)
        if isinstance(x, Verdict):
            return x
        if isinstance(x, Concat):
            each = [(k,) for k in kinds] if len(kinds) == len(x.items) else [()] * len(x.items)
            return Concat(tuple(self.value(item, k) for item, k in zip(x.items, each, strict=True)))
        if isinstance(x, Range):
            if kind is not None and kind.names and kind.form in ("decimal", "hex"):
                # of those with names, ranges are listed as numbers
                return Range(*(Value(kind.plain(first_number(end, kind))) for end in (x.low, x.high)))
            return Range(self.value(x.low, kinds), self.value(x.high, kinds))
        if isinstance(x, Prefix):
            return prefix_of(x, kind)
        if isinstance(x, Listed):
            items = Listed(tuple(self.value(i, kinds) for i in x.items))
            return flag_list(items, kind) if kind and kind.flags else items
        if isinstance(x, Operation):
            return folded(Operation(x.op, self.value(x.left, kinds), self.value(x.right, kinds)), kind)
        if isinstance(x, Elements):
            within = tuple(dict.fromkeys(self.items(x.items, kinds, (), len(x.items) > 1)))
            return Elements(within, joined=x.joined or len(within) < len(x.items))
        return x

    def nat(self, s: Nat) -> Nat:
        """Rewrite a NAT statement; in a table of one family the family is not said."""
        family = s.family
        address = s.address
        if address is not None:
            address = self.nat_value(address, TYPES["ipv6_addr" if self._is_v6(s) else "ipv4_addr"])
            if self.table.family == "inet" and not family:
                family = "ip6" if self._is_v6(replace(s, address=address)) else "ip"
        wide = isinstance(s.address, Lookup) and self.says_intervals(s.address)
        if (s.prefix or wide) and isinstance(address, Lookup) and isinstance(address.table, Elements):
            kind = TYPES["ipv6_addr" if self._is_v6(s) else "ipv4_addr"]
            address = Lookup(address.key, Elements(tuple(with_prefixes(address.table.items, kind))))
        if self.table.family != "inet":
            said = isinstance(address, Lookup) and (s.prefix or wide or self.says_ports(address))
            family = self.table.family if said else ""
        return Nat(s.kind, family, address, self.nat_value(s.port, TYPES["inet_service"]), s.flags, s.prefix)

    def says_ports(self, x: Lookup) -> bool:
        """Tell whether a map says addresses and ports: nft lists the family with it."""
        if isinstance(x.table, Named):
            named = self.table.sets.get(x.table.name)
            return named is not None and len(kinds_of(self.table, named)[1]) > 1
        return any(isinstance(e.data, Concat) for e in x.table.items)

    def says_intervals(self, x: Lookup) -> bool:
        """Tell whether a map says intervals of addresses."""
        if isinstance(x.table, Named):
            return x.table.name in self.table.sets and self.table.sets[x.table.name].intervals
        return has_wide_data(x.table.items)

    def nat_value(self, x: Expression | None, kind: Datatype) -> Expression | None:
        """Rewrite an address or port, a range of them, or a map that says it."""
        if isinstance(x, Lookup):
            key = self.kinds(x.key)
            data = (kind, TYPES["inet_service"])
            return Lookup(self.left(x.key), self.table_of(x.table, key, data))
        if x is None or self.kinds(x):
            return x
        value = self.value(x, (kind,))
        return range_of(value, kind) if kind.form == "address" else value

    def _is_v6(self, s: Nat) -> bool:
        """Tell whether a NAT statement is about IPv6."""
        if self.table.family in ("ip", "ip6") or s.family:
            return (s.family or self.table.family) == "ip6"
        x = s.address
        while isinstance(x, (Range, Prefix, Lookup)):
            x = x.low if isinstance(x, Range) else x.address if isinstance(x, Prefix) else _sample(self.table, x)
        return isinstance(x, Value) and ":" in x.text

    def changed(self, s: Dynamic) -> Element:
        """Rewrite the element that a rule adds."""
        e, named = s.element, None if s.op == "meter" else self.table.sets.get(s.table)
        key, data = kinds_of(self.table, named) if named is not None else ((), ())
        if named is not None and list(map(type, e.statements)) == list(map(type, named.statements)):
            # what all elements of the set carry
            e = replace(e, statements=())
        # none is that of the set
        e = replace(e, timeout=e.timeout or None)
        return replace(e, key=self.right(e.key, key), data=None if e.data is None else self.right(e.data, data))

    def reject(self, s: Reject, asked: str) -> Reject:
        """Rewrite a reject: what is the default in this family is not said. asked: the protocol that fits the rule."""
        kind = s.kind or {"ip": "icmp", "ip6": "icmpv6"}.get(self.table.family, asked or "icmpx")
        if kind == "tcp reset":
            return s
        code = CODES[kind].listing(s.code or DEFAULT_CODES[kind])
        default = {"ip": "icmp", "ip6": "icmpv6"}.get(self.table.family, "icmpx")
        return Reject() if kind == default and code == DEFAULT_CODES[kind] else Reject(kind, code)


def _sample(table: Table, x: Lookup) -> Expression:
    """Return one value that a map says."""
    if isinstance(x.table, Elements):
        data = x.table.items[0].data if x.table.items else None
    else:
        named = table.sets.get(x.table.name)
        data = Value("::" if named is not None and "ipv6_addr" in named.data else "0")
    return data.items[0] if isinstance(data, Concat) else data or Value("0")


def folded(x: Operation, kind: Datatype | None) -> Expression:
    """Return an operation of two numbers as one; flags stay side by side."""
    if kind is None or kind.flags or not isinstance(x.left, Value) or not isinstance(x.right, Value):
        return x
    try:
        left, right = kind.number(x.left.text), kind.number(x.right.text)
    except ValueError:
        return x
    done = {"&": left & right, "|": left | right, "^": left ^ right}.get(x.op)
    return x if done is None else Value(kind.text(done))


def without_xor(m: Match, kinds: Kinds) -> Match:
    """Return a comparison of `x ^ a` with a value as one of x with that value ^ a."""
    x = m.left
    if not (isinstance(x, Operation) and x.op == "^" and isinstance(x.right, Value) and isinstance(m.right, Value)):
        return m
    if len(kinds) != 1 or kinds[0].flags or m.op not in ("", "==", "!="):
        return m
    value = folded(Operation("^", m.right, x.right), kinds[0])
    return Match(m.op, x.left, value) if isinstance(value, Value) else m


def masked(x: Operation, kinds: Kinds) -> Expression:
    """Return masks and marks one behind the other as nft lists what the kernel has of them: (field & mask) ^ bits."""
    kind = kinds[0] if len(kinds) == 1 else None
    if kind is None or kind.flags or kind.form == "address":
        return x
    full, steps, field = (1 << kind.bits) - 1, [], x
    while isinstance(field, Operation) and field.op in "&|^" and isinstance(field.right, Value):
        steps.append((field.op, first_number(field.right, kind)))
        field = field.left  # type: ignore[assignment]  # any expression ends the walk
    if not steps or isinstance(field, (Value, Operation)):
        return x
    mask, bits = full, 0
    for op, number in reversed(steps):
        if op == "&":
            mask, bits = mask & number, bits & number
        else:
            mask, bits = (mask & ~number, bits | number) if op == "|" else (mask, bits ^ number)
    if len(steps) == 1 and (mask, bits) != (full, 0):
        return x
    set_bits = ~mask & bits & full
    bits, mask = bits & mask, mask | set_bits
    found: Expression = field
    for op, number, shown in (("&", mask, mask != full), ("^", bits, bits), ("|", set_bits, set_bits)):
        if shown:
            found = Operation(op, found, Value(kind.text(number)))
    return found


def prefix_of(x: Prefix, kind: Datatype | None) -> Expression:
    """Return a prefix without the bits behind it; a whole address is no prefix."""
    if kind is None or (kind.form != "address" and kind.name != "mark") or not isinstance(x.address, Value):
        return x
    try:
        number = kind.number(x.address.text)
    except ValueError:
        return x
    if x.length > kind.bits:
        return x
    if x.length == kind.bits:
        return Value(kind.text(number))
    return Prefix(Value(kind.text(number >> (kind.bits - x.length) << (kind.bits - x.length))), x.length)


def masked_prefix(m: Match, kinds: Kinds) -> Match:
    """Return a comparison of the first bits of a mark or an address as one with a prefix."""
    x = m.left
    if not (
        len(kinds) == 1
        and (kinds[0].name == "mark" or kinds[0].form == "address")
        and m.op in ("==", "!=")
        and isinstance(m.right, Value)
    ):
        return m
    if not (isinstance(x, Operation) and x.op == "&" and isinstance(x.right, Value)):
        return m
    mask, bits = first_number(x.right, kinds[0]), kinds[0].bits
    length = bits - ((mask ^ ((1 << bits) - 1)) + 1).bit_length() + 1
    if mask == 0 or mask != (1 << bits) - (1 << bits - length) or length == bits:
        return m
    return Match(m.op, x.left, Prefix(m.right, length))


def bounds(x: Expression, kind: Datatype) -> tuple[int, int] | None:
    """Return the first and last number of a value, range or prefix; None for what is none, or has no number here."""
    if kind == IFACE:
        return None
    try:
        if isinstance(x, Value):
            return (n := kind.number(x.text)), n
        if isinstance(x, Range) and isinstance(x.low, Value) and isinstance(x.high, Value):
            return kind.number(x.low.text), kind.number(x.high.text)
        if isinstance(x, Prefix) and isinstance(x.address, Value):
            low = kind.number(x.address.text) >> (kind.bits - x.length) << (kind.bits - x.length)
            return low, low | (1 << (kind.bits - x.length)) - 1
    except ValueError:
        pass
    return None


def interval(low: int, high: int, kind: Datatype) -> Expression:
    """Return an interval as a set lists it: a value, a prefix of an address, or a range."""
    width = high - low + 1
    if width == 1:
        return Value(kind.text(low))
    if kind.form == "address" and width & (width - 1) == 0 and low % width == 0:
        return Prefix(Value(kind.text(low)), kind.bits - width.bit_length() + 1)
    # of types with names, ranges are listed as numbers
    said = kind.plain if kind.names and kind.form in ("decimal", "hex") else kind.text
    return Range(Value(said(low)), Value(said(high)))


def with_prefixes(items: Iterable[Element], kind: Datatype) -> list[Element]:
    """Return elements whose data are intervals: a single address is a prefix of all bits."""
    return [replace(e, data=Prefix(e.data, kind.bits)) if isinstance(e.data, Value) else e for e in items]


def range_of(x: Expression, kind: Datatype) -> Expression:
    """Return a range as a prefix if it is one."""
    found = bounds(x, kind) if isinstance(x, Range) else None
    return x if found is None or found[1] < found[0] else interval(*found, kind)


def with_own(e: Element, named: Set) -> Element:
    """Return an element without the time that all of its set have, and with what all of them carry."""
    timeout = None if e.timeout == named.timeout else e.timeout
    return replace(e, timeout=timeout, statements=e.statements or named.statements)


def merged(items: list[Element], kind: Datatype) -> list[Element]:
    """Return the elements of a set of intervals, those that touch one another as one."""
    known = [(b, e) for e in items if (b := bounds(e.key, kind)) is not None]
    if len(known) != len(items) or any(e.data is not None for e in items) or kind.form == "name":
        return items
    if any(high < low for (low, high), _ in known):
        # the compiler names such a range
        return items
    found: list[tuple[int, int, Element]] = []
    for (low, high), e in sorted(known, key=lambda k: k[0]):
        if found and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(high, found[-1][1]), found[-1][2]
        else:
            found.append((low, high, e))
    return [replace(e, key=interval(low, high, kind)) for low, high, e in found]


def without_covered(items: list[Element]) -> list[Element]:
    """Return names of interfaces without those that begin as another one with a wildcard does; of a map all."""
    names = [getattr(e.key, "text", "") for e in items]
    wide = {name[:-1] for name in names if name.endswith("*")}
    if not wide or any(e.data is not None for e in items):
        return items
    # a wildcard covers its own beginning, but not itself
    ends = [len(name) - 1 if name.endswith("*") else len(name) + 1 for name in names]
    return [e for name, n, e in zip(names, ends, items, strict=True) if not any(name[:k] in wide for k in range(n))]


def flag_list(x: Expression, kind: Datatype) -> Expression:
    """Return flags side by side, in the order of their bits; whatever is no flag stays."""
    found: list[tuple[int, Value]] = []

    def collect(x: Expression) -> bool:
        if isinstance(x, Listed):
            return all(map(collect, x.items))
        if isinstance(x, Operation) and x.op == "|":
            return collect(x.left) and collect(x.right)
        if not isinstance(x, Value):
            return False
        try:
            number = kind.number(x.text)
        except ValueError:
            return False
        bits = [1 << n for n in range(kind.bits) if number >> n & 1]
        if bits and all(bit in kind.listed for bit in bits):
            found.extend((bit, Value(kind.listed[bit])) for bit in bits)
        else:
            found.append((number, x))
        return True

    if not collect(x):
        return x
    values = tuple(v for _, v in sorted(set(found), key=lambda f: f[0]))
    return values[0] if len(values) == 1 else Listed(values)


def place_of(x: Expression, kinds: Kinds) -> tuple[int, int]:
    """Return by what an element is sorted in a listing: its first value; a concatenation has its last part in front."""
    if isinstance(x, Any):
        return 1, 0
    parts = x.items if isinstance(x, Concat) else (x,)
    if len(parts) != len(kinds):
        return 0, 0
    if len(parts) == 1:
        return 0, first_number(parts[0], kinds[0])
    total = shift = 0
    for part, kind in zip(parts, kinds, strict=True):
        # the index of an interface is not known here
        number = 0 if kind.name == "iface_index" else first_number(part, kind)
        size = (kind.bits + 31) // 32 * 4
        # addresses and ports stand in the key as in a packet, the others as numbers of the machine
        of_machine = kind.form in ("hex", "decimal") and kind.name != "inet_proto"
        said = number.to_bytes((kind.bits + 7) // 8, "little" if of_machine else "big")
        total |= int.from_bytes(said.ljust(size, b"\0"), "little") << shift
        shift += 8 * size
    return 0, total


def first_number(x: Expression, kind: Datatype) -> int:
    """Return the first number of a value, range or prefix; 0 for what is none."""
    while isinstance(x, (Range, Prefix)):
        x = x.low if isinstance(x, Range) else x.address
    if isinstance(x, Listed):
        return sum(first_number(i, kind) for i in x.items)
    try:
        return kind.number(x.text) if isinstance(x, Value) else 0
    except ValueError:
        return 0


Pairs = list[tuple[Statement, Place]]


def depend_on_others(statements: tuple[Statement, ...]) -> bool:
    """Tell whether the form of a statement may follow from others of its rule; in most rules it does not."""
    said = [x for s in statements if type(s) is not Verdict for x in payloads_of(s)]
    if any(x.protocol in ("icmp", "icmpv6") for x in said):
        return True
    if sum(x.field not in ADDRESSES or x.protocol == "ether" for x in said) > 1:
        return True
    for s in statements:
        if isinstance(s, Reject) or (isinstance(s, Match) and may_imply(s.left) and (said or s.left == PROTOCOL)):
            return True
        if said and isinstance(s, Match) and s.left == Meta("iiftype"):
            return True
    return False


def may_imply(x: Expression) -> bool:
    """Tell whether a comparison of this may ask for a protocol, see implied_by."""
    if isinstance(x, Meta):
        return x.key in ("l4proto", "nfproto", "protocol")
    return isinstance(x, Payload) and (x.protocol, x.field) in (("ip", "protocol"), ("ip6", "nexthdr"))


def with_protocol(pairs: Pairs) -> Pairs:
    """Name the protocol of ports where the rule has asked for it."""
    found, known = [], ""
    for statement, place in pairs:
        said = implied_by(statement) if isinstance(statement, Match) and statement.op == "==" else None
        found.append((named_ports(statement, known) if known else statement, place))
        if said is not None and said[0] == "l4":
            known = next((name for name in WITH_PORTS if str(fields.L4_PROTOCOLS[name]) == said[1]), "")
        known = next((p.protocol for p in payloads_of(statement) if p.protocol in WITH_PORTS), known)
    return found


def named_ports(x: Untyped, protocol: str) -> Untyped:
    """Return a part of a tree in which ports are those of a protocol."""
    if isinstance(x, Payload) and x.protocol == "th":
        return replace(x, protocol=protocol)
    if isinstance(x, tuple):
        return tuple(named_ports(part, protocol) for part in x)
    if type(x) in LEAVES or not hasattr(x, "__dataclass_fields__"):
        return x
    return replace(x, **{name: named_ports(getattr(x, name), protocol) for name in x.__dataclass_fields__})


def without_implied(family: str, pairs: Pairs) -> Pairs:
    """Leave out comparisons of the protocol that a later field of its header, or a reset of TCP, says again."""
    dropped: set[int] = set()
    waiting: dict[str, tuple[int, str]] = {}
    for at, (statement, _) in enumerate(pairs):
        for payload in payloads_of(statement):
            number = fields.L4_PROTOCOLS.get(payload.protocol)
            if number is not None and "l4" in waiting and waiting["l4"][1] == str(number):
                dropped.add(waiting.pop("l4")[0])
            if payload.protocol == "ether" and "l2" in waiting:
                dropped.add(waiting.pop("l2")[0])
            nfproto = FAMILY_NUMBERS.get(payload.protocol)
            if nfproto and "l3" in waiting and waiting["l3"][1] == nfproto:
                dropped.add(waiting.pop("l3")[0])
        resets = isinstance(statement, Reject) and statement.kind == "tcp reset" and family in ("ip", "ip6")
        # behind a counter it stays: nft leaves it out there, too, and would then ask in front of the counter
        if resets and "l4" in waiting and all(isinstance(s, Match) for s, _ in pairs[:at]):
            dropped.add(waiting.pop("l4")[0])
        if isinstance(statement, Match) and statement.op == "==" and isinstance(statement.right, Value):
            said = implied_by(statement)
            # in a table of both families, `ip protocol` asks for IPv4, too
            if said and (family in ("ip", "ip6") or not isinstance(statement.left, Payload)):
                waiting[said[0]] = at, said[1]
            elif statement.left == PROTOCOL and family == "netdev":
                waiting["l3"] = at, FAMILY_NUMBERS.get(statement.right.text, "")
            elif statement.left == Meta("iiftype") and statement.right.text == "ether":
                waiting["l2"] = at, "ether"
        elif not isinstance(statement, Match):
            waiting.clear()
    return [pair for at, pair in enumerate(pairs) if at not in dropped]


def fields_in_order(pairs: Pairs) -> Pairs:
    """Put comparisons of fields side by side that lie side by side in a header, as nft compares them together.

    They stand where that of the first field stood, or that of the protocol of the next header.
    """
    found: Pairs = []
    at = 0
    while at < len(pairs):
        end = at
        while end < len(pairs) and isinstance(pairs[end][0], Match):
            end += 1
        run = pairs[at:end]
        groups = {head_of(run, group): group for group in side_by_side(run)}
        inner = {n for group in groups.values() for n in group}
        found += [run[k] for n in range(len(run)) if n in groups or n not in inner for k in groups.get(n, [n])]
        found += pairs[end : end + 1]
        at = end + 1
    return found


def head_of(run: Pairs, group: list[int]) -> int:
    """Return where fields that are compared together stand."""
    names = {n: getattr(getattr(run[n][0], "left", None), "field", "") for n in group}
    return next((n for n in group if names[n] in ("protocol", "nexthdr")), group[0])


def side_by_side(run: Pairs) -> list[list[int]]:
    """Return which comparisons are made together: of fields up to 32 bits up to 32 bits, of others up to 128."""
    places = sorted((*place, at) for at, (s, _) in enumerate(run) if (place := place_in_header(s)) is not None)
    found: list[list[int]] = []
    protocol, until, size = "", -1, 0
    for name, offset, bits, at in places:
        if (name, offset) == (protocol, until) and size + bits <= (FAST if max(size, bits) <= FAST else WIDE):
            found[-1].append(at)
            until, size = until + bits, size + bits
        else:
            found.append([at])
            protocol, until, size = name, offset + bits, bits
    return found


def place_in_header(s: Statement) -> tuple[str, int, int] | None:
    """Return protocol, offset and bits of a field of whole bytes that is compared with one value."""
    if not (isinstance(s, Match) and s.op == "==" and isinstance(s.left, Payload) and isinstance(s.right, Value)):
        return None
    said = fields.HEADERS[s.left.protocol][s.left.field]
    return None if said.offset % 8 or said.bits % 8 else (s.left.protocol, said.offset, said.bits)


def with_ct_families(family: str, statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
    """Name the family of `ct original saddr` where the table, or the rule before it, says which one that is."""
    if not any(type(s) is Match and type(s.left) is Ct and is_bare_address(s.left) for s in statements):
        return statements
    found: list[Statement] = []
    asked = family if family in ("ip", "ip6") else ""
    for s in statements:
        asked = {"ipv4": "ip", "ipv6": "ip6"}.get(family_asked(s), asked)
        if isinstance(s, Match) and isinstance(s.left, Ct) and is_bare_address(s.left):
            s = replace(s, left=replace(s.left, family=asked))
        found.append(s)
    return tuple(found)


def is_bare_address(x: Expression) -> bool:
    """Tell whether this is an address of a connection without the family that it has."""
    return isinstance(x, Ct) and x.key in ("saddr", "daddr") and not x.family


def family_asked(s: Statement) -> str:
    """Return the family that a packet has of which a statement asks something, "" if that may be either."""
    if isinstance(s, Match) and s.op == "==" and s.left == Meta("nfproto") and isinstance(s.right, Value):
        return s.right.text
    return next((FAMILY_NUMBERS[p.protocol] for p in payloads_of(s) if p.protocol in FAMILY_NUMBERS), "")


def without_answered(pairs: Pairs) -> Pairs:
    """Leave out the comparison of the family that a reject behind it says, unless a statement stands between them."""
    found = list(pairs)
    for at, (s, _) in enumerate(pairs):
        if isinstance(s, Reject) and s.kind in FAMILY_NUMBERS:
            before = at - 1
            while before >= 0 and isinstance(pairs[before][0], Match):
                if pairs[before][0] == Match("==", Meta("nfproto"), Value(FAMILY_NUMBERS[s.kind])):
                    del found[before]
                before -= 1
            break
    return found


def without_own(family: str, pairs: Pairs) -> Pairs:
    """Leave out `meta protocol` where it says what the table says, unless it is all that the rule says."""
    own = Match("==", PROTOCOL, Value(family))
    return pairs if len(pairs) == 1 else [pair for pair in pairs if pair[0] != own]


def across_midnight(op: str, x: Expression, kind: Datatype) -> tuple[str, Expression]:
    """Return a comparison with hours of the day; one from evening to morning is everything but the day."""
    if not isinstance(x, Range) or first_number(x.low, kind) <= first_number(x.high, kind):
        return op, x
    return "!=" if op == "==" else "==", Range(x.high, x.low)


def with_types(pairs: Pairs) -> Pairs:
    """Say in front of a field of ICMP that only some types have which types those are, unless the rule says one."""
    found: Pairs = []
    said: set[str] = set()
    for statement, place in pairs:
        for x in payloads_of(statement):
            if says_type(statement):
                said.add(x.protocol)
            types = TYPES_WITH.get((x.protocol, x.field))
            if types is None:
                continue
            values = tuple(map(Value, types))
            asked = Payload(x.protocol, "type")
            if len(values) == 1 and found and found[-1][0] == Match("==", asked, values[0]):
                # the field alone says that
                found.pop()
            elif len(values) > 1 and x.protocol not in said:
                found.append((Match("==", asked, Elements(tuple(map(Element, values)))), place))
            said.add(x.protocol)
        found.append((statement, place))
    return found


def says_type(s: Statement) -> bool:
    """Tell whether a statement asks for a type of ICMP, or some, so that nft knows it for the fields behind."""
    if not (isinstance(s, Match) and s.op == "==" and isinstance(s.right, (Value, Elements))):
        return False
    return isinstance(s.left, Payload) and s.left.protocol in ("icmp", "icmpv6") and s.left.field == "type"


def with_tcp(pairs: Pairs) -> Pairs:
    """Say of a rule that rejects with a TCP reset, in front of all else, that it is about TCP."""
    for at, (statement, place) in enumerate(pairs):
        if isinstance(statement, Reject) and statement.kind == "tcp reset" and not ask_tcp([s for s, _ in pairs[:at]]):
            return [(ABOUT_TCP, place), *pairs]
    return pairs


def ask_tcp(before: Sequence[Statement]) -> bool:
    """Tell whether statements in front of a reject with a TCP reset ask for TCP."""
    return any(
        (isinstance(s, Match) and s.op == "==" and implied_by(s) == ("l4", "6"))
        or any(p.protocol == "tcp" for p in payloads_of(s))
        for s in before
    )


def implied_by(m: Match) -> tuple[str, str] | None:
    """Return the layer and the protocol that a comparison asks for, if a field of a header says it again."""
    text = m.right.text if isinstance(m.right, Value) else ""
    if not may_imply(m.left) or m.left == PROTOCOL:
        return None
    if m.left == Meta("nfproto"):
        return "l3", text
    number = int(text) if text.isdecimal() else PROTOCOL_NAMES.get(text)
    # of a number that no header of nft has, `ip protocol` says nothing about those behind it, `meta l4proto` does
    unknown = number is None or (isinstance(m.left, Payload) and number not in fields.L4_NAMES)
    return None if unknown else ("l4", str(number))


def payloads_of(statement: Statement) -> list[Payload]:
    """Return the fields of headers that a statement names; those of anonymous sets are values."""
    if type(statement) is Match and type(statement.right) in LEAVES and type(statement.left) in (Payload, *LEAVES):
        return [statement.left] if isinstance(statement.left, Payload) else []
    if type(statement) is Nat and {type(statement.address), type(statement.port)} <= VALUES:
        return []
    return [x for x in parts_of(statement) if isinstance(x, Payload)]


def options_of(statement: Statement) -> Iterator[Option]:
    """Yield the options and extension headers that a statement names."""
    if type(statement) is not Match or type(statement.left) not in LEAVES:
        yield from (x for x in parts_of(statement) if isinstance(x, Option))


def parts_of(statement: Statement) -> Iterator[object]:
    """Yield a statement and all that it is made of, but for what is in a field of a header or a value."""
    waiting: list[object] = [statement]
    while waiting:
        x = waiting.pop()
        yield x
        if type(x) is not Payload and type(x) not in LEAVES:
            inner = [getattr(x, name) for name in getattr(x, "__dataclass_fields__", ())]
            parts = [part for value in inner for part in (value if isinstance(value, tuple) else (value,))]
            waiting += reversed([part for part in parts if hasattr(part, "__dataclass_fields__")])
