"""ipset save text to sets, and sets to the arrays that core/rules/sets reads.

Sources: ipset(8), grammar of `ipset save` 7.17; ip_set_getport.c for what a port is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, summarize_address_range
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..addresses import V4, V6, Family, fold
from ..core.layout import ANY_DEVICE, SetDimension
from ..dtypes import HZ, PROTOCOLS, SET, records_of
from ..errors import InputError
from ..iptables.matches import ICMP_TYPES, ICMPV6_TYPES
from ..util.slots import Slots
from ..util.text import decimal, excerpt, text_of

ADDRESS, NETWORK = int(SetDimension.ADDRESS), int(SetDimension.NETWORK)
PROTO_PORT, PORT = int(SetDimension.PROTO_PORT), int(SetDimension.PORT)
IFACE, MARK = int(SetDimension.IFACE), int(SetDimension.MARK)
DIMENSIONS = {
    "hash:ip": (ADDRESS,), "hash:net": (NETWORK,), "bitmap:ip": (ADDRESS,), "bitmap:port": (PORT,),
    "hash:ip,port": (ADDRESS, PROTO_PORT), "hash:net,port": (NETWORK, PROTO_PORT),
    "hash:ip,port,ip": (ADDRESS, PROTO_PORT, ADDRESS), "hash:ip,port,net": (ADDRESS, PROTO_PORT, NETWORK),
    "hash:net,iface": (NETWORK, IFACE), "hash:ip,mark": (ADDRESS, MARK), "list:set": (),
}  # fmt: skip
# other names of commands and of types
COMMANDS = {
    "-N": "create",
    "n": "create",
    "-A": "add",
    "-D": "del",
    "-F": "flush",
    "-X": "destroy",
    "-W": "swap",
    "-E": "rename",
}
OLD_KINDS = {
    "iphash": "hash:ip", "nethash": "hash:net", "ipporthash": "hash:ip,port", "ipportiphash": "hash:ip,port,ip",
    "ipportnethash": "hash:ip,port,net", "ipmap": "bitmap:ip", "portmap": "bitmap:port", "setlist": "list:set",
}  # fmt: skip
ICMP_NAMES = {1: ICMP_TYPES, 58: ICMPV6_TYPES}
# options of `create` and of `add` without a value, and with one
CREATE_FLAGS = {"counters", "comment", "skbinfo", "forceadd"}
CREATE_VALUES = {
    "family", "hashsize", "maxelem", "timeout", "netmask", "bucketsize", "initval", "range", "size", "probes", "resize",
}  # fmt: skip
ADD_FLAGS = {"nomatch", "wildcard"}
ADD_VALUES = {"timeout", "packets", "bytes", "comment", "skbmark", "skbprio", "skbqueue"}
# IPSET_MAX_TIMEOUT, and what may be said of a mark
MAX_TIMEOUT, MAX_32, MAX_64 = 2**32 // 1000 - 1, 2**32 - 1, 2**64 - 1
WORD = re.compile(r'"[^"]*"|\S+')
WHOLE = 255
# elements that one `add` may name, and that a text may have in addition to one for each line
MAX_RANGE, MAX_RANGES = 65_536, 262_144
# sets and members that commands may look at; those of `ipset save` look at the members of lists alone
MAX_STEPS = 10_000_000
# of `create` without maxelem; greatest that is supported
MAX_ELEMENTS, MOST_ELEMENTS = 65_536, 1 << 25
FAMILIES = {"inet": V4, "inet6": V6}
OTHER_FAMILY = 255


class Element(NamedTuple):
    """One element: two addresses or networks (0: none), protocol << 16 | port or a mark, prefix of the network.

    `iface` is the name of an interface, with `wildcard` its beginning; `timeout` are the seconds left, None: for ever.
    """

    addrs: tuple[int, int] = (0, 0)
    port: int = 0
    prefix: int = 0
    iface: str = ""
    wildcard: bool = False
    nomatch: bool = False
    timeout: int | None = None
    packets: int = 0
    bytes: int = 0


@dataclass
class IpSet:
    """One set; `family` is "inet" or "inet6", members only of a list:set."""

    name: str
    kind: str
    family: str = "inet"
    elements: list[Element] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    max_elements: int = MAX_ELEMENTS
    # of elements that say none [s]; prefix length; whether they count packets
    timeout: int | None = None
    netmask: int | None = None
    counters: bool = False

    def is_of(self, family: Family) -> bool:
        """Tell whether packets of this family can be in the set; sets without addresses apply to both (AF_UNSPEC)."""
        return self.kind in ("bitmap:port", "list:set") or FAMILIES[self.family] is family


def parse(text: str, source: str = "<ipset>") -> dict[str, IpSet]:
    """Parse `ipset save` text; InputError for a set of a type that is not supported, too, see parse_known."""
    sets, unsupported = parse_known(text, source)
    for why in unsupported.values():
        raise InputError(why)
    return sets


def parse_known(text: str, source: str = "<ipset>") -> tuple[dict[str, IpSet], dict[str, str]]:
    """Parse `ipset save` text: return the sets of supported types, and of the others by name why they are not there.

    Returns the sets by name, in their order. Raises InputError naming source, line and what is not understood.
    Supported types: hash:ip, hash:net, hash:ip,port, hash:net,port, hash:ip,port,ip, hash:ip,port,net, hash:ip,mark,
    hash:net,iface, bitmap:ip, bitmap:port and list:set.
    """
    reader = Reader()
    for number, line in enumerate(text_of(text, source).splitlines(), 1):
        words = WORD.findall(line)
        if not words or words[0].startswith("#"):
            continue
        try:
            reader.line(words, line, f"{source}:{number}")
        except ValueError as error:
            why = excerpt(str(error), 1000)
            raise InputError(f"{source}:{number}: {why}\n  in the line: {excerpt(line)}") from None
    return reader.sets, reader.unsupported


class Reader:
    """The sets of one text and their elements, as `ipset -exist restore` makes them of it."""

    def __init__(self) -> None:
        self.made: dict[str, IpSet] = {}
        # by name, what is wrong with their type
        self.unsupported: dict[str, str] = {}
        # by the name of a set: its elements by what makes them one; members of a list:set have none
        self.there: dict[str, dict[tuple[Any, ...], Element]] = {}
        self.ranges = self.steps = 0
        self.commands: dict[str, tuple[int, Callable[[list[str]], None]]] = {
            "add": (2, self._add), "del": (2, self._del), "flush": (0, self._flush), "destroy": (0, self._destroy),
            "swap": (2, self._swap), "rename": (2, self._rename),
        }  # fmt: skip

    @property
    def sets(self) -> dict[str, IpSet]:
        """The sets by their names."""
        for name, target in self.made.items():
            target.elements = list(self.there[name].values())
        return self.made

    def line(self, words: list[str], line: str, where: str) -> None:
        """Read one line; ValueError says what is not understood."""
        # what it allows is allowed anyhow
        words = [word for word in words if word not in ("-exist", "--exist", "-!")]
        if not words or words == ["COMMIT"]:
            return
        said = COMMANDS.get(words[0], words[0])
        if said in ("Name:", "Type:", "Members:", "Header:"):
            raise ValueError("this is `ipset list`; give the output of `ipset save`")
        if said == "create" and len(words) >= 3:
            words[2] = OLD_KINDS.get(words[2], words[2])
            if words[2] in DIMENSIONS:
                self._create(words)
            else:
                expected = f"is not supported; expected one of {', '.join(DIMENSIONS)}"
                why = f"{where}: set type {excerpt(words[2])!r} {expected}\n  in the line: {excerpt(line)}"
                self.unsupported[words[1]] = why
        elif said in self.commands and len(words) > self.commands[said][0]:
            # what is in a set of a type that is not supported, is said by nobody
            if words[1:2] == [] or words[1] not in self.unsupported:
                self.commands[said][1](words)
            elif said == "destroy":
                del self.unsupported[words[1]]
            elif said in ("swap", "rename"):
                raise ValueError(f"set {words[1]!r} is of a type that is not supported")
        else:
            raise ValueError(f"{excerpt(line)!r} is no command of `ipset restore`; give the output of `ipset save`")

    def _create(self, words: list[str]) -> None:
        name, kind = words[1:3]
        said = options(words[3:], CREATE_FLAGS, CREATE_VALUES)
        family = said.get("family", "inet")
        if family not in FAMILIES:
            raise ValueError(f"family {excerpt(family)!r} is not one of {', '.join(FAMILIES)}")
        most = min(decimal(said.get("maxelem", str(MAX_ELEMENTS)), 0, MAX_32, "maxelem"), MOST_ELEMENTS)
        timeout = decimal(said["timeout"], 0, MAX_TIMEOUT, "timeout") if "timeout" in said else None
        netmask = decimal(said["netmask"], 1, FAMILIES[family].bits, "netmask") if "netmask" in said else None
        if kind == "list:set" and timeout is not None:
            raise ValueError("members of a list:set with a timeout are not supported")
        made = IpSet(name, kind, family, [], [], most, timeout, netmask, "counters" in said)
        if name not in self.made:
            self.made[name], self.there[name] = made, {}
        elif made != replace(self.made[name], elements=[], members=[]):
            raise ValueError(f"set {name!r} is created twice, in two ways")

    def _spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise ValueError(
                f"its commands look at more than {MAX_STEPS:,} sets or members; give the output of `ipset save`"
            )

    def _named(self, name: str) -> IpSet:
        """Return a set; ValueError if there is none."""
        if name not in self.made:
            raise ValueError(f"set {excerpt(name)!r} was not created before")
        return self.made[name]

    def _add(self, words: list[str]) -> None:
        name, text = words[1:3]
        target = self._named(name)
        if target.kind == "list:set":
            self._add_member(target, words)
            return
        said = options(words[3:], ADD_FLAGS, ADD_VALUES)
        timeout = decimal(said["timeout"], 0, MAX_TIMEOUT, "timeout") if "timeout" in said else target.timeout
        packets, size = (decimal(said[c], 0, MAX_64, c) if c in said else None for c in ("packets", "bytes"))
        there = self.there[name]
        for e in self._elements(target, text, "nomatch" in said, "wildcard" in said):
            key = known(there, e)
            if key not in there and len(there) >= target.max_elements:
                most = target.max_elements
                raise ValueError(f"Hash is full, cannot add more elements: maxelem of {name!r} is {most}")
            # one that is there has its time and nomatch from what is said now, its counters only if they are said
            before = there.get(key, e)
            there[key] = before._replace(
                nomatch=e.nomatch, timeout=timeout or None, packets=before.packets if packets is None else packets,
                bytes=before.bytes if size is None else size,
            )  # fmt: skip

    def _elements(self, target: IpSet, text: str, nomatch: bool = False, wildcard: bool = False) -> list[Element]:
        """Return what `text` names in a set, of addresses only what its netmask leaves."""
        family = FAMILIES[target.family]
        mask = family.mask_of(family.bits if target.netmask is None else target.netmask)
        named = elements(target.kind, text, nomatch, family)
        self.ranges += len(named) - 1
        if self.ranges > MAX_RANGES:
            raise ValueError(f"all ranges together name {self.ranges:,} elements; at most {MAX_RANGES:,} are supported")
        return [e._replace(addrs=(e.addrs[0] & mask, e.addrs[1]), wildcard=wildcard) for e in named]

    def _add_member(self, target: IpSet, words: list[str]) -> None:
        member, place = words[2], words[3:5]
        if member in self.unsupported:
            # a list is what its members are
            self.unsupported[target.name] = self.unsupported[member]
            del self.made[target.name], self.there[target.name]
            return
        if self.made.get(member, target).kind == "list:set":
            raise ValueError(f"member {excerpt(member)!r} is not a set created before, or is itself a list")
        self._spend(len(target.members))
        if member in target.members:
            return
        at = len(target.members)
        if place and place[0] in ("before", "after"):
            if place[-1] not in target.members:
                raise ValueError(f"{place[0]} {excerpt(place[-1])!r}: no such member")
            at = target.members.index(place[-1]) + (place[0] == "after")
        target.members.insert(at, member)

    def _del(self, words: list[str]) -> None:
        target = self._named(words[1])
        if target.kind == "list:set":
            self._spend(len(target.members))
            target.members = [member for member in target.members if member != words[2]]
            return
        there = self.there[target.name]
        for e in self._elements(target, words[2]):
            there.pop(known(there, e), None)

    def _flush(self, words: list[str]) -> None:
        self._spend(1 if words[1:] else len(self.made))
        for target in [self._named(name) for name in words[1:2]] or self.made.values():
            self.there[target.name].clear()
            target.members.clear()

    def _destroy(self, words: list[str]) -> None:
        for name in words[1:2]:
            self._unused(name, "destroyed")
        for name in words[1:2] or [*self.made, *self.unsupported]:
            for kept in (self.made, self.there, self.unsupported):
                kept.pop(name, None)

    def _swap(self, words: list[str]) -> None:
        one, other = (self._named(name) for name in words[1:3])
        if (one.kind, one.family) != (other.kind, other.family):
            raise ValueError(f"sets {one.name!r} and {other.name!r} cannot be swapped: their type does not match")
        # a list that has one of them as a member has what is in the other from now on
        there = self.there
        there[one.name], there[other.name] = there[other.name], there[one.name]
        self.made[one.name], self.made[other.name] = other, one
        one.name, other.name = other.name, one.name

    def _rename(self, words: list[str]) -> None:
        target, name = self._named(words[1]), words[2]
        if name in self.made or name in self.unsupported:
            raise ValueError(f"set {target.name!r} cannot be renamed: there is a set {excerpt(name)!r}")
        self._unused(target.name, "renamed")
        self.there[name] = self.there.pop(target.name)
        self.made[name] = self.made.pop(target.name)
        target.name = name

    def _unused(self, name: str, what: str) -> None:
        """Raise ValueError if a list has a set as a member."""
        for one in self.made.values():
            self._spend(1 + len(one.members))
            if name in one.members:
                raise ValueError(f"set {name!r} cannot be {what}: {one.name!r} has it as a member")


def known(there: dict[tuple[Any, ...], Element], e: Element) -> tuple[Any, ...]:
    """Return by what the elements of a set have one already, or would have it.

    A network that is there for all interfaces whose names begin in some way is there for each of them (hash:net,iface).
    """
    key = e.addrs, e.port, e.prefix, e.iface
    for n in range(len(e.iface)):
        wide = (*key[:3], e.iface[:n])
        if wide in there and there[wide].wildcard:
            return wide
    return key


def options(words: list[str], flags: set[str], values: set[str]) -> dict[str, str]:
    """Return the options of a line, those without a value as ""; ValueError for others."""
    said = {}
    rest = iter(words)
    for word in rest:
        if word in flags:
            said[word] = ""
        elif word in values:
            value = next(rest, None)
            if value is None:
                raise ValueError(f"{word} needs a value")
            said[word] = value
        else:
            raise ValueError(f"{excerpt(word)!r} is not supported: it may change which packets are in the set")
    return said


def elements(kind: str, text: str, nomatch: bool = False, family: Family = V4) -> list[Element]:
    """Return the elements that one `add` names, several for a range; ValueError if it is not understood."""
    dims = DIMENSIONS[kind]
    parts = text.split(",", len(dims))
    if len(parts) != len(dims):
        given = text.count(",") + 1
        raise ValueError(f"element {excerpt(text)!r} has {given} parts; {kind} has {len(dims)}")
    named = [_part(dim, part, family) for dim, part in zip(dims, parts, strict=True)]
    count = math.prod(map(len, named))
    if count > MAX_RANGE:
        raise ValueError(f"{excerpt(text)!r} names {count:,} elements; at most {MAX_RANGE:,} are supported")
    found = [Element(nomatch=nomatch)]
    place = 0
    for part in named:
        if isinstance(part, str):
            found = [e._replace(iface=part) for e in found]
            continue
        if isinstance(part, range):
            found = [e._replace(port=port) for e in found for port in part]
            continue
        found = [
            e._replace(addrs=(a, e.addrs[1]) if place == 0 else (e.addrs[0], a), prefix=length or e.prefix)
            for e in found
            for a, length in part
        ]
        place += 1
    return found


def _part(dim: int, text: str, family: Family) -> str | range | list[tuple[int, int]]:
    """Return what one part of an element names: an interface, ports or a mark, addresses or networks."""
    if dim == IFACE:
        if text.startswith("physdev:"):
            raise ValueError("physdev: no packet here crosses a bridge")
        return text
    if dim == MARK:
        mark = int(text, 0)
        if not 0 <= mark <= MAX_32:
            raise ValueError(f"mark {excerpt(text)!r} is not in 0..{MAX_32}")
        return range(mark, mark + 1)
    return _ports(text, dim == PROTO_PORT) if dim in (PROTO_PORT, PORT) else _networks(text, dim == ADDRESS, family)


def _networks(text: str, addresses: bool, family: Family) -> list[tuple[int, int]]:
    """Return the addresses (prefix 0) or networks, with their prefix length, that an address part names."""
    low, dash, high = text.partition("-")
    if family is V6 and (dash or (addresses and "/" in text and not text.endswith("/128"))):
        raise ValueError(f"{excerpt(text)!r}: a set of IPv6 takes single addresses, not ranges")
    if dash:
        first, last = family.to_int(low), family.to_int(high)
        if not 0 <= last - first < MAX_RANGE:
            raise ValueError(f"range {excerpt(text)!r} holds no address, or too many")
        if addresses:
            return [(a, 0) for a in range(first, last + 1)]
        networks = summarize_address_range(IPv4Address(first), IPv4Address(last))
        return [(int(net.network_address), net.prefixlen) for net in networks]
    address, slash, length = text.partition("/")
    prefix = decimal(length, 1, family.bits, "prefix length") if slash else family.bits
    base = family.to_int(address) & family.mask_of(prefix)
    if not addresses:
        return [(base, prefix)]
    if family.bits - prefix > 16:
        raise ValueError(f"{excerpt(text)!r} is too large for a set of single addresses")
    return [(a, 0) for a in range(base, base + (1 << family.bits - prefix))]


def _ports(text: str, with_proto: bool) -> range:
    """Return protocol << 16 | port for each port that a port part names."""
    proto, colon, rest = text.rpartition(":")
    number = 6
    if colon:
        number = PROTOCOLS[proto] if proto in PROTOCOLS else decimal(proto, 0, 255, "protocol")
    if not with_proto:
        number = 0
    if number in ICMP_NAMES:
        names = ICMP_NAMES[number]
        if rest in names:
            type_, code, _ = names[rest]
        else:
            type_, code = (decimal(part, 0, 255, "ICMP type or code") for part in (rest + "/0").split("/")[:2])
        first = last = type_ << 8 | code
    else:
        low, dash, high = rest.partition("-")
        first = decimal(low, 0, 65535, "port")
        last = decimal(high, first, 65535, "port") if dash else first
    return range(number << 16 | first, (number << 16 | last) + 1)


def _hash(e: Element) -> int:
    # as element_hash of core/rules/sets.pxd
    h = fold(e.addrs[0]) * 0x9E3779B1 & 0xFFFFFFFF
    h = (h ^ h >> 15 ^ fold(e.addrs[1])) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13 ^ e.port ^ e.prefix << 24) * 0xC2B2AE35 & 0xFFFFFFFF
    return h ^ h >> 16


def on_interfaces(elements: list[Element], names: list[str]) -> list[Element]:
    """Return elements with the number of their interface as port, a wildcard's for each that begins so.

    Each network has another one with ANY_DEVICE: where it is in the set, of whatever device, no wider one is looked at.
    """
    found = list(dict.fromkeys(Element(e.addrs, ANY_DEVICE, e.prefix) for e in elements))
    for e in elements:
        for number, name in enumerate(names):
            if number and (name.startswith(e.iface) if e.wildcard else name == e.iface):
                found.append(e._replace(port=number))
    return found


def compile_sets(
    sets: dict[str, IpSet], family: Family = V4, iface_names: list[str] | None = None, now: int = 0
) -> tuple[NDArray[np.void], NDArray[np.void], NDArray[np.uint32]]:
    """Return SET[n] in the order of the sets, ELEMENT[], and uint32[] members of list:sets, for packets of a family.

    iface_names: of the node, by number; now: when the elements' timeouts begin [jiffies].
    """
    rows: list[tuple[Any, ...]] = []
    slots: list[Element | None] = []
    members: list[int] = []
    numbers = {name: n for n, name in enumerate(sets)}
    for s in sets.values():
        ours = s.is_of(family)
        dims = DIMENSIONS[s.kind]
        there = s.elements if ours else []
        if IFACE in dims:
            there = on_interfaces(there, iface_names or [])
        size = 1 << (2 * len(there)).bit_length()
        table: list[Element | None] = [None] * size
        free = Slots(size)
        prefixes = 0
        for e in there:
            table[free.take(_hash(e))] = e
            prefixes |= 1 << e.prefix
        words = tuple(prefixes >> 64 * n & 2**64 - 1 for n in range(3))
        where = (size - 1, len(slots), len(members), len(s.members))
        more = WHOLE if s.netmask is None else s.netmask, s.counters, NETWORK in dims, 0
        rows.append((words, *where, (*dims, 0, 0, 0)[:3], len(dims) if ours else OTHER_FAMILY, *more))
        slots += table
        members += [numbers[m] for m in s.members]
    return np.array(rows, SET), _element_array(slots, family, now), np.array(members, np.uint32)


def _element_array(slots: list[Element | None], family: Family, now: int) -> NDArray[np.void]:
    """Return ELEMENT[n]; None is a slot that is not used."""
    dtype = records_of(family).ELEMENT
    array = np.zeros(len(slots), dtype)
    used = [(n, e) for n, e in enumerate(slots) if e is not None]
    pack = family.pack
    rows = [
        (
            [pack(e.addrs[0]), pack(e.addrs[1])], e.port, e.prefix, 1, e.nomatch, e.timeout is not None,
            now + (e.timeout or 0) * HZ & MAX_32, 0, e.packets, e.bytes,
        )
        for _, e in used
    ]  # fmt: skip
    array[[n for n, _ in used]] = np.array(rows, dtype)
    return array
