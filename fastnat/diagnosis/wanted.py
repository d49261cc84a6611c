"""Packets that rules ask about: out of the words of each rule, and of the rules that lead to its chain.

The text of rules is read for addresses, ports, protocols, devices and marks, each in the role that the words in front
of it say. Of a range, its ends and what lies beside them are as likely as its middle: a rule that is off by one shows
there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from .. import nftables
from ..addresses import FAMILIES, Family
from ..dtypes import PROTOCOLS
from ..node import Node

ADDRESS = r"!?\s*(?:[0-9][0-9.]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)(?:/[0-9a-fA-F:.]+|-[0-9a-fA-F:.]+)?"
NUMBER = r"!?\s*(?:0x[0-9a-fA-F]+|\d+)(?:[:/-](?:0x[0-9a-fA-F]+|\d+))?"
LIST = r"(?:{\s*{0}(?:\s*,\s*{0})*\s*}|{0}(?:,{0})*)"
IN_LIST = r"\{{[^}}]*\}}|{0}(?:,{0})*"
# what stands behind these words, in iptables and in nftables
ROLES = {
    "src": re.compile(rf"(?:\bsaddr(?: !=)?|--src-range|--ctorigsrc|(?<!\S)-s|--source) ({IN_LIST.format(ADDRESS)})"),
    "dst": re.compile(
        rf"(?:\bdaddr(?: !=)?|--dst-range|--ctorigdst|(?<!\S)-d|--destination) ({IN_LIST.format(ADDRESS)})"
    ),
    "sport": re.compile(rf"(?:\bsport(?: !=)?|--sports?|--source-ports?) ({IN_LIST.format(NUMBER)})"),
    "dport": re.compile(
        rf"(?:\bdport(?: !=)?|--d?ports?|--ctorigdstport|--destination-ports?) ({IN_LIST.format(NUMBER)})"
    ),
    "iface": re.compile(r"(?:(?<!\S)-i|--in-interface|\biif(?:name)?(?: !=)?) \"?([\w.+*@-]+)\"?"),
    "mark": re.compile(rf"(?:--mark|(?<!ct )\bmark(?: !=| and \S+ ==)?) ({NUMBER})"),
    "length": re.compile(rf"(?:--length|\blength(?: !=)?) ({NUMBER})"),
}
PROTO = re.compile(
    r"(?:(?<!\S)-p|--protocol|\bl4proto(?: !=)?|\bprotocol(?: !=)?) (?:! )?\{?\s*([\w, -]+)"
    r"|(?<![\w-])(tcp|udp|icmpv6|icmp|sctp) (?:[ds]port|flags|type)"
)
# ports that a translation gives: a port among them is kept
GIVEN = re.compile(r"(?:--to-ports? |--to-\w+ \S*:|\bto \S*:)(\d+(?:-\d+)?)")
ICMP = re.compile(r"(?:--icmp(?:v6)?-type|icmp(?:v6)? type) (\S+)")
# "ip daddr . meta l4proto . th dport vmap @services", "ip saddr @clients", "ip daddr map { 1.1.1.1 : 2.2.2.2 }"
SELECTOR = (
    r"(?:ip6? [sd]addr|(?:tcp|udp|th|sctp) [sd]port|meta l4proto|ip protocol|(?:meta )?i?ifname|iif|(?:meta )?mark)"
)
LOOKED_UP = re.compile(rf"({SELECTOR}(?: \. {SELECTOR})*) (?:!= )?(?:v?map )?(@[\w.:-]+|\{{[^}}]*\}})")
SET = re.compile(r"(?:--match-set |@)([\w.:-]+)")
LEADS = re.compile(r"(?:-[jg] |\bjump |\bgoto )([\w.:-]+)")
LITERAL = re.compile(rf"(?<![\w.:]){ADDRESS}(?![\w.:])")
CHAIN_OF_NFT = re.compile(r"\s*(chain|set|map|table)\s+(?:(?:ip6?|inet|arp|netdev|bridge)\s+)?([\w.:-]+)\s*\{")
RULE = re.compile(r"\s*(?:\[\d+:\d+\] )?-[AI] (\S+)")
ELEMENT = re.compile(r"add (\S+) (\S+)")
ICMP_TYPES = {"echo-request": 8, "echo-reply": 0, "destination-unreachable": 3, "time-exceeded": 11, "redirect": 5}
# rules on the way to a chain, of which one packet has to meet all; share of fields that a rule does not decide
DEPTH, ASIDE = 8, 0.12


@dataclass
class Want:
    """What one rule asks for, by role: texts, any of which will do."""

    chain: str
    text: str
    roles: dict[str, list[str]] = field(default_factory=dict)
    protos: list[int] = field(default_factory=list)
    leads: list[str] = field(default_factory=list)
    # a set or map of nftables, and the roles of the parts of its keys, "" of one without
    looked_up: tuple[str, list[str]] = ("", [])


@dataclass(frozen=True)
class Fields:
    """One packet; whole: with all its bytes, else the header alone."""

    proto: int
    src: int
    dst: int
    sport: int
    dport: int
    iface: str
    flags: int
    mark: int
    length: int
    whole: bool = False


def wants_of(text: str, sets: dict[str, list[str]], read: dict[tuple[str, str], Want] | None = None) -> list[Want]:
    """Return what each rule of a text asks for; elements of sets by name are added to `sets`.

    read: rules by chain and line that were read before, as two versions of a rule set have most of them in common.
    """
    read = {} if read is None else read
    found: list[Want] = []
    chain, kind, elements = "", "", ""
    for line in text.splitlines():
        of_nft, rule, element = CHAIN_OF_NFT.match(line), RULE.match(line), ELEMENT.match(line)
        if of_nft:
            kind, chain = of_nft[1], of_nft[2]
        elif element and not rule:
            sets.setdefault(element[1], []).append(element[2])
            continue
        if kind in ("set", "map") and (elements or "elements =" in line):
            elements += line.split("elements =")[-1]
            if "}" in line:
                inside = elements.replace("{", "").split("}")[0]
                sets.setdefault(chain, []).extend(e.strip() for e in inside.split(",") if e.strip())
                elements = ""
        if rule or (kind == "chain" and not of_nft and line.strip("} \t") and not line.lstrip().startswith("type ")):
            place = rule[1] if rule else chain, line
            if place not in read:
                read[place] = _want(*place)
            found.append(read[place])
    return found


def _want(chain: str, line: str) -> Want:
    made = Want(chain, line.strip(), leads=LEADS.findall(line))
    for role, form in ROLES.items():
        for group in form.findall(line):
            made.roles.setdefault(role, []).extend(w.strip() for w in re.split(r"[{},]", group) if w.strip())
    key = LOOKED_UP.search(line)
    if key:
        made.looked_up = key[2], [_role(part) for part in key[1].split(" . ")]
    for name in SET.findall(line) if not key else ():
        made.roles.setdefault("set", []).append(name)
    for group in PROTO.findall(line):
        for name in re.split(r"[,\s]+", " ".join(group)):
            number = PROTOCOLS.get(name, int(name) if name.isdigit() and int(name) < 256 else -1)
            if number >= 0 and number not in made.protos:
                made.protos.append(number)
    for role, form in (("icmp", ICMP), ("given", GIVEN)):
        if form.findall(line):
            made.roles[role] = form.findall(line)
    return made


def _role(selector: str) -> str:
    """Return the role of a part of a key of nftables, "" for one without."""
    roles = {
        "saddr": "src",
        "daddr": "dst",
        "iif": "iface",
        "iifname": "iface",
        "l4proto": "proto",
        "protocol": "proto",
    }
    word = selector.split()[-1] if selector.split() else ""
    return roles.get(word, word if word in ("sport", "dport", "mark", "length") else "")


class Wishes:
    """Packets for the rules of one or more nodes, of one family."""

    def __init__(self, nodes: list[Node], family: Family, draw: Random) -> None:
        self.family, self.draw = family, draw
        self.sets: dict[str, list[str]] = {}
        self.wants: list[Want] = []
        self.addresses: list[int] = []
        read: dict[tuple[str, str], Want] = {}
        addresses: dict[str, list[int]] = {}
        for node in nodes:
            texts = node.texts()
            native = nftables.listing(node.nft) if node.nft.tables else ""
            wanted = (texts.get("rules.v4" if family.version == 4 else "rules.v6", ""), native)
            wants_of(texts.get("ipset.save", ""), self.sets)
            for text in wanted:
                self.wants += wants_of(text, self.sets, read)
            for text in (*wanted, texts.get("ipvs.save", "")):
                if text not in addresses:
                    addresses[text] = self._literals(text)
                self.addresses += addresses[text]
            self._add_own(node)
        shared = [set(node.iface_names) for node in nodes]
        self.ifaces = sorted(set.intersection(*shared)) or ["local"]
        # what leads to a chain: a rule, and the element of its map
        self.leading: dict[str, list[tuple[Want, str]]] = defaultdict(list)
        for want in self.wants:
            for chain in want.leads:
                self.leading[chain].append((want, ""))
            for element in self._elements(want):
                for chain in LEADS.findall(element.partition(" : ")[2]):
                    self.leading[chain].append((want, element))
        self.asks_source_ports = any("sport" in want.roles for want in self.wants)
        self.ports = sorted(
            {p for w in self.wants for r in ("sport", "dport") for t in w.roles.get(r, []) for p in _ends(t, 65535)}
        )

    def _literals(self, text: str) -> list[int]:
        """Return the addresses that a text names, of a network or range the first one."""
        found = []
        for word in LITERAL.findall(text):
            with suppress(ValueError):
                found.append(self.family.to_int(re.split(r"[/-]", word.strip("! "))[0]))
        return found

    def _add_own(self, node: Node) -> None:
        """Add the node's addresses, their neighbours, and what its routes lead to."""
        for interface in node.interfaces.values():
            for a in interface.addresses_of(self.family):
                self.addresses += [a.local, a.local + 1 if a.local < self.family.full else a.local]
        for route in node.routes_of(self.family):
            self.addresses.append(
                route.dst | self.draw.getrandbits(self.family.bits) & ~self.family.mask_of(route.prefix)
            )

    def packet(self, want: Want | None = None) -> Fields:
        """Return a packet for a rule, or for any."""
        want = want or (self.draw.choice(self.wants) if self.wants else Want("", ""))
        roles: dict[str, list[str]] = {}
        protos: list[int] = []
        for rule, element in self._path(want):
            roles |= rule.roles | self._parts(rule, element)
            protos = rule.protos or protos
        for text in roles.get("proto", []):
            protos = [PROTOCOLS[text]] if text in PROTOCOLS else protos
        for name in roles.get("set", []):
            if self.sets.get(name):
                element = self.draw.choice(self.sets[name])
                roles.setdefault(self.draw.choice(("src", "dst")), [re.split("[,.] ?(?=[^\\d])", element)[0]])
        if "given" in roles and self.draw.random() < 0.6:
            free = ("sport",) if "dport" in roles else ("sport", "dport")
            roles = {**roles, self.draw.choice(free): roles["given"]}
        proto = self.draw.choice(protos) if protos and not self._aside() else self.draw.choice((6, 6, 17, 17, 1, 132))
        proto = self.family.icmp if proto in (1, 58) else proto
        icmp = proto == self.family.icmp
        sport = self._number(roles.get("sport"), 65535, self.draw.randrange(1024, 65536))
        dport = self._number(roles.get("dport"), 65535, self._port())
        if icmp:
            kind = self.draw.choice(roles.get("icmp", ["8" if self.family.version == 4 else "128"])).split("/")[0]
            dport = ICMP_TYPES.get(kind, int(kind) if kind.isdigit() else 8) << 8 & 0xFF00
        flags = self.draw.choice((2, 2, 2, 2, 2, 2, 16, 18, 4, 17)) if proto == PROTOCOLS["tcp"] else 0
        src, dst, iface = (
            self._address(roles.get("src")),
            self._address(roles.get("dst")),
            self._iface(roles.get("iface")),
        )
        mark, length = self._number(roles.get("mark"), 0xFFFFFFFF, 0), self._number(roles.get("length"), 1500, 60)
        return Fields(proto, src, dst, sport, dport, iface, flags, mark, length)

    def _aside(self) -> bool:
        return self.draw.random() < ASIDE

    def _elements(self, want: Want) -> list[str]:
        """Return the elements of the set or map in which a rule looks its packet up."""
        name = want.looked_up[0]
        if name.startswith("@"):
            return self.sets.get(name[1:], [])
        return [e.strip() for e in name.strip("{} ").split(",") if e.strip()]

    def _parts(self, want: Want, element: str) -> dict[str, list[str]]:
        """Return the roles of an element's parts, one drawn if none is given."""
        there = self._elements(want)
        if not there:
            return {}
        element = element or self.draw.choice(there)
        # "10.96.0.1 . tcp . 443 timeout 1h : goto x"
        parts = [part.split()[0] for part in re.split(r" : | timeout ", element)[0].split(" . ") if part.split()]
        return {role: [part.strip('"')] for role, part in zip(want.looked_up[1], parts, strict=False) if role}

    def _path(self, want: Want) -> list[tuple[Want, str]]:
        """Return rules that lead to one, the first in front, each with the element by which it does."""
        path = [(want, "")]
        while len(path) < DEPTH and self.leading.get(path[0][0].chain):
            path.insert(0, self.draw.choice(self.leading[path[0][0].chain]))
        return path

    def _port(self) -> int:
        if self.ports and self.draw.random() < 0.7:
            return self.draw.choice(self.ports)
        return self.draw.randrange(1, 65536)

    def _number(self, texts: list[str] | None, most: int, otherwise: int) -> int:
        if not texts or self._aside():
            return otherwise
        found = _ends(self.draw.choice(texts), most)
        return self.draw.choice(found) if found else otherwise

    def _iface(self, texts: list[str] | None) -> str:
        if texts and not self._aside():
            name = self.draw.choice(texts).rstrip("+*")
            fitting = [i for i in self.ifaces if i.startswith(name)]
            if fitting:
                return self.draw.choice(fitting)
        return self.draw.choice(self.ifaces)

    def _address(self, texts: list[str] | None) -> int:
        if texts and not self._aside():
            found = self._within(self.draw.choice(texts).lstrip("! "))
            if found is not None:
                return found
        if self.addresses and self.draw.random() < 0.7:
            return self.draw.choice(self.addresses)
        return self.draw.getrandbits(self.family.bits)

    def _within(self, text: str) -> int | None:
        """Return an address in a network or range, often at its ends or just beside them."""
        family = self.family
        try:
            if "-" in text:
                low, high = map(family.to_int, text.split("-"))
            else:
                address, _, length = text.partition("/")
                mask = (
                    family.mask_of(int(length))
                    if length.isdigit()
                    else family.to_int(length)
                    if length
                    else family.full
                )
                low = family.to_int(address) & mask
                high = low | ~mask & family.full
        except ValueError:
            return None
        low, high = min(low, high), max(low, high)
        ends = (low, high, max(low - 1, 0), min(high + 1, family.full))
        return self.draw.choice(ends) if self.draw.random() < 0.4 else self.draw.randint(low, high)


def _ends(text: str, most: int) -> list[int]:
    """Return the ends of a number or range of numbers, what lies beside them, and its middle."""
    words = re.split(r"[:-]", text.strip("! ").split("/")[0])
    try:
        numbers = sorted(int(w, 0) for w in words if w)
    except ValueError:
        return []
    if not numbers:
        return []
    low, high = numbers[0], numbers[-1]
    return [n for n in (low, high, low, high, (low + high) // 2, low - 1, high + 1) if 0 <= n <= most]


def family_versions(nodes: list[Node]) -> list[int]:
    """Return the families in which both nodes can be asked."""
    return [v for v, family in FAMILIES.items() if v == 4 or all(family in node.more_families for node in nodes)]
