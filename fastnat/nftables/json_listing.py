"""The JSON of a tree, as `nft -j list ruleset` prints it.

Source: libnftables-json(5); what nft 1.0.6 prints. What that version leaves out stands as newer ones print it, so that
text and JSON are one tree: comments of tables and chains, flags of tables, the devices of chains, auto-merge, the flag
dynamic, `typeof`, changes of maps. Chains stand in front of sets, because maps lead to them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any as Json
from typing import cast

from . import tree
from .canonical import filled_by_rules
from .datatypes import MILLISECONDS, Datatype, integer, seconds
from .json_form import SIZES
from .kinds import Kinds, kinds_of
from .listing import TableWriter

Said = dict[str, Json]
# an address and a port
PROXY = re.compile(r"(\[[0-9a-f:.]+\]|[0-9.]+)?(?::(\d+))?")
# numbers of these forms are numbers in JSON, whatever their text looks like
NUMERIC = ("port", "decimal", "hex", "short hex", "time")


def json_listing(ruleset: tree.Ruleset) -> str:
    """Return the JSON of a canonical rule set, one object a line."""
    objects = [{"metainfo": {"json_schema_version": 1}}]
    objects += [said for table in ruleset.tables.values() for said in JsonWriter(table).objects()]
    return '{"nftables": [\n' + ",\n".join(map(json.dumps, objects)) + "\n]}\n"


def several(items: tuple[str, ...] | list[str]) -> Json:
    """Return one word, or several as a list."""
    return items[0] if len(items) == 1 else list(items)


class JsonWriter:
    """Writes what stands in one table."""

    def __init__(self, table: tree.Table) -> None:
        self.table, self.text = table, TableWriter(table)
        self.place = {"family": table.family, "table": table.name}
        self.filled = filled_by_rules(table)

    def objects(self) -> Iterator[Said]:
        """Yield the objects of the table, each behind those that it needs."""
        table = self.table
        said: Said = {"family": table.family, "name": table.name, "handle": table.handle}
        said |= {"flags": list(table.flags)} if table.flags else {}
        yield {"table": said | ({"comment": table.comment} if table.comment else {})}
        yield from map(self.object, table.objects.values())
        named = [chain for chain in table.chains.values() if not chain.inline]
        yield from map(self.chain, named)
        yield from (self.named(s) for s in table.sets.values() if not s.meter)
        yield from map(self.flowtable, table.flowtables.values())
        for chain in named:
            for rule in chain.rules:
                said = {**self.place, "chain": chain.name, "handle": rule.handle}
                said |= {"comment": rule.comment} if rule.comment else {}
                yield {"rule": {**said, "expr": list(map(self.statement, rule.statements))}}

    def object(self, o: tree.Object) -> Said:
        """Return a counter, quota, limit, ct helper and their kind."""
        said: Said = {**self.place, "name": o.name, "handle": o.handle}
        said |= {"comment": o.comment} if o.comment else {}
        if isinstance(o.says, tree.Quota):
            said |= {"bytes": o.says.bytes, "used": o.says.used, "inv": o.says.over}
        elif isinstance(o.says, tree.Limit):
            said |= self.limit(o.says)
        elif isinstance(o.says, tree.Counter):
            said |= {"packets": o.says.packets, "bytes": o.says.bytes}
        flags: list[str] = []
        for word, value in o.words:
            if word == "policy":
                times = (part.split(":") for part in filter(None, value.split(",")))
                said[word] = {name.strip(): int(time) for name, time in times}
            elif (o.kind, word) == ("ct expectation", "timeout"):
                said[word] = round(1000 * seconds(value))
            elif o.kind == "synproxy" and not value.isdecimal():
                flags += [word, *value.split()]
            else:
                said[word] = int(value) if value.isdecimal() else value
        return {o.kind: said | ({"flags": several(flags)} if flags else {})}

    def chain(self, c: tree.Chain) -> Said:
        """Return a chain without its rules."""
        said: Said = {**self.place, "name": c.name, "handle": c.handle}
        if c.base is not None:
            b = c.base
            said |= {"type": b.type, "hook": b.hook, "prio": b.priority, "policy": b.policy}
            said |= {"dev": several(b.devices)} if b.devices else {}
        return {"chain": said | ({"comment": c.comment} if c.comment else {})}

    def flowtable(self, f: tree.Flowtable) -> Said:
        """Return a flow table."""
        said: Said = {**self.place, "name": f.name, "handle": f.handle, "hook": f.hook, "prio": f.priority}
        said |= {"dev": several(f.devices)} if f.devices else {}
        said |= {"flags": several(f.flags)} if f.flags else {}
        return {"flowtable": said | ({"counter": True} if f.counter else {})}

    def named(self, s: tree.Set) -> Said:
        """Return a set or map with its elements."""
        is_map = bool(s.data) or s.data_typeof is not None
        key, data = kinds_of(self.table, s)
        said: Said = {**self.place, "name": s.name, "handle": s.handle, "type": self.types(s.key, s.typeof)}
        if is_map:
            said["map"] = self.types(s.data, s.data_typeof)
        # that rules add to it says so, too, and nft 1.0.6 does not know the flag
        flags = [f for f in s.flags if f != "dynamic" or s.name not in self.filled]
        more: Said = {
            "comment": s.comment, "policy": s.policy, "flags": flags, "size": s.size,
            "timeout": None if s.timeout is None else int(s.timeout),
            "gc-interval": None if s.gc_interval is None else int(s.gc_interval), "auto-merge": s.auto_merge,
            "stmt": [self.carried(x) for x in s.statements], "elem": [self.element(e, key, data) for e in s.elements],
        }  # fmt: skip
        return {"map" if is_map else "set": said | {name: value for name, value in more.items() if value}}

    def types(self, names: tuple[str, ...], typeof: tree.Expression | None) -> Json:
        """Return the types of a set, or the expression that has them."""
        return several(names) if typeof is None else {"typeof": self.expression(typeof)}

    def element(self, e: tree.Element, key: Kinds, data: Kinds) -> Json:
        """Return an element: its key with what it carries, and its data."""
        found = self.expression(e.key, key)
        inner: Said = {"val": found}
        inner |= {"timeout": int(e.timeout)} if e.timeout else {}
        inner |= {"expires": int(e.expires)} if e.expires is not None else {}
        inner |= {"comment": e.comment} if e.comment else {}
        for statement in e.statements:
            inner |= self.statement(statement)
        said = {"elem": inner} if len(inner) > 1 else found
        return said if e.data is None else [said, self.expression(e.data, data)]

    def carried(self, s: tree.Statement) -> Said:
        """Return what each element of a set carries."""
        return {"counter": None} if isinstance(s, tree.Counter) else self.statement(s)

    # --- expressions

    def expression(self, x: tree.Expression, kinds: Kinds = ()) -> Json:
        """Return an expression; kinds: the types of its other side."""
        if isinstance(x, tree.Value):
            return value(x.text, kinds[0] if kinds else None)
        if isinstance(x, tree.Concat):
            each = [(k,) for k in kinds] if len(kinds) == len(x.items) else [()] * len(x.items)
            return {"concat": [self.expression(i, k) for i, k in zip(x.items, each, strict=True)]}
        if isinstance(x, tree.Range):
            return {"range": [self.expression(x.low, kinds), self.expression(x.high, kinds)]}
        if isinstance(x, tree.Prefix):
            return {"prefix": {"addr": self.expression(x.address, kinds), "len": x.length}}
        if isinstance(x, tree.Listed):
            return [self.expression(i, kinds) for i in x.items]
        if isinstance(x, tree.Elements):
            return {"set": [self.element(e, kinds, ()) for e in x.items]}
        if isinstance(x, tree.Operation):
            return self.operation(x, kinds)
        if isinstance(x, tree.Lookup):
            return {"map": self.looked_up(x.key, x.table, kinds)}
        return cast(Callable[[JsonWriter, tree.Expression], Json], EXPRESSIONS[type(x)])(self, x)

    def operation(self, x: tree.Operation, kinds: Kinds) -> Said:
        """Return an operation."""
        own = kinds_of(self.table, x)[0] or kinds
        right = own if x.op in "&|^" else (integer(32),)
        return {x.op: [self.expression(x.left, own), self.expression(x.right, right)]}

    def looked_up(self, key: tree.Expression, table: tree.Elements | tree.Named, data: Kinds) -> Said:
        """Return a key and what it is looked up in."""
        if isinstance(table, tree.Named):
            return {"key": self.expression(key), "data": f"@{table.name}"}
        kinds = kinds_of(self.table, key)[0]
        return {"key": self.expression(key), "data": {"set": [self.element(e, kinds, data) for e in table.items]}}

    def payload(self, x: tree.Payload) -> Said:
        """Return a field of a header."""
        return {"payload": {"protocol": x.protocol, "field": x.field}}

    def raw(self, x: tree.Raw) -> Said:
        """Return bits by their place."""
        return {"payload": {"base": x.base, "offset": x.offset, "len": x.length}}

    def meta(self, x: tree.Meta) -> Said:
        """Return a key of meta."""
        return {"meta": {"key": x.key}}

    def ct(self, x: tree.Ct) -> Said:
        """Return a key of conntrack."""
        said = {"key": f"{x.family} {x.key}" if x.family else x.key}
        return {"ct": said | ({"dir": x.direction} if x.direction else {})}

    def fib(self, x: tree.Fib) -> Said:
        """Return a question to the routing table."""
        return {"fib": {"result": x.result, "flags": list(x.flags)}}

    def route(self, x: tree.Route) -> Said:
        """Return a key of the route."""
        return {"rt": {"key": x.key} | ({"family": x.family} if x.family else {})}

    def option(self, x: tree.Option) -> Said:
        """Return the field of an option, or the option."""
        kind = {"tcp": "tcp option", "ip": "ip option", "sctp": "sctp chunk", "exthdr": "exthdr"}[x.kind]
        if x.field == "raw":
            base, offset, length = map(int, x.name.split(","))
            return {kind: {"base": base, "offset": offset, "len": length}}
        if x.name.isdecimal():
            return {kind: {"base": int(x.name), "offset": 0, "len": 8}}
        return {kind: {"name": x.name} | ({"field": x.field} if x.field else {})}

    def numgen(self, x: tree.Numgen) -> Said:
        """Return a number in turn or at random."""
        return {"numgen": {"mode": x.mode, "mod": x.modulus, "offset": x.offset}}

    def hash(self, x: tree.Hash) -> Said:
        """Return a hash."""
        said: Said = {"mod": x.modulus}
        said |= {"seed": x.seed} if x.seed is not None else {}
        said |= {"offset": x.offset} if x.offset else {}
        return {x.kind: said | ({"expr": self.expression(x.of)} if x.of is not None else {})}

    def socket(self, x: tree.Socket) -> Said:
        """Return what the socket says, or its system."""
        kind, *words = x.words
        said: Said = {"key": words[-1]}
        if kind == "osf":
            return {"osf": said | ({"ttl": words[1]} if words[0] == "ttl" else {})}
        return {"socket": {"key": words[0]} | ({"level": int(words[2])} if "level" in words else {})}

    def named_set(self, x: tree.Named) -> str:
        """Return the name of a set."""
        return f"@{x.name}"

    def any(self, _: tree.Any) -> str:
        """Return the catch-all."""
        return "*"

    def verdict(self, v: tree.Verdict) -> Json:
        """Return a verdict; one whose chain stands in the rule as text."""
        if v.chain in self.table.chains and self.table.chains[v.chain].inline:
            return self.text.statement(v)
        return {v.kind: {"target": v.chain} if v.chain else None}

    # --- statements

    def statement(self, s: tree.Statement) -> Json:
        """Return a statement; one of which only the words are known as text."""
        return cast(Callable[[JsonWriter, tree.Statement], Json], STATEMENTS[type(s)])(self, s)

    def match(self, m: tree.Match) -> Said:
        """Return a comparison."""
        right = self.expression(m.right, kinds_of(self.table, m.left)[0])
        return {"match": {"op": m.op, "left": self.expression(m.left), "right": right}}

    def verdict_map(self, s: tree.VerdictMap) -> Said:
        """Return a look-up in a verdict map."""
        return {"vmap": self.looked_up(s.key, s.table, ())}

    def counter(self, s: tree.Counter) -> Said:
        """Return a counter with what it counted."""
        return {"counter": {"packets": s.packets, "bytes": s.bytes}}

    def limit_statement(self, s: tree.Limit) -> Said:
        """Return a limit."""
        return {"limit": self.limit(s)}

    def limit(self, s: tree.Limit) -> Said:
        """Return what a limit says."""
        said: Said = {"rate": s.rate, "burst": s.burst, "per": s.per}
        if s.unit == "bytes":
            rate, unit = sized(s.rate)
            said = {"rate": rate, "rate_unit": unit, "per": s.per}
            if s.burst:
                said["burst"], said["burst_unit"] = sized(s.burst)
        return said | ({"inv": True} if s.over else {})

    def quota(self, s: tree.Quota) -> Said:
        """Return a quota."""
        said: Said = dict(zip(("val", "val_unit"), sized(s.bytes), strict=True))
        said |= dict(zip(("used", "used_unit"), sized(s.used), strict=True)) if s.used else {}
        return {"quota": said | ({"inv": True} if s.over else {})}

    def ct_count(self, s: tree.CtCount) -> Said:
        """Return a limit of connections."""
        return {"ct count": {"val": s.count} | ({"inv": True} if s.over else {})}

    def last(self, s: tree.Last) -> Said:
        """Return when a packet came last."""
        return {"last": None if s.used is None else {"used": s.used}}

    def reference(self, s: tree.Reference) -> Said:
        """Return the use of a named object."""
        return {s.kind: s.name.text if isinstance(s.name, tree.Value) else self.expression(s.name)}

    def nat(self, s: tree.Nat) -> Said:
        """Return a NAT statement."""
        said: Said = {"family": s.family} if s.family else {}
        if s.address is not None:
            said["addr"] = self.expression(s.address)
        if s.port is not None:
            said["port"] = self.expression(s.port)
        flags = [*s.flags, *["netmap"] * s.prefix]
        said |= {"flags": several(flags)} if flags else {}
        said |= {"type_flags": "prefix"} if s.prefix else {}
        return {s.kind: said or None}

    def assign(self, s: tree.Assign) -> Said:
        """Return an assignment."""
        kinds = kinds_of(self.table, s.key)[0]
        return {"mangle": {"key": self.expression(s.key), "value": self.expression(s.value, kinds)}}

    def reject(self, s: tree.Reject) -> Said:
        """Return a reject."""
        said = {"type": s.kind} | ({"expr": s.code} if s.code else {})
        return {"reject": said if s.kind else None}

    def log(self, s: tree.Log) -> Said:
        """Return a log statement."""
        said: Said = {}
        flags: list[str] = []
        for option, text in s.options:
            if option == "flags":
                # `tcp sequence,options` are two
                header, _, names = text.rpartition(" ")
                flags += [f"{header} {name}".strip() for name in names.split(",")]
            else:
                said[option] = int(text) if text.isdecimal() and option != "prefix" else text
        return {"log": said | ({"flags": several(flags)} if flags else {}) or None}

    def notrack(self, _: tree.Notrack) -> Said:
        """Return notrack."""
        return {"notrack": None}

    def dynamic(self, s: tree.Dynamic) -> Said:
        """Return a change of a set or a map, or a set that the rule makes."""
        e = s.element
        more: Said = {"timeout": int(e.timeout)} if e.timeout is not None else {}
        more |= {"comment": e.comment} if e.comment else {}
        named = self.table.sets.get(s.table)
        kinds, data = kinds_of(self.table, named) if named is not None else ((), ())
        key = self.expression(e.key, kinds)
        key = {"elem": {"val": key, **more}} if more else key
        carried = [self.carried(x) for x in e.statements]
        if s.op == "meter":
            return {"meter": {"key": key, "stmt": carried[0], "size": s.size, "name": s.table}}
        is_map = named is not None and bool(named.data or named.data_typeof is not None)
        kind = "map" if is_map and e.data is not None else "set"
        said: Said = {"op": s.op, "elem": key, kind: f"@{s.table}"}
        said |= {"data": self.expression(e.data, data)} if e.data is not None else {}
        return {kind: said | ({"stmt": carried} if carried else {})}

    def other(self, s: tree.Other) -> Json:
        """Return a statement of which only the words are known."""
        if s.name == "flow":
            return {"flow": {"op": "add", "flowtable": "@" + s.words[-1].removeprefix("@")}}
        if s.name == "reset tcp option":
            name = s.words[0]
            said: Said = {"base": int(name), "offset": 0, "len": 0} if name.isdecimal() else {"name": name}
            return {"reset": {"tcp option": said}}
        written = KEPT[s.name](list(s.words)) if s.name in KEPT else None
        return self.text.statement(s) if written is None else {s.name: written}


def queue_said(words: list[str]) -> Said | None:
    """Return what a queue statement says; None where an expression tells the number."""
    if not words[-1][:1].isdecimal():
        return None
    ends = [int(n) for n in words[-1].split("-")]
    said: Said = {"num": {"range": ends} if len(ends) > 1 else ends[0]}
    return said | ({"flags": several(words[1].split(","))} if words[0] == "flags" else {})


def to_said(words: list[str]) -> tuple[Said, str, list[str]]:
    """Return the family in front of `to`, the word behind it, and the words behind that."""
    at = words.index("to")
    return {"family": words[0]} if at else {}, words[at + 1], words[at + 2 :]


def copy_said(words: list[str]) -> Said | None:
    """Return what a dup statement says; None where an expression tells the address."""
    said, to, more = to_said(words)
    if " " in to:
        return None
    return said | {"addr": to.strip('"')} | ({"dev": more[1].strip('"')} if more else {})


def forward_said(words: list[str]) -> Said | None:
    """Return what a fwd statement says; alone it names a device."""
    said = copy_said(words)
    return {"dev": said["addr"]} if said is not None and len(said) == 1 else said


def tproxy_said(words: list[str]) -> Said | None:
    """Return what a tproxy statement says; None where an expression tells it."""
    said, to, more = to_said(words)
    m = PROXY.fullmatch(to)
    if m is None or more:
        return None
    address = (m[1] or "").strip("[]")
    return said | ({"addr": address} if address else {}) | ({"port": int(m[2])} if m[2] else {})


def synproxy_said(words: list[str]) -> Json:
    """Return what a synproxy statement says, or the name of the object that says it."""
    if words[:1] == ["name"]:
        return words[1].strip('"')
    said: Said = {}
    while words and words[0] in ("mss", "wscale"):
        word = words.pop(0)
        said[word] = int(words.pop(0))
    return said | ({"flags": several(words)} if words else {}) or None


def value(text: str, kind: Datatype | None) -> Json:
    """Return a value of a type: a number, or its name."""
    if kind is None:
        return int(text) if text.isdecimal() else text
    if kind.name in ("boolean", "iface_index") and text in ("exists", "missing"):
        return text == "exists"
    if kind.name == "ct_label" and text.isdecimal():
        return int(text)
    if kind.form in NUMERIC and text not in kind.names and text not in kind.listed.values():
        try:
            # nft prints whole seconds here
            return kind.number(text) // (MILLISECONDS if kind.form == "time" else 1)
        except ValueError:
            return text
    return text


def sized(number: int) -> tuple[int, str]:
    """Return bytes as a number and the largest unit that fits."""
    for unit in ("mbytes", "kbytes"):
        if number and number % SIZES[unit] == 0:
            return number // SIZES[unit], unit
    return number, "bytes"


KEPT: dict[str, Callable[[list[str]], Json]] = {
    "queue": queue_said, "dup": copy_said, "fwd": forward_said, "tproxy": tproxy_said, "synproxy": synproxy_said,
    "xt": lambda words: dict(zip(("type", "name"), words, strict=True)),
}  # fmt: skip
STATEMENTS = {
    tree.Match: JsonWriter.match,
    tree.Verdict: JsonWriter.verdict,
    tree.VerdictMap: JsonWriter.verdict_map,
    tree.Counter: JsonWriter.counter,
    tree.Limit: JsonWriter.limit_statement,
    tree.Quota: JsonWriter.quota,
    tree.CtCount: JsonWriter.ct_count,
    tree.Last: JsonWriter.last,
    tree.Reference: JsonWriter.reference,
    tree.Nat: JsonWriter.nat,
    tree.Assign: JsonWriter.assign,
    tree.Reject: JsonWriter.reject,
    tree.Log: JsonWriter.log,
    tree.Notrack: JsonWriter.notrack,
    tree.Dynamic: JsonWriter.dynamic,
    tree.Other: JsonWriter.other,
}
EXPRESSIONS = {
    tree.Payload: JsonWriter.payload,
    tree.Raw: JsonWriter.raw,
    tree.Meta: JsonWriter.meta,
    tree.Ct: JsonWriter.ct,
    tree.Fib: JsonWriter.fib,
    tree.Route: JsonWriter.route,
    tree.Option: JsonWriter.option,
    tree.Numgen: JsonWriter.numgen,
    tree.Hash: JsonWriter.hash,
    tree.Socket: JsonWriter.socket,
    tree.Named: JsonWriter.named_set,
    tree.Any: JsonWriter.any,
    tree.Verdict: JsonWriter.verdict,
}
