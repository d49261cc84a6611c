"""JSON as `nft -j list ruleset` prints it, to the tree.

Source: libnftables-json(5), json.c of nftables 1.0.6. What that version leaves out of its JSON is not in the tree:
comments of tables and chains, auto-merge, the flag dynamic. Changes of maps stand there as text, as `nft` lists them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any as Json

from ..errors import RuleError
from ..util.text import excerpt, shown
from . import fields, tree
from .datatypes import is_address
from .hooks import OF_DEVICE
from .listing import TableWriter
from .parser import TABLE_FLAGS, parse_statement
from .statements import LOG_OPTIONS, NAT_FLAGS, copy_words, log_flags, queue_words

OPERATORS = ("&", "|", "^", "<<", ">>")
SIZES = {"bytes": 1, "kbytes": 1 << 10, "mbytes": 1 << 20, "gbytes": 1 << 30}
# objects and what their words are called in text
WORDS = {
    "ct helper": ("type", "protocol", "l3proto"), "ct timeout": ("protocol", "l3proto", "policy"),
    "ct expectation": ("protocol", "dport", "timeout", "size", "l3proto"), "synproxy": ("mss", "wscale"),
    "secmark": ("context",),
}  # fmt: skip
KEPT = ("queue", "dup", "fwd", "tproxy", "synproxy", "flow", "xt")


def parse_json(text: str, source: str = "<rules.json>", lenient: bool = False) -> tree.Ruleset:
    """Parse JSON as it stands; see canonical.py. lenient: rules that cannot be read never match.

    Raises RuleError, which names the object that cannot be read.
    """
    try:
        said = json.loads(text)
        objects = said["nftables"]
    except (ValueError, RecursionError) as error:
        raise RuleError(f"{source}: this is no JSON: {error}; give the output of `nft -j list ruleset`") from None
    except (TypeError, KeyError):
        raise RuleError(f'{source}: no list "nftables"; give the output of `nft -j list ruleset`') from None
    reader = Reader(tree.Ruleset(source=source, lenient=lenient))
    if not isinstance(objects, list):
        raise RuleError(f'{source}: "nftables" is no list; give the output of `nft -j list ruleset`')
    for number, item in enumerate(objects):
        try:
            reader.item(item)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            if not (lenient and reader.leave_out(item, f"{source}: object {number}: {why}")):
                raise RuleError(f"{source}: object {number}: {why}\n  in: {excerpt(json.dumps(item))}") from None
    return reader.ruleset


class Reader:
    """Reads one object after the other."""

    def __init__(self, ruleset: tree.Ruleset) -> None:
        self.ruleset = ruleset

    def leave_out(self, item: Json, why: str) -> bool:
        """Keep a rule that cannot be read as one that never matches; return whether the item is that."""
        said = item.get("rule") if isinstance(item, dict) else None
        if not isinstance(said, dict):
            return False
        table = self.ruleset.tables.get((str(said.get("family")), str(said.get("table"))))
        chain = table.chains.get(str(said.get("chain"))) if table is not None else None
        if chain is None:
            return False
        chain.rules.append(tree.Rule((tree.Other(tree.UNREAD, (json.dumps(said.get("expr")),)),)))
        self.ruleset.warnings.append(f"never matches: {why}")
        return True

    def item(self, item: dict[str, Json]) -> None:
        """Read a table, chain, rule, set, element or object, or a command that holds one."""
        ((kind, said),) = item.items()
        if kind == "metainfo":
            return
        if kind in ("add", "create", "insert"):
            self.item(said)
            return
        if kind == "flush" and "ruleset" in said:
            self.ruleset.tables.clear()
            self.ruleset.emptied.add(("", ""))
            return
        if kind == "table":
            key = said["family"], str(said["name"])
            flags = tuple(f for f in TABLE_FLAGS if f in said.get("flags", ()))
            self.ruleset.tables.setdefault(
                key, tree.Table(*key, flags, said.get("comment", ""), handle=said.get("handle", 0))
            )
            return
        key = said["family"], str(said["table"])
        if key not in self.ruleset.tables:
            raise ValueError(f"no table {key[0]} {key[1]} stands before it")
        self.part(self.ruleset.tables[key], kind, said)

    def part(self, table: tree.Table, kind: str, said: dict[str, Json]) -> None:
        """Read what stands in a table."""
        name, handle = str(said.get("name", "")), said.get("handle", 0)
        if kind == "chain":
            base = self.base(said) if "hook" in said else None
            chain = tree.Chain(name, base, comment=said.get("comment", ""), handle=handle)
            self.ruleset.begin_chain(table, chain)
        elif kind == "rule":
            statements = tuple(parse_statement(s, table) if isinstance(s, str) else statement(s) for s in said["expr"])
            if said["chain"] not in table.chains:
                raise ValueError(f"no chain {said['chain']} stands before it")
            table.chains[said["chain"]].rules.append(
                tree.Rule(statements, said.get("comment", ""), handle, text=excerpt(json.dumps(said["expr"])))
            )
        elif kind in ("set", "map"):
            table.sets[name] = named_set(said)
        elif kind == "element":
            table.sets[name].elements += map(element, said["elem"])
        elif kind == "flowtable":
            devices = said.get("dev", ())
            table.flowtables[name] = tree.Flowtable(
                name, said["prio"], said["hook"], (devices,) if isinstance(devices, str) else tuple(devices),
                bool(said.get("counter")), tuple(listed_words(said.get("flags", ()))), handle,
            )  # fmt: skip
        else:
            table.objects[kind, name] = named_object(kind, said)

    @staticmethod
    def base(said: dict[str, Json]) -> tree.Base:
        """Read where a chain stands."""
        devices = said.get("dev", ())
        devices = (devices,) if isinstance(devices, str) else tuple(devices)
        if not devices and said["hook"] in OF_DEVICE:
            raise ValueError(
                f"chain {said['name']}: nft leaves its device out of this JSON; give the text of `nft list ruleset`"
            )
        return tree.Base(said["type"], said["hook"], said["prio"], said.get("policy", "accept"), devices)


def listed_words(said: Json) -> list[str]:
    """Return one word or a list of them as a list."""
    return [said] if isinstance(said, str) else list(said)


def types_of(said: Json) -> tuple[tuple[str, ...], tree.Expression | None]:
    """Return the types of a set, or the expressions by which it is declared."""
    if isinstance(said, dict):
        return (), expression(said.get("typeof", said))
    return tuple(part for word in listed_words(said) for part in word.split(" . ")), None


def named_set(said: dict[str, Json]) -> tree.Set:
    """Read a set or map."""
    key, typeof = types_of(said["type"])
    data, data_typeof = types_of(said.get("map", ()))
    return tree.Set(
        str(said["name"]), key, data, typeof, data_typeof,
        tuple(f for f in ("constant", "dynamic", "interval", "timeout") if f in listed_words(said.get("flags", ()))),
        said.get("timeout"), said.get("gc-interval"), said.get("size"), said.get("policy", ""),
        bool(said.get("auto-merge")), comment=said.get("comment", ""), handle=said.get("handle", 0),
        statements=tuple(map(statement, said.get("stmt", ()))), elements=list(map(element, said.get("elem", ()))),
    )  # fmt: skip


def named_object(kind: str, said: dict[str, Json]) -> tree.Object:
    """Read a counter, quota, limit, ct helper and their kind."""
    says: tree.Statement | None = None
    if kind == "counter":
        says = tree.Counter(said["packets"], said["bytes"])
    elif kind == "quota":
        says = tree.Quota(said["bytes"], said.get("used", 0), bool(said.get("inv")))
    elif kind == "limit":
        says = limit(said)
    elif kind not in WORDS:
        raise ValueError(f"{kind!r} is not known")
    words = [(w, object_word(kind, w, said[w])) for w in WORDS.get(kind, ()) if w in said]
    if kind == "synproxy" and said.get("flags"):
        first, *more = listed_words(said["flags"])
        words.append((first, " ".join(more)))
    return tree.Object(kind, str(said["name"]), says, tuple(words), said.get("comment", ""), said.get("handle", 0))


def object_word(kind: str, word: str, said: Json) -> str:
    """Return a word of an object as it stands in text."""
    if word == "policy":
        return ", ".join(f"{name} : {time}" for name, time in said.items())
    return f"{said}ms" if (kind, word) == ("ct expectation", "timeout") else str(said)


def element(said: Json) -> tree.Element:
    """Read an element: a key, or a key and its data."""
    data = None
    if isinstance(said, list):
        said, data = said[0], expression(said[1])
    if not isinstance(said, dict) or "elem" not in said:
        return tree.Element(expression(said), data)
    inner = said["elem"]
    statements = [statement({k: inner[k]}) for k in ("counter", "limit", "quota", "ct count", "last") if k in inner]
    timeout, expires = (None if inner.get(k) is None else float(inner[k]) for k in ("timeout", "expires"))
    return tree.Element(expression(inner["val"]), data, timeout, expires, inner.get("comment", ""), tuple(statements))


def elements(said: Json) -> tree.Elements | tree.Named:
    """Read an anonymous set or map, or the name of one."""
    if isinstance(said, str):
        return tree.Named(said.removeprefix("@"))
    return tree.Elements(tuple(map(element, listed_items(said["set"]))))


def listed_items(said: Json) -> list[Json]:
    """Return one value or a list of them as a list."""
    return said if isinstance(said, list) else [said]


# --- expressions


def expression(said: Json) -> tree.Expression:
    """Read an expression."""
    if isinstance(said, bool):
        return tree.Value("exists" if said else "missing")
    if isinstance(said, (int, str)):
        if isinstance(said, str) and said[:1] == "@" and not said.startswith("@@"):
            return tree.Named(said[1:])
        return tree.Any() if said == "*" else tree.Value(str(said))
    if isinstance(said, list):
        return tree.Listed(tuple(map(expression, said)))
    ((kind, inner),) = said.items()
    if kind in OPERATORS:
        found = expression(inner[0])
        for part in inner[1:]:
            found = tree.Operation(kind, found, expression(part))
        return found
    if kind in ("accept", "drop", "continue", "return"):
        return tree.Verdict(kind)
    if kind in ("jump", "goto"):
        return tree.Verdict(kind, inner["target"])
    if kind not in EXPRESSIONS:
        raise ValueError(f"expression {kind!r} is not known")
    return EXPRESSIONS[kind](inner)


def payload(said: dict[str, Json]) -> tree.Expression:
    """Read a field of a header, or bits by their place."""
    if "base" in said:
        return tree.Raw(said["base"], said["offset"], said["len"])
    if said["field"] not in fields.HEADERS.get(said["protocol"], ()):
        raise ValueError(f"field {said['protocol']} {said['field']} is not known")
    return tree.Payload(said["protocol"], said["field"])


def meta(said: dict[str, Json]) -> tree.Expression:
    """Read a key of meta."""
    if said["key"] not in fields.META:
        raise ValueError(f"meta {said['key']} is not known")
    return tree.Meta(said["key"])


def ct(said: dict[str, Json]) -> tree.Expression:
    """Read a key of conntrack."""
    family, _, key = said["key"].rpartition(" ")
    if key not in fields.CT:
        raise ValueError(f"ct {key} is not known")
    return tree.Ct(key, said.get("dir", ""), said.get("family", family))


def option(kind: str) -> Callable[[dict[str, Json]], tree.Expression]:
    """Return a reader of an option of a kind."""

    def read(said: dict[str, Json]) -> tree.Expression:
        if "base" in said:
            return tree.Option(kind, f"{said['base']},{said['offset']},{said['len']}", "raw")
        name, field = str(said["name"]), said.get("field", "")
        return tree.Option(kind, fields.tcp_option(name, field) if kind == "tcp" else name, field)

    return read


def option_name(said: dict[str, Json]) -> str:
    """Return the name or the number of an option."""
    return str(said["base"] if "base" in said else said["name"])


def hash_of(said: dict[str, Json]) -> tree.Expression:
    """Read jhash."""
    seed = of_machine(said["seed"]) if "seed" in said else None
    return tree.Hash(
        "jhash", of_machine(said["mod"]), expression(said["expr"]), seed, of_machine(said.get("offset", 0))
    )


def of_machine(number: Json) -> int:
    """Return a number of 32 bits; nft prints large ones as negative."""
    if isinstance(number, bool) or not isinstance(number, int) or not -(2**31) <= number < 2**32:
        raise ValueError(f"{number!r} is no number of 32 bits")
    return number & 0xFFFFFFFF


def socket(said: dict[str, Json]) -> tree.Expression:
    """Read what the socket says."""
    words = ["socket", said["key"]]
    return tree.Socket((*words, "level", str(said["level"])) if "level" in said else tuple(words))


EXPRESSIONS: dict[str, Callable[[Json], tree.Expression]] = {
    "payload": payload, "meta": meta, "ct": ct,
    "fib": lambda s: tree.Fib(tuple(f for f in fields.FIB_FLAGS if f in s["flags"]), s["result"]),
    "rt": lambda s: tree.Route(s["key"], s.get("family", "")), "tcp option": option("tcp"), "ip option": option("ip"),
    "sctp chunk": option("sctp"), "exthdr": option("exthdr"),
    "concat": lambda s: tree.Concat(tuple(map(expression, s))),
    "numgen": lambda s: tree.Numgen(s["mode"], of_machine(s["mod"]), of_machine(s.get("offset", 0))), "jhash": hash_of,
    "socket": socket,
    "symhash": lambda s: tree.Hash("symhash", of_machine(s["mod"]), offset=of_machine(s.get("offset", 0))),
    "set": lambda s: elements({"set": s}),
    "osf": lambda s: tree.Socket(("osf", *(("ttl", s["ttl"]) if "ttl" in s else ()), s["key"])),
    "prefix": lambda s: tree.Prefix(expression(s["addr"]), s["len"]),
    "range": lambda s: tree.Range(expression(s[0]), expression(s[1])),
    "map": lambda s: tree.Lookup(expression(s["key"]), elements(s["data"])), "elem": lambda s: expression(s["val"]),
}  # fmt: skip


# --- statements


def statement(said: Json) -> tree.Statement:
    """Read a statement."""
    if isinstance(said, str):
        return parse_statement(said)
    ((kind, inner),) = said.items()
    if kind in ("accept", "drop", "continue", "return", "jump", "goto"):
        found = expression(said)
        assert isinstance(found, tree.Verdict)
        return found
    if kind in NAT_KINDS:
        return nat(kind, inner or {})
    if kind in KEPT:
        return kept(kind, inner)
    if kind.startswith("ct ") and kind != "ct count":
        return tree.Reference(kind, expression(inner))
    if kind not in STATEMENTS:
        raise ValueError(f"statement {kind!r} is not known")
    return STATEMENTS[kind](inner)


def match(said: dict[str, Json]) -> tree.Statement:
    """Read a comparison; nft says of an option that has no name which byte of it is looked for."""
    left = expression(said["left"])
    if isinstance(said["right"], bool) and isinstance(left, tree.Option) and left.field == "raw":
        left = tree.Option(left.kind, left.name.split(",")[0])
    return tree.Match(said["op"], left, expression(said["right"]))


def counter(said: Json) -> tree.Statement:
    """Read a counter, or the name of one."""
    if said is None:
        return tree.Counter()
    if isinstance(said, dict) and "packets" in said:
        return tree.Counter(said["packets"], said["bytes"])
    return tree.Reference("counter", expression(said))


def limit(said: Json) -> tree.Statement:
    """Read a limit, or the name of one."""
    if not isinstance(said, dict) or "rate" not in said:
        return tree.Reference("limit", expression(said))
    unit, over = said.get("rate_unit", "packets"), bool(said.get("inv"))
    if unit == "packets":
        return tree.Limit(said["rate"], said["per"], "packets", said.get("burst", 5), over)
    burst = said.get("burst", 0) * SIZES[said.get("burst_unit", "bytes")]
    return tree.Limit(said["rate"] * SIZES[unit], said["per"], "bytes", burst, over)


def quota(said: Json) -> tree.Statement:
    """Read a quota, or the name of one."""
    if not isinstance(said, dict) or "val" not in said:
        return tree.Reference("quota", expression(said))
    used = said.get("used", 0) * SIZES[said.get("used_unit", "bytes")]
    return tree.Quota(said["val"] * SIZES[said.get("val_unit", "bytes")], used, bool(said.get("inv")))


def reject(said: Json) -> tree.Statement:
    """Read a reject."""
    return tree.Reject((said or {}).get("type", ""), str((said or {}).get("expr", "")))


def log(said: Json) -> tree.Statement:
    """Read a log statement."""
    options = [(o, str(said[o])) for o in LOG_OPTIONS if o in (said or {}) and o != "flags"]
    return tree.Log((*options, *(("flags", flag) for flag in log_flags(listed_words((said or {}).get("flags", ()))))))


NAT_KINDS = ("snat", "dnat", "masquerade", "redirect")


def nat(kind: str, said: dict[str, Json]) -> tree.Statement:
    """Read a NAT statement."""
    address, port = (expression(said[k]) if k in said else None for k in ("addr", "port"))
    flags = listed_words(said.get("flags", ()))
    prefix = "prefix" in listed_words(said.get("type_flags", ()))
    return tree.Nat(kind, said.get("family", ""), address, port, tuple(f for f in NAT_FLAGS if f in flags), prefix)


def kept(kind: str, said: Json) -> tree.Statement:
    """Read a statement of which only the words are kept."""
    if kind == "tproxy":
        family = (said["family"],) if "family" in said else ()
        address = str(said.get("addr", ""))
        address = f"[{address}]" if ":" in address and "port" in said else address
        return tree.Other(kind, (*family, "to", address + (f":{said['port']}" if "port" in said else "")))
    if kind in ("dup", "fwd"):
        # dup names a device alone as if it was an address
        alone = kind == "dup" and "dev" not in said and not is_address(str(said["addr"]))
        address = "" if alone else str(said.get("addr", ""))
        return tree.Other(
            kind, copy_words(address, said["addr"] if alone else said.get("dev", ""), said.get("family", ""))
        )
    if kind == "queue":
        numbers = TableWriter(tree.Table("ip", "")).expression(expression((said or {}).get("num", 0)))
        return tree.Other(kind, queue_words(listed_words((said or {}).get("flags", ())), numbers))
    if kind == "synproxy" and isinstance(said, dict):
        flags = tuple(listed_words(said.get("flags", ())))
        return tree.Other(kind, (*(w for k in ("mss", "wscale") if k in said for w in (k, str(said[k]))), *flags))
    if kind == "xt" and isinstance(said, dict):
        return tree.Other(kind, (str(said["type"]), str(said["name"])))
    if kind == "flow":
        return tree.Other("flow", (said.get("op", "add"), "@" + said["flowtable"].removeprefix("@")))
    if isinstance(said, str):
        return tree.Other(kind, ("name", f'"{said}"'))
    return tree.Other(kind, tuple(f"{k} {shown(v)}" for k, v in (said or {}).items()))


def dynamic(said: dict[str, Json]) -> tree.Statement:
    """Read a change of a set or a map."""
    found = element(
        {"elem": {"val": said["elem"]}}
        if not isinstance(said["elem"], dict) or "elem" not in said["elem"]
        else said["elem"]
    )
    statements = tuple(map(statement, said.get("stmt", ())))
    data = expression(said["data"]) if "data" in said else None
    name = said.get("set", said.get("map", "")).removeprefix("@")
    return tree.Dynamic(
        said["op"],
        name,
        tree.Element(found.key, data, found.timeout, None, found.comment, found.statements + statements),
    )


def meter(said: dict[str, Json]) -> tree.Statement:
    """Read a set that a rule makes by its name."""
    key = said["key"] if "elem" in said["key"] else {"elem": {"val": said["key"]}}
    return tree.Dynamic(
        "meter", said["name"], replace(element(key), statements=(statement(said["stmt"]),)), said.get("size")
    )


STATEMENTS: dict[str, Callable[[Json], tree.Statement]] = {
    "match": match, "vmap": lambda s: tree.VerdictMap(expression(s["key"]), elements(s["data"])), "counter": counter,
    "limit": limit, "quota": quota, "ct count": lambda s: tree.CtCount(s["val"], bool(s.get("inv"))),
    "last": lambda s: tree.Last(None if not s or "used" not in s else s["used"]), "reject": reject, "log": log,
    "mangle": lambda s: tree.Assign(expression(s["key"]), expression(s["value"])), "notrack": lambda _: tree.Notrack(),
    "set": dynamic,
    "map": dynamic, "reset": lambda s: tree.Other("reset tcp option", (option_name(s["tcp option"]),)),
    "meter": meter,
}  # fmt: skip
