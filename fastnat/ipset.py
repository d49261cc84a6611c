"""ipset save text to sets, and sets to the arrays that core/rule_sets reads.

Sources: ipset(8), grammar of `ipset save` 7.17; ip_set_getport.c for what a port is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .addresses import V4, V6, Family, fold
from .dtypes import PROTOCOLS, RECORDS4, RECORDS6, SET
from .errors import InputError
from .iptables.matches import ICMP_TYPES, ICMPV6_TYPES

ADDRESS, NETWORK, PROTO_PORT, PORT = 1, 2, 3, 4
DIMENSIONS = {
    "hash:ip": (ADDRESS,), "hash:net": (NETWORK,), "bitmap:ip": (ADDRESS,), "bitmap:port": (PORT,),
    "hash:ip,port": (ADDRESS, PROTO_PORT), "hash:net,port": (NETWORK, PROTO_PORT),
    "hash:ip,port,ip": (ADDRESS, PROTO_PORT, ADDRESS), "hash:ip,port,net": (ADDRESS, PROTO_PORT, NETWORK),
    "list:set": (),
}  # fmt: skip
ICMP_NAMES = {1: ICMP_TYPES, 58: ICMPV6_TYPES}
# options of `create` without a value, and of `add` that change no match
FLAGS = {"counters", "comment", "skbinfo", "forceadd", "nomatch"}
MAX_RANGE = 65_536
FAMILIES = {"inet": V4, "inet6": V6}
OTHER_FAMILY = 255


@dataclass(frozen=True)
class Element:
    """One element: two addresses or networks (0: none), protocol << 16 | port, prefix of the network."""

    addrs: tuple[int, int] = (0, 0)
    port: int = 0
    prefix: int = 0
    nomatch: bool = False


@dataclass
class IpSet:
    """One set; `family` is "inet" or "inet6", members only of a list:set."""

    name: str
    kind: str
    family: str = "inet"
    elements: list[Element] = field(default_factory=list)
    members: list[str] = field(default_factory=list)

    def is_of(self, family: Family) -> bool:
        """Tell whether packets of this family can be in the set; sets without addresses are of both (AF_UNSPEC)."""
        return self.kind in ("bitmap:port", "list:set") or FAMILIES[self.family] is family


def parse(text: str, source: str = "<ipset>") -> dict[str, IpSet]:
    """Parse `ipset save` text.

    Returns the sets by name, in their order. Raises InputError naming source, line and what is not understood:
    supported are hash:ip, hash:net, hash:ip,port, hash:net,port, hash:ip,port,ip, hash:ip,port,net, bitmap:ip,
    bitmap:port and list:set.
    """
    sets: dict[str, IpSet] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        where = f"{source}:{number}"
        if not words or words[0].startswith("#"):
            continue
        if words[0] in ("Name:", "Type:", "Members:", "Header:"):
            raise InputError(f"{where}: this is `ipset list`; give the output of `ipset save`")
        try:
            if words[0] == "create" and len(words) >= 3:
                _create(sets, words, where)
            elif words[0] == "add" and len(words) >= 3:
                _add(sets, words, where)
            else:
                raise InputError(f"{where}: {line!r} is neither create nor add; give the output of `ipset save`")
        except ValueError as error:
            raise InputError(f"{where}: {error}\n  in the line: {line}") from None
    return sets


def _create(sets: dict[str, IpSet], words: list[str], where: str) -> None:
    name, kind = words[1:3]
    if kind not in DIMENSIONS:
        raise InputError(f"{where}: set type {kind!r} is not supported; supported are {', '.join(DIMENSIONS)}")
    if name in sets:
        raise InputError(f"{where}: set {name!r} is created twice")
    family = words[words.index("family") + 1] if "family" in words[:-1] else "inet"
    if family not in FAMILIES:
        raise InputError(f"{where}: family {family!r} is not one of {', '.join(FAMILIES)}")
    sets[name] = IpSet(name, kind, family)


def _add(sets: dict[str, IpSet], words: list[str], where: str) -> None:
    name, text = words[1:3]
    if name not in sets:
        raise InputError(f"{where}: set {name!r} was not created before")
    target = sets[name]
    if target.kind == "list:set":
        if text not in sets or sets[text].kind == "list:set":
            raise InputError(f"{where}: member {text!r} is no set created before, or is a list itself")
        target.members.append(text)
    else:
        target.elements += elements(target.kind, text, "nomatch" in words[3:], FAMILIES[target.family])


def elements(kind: str, text: str, nomatch: bool = False, family: Family = V4) -> list[Element]:
    """Return the elements that one `add` names: several where it holds a range; ValueError if it is not understood."""
    dims = DIMENSIONS[kind]
    parts = text.split(",")
    if len(parts) != len(dims):
        raise ValueError(f"element {text!r} has {len(parts)} parts; {kind} has {len(dims)}")
    found = [Element(nomatch=nomatch)]
    place = 0
    for dim, part in zip(dims, parts, strict=True):
        if dim in (PROTO_PORT, PORT):
            ports = _ports(part, dim == PROTO_PORT)
            found = [Element(e.addrs, port, e.prefix, nomatch) for e in found for port in ports]
            continue
        networks = _networks(part, dim == ADDRESS, family)
        found = [
            Element((a, e.addrs[1]) if place == 0 else (e.addrs[0], a), e.port, length or e.prefix, nomatch)
            for e in found
            for a, length in networks
        ]
        place += 1
    return found


def _networks(text: str, addresses: bool, family: Family) -> list[tuple[int, int]]:
    """Return what an address part names: addresses (prefix 0), or networks with their prefix length."""
    low, dash, high = text.partition("-")
    if dash:
        first, last = family.to_int(low), family.to_int(high)
        if not 0 <= last - first < MAX_RANGE:
            raise ValueError(f"range {text!r} holds no or too many addresses")
        return [(a, 0 if addresses else family.bits) for a in range(first, last + 1)]
    address, slash, length = text.partition("/")
    prefix = int(length) if slash else family.bits
    if not 0 < prefix <= family.bits:
        raise ValueError(f"prefix length {prefix} is not in 1..{family.bits}")
    base = family.to_int(address) & family.mask_of(prefix)
    if not addresses:
        return [(base, prefix)]
    if family.bits - prefix > 16:
        raise ValueError(f"{text!r} is too large for a set of single addresses")
    return [(a, 0) for a in range(base, base + (1 << family.bits - prefix))]


def _ports(text: str, with_proto: bool) -> list[int]:
    proto, colon, rest = text.rpartition(":")
    number = 6
    if colon:
        number = PROTOCOLS[proto] if proto in PROTOCOLS else int(proto)
    if not with_proto:
        number = 0
    if number in ICMP_NAMES:
        names = ICMP_NAMES[number]
        if rest in names:
            type_, code, _ = names[rest]
        else:
            type_, code = (int(part) for part in (rest + "/0").split("/")[:2])
        return [number << 16 | type_ << 8 | code]
    low, dash, high = rest.partition("-")
    ports = range(int(low), int(high if dash else low) + 1)
    if not ports or not 0 <= ports[0] <= ports[-1] <= 65535:
        raise ValueError(f"port {rest!r} is not in 0..65535")
    return [number << 16 | port for port in ports]


def _hash(e: Element) -> int:
    # as element_hash of core/rule_sets.pxd
    h = fold(e.addrs[0]) * 0x9E3779B1 & 0xFFFFFFFF
    h = (h ^ h >> 15 ^ fold(e.addrs[1])) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13 ^ e.port ^ e.prefix << 24) * 0xC2B2AE35 & 0xFFFFFFFF
    return h ^ h >> 16


def compile_sets(
    sets: dict[str, IpSet], family: Family = V4
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return SET[n] in the order of the sets, ELEMENT[], and uint32[] members of list:sets, for packets of a family."""
    rows: list[tuple[Any, ...]] = []
    slots: list[Element | None] = []
    members: list[int] = []
    numbers = {name: n for n, name in enumerate(sets)}
    for s in sets.values():
        ours = s.is_of(family)
        there = s.elements if ours else []
        size = 1 << (2 * len(there)).bit_length()
        table: list[Element | None] = [None] * size
        prefixes = 0
        for e in there:
            slot = _hash(e) & size - 1
            while table[slot] is not None:
                slot = slot + 1 & size - 1
            table[slot] = e
            prefixes |= 1 << e.prefix
        dims = DIMENSIONS[s.kind]
        words = tuple(prefixes >> 64 * n & 2**64 - 1 for n in range(3))
        where = (size - 1, len(slots), len(members), len(s.members))
        rows.append((words, *where, (*dims, 0, 0, 0)[:3], len(dims) if ours else OTHER_FAMILY, 0))
        slots += table
        members += [numbers[m] for m in s.members]
    return np.array(rows, SET), _element_array(slots, family), np.array(members, np.uint32)


def _element_array(slots: list[Element | None], family: Family) -> NDArray[Any]:
    """Return ELEMENT[n]; None is a slot that is not used."""
    array = np.zeros(len(slots), (RECORDS4 if family is V4 else RECORDS6).ELEMENT)
    for row, e in zip(array, slots, strict=True):
        if e is not None:
            row["addrs"][:] = [family.pack(a) for a in e.addrs]
            row["port"], row["prefix"], row["used"], row["nomatch"] = e.port, e.prefix, 1, e.nomatch
    return array
