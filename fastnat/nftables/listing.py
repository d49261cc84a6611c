"""The text that `nft list ruleset` prints of a tree.

Source: `nft list ruleset` of nftables 1.0.6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import cast

from . import fields, hooks
from .datatypes import duration
from .kinds import OBJECTS, Kinds, kinds_of
from .tree import (
    Any,
    Assign,
    Chain,
    Concat,
    Counter,
    Ct,
    CtCount,
    Dynamic,
    Element,
    Elements,
    Expression,
    Fib,
    Flowtable,
    Hash,
    Last,
    Limit,
    Listed,
    Log,
    Lookup,
    Match,
    Meta,
    Named,
    Nat,
    Notrack,
    Numgen,
    Object,
    Operation,
    Option,
    Other,
    Payload,
    Prefix,
    Quota,
    Range,
    Raw,
    Reference,
    Reject,
    Route,
    Rule,
    Ruleset,
    Set,
    Socket,
    Statement,
    Table,
    Value,
    Verdict,
    VerdictMap,
)

# elements in a line, by the type of the key; of others and of concatenations one
FIVE_A_LINE = {"inet_service", "inet_proto", "mark", "integer", "nf_proto", "uid", "gid", "tcp_flag"}
TWO_A_LINE = {"ipv4_addr", "ct_state", "pkt_type"}
# of the parts of a concatenation: whether they stand in quotation marks
Quotes = tuple[bool, ...]
# operators from the one that binds least
ORDER = {"|": 0, "^": 1, "&": 2, "<<": 3, ">>": 3}
LIMIT_BURST = 5
# values of these types are text in quotation marks
QUOTED = ("ifname", "iface_index", "string", "day", "hour", "date", "devgroup", "realm")
# what stands without them all the same
BARE = ("missing", "exists", "0")


def listing(ruleset: Ruleset, handles: bool = False) -> str:
    """Return the text of a canonical rule set."""
    return "".join(line + "\n" for table in ruleset.tables.values() for line in TableWriter(table, handles).lines())


def text_of(ruleset: Ruleset, handles: bool = False) -> str:
    """Return a text that makes a canonical rule set again, its base chains in the order in which they were made.

    It is the listing; where that has another order, chains without rules stand in front of it. nft takes it, too.
    handles: with the numbers that its parts have.
    """
    chains = {key: [c for c in table.chains.values() if not c.inline] for key, table in ruleset.tables.items()}
    order = [(c.made, key) for key, there in chains.items() for c in there if c.base is not None]
    if order == sorted(order):
        return listing(ruleset, handles)
    # tables keep their order, and chains that of their table
    lines = [f"table {family} {name} {{\n}}" for family, name in chains]
    for _, key in sorted(order):
        there, declared = chains[key], False
        while not declared:
            chain = there.pop(0)
            declared = chain.base is not None
            said = TableWriter(ruleset.tables[key]).chain(replace(chain, rules=[]))
            lines += [f"table {' '.join(key)} {{", *(f"\t{line}" for line in said), "}"]
    return "\n".join([*lines, listing(ruleset, handles)])


def rule_text(table: Table, rule: Rule, handle: bool = False) -> str:
    """Return one rule as it is listed."""
    return TableWriter(table, handle).rule(rule)


class TableWriter:
    """Writes what stands in one table."""

    def __init__(self, table: Table, handles: bool = False) -> None:
        self.table, self.handles = table, handles

    def lines(self) -> Iterator[str]:
        """Yield the lines of the table."""
        table = self.table
        yield f"table {table.family} {table.name} {{" + self.handle(table.handle)
        if table.flags:
            yield f"\tflags {','.join(table.flags)}"
        if table.comment:
            yield f'\tcomment "{table.comment}"'
        parts: list[list[str]] = [self.object(o) for o in table.objects.values()]
        parts += [self.named(s) for s in table.sets.values() if not s.meter]
        parts += [self.flowtable(f) for f in table.flowtables.values()]
        parts += [self.chain(c) for c in table.chains.values() if not c.inline]
        for n, part in enumerate(parts):
            if n or table.flags:
                yield ""
            yield from (f"\t{line}" if line else "" for line in part)
        yield "}"

    def handle(self, number: int) -> str:
        """Return ` # handle 3` where handles are wanted."""
        return f" # handle {number}" if self.handles else ""

    def object(self, o: Object) -> list[str]:
        """Return the lines of a named object."""
        lines = [f"{o.kind} {o.name} {{" + self.handle(o.handle)]
        if o.comment:
            lines.append(f'\tcomment "{o.comment}"')
        words = dict(o.words)
        if o.kind == "ct helper":
            lines += [
                f'\ttype "{words.get("type", "")}" protocol {words.get("protocol", "")}',
                f"\tl3proto {words['l3proto']}",
            ]
        elif o.says is not None:
            said = self.statement(o.says)
            lines.append("\t" + (said.removeprefix(f"{o.kind} ")))
        else:
            shown = ((key, f"= {{ {value} }}" if key == "policy" else value) for key, value in o.words)
            lines += [f"\t{key} {value}".rstrip() for key, value in shown]
        return [*lines, "}"]

    def flowtable(self, f: Flowtable) -> list[str]:
        """Return the lines of a flow table."""
        lines = [f"flowtable {f.name} {{" + self.handle(f.handle)]
        lines.append(f"\thook {f.hook} priority {hooks.priority_text('netdev', f.hook, f.priority)}")
        if f.devices:
            lines.append(f"\tdevices = {{ {', '.join(f.devices)} }}")
        lines += [f"\tflags {','.join(f.flags)}"] * bool(f.flags) + ["\tcounter"] * f.counter
        return [*lines, "}"]

    def named(self, s: Set) -> list[str]:
        """Return the lines of a set or map."""
        is_map = bool(s.data) or s.data_typeof is not None
        lines = [f"{'map' if is_map else 'set'} {s.name} {{" + self.handle(s.handle), "\t" + self.set_type(s)]
        if s.policy == "memory":
            lines.append("\tpolicy memory")
        if s.size is not None:
            lines.append(f"\tsize {s.size}")
        if s.flags and (s.flags != ("timeout",) or s.timeout is None):
            lines.append(f"\tflags {','.join(s.flags)}")
        if s.auto_merge:
            lines.append("\tauto-merge")
        lines += ["\t" + self.carried(x) for x in s.statements]
        if s.timeout is not None:
            lines.append(f"\ttimeout {duration(s.timeout)}")
        if s.gc_interval is not None:
            lines.append(f"\tgc-interval {duration(s.gc_interval)}")
        if s.comment:
            lines.append(f'\tcomment "{s.comment}"')
        if s.elements:
            lines += self.element_lines(s)
        return [*lines, "}"]

    def set_type(self, s: Set) -> str:
        """Return `type ipv4_addr : verdict` or `typeof ...`."""
        said = "type " + " . ".join(s.key) if s.typeof is None else "typeof " + self.expression(s.typeof)
        if s.data_typeof is not None:
            return f"{said} : {'interval ' * s.intervals}{self.expression(s.data_typeof)}"
        return f"{said} : {'interval ' * s.intervals}{' . '.join(s.data)}" if s.data else said

    def element_lines(self, s: Set) -> list[str]:
        """Return the lines of the elements."""
        key = kinds_of(self.table, s)[0]
        text = [self.element(e, quoted(key), bool(s.data) and s.data[0] in OBJECTS) for e in s.elements]
        name = key[0].name if len(key) == 1 else ""
        each = 5 if name in FIVE_A_LINE else 2 if name in TWO_A_LINE else 1
        rows = [", ".join(text[i : i + each]) for i in range(0, len(text), each)]
        rows = [row + "," for row in rows[:-1]] + [rows[-1] + " }"]
        return [f"\telements = {{ {rows[0]}", *(f"\t\t     {row}" for row in rows[1:])]

    def chain(self, c: Chain) -> list[str]:
        """Return the lines of a chain."""
        lines = [f"chain {c.name} {{" + self.handle(c.handle)]
        if c.comment:
            lines.append(f'\tcomment "{c.comment}"')
        if c.base is not None:
            b = c.base
            devices = (
                f' device "{b.devices[0]}"'
                if len(b.devices) == 1
                else f" devices = {{ {', '.join(b.devices)} }}"
                if b.devices
                else ""
            )
            priority = hooks.priority_text(self.table.family, b.hook, b.priority)
            lines.append(f"\ttype {b.type} hook {b.hook}{devices} priority {priority}; policy {b.policy};")
        lines += [f"\t{self.rule(r)}" for r in c.rules]
        return [*lines, "}"]

    def rule(self, r: Rule) -> str:
        """Return one rule."""
        said = " ".join(map(self.statement, r.statements))
        if r.comment:
            said += f' comment "{r.comment}"'
        return said + (self.handle(r.handle) if r.handle else "")

    def statement(self, s: Statement) -> str:
        """Return one statement."""
        return cast(Callable[[TableWriter, Statement], str], STATEMENTS[type(s)])(self, s)

    def expression(self, x: Expression, quote: Quotes = ()) -> str:
        """Return one expression; quote: see Quotes."""
        if isinstance(x, Value):
            return f'"{x.text}"' if quote[:1] == (True,) and x.text not in BARE and not x.text.isdecimal() else x.text
        return cast(Callable[[TableWriter, Expression, Quotes], str], EXPRESSIONS[type(x)])(self, x, quote)

    # --- statements

    def match(self, m: Match) -> str:
        """Return a comparison."""
        kinds = kinds_of(self.table, m.left)[0]
        right = self.expression(m.right, quoted(kinds))
        flags = bool(kinds) and kinds[0].flags
        if isinstance(m.left, Operation):
            masked = flags and m.left.op == "&" and isinstance(m.left.right, Listed)
            if masked and m.op not in ("==", "!="):
                bits = " | ".join(map(self.expression, cast(Listed, m.left.right).items))
                return f"{self.expression(m.left.left)} & ({bits}) {m.op} {right}"
            if masked:
                sign = "" if m.op == "==" else f"{m.op} "
                return f"{self.expression(m.left.left)} {sign}{right} / {self.expression(m.left.right)}"
            return f"{self.expression(m.left)} {m.op} {right}"
        sign = (
            ""
            if m.op == "in" or (m.op == "==" and not (flags and isinstance(m.right, (Value, Listed))))
            else f"{m.op} "
        )
        return f"{self.expression(m.left)} {sign}{right}"

    def verdict(self, v: Verdict, _: Quotes = ()) -> str:
        """Return a verdict; a chain without a name stands in braces, its lines further in than those of its rule."""
        chain = self.table.chains.get(v.chain)
        if chain is None or not chain.inline:
            return f"{v.kind} {v.chain}" if v.chain else v.kind
        lines = (line for r in chain.rules for line in self.rule(replace(r, handle=0)).split("\n"))
        return "\n".join((f"{v.kind} {{", *(f"\t\t\t{line}" for line in lines), "\t\t}"))

    def verdict_map(self, s: VerdictMap) -> str:
        """Return a look-up in a verdict map."""
        quote = quoted(kinds_of(self.table, s.key)[0])
        return f"{self.expression(s.key)} vmap {self.expression(s.table, quote)}"

    def counter(self, s: Counter) -> str:
        """Return a counter with what it counted."""
        return f"counter packets {s.packets} bytes {s.bytes}"

    def limit(self, s: Limit) -> str:
        """Return a limit."""
        over = "over " if s.over else ""
        if s.unit == "bytes":
            burst = f" burst {size(s.burst)}" if s.burst else ""
            return f"limit rate {over}{size(s.rate)}/{s.per}{burst}"
        burst = f" burst {s.burst} packets" if s.burst not in (0, LIMIT_BURST) else ""
        return f"limit rate {over}{s.rate}/{s.per}{burst}"

    def quota(self, s: Quota) -> str:
        """Return a quota."""
        used = f" used {size(s.used)}" if s.used else ""
        return f"quota {'over ' if s.over else ''}{size(s.bytes)}{used}"

    def ct_count(self, s: CtCount) -> str:
        """Return a limit of connections."""
        return f"ct count {'over ' if s.over else ''}{s.count}"

    def last(self, s: Last) -> str:
        """Return when a packet came last."""
        return "last used never" if s.used is None else f"last used {duration(s.used / 1000)}"

    def reference(self, s: Reference) -> str:
        """Return the use of a named object."""
        verb = "set" if s.kind.startswith("ct ") else "name"
        said = f'"{s.name.text}"' if isinstance(s.name, Value) else self.expression(s.name)
        if isinstance(s.name, Lookup) and isinstance(s.name.table, Elements):
            said = self.lookup(s.name, (), objects=True)
        return f"{s.kind} {verb} {said}"

    def nat(self, s: Nat) -> str:
        """Return a NAT statement."""
        said = s.kind + (f" {s.family}" if s.family else "") + (" prefix" if s.prefix else "")
        if s.address is not None or s.port is not None:
            said += " to "
        if s.address is not None:
            address = self.expression(s.address)
            said += (
                bracketed(address)
                if s.port is not None and ":" in address and not isinstance(s.address, Lookup)
                else address
            )
        if s.port is not None:
            said += f":{self.expression(s.port)}"
        return f"{said} {','.join(s.flags)}" if s.flags else said

    def assign(self, s: Assign) -> str:
        """Return an assignment."""
        quote = quoted(kinds_of(self.table, s.key)[0])
        return f"{self.expression(s.key)} set {self.expression(s.value, quote)}"

    def reject(self, s: Reject) -> str:
        """Return a reject."""
        if not s.kind:
            return "reject"
        return "reject with tcp reset" if s.kind == "tcp reset" else f"reject with {s.kind} {s.code}"

    def log(self, s: Log) -> str:
        """Return a log statement."""
        return " ".join(["log", *(f'prefix "{v}"' if o == "prefix" else f"{o} {v}" for o, v in s.options)])

    def notrack(self, _: Notrack) -> str:
        """Return notrack."""
        return "notrack"

    def dynamic(self, s: Dynamic) -> str:
        """Return a change of a set."""
        if s.op == "meter":
            e = s.element
            said = self.expression(e.key) + (f" timeout {duration(e.timeout)}" if e.timeout is not None else "")
            carried = " ".join(map(self.carried, e.statements))
            return f"meter {s.table} size {s.size} {{ {said} {carried} }}"
        said = self.element(replace(s.element, statements=(), data=None))
        said += "".join(f" {self.carried(x)}" for x in s.element.statements)
        data = "" if s.element.data is None else f" : {self.expression(s.element.data)}"
        return f"{s.op} @{s.table} {{ {said}{data} }}"

    def carried(self, s: Statement) -> str:
        """Return what each element of a set carries, as the set or the rule that adds one says it."""
        return "counter" if isinstance(s, Counter) else self.statement(s)

    def other(self, s: Other) -> str:
        """Return a statement of which only the words are known."""
        return " ".join((s.name, *s.words)).strip()

    # --- expressions

    def payload(self, x: Payload, _: Quotes) -> str:
        """Return a field."""
        return f"{x.protocol} {x.field}"

    def raw(self, x: Raw, _: Quotes) -> str:
        """Return bits by their place."""
        return f"@{x.base},{x.offset},{x.length}"

    def meta(self, x: Meta, _: Quotes) -> str:
        """Return a key of meta; interfaces and users are listed without the word."""
        return x.key if x.key in fields.BARE_META else f"meta {x.key}"

    def ct(self, x: Ct, _: Quotes) -> str:
        """Return a key of conntrack."""
        return " ".join(["ct", *filter(None, (x.direction, x.family, x.key))])

    def fib(self, x: Fib, _: Quotes) -> str:
        """Return a question to the routing table."""
        return f"fib {' . '.join(x.flags)} {x.result}"

    def route(self, x: Route, _: Quotes) -> str:
        """Return a key of the route."""
        return " ".join(["rt", *filter(None, (x.family, x.key))])

    def option(self, x: Option, _: Quotes) -> str:
        """Return the field of an option, or the option."""
        if x.kind == "exthdr":
            return f"{x.name} {x.field}" if x.field else f"exthdr {x.name}"
        kind = {"tcp": "tcp option", "ip": "ip option", "sctp": "sctp chunk"}[x.kind]
        return f"{kind} @{x.name}" if x.field == "raw" else f"{kind} {x.name} {x.field}".rstrip()

    def numgen(self, x: Numgen, _: Quotes) -> str:
        """Return a number in turn or at random."""
        return f"numgen {x.mode} mod {x.modulus}" + (f" offset {x.offset}" if x.offset else "")

    def hash(self, x: Hash, _: Quotes) -> str:
        """Return a hash."""
        said = f"symhash mod {x.modulus}" if x.of is None else f"jhash {self.expression(x.of)} mod {x.modulus}"
        said += f" seed 0x{x.seed:x}" if x.seed is not None else ""
        return said + (f" offset {x.offset}" if x.offset else "")

    def socket(self, x: Socket, _: Quotes) -> str:
        """Return what the socket says."""
        return " ".join(x.words)

    def operation(self, x: Operation, quote: Quotes) -> str:
        """Return an operation, in brackets where that of a side binds less."""
        sides = []
        for side in (x.left, x.right):
            said = self.expression(side, quote)
            less = isinstance(side, Operation) and ORDER[side.op] < ORDER[x.op]
            sides.append(f"({said})" if less else said)
        return f"{sides[0]} {x.op} {sides[1]}"

    def concat(self, x: Concat, quote: Quotes) -> str:
        """Return values side by side."""
        return " . ".join(self.expression(item, quote[n : n + 1]) for n, item in enumerate(x.items))

    def range(self, x: Range, quote: Quotes) -> str:
        """Return a range."""
        return f"{self.expression(x.low, quote)}-{self.expression(x.high, quote)}"

    def prefix(self, x: Prefix, _: Quotes) -> str:
        """Return a prefix."""
        return f"{self.expression(x.address)}/{x.length}"

    def listed(self, x: Listed, quote: Quotes) -> str:
        """Return flags."""
        return ",".join(self.expression(i, quote) for i in x.items)

    def elements(self, x: Elements, quote: Quotes, objects: bool = False) -> str:
        """Return an anonymous set or map; objects: see element."""
        return f"{{ {', '.join(self.element(e, quote, objects) for e in x.items)} }}"

    def element(self, e: Element, quote: Quotes = (), objects: bool = False) -> str:
        """Return one element; objects: its data are names of objects."""
        said = self.expression(e.key, quote) + "".join(f" {self.statement(s)}" for s in e.statements)
        # nft has no word for an element that stays where others do not
        if e.timeout:
            said += f" timeout {duration(e.timeout)}"
        if e.expires is not None:
            said += f" expires {duration(e.expires)}"
        if e.comment:
            said += f' comment "{e.comment}"'
        return f"{said} : {self.expression(e.data, (objects,))}" if e.data is not None else said

    def named_set(self, x: Named, _: Quotes) -> str:
        """Return the name of a set."""
        return f"@{x.name}"

    def any(self, _: Any, __: Quotes) -> str:
        """Return the catch-all."""
        return "*"

    def lookup(self, x: Lookup, _: Quotes, objects: bool = False) -> str:
        """Return a look-up in a map; objects: its data are names of objects."""
        quote = quoted(kinds_of(self.table, x.key)[0])
        table = x.table
        said = self.elements(table, quote, objects) if isinstance(table, Elements) else self.expression(table, quote)
        return f"{self.expression(x.key)} map {said}"


def quoted(kinds: Kinds) -> Quotes:
    """Tell which values of these types are text in quotation marks."""
    return tuple(kind.name in QUOTED for kind in kinds)


def size(number: int) -> str:
    """Return bytes as nft prints them."""
    for unit, shift in (("mbytes", 20), ("kbytes", 10)):
        if number and number % (1 << shift) == 0:
            return f"{number >> shift} {unit}"
    return f"{number} bytes"


def bracketed(address: str) -> str:
    """Return an IPv6 address, or a range of them, as it stands in front of a port."""
    return "-".join(f"[{part}]" for part in address.split("-"))


STATEMENTS = {
    Match: TableWriter.match, Verdict: TableWriter.verdict, VerdictMap: TableWriter.verdict_map,
    Counter: TableWriter.counter, Limit: TableWriter.limit, Quota: TableWriter.quota, CtCount: TableWriter.ct_count,
    Last: TableWriter.last, Reference: TableWriter.reference, Nat: TableWriter.nat, Assign: TableWriter.assign,
    Reject: TableWriter.reject, Log: TableWriter.log, Notrack: TableWriter.notrack, Dynamic: TableWriter.dynamic,
    Other: TableWriter.other,
}  # fmt: skip
EXPRESSIONS = {
    Payload: TableWriter.payload, Raw: TableWriter.raw, Meta: TableWriter.meta, Ct: TableWriter.ct,
    Fib: TableWriter.fib,
    Route: TableWriter.route, Option: TableWriter.option, Numgen: TableWriter.numgen, Hash: TableWriter.hash,
    Socket: TableWriter.socket, Operation: TableWriter.operation, Concat: TableWriter.concat, Range: TableWriter.range,
    Prefix: TableWriter.prefix, Listed: TableWriter.listed, Elements: TableWriter.elements,
    Named: TableWriter.named_set,
    Any: TableWriter.any, Lookup: TableWriter.lookup, Verdict: TableWriter.verdict,
}  # fmt: skip
