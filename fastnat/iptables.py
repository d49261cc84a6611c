"""iptables-save and iptables -S text to a rule model; every error names file, line, rule and option.

Sources: iptables-extensions(8), iptables-save(8) of iptables 1.8.9; netfilter flags of nf_nat.h.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .addresses import mask_of, to_int
from .dtypes import PROTOCOLS
from .errors import RuleError

BUILT_IN = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
IGNORED_TABLES = ("security",)

MAP_IPS, PROTO_SPECIFIED, PROTO_RANDOM, PERSISTENT, RANDOM_FULLY, PROTO_OFFSET = 1, 2, 4, 8, 16, 32

SERVICES = {"domain": 53, "http": 80, "https": 443, "ssh": 22, "ntp": 123, "bootps": 67, "bootpc": 68, "snmp": 161}
TCP_FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ALL": 63, "NONE": 0}
ICMP_TYPES = {
    "any": (255, 0, 255), "echo-reply": (0, 0, 255), "destination-unreachable": (3, 0, 255),
    "network-unreachable": (3, 0, 0), "host-unreachable": (3, 1, 1), "port-unreachable": (3, 3, 3),
    "fragmentation-needed": (3, 4, 4), "source-quench": (4, 0, 255), "redirect": (5, 0, 255),
    "echo-request": (8, 0, 255), "router-advertisement": (9, 0, 255), "router-solicitation": (10, 0, 255),
    "time-exceeded": (11, 0, 255), "ttl-exceeded": (11, 0, 255), "parameter-problem": (12, 0, 255),
    "timestamp-request": (13, 0, 255), "timestamp-reply": (14, 0, 255), "address-mask-request": (17, 0, 255),
    "address-mask-reply": (18, 0, 255), "ping": (8, 0, 255), "pong": (0, 0, 255),
}  # fmt: skip
ADDRESS_TYPES = (
    "UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT",
    "THROW", "NAT", "XRESOLVE",
)  # fmt: skip
CT_STATES = {
    "INVALID": 1, "ESTABLISHED": 2, "RELATED": 4, "NEW": 8, "UNTRACKED": 64, "SNAT": 0x4000, "DNAT": 0x8000,
}  # fmt: skip
PORT_PROTOCOLS = (6, 17, 33, 132, 136)


@dataclass
class Match:
    """One match: its kind, whether it is inverted, its parameters."""

    kind: str
    invert: bool = False
    values: tuple[int, ...] = ()


@dataclass
class Target:
    """What a rule does; `name` is the extension, a verdict, or a chain."""

    name: str = ""
    goto: bool = False
    min_addr: int = 0
    max_addr: int = 0
    min_proto: int = 0
    max_proto: int = 0
    base_proto: int = 0
    flags: int = 0
    value: int = 0
    mask: int = 0
    mask2: int = 0
    op: int = 0


@dataclass
class Rule:
    """One rule; addresses are host-order integers, interfaces patterns as written."""

    chain: str
    line: int
    text: str
    src: int = 0
    smask: int = 0
    dst: int = 0
    dmask: int = 0
    invert_src: bool = False
    invert_dst: bool = False
    in_iface: str = ""
    out_iface: str = ""
    invert_in: bool = False
    invert_out: bool = False
    proto: int = 0
    invert_proto: bool = False
    matches: list[Match] = field(default_factory=list)
    target: Target = field(default_factory=Target)
    packets: int = 0
    bytes: int = 0


@dataclass
class Chain:
    """A chain: policy "-" for user chains; counters are the policy's."""

    name: str
    policy: str = "-"
    packets: int = 0
    bytes: int = 0
    rules: list[Rule] = field(default_factory=list)


@dataclass
class Table:
    """A table: chains in the order of the text."""

    name: str
    chains: dict[str, Chain] = field(default_factory=dict)


@dataclass
class Rules:
    """Everything that one text holds."""

    tables: dict[str, Table]
    source: str
    warnings: list[str] = field(default_factory=list)


@dataclass
class Token:
    """A word of a rule and the column it starts at."""

    text: str
    column: int


def tokenize(text: str, fail: Callable[[str, int], RuleError]) -> list[Token]:
    """Split a rule as iptables-restore does: blanks separate, double quotes group, backslash escapes inside them."""
    tokens = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        start, word = at, ""
        while at < len(text) and not text[at].isspace():
            if text[at] not in "\"'":
                word += text[at]
                at += 1
                continue
            quote, opened = text[at], at
            at += 1
            while at < len(text) and text[at] != quote:
                at += text[at] == "\\" and at + 1 < len(text)
                word += text[at]
                at += 1
            if at == len(text):
                raise fail(f"quote {quote} is never closed", opened + 1)
            at += 1
        tokens.append(Token(word, start + 1))
    return tokens


class RuleParser:
    """One rule line: a cursor over its words, one method an option."""

    def __init__(self, table: str, source: str, line: int, text: str) -> None:
        self.table, self.source, self.line, self.text = table, source, line, text
        self.tokens = tokenize(text, self.fail)
        self.at = 0
        self.invert = False
        self.option = self.tokens[0] if self.tokens else Token("", 1)
        self.modules: list[str] = []
        self.rule = Rule("", line, text)

    def fail(self, why: str, column: int | None = None) -> RuleError:
        """Return the error for this rule; the caller raises it."""
        where = self.option.column if column is None else column
        return RuleError(f"{self.source}:{self.line}:{where}: {why}\n  in the rule: {self.text}")

    def take(self, what: str) -> str:
        """Return the value of the current option; a `!` before it inverts, as old iptables wrote it."""
        if self.at < len(self.tokens) and self.tokens[self.at].text == "!":
            self.invert = not self.invert
            self.at += 1
        if self.at == len(self.tokens):
            raise self.fail(f"option {self.option.text!r} needs {what}")
        self.at += 1
        return self.tokens[self.at - 1].text

    def number(self, text: str, high: int = 0xFFFFFFFF) -> int:
        """Return a decimal, 0x or octal number up to a limit."""
        try:
            value = int(text, 0) if not re.fullmatch(r"0\d+", text) else int(text, 8)
        except ValueError:
            raise self.fail(f"option {self.option.text!r}: {text!r} is not a number") from None
        if not 0 <= value <= high:
            raise self.fail(f"option {self.option.text!r}: {text} is not in 0..{high}")
        return value

    def port(self, text: str) -> int:
        """Return a port number or the port of a well-known service name."""
        return SERVICES[text] if text in SERVICES else self.number(text, 65535)

    def port_range(self, text: str, separator: str = ":") -> tuple[int, int]:
        """Return "p", "p:q", ":q" or "p:" as limits."""
        low, sep, high = text.partition(separator)
        if not sep:
            return self.port(low), self.port(low)
        return self.port(low) if low else 0, self.port(high) if high else 65535

    def mask_value(self, text: str) -> tuple[int, int]:
        """Return "value[/mask]"."""
        value, _, mask = text.partition("/")
        return self.number(value), self.number(mask) if mask else 0xFFFFFFFF

    def address(self, text: str) -> int:
        """Return one IPv4 address."""
        try:
            return to_int(text)
        except ValueError:
            raise self.fail(f"option {self.option.text!r}: {text!r} is not an IPv4 address") from None

    def network(self, text: str) -> tuple[int, int]:
        """Return "address[/length or mask]" as address and mask."""
        address, sep, length = text.partition("/")
        if not sep:
            mask = 0xFFFFFFFF
        elif "." in length:
            mask = self.address(length)
        else:
            mask = mask_of(self.number(length, 32))
        return self.address(address) & mask, mask

    def parse(self) -> Rule:
        """Return the rule; RuleError for anything that is not understood."""
        while self.at < len(self.tokens):
            self.option = self.tokens[self.at]
            self.at += 1
            if self.option.text == "!":
                self.invert = True
                continue
            method = OPTIONS.get(self.option.text)
            if method is None:
                raise self.fail(f"unknown option {self.option.text!r}{self._hint()}")
            method(self)
            self.invert = False
        self._finish()
        return self.rule

    def _hint(self) -> str:
        for name in (self.rule.target.name, *reversed(self.modules)):
            if name and name not in KNOWN_MODULES and name not in TARGETS:
                return f" (of {name!r})"
        return ""

    def _finish(self) -> None:
        r = self.rule
        t = r.target
        if t.flags & PROTO_SPECIFIED and r.proto not in (*PORT_PROTOCOLS, 1):
            raise self.fail("Need TCP, UDP, SCTP or DCCP with port specification: add -p tcp or -p udp")
        if t.name == "SNAT" and not t.flags & (MAP_IPS | PROTO_SPECIFIED):
            raise self.fail('SNAT: option "--to-source" must be specified')
        if t.name == "DNAT" and not t.flags & (MAP_IPS | PROTO_SPECIFIED):
            raise self.fail('DNAT: option "--to-destination" must be specified')
        if t.name == "NETMAP" and not t.flags & MAP_IPS:
            raise self.fail('NETMAP: option "--to" must be specified')
        if self.table == "nat" and t.name == "DROP":
            raise self.fail('The "nat" table is not intended for filtering, the use of DROP is therefore inhibited.')
        chains = TARGET_CHAINS.get(t.name)
        if chains and (self.table != "nat" or (r.chain in BUILT_IN["nat"] and r.chain not in chains)):
            raise self.fail(f"{t.name} stands only in the nat table, chains {', '.join(chains)}, and in user chains")
        if t.name in ("CT", "NOTRACK") and self.table != "raw":
            raise self.fail(f"{t.name} stands only in the raw table")
        needs_ports = any(m.kind in ("sport", "dport", "multiport") for m in r.matches)
        if needs_ports and (r.proto not in PORT_PROTOCOLS or r.invert_proto):
            raise self.fail("a port match needs -p tcp, udp, udplite, sctp or dccp in front of it")
        if any(m.kind == "tcp-flags" for m in r.matches) and r.proto != 6:
            raise self.fail("--tcp-flags and --syn need -p tcp in front of them")
        if any(m.kind == "icmp-type" for m in r.matches) and r.proto != 1:
            raise self.fail("--icmp-type needs -p icmp in front of it")
        for flag, hooks in (("-i", ("POSTROUTING", "OUTPUT")), ("-o", ("PREROUTING", "INPUT"))):
            if (r.in_iface if flag == "-i" else r.out_iface) and r.chain in hooks:
                raise self.fail(f"Can't use {flag} with {r.chain}")

    def _add(self, kind: str, *values: int) -> None:
        self.rule.matches.append(Match(kind, self.invert, values))

    def append_to(self) -> None:
        """-A CHAIN, also -I CHAIN without a number."""
        self.rule.chain = self.take("a chain")

    def source_address(self) -> None:
        """-s ADDRESS[/MASK]."""
        self.rule.src, self.rule.smask = self.network(self.take("an address"))
        self.rule.invert_src = self.invert

    def destination_address(self) -> None:
        """-d ADDRESS[/MASK]."""
        self.rule.dst, self.rule.dmask = self.network(self.take("an address"))
        self.rule.invert_dst = self.invert

    def in_interface(self) -> None:
        """-i NAME or PREFIX+."""
        self.rule.in_iface = self._iface()
        self.rule.invert_in = self.invert

    def out_interface(self) -> None:
        """-o NAME or PREFIX+."""
        self.rule.out_iface = self._iface()
        self.rule.invert_out = self.invert

    def _iface(self) -> str:
        name = self.take("an interface")
        if len(name) > 15 or not name:
            raise self.fail(f"interface name {name!r} is not 1 to 15 characters long")
        return name

    def protocol(self) -> None:
        """-p NAME or NUMBER."""
        text = self.take("a protocol").lower()
        self.rule.proto = 0 if text == "all" else PROTOCOLS[text] if text in PROTOCOLS else self.number(text, 255)
        self.rule.invert_proto = self.invert

    def module(self) -> None:
        """-m NAME: the module must be known; its options follow."""
        name = self.take("a match name")
        if name not in KNOWN_MODULES:
            raise self.fail(f"match {name!r} is not supported; supported are {', '.join(sorted(KNOWN_MODULES))}")
        self.modules.append(name)

    def comment(self) -> None:
        """--comment TEXT."""
        self.take("a text")

    def sport(self) -> None:
        """--sport P[:Q]."""
        self._add("sport", *self.port_range(self.take("a port")))

    def dport(self) -> None:
        """--dport P[:Q]."""
        self._add("dport", *self.port_range(self.take("a port")))

    def _multiport(self, which: int) -> None:
        slots: list[int] = []
        for part in self.take("ports").split(","):
            slots += self.port_range(part)
        if sum(1 if a == b else 2 for a, b in zip(slots[::2], slots[1::2], strict=True)) > 15:
            raise self.fail(f"option {self.option.text!r}: more than 15 ports; a range counts as two")
        self._add("multiport", which, *slots)

    def multiport_src(self) -> None:
        """--sports LIST."""
        self._multiport(0)

    def multiport_dst(self) -> None:
        """--dports LIST."""
        self._multiport(1)

    def multiport_either(self) -> None:
        """--ports LIST."""
        self._multiport(2)

    def _flags(self, text: str) -> int:
        value = 0
        for name in text.split(","):
            if name not in TCP_FLAGS:
                raise self.fail(f"option {self.option.text!r}: {name!r} is not one of {', '.join(TCP_FLAGS)}")
            value |= TCP_FLAGS[name]
        return value

    def tcp_flags(self) -> None:
        """--tcp-flags MASK COMP."""
        mask = self._flags(self.take("a mask"))
        self._add("tcp-flags", mask, self._flags(self.take("the flags set")))

    def syn(self) -> None:
        """--syn."""
        self._add("tcp-flags", 0x17, 0x02)

    def icmp_type(self) -> None:
        """--icmp-type TYPE[/CODE] or a name."""
        text = self.take("a type")
        if text in ICMP_TYPES:
            self._add("icmp-type", *ICMP_TYPES[text])
            return
        type_, _, code = text.partition("/")
        low, high = (self.number(code, 255),) * 2 if code else (0, 255)
        self._add("icmp-type", self.number(type_, 255), low, high)

    def mark_match(self) -> None:
        """--mark V[/M] of mark and connmark."""
        kind = "connmark" if self.modules and self.modules[-1] == "connmark" else "mark"
        self._add(kind, *self.mask_value(self.take("a mark")))

    def _address_type(self, kind: str) -> None:
        bits = 0
        for name in self.take("types").upper().split(","):
            if name not in ADDRESS_TYPES:
                raise self.fail(f"option {self.option.text!r}: {name!r} is not one of {', '.join(ADDRESS_TYPES)}")
            bits |= 1 << ADDRESS_TYPES.index(name)
        self._add(kind, bits)

    def src_type(self) -> None:
        """--src-type LIST."""
        self._address_type("addrtype-src")

    def dst_type(self) -> None:
        """--dst-type LIST."""
        self._address_type("addrtype-dst")

    def _address_range(self, kind: str) -> None:
        low, sep, high = self.take("a range").partition("-")
        self._add(kind, self.address(low), self.address(high) if sep else self.address(low))

    def src_range(self) -> None:
        """--src-range A-B."""
        self._address_range("iprange-src")

    def dst_range(self) -> None:
        """--dst-range A-B."""
        self._address_range("iprange-dst")

    def ct_state(self) -> None:
        """--ctstate and --state LIST."""
        bits = 0
        for name in self.take("states").upper().split(","):
            if name not in CT_STATES:
                raise self.fail(f"option {self.option.text!r}: {name!r} is not one of {', '.join(CT_STATES)}")
            bits |= CT_STATES[name]
        self._add("ctstate", bits)

    def ct_proto(self) -> None:
        """--ctproto PROTO."""
        text = self.take("a protocol").lower()
        self._add("ctproto", PROTOCOLS[text] if text in PROTOCOLS else self.number(text, 255))

    def length(self) -> None:
        """--length A[:B]."""
        self._add("length", *self.port_range(self.take("a length")))

    def statistic_mode(self) -> None:
        """--mode random|nth."""
        mode = self.take("random or nth")
        if mode not in ("random", "nth"):
            raise self.fail(f"--mode {mode!r} is not random or nth")
        self._add(mode, *((0,) if mode == "random" else (0, 0)))

    def _statistic(self) -> Match:
        last = self.rule.matches[-1] if self.rule.matches else Match("")
        if last.kind not in ("nth", "random"):
            raise self.fail(f"{self.option.text} needs --mode in front of it")
        return last

    def probability(self) -> None:
        """--probability P."""
        text = self.take("a probability")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            raise self.fail(f"--probability {text!r} is not in 0..1")
        last = self._statistic()
        last.values, last.invert = (round(value * 2**31),), self.invert

    def every(self) -> None:
        """--every N."""
        last = self._statistic()
        last.values = (self.number(self.take("a number")), last.values[1])
        last.invert = self.invert
        if last.values[0] == 0:
            raise self.fail("--every 0: at least 1")

    def every_packet(self) -> None:
        """--packet K."""
        last = self._statistic()
        last.values = (last.values[0], self.number(self.take("a number")))
        if last.values[1] >= last.values[0]:
            raise self.fail("--packet must be smaller than --every")

    def jump(self) -> None:
        """-j TARGET or CHAIN."""
        self.rule.target.name = self.take("a target")
        t = self.rule.target
        if t.name == "REDIRECT" or t.name == "MASQUERADE":
            t.min_addr = t.max_addr = 0

    def goto(self) -> None:
        """-g CHAIN."""
        self.rule.target.name = self.take("a chain")
        self.rule.target.goto = True

    def _of(self, *targets: str) -> Target:
        if self.rule.target.name not in targets:
            raise self.fail(f"option {self.option.text!r} belongs to {' or '.join(targets)}, not to "
                            f"{self.rule.target.name or 'a rule without target'}")  # fmt: skip
        return self.rule.target

    def _nat_range(self, text: str) -> None:
        t = self.rule.target
        addresses, colon, ports = text.partition(":")
        if addresses:
            low, dash, high = addresses.partition("-")
            t.min_addr = self.address(low)
            t.max_addr = self.address(high) if dash else t.min_addr
            t.flags |= MAP_IPS
        if not colon and not addresses:
            raise self.fail(f"option {self.option.text!r}: empty range")
        if colon:
            self._nat_ports(ports)

    def _nat_ports(self, text: str) -> None:
        t = self.rule.target
        ports, slash, base = text.partition("/")
        low, dash, high = ports.partition("-")
        t.min_proto = self._nat_port(low)
        t.max_proto = self._nat_port(high) if dash else t.min_proto
        if t.max_proto < t.min_proto:
            raise self.fail(f"Port range {high!r} funky")
        t.flags |= PROTO_SPECIFIED
        if slash:
            t.base_proto = self._nat_port(base)
            t.flags |= PROTO_OFFSET

    def _nat_port(self, text: str) -> int:
        if text in SERVICES:
            return SERVICES[text]
        if not text.isdigit() or not 0 < int(text) <= 65535:
            raise self.fail(f"Port {text!r} not valid: a number in 1..65535")
        return int(text)

    def to_source(self) -> None:
        """--to-source [A[-B]][:P[-Q]]."""
        self._of("SNAT")
        self._nat_range(self.take("a range"))

    def to_destination(self) -> None:
        """--to-destination [A[-B]][:P[-Q[/BASE]]]."""
        self._of("DNAT")
        self._nat_range(self.take("a range"))

    def to_ports(self) -> None:
        """--to-ports P[-Q]."""
        self._of("MASQUERADE", "REDIRECT")
        self._nat_ports(self.take("ports"))

    def to(self) -> None:
        """--to NETWORK of NETMAP."""
        t = self._of("NETMAP")
        network, mask = self.network(self.take("a network"))
        t.min_addr, t.max_addr = network, network | ~mask & 0xFFFFFFFF
        t.flags |= MAP_IPS

    def random(self) -> None:
        """--random."""
        self._of("SNAT", "DNAT", "MASQUERADE", "REDIRECT").flags |= PROTO_RANDOM

    def random_fully(self) -> None:
        """--random-fully."""
        self._of("SNAT", "MASQUERADE").flags |= RANDOM_FULLY

    def persistent(self) -> None:
        """--persistent."""
        self._of("SNAT", "DNAT").flags |= PERSISTENT

    def set_mark(self) -> None:
        """--set-mark V[/M]: zero the mask's bits and those of V, then set V."""
        t = self._of("MARK", "CONNMARK")
        t.value, mask = self.mask_value(self.take("a mark"))
        t.mask = mask | t.value

    def set_xmark(self) -> None:
        """--set-xmark V[/M]."""
        t = self._of("MARK", "CONNMARK")
        t.value, t.mask = self.mask_value(self.take("a mark"))

    def and_mark(self) -> None:
        """--and-mark B."""
        t = self._of("MARK", "CONNMARK")
        t.value, t.mask = 0, ~self.number(self.take("bits")) & 0xFFFFFFFF

    def or_mark(self) -> None:
        """--or-mark B."""
        t = self._of("MARK", "CONNMARK")
        t.value = t.mask = self.number(self.take("bits"))

    def xor_mark(self) -> None:
        """--xor-mark B."""
        t = self._of("MARK", "CONNMARK")
        t.value, t.mask = self.number(self.take("bits")), 0

    def save_mark(self) -> None:
        """--save-mark of CONNMARK."""
        t = self._of("CONNMARK")
        t.op, t.mask, t.mask2 = 1, 0xFFFFFFFF, 0xFFFFFFFF

    def restore_mark(self) -> None:
        """--restore-mark of CONNMARK."""
        t = self._of("CONNMARK")
        t.op, t.mask, t.mask2 = 2, 0xFFFFFFFF, 0xFFFFFFFF

    def nf_mask(self) -> None:
        """--nfmask M."""
        self._of("CONNMARK").mask2 = self.number(self.take("a mask"))

    def ct_mask(self) -> None:
        """--ctmask M."""
        self._of("CONNMARK").mask = self.number(self.take("a mask"))

    def both_masks(self) -> None:
        """--mask M of CONNMARK."""
        t = self._of("CONNMARK")
        t.mask = t.mask2 = self.number(self.take("a mask"))

    def _zone(self, directions: int) -> None:
        t = self._of("CT")
        text = self.take("a zone")
        t.op, t.mask = int(text == "mark"), directions
        t.value = 0 if text == "mark" else self.number(text, 65535)

    def zone(self) -> None:
        """--zone N."""
        self._zone(3)

    def zone_orig(self) -> None:
        """--zone-orig N."""
        self._zone(1)

    def zone_reply(self) -> None:
        """--zone-reply N."""
        self._zone(2)

    def notrack(self) -> None:
        """--notrack of CT."""
        self._of("CT").name = "NOTRACK"

    def reject_with(self) -> None:
        """--reject-with TYPE."""
        self._of("REJECT")
        self.take("a type")

    def log_option(self) -> None:
        """--log-prefix, --log-level and their kind."""
        self._of("LOG", "NFLOG")
        if self.option.text not in ("--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid"):
            self.take("a value")


OPTIONS: dict[str, Callable[[RuleParser], None]] = {
    "-A": RuleParser.append_to, "--append": RuleParser.append_to, "-I": RuleParser.append_to,
    "-s": RuleParser.source_address, "--source": RuleParser.source_address, "--src": RuleParser.source_address,
    "-d": RuleParser.destination_address, "--destination": RuleParser.destination_address,
    "--dst": RuleParser.destination_address,
    "-i": RuleParser.in_interface, "--in-interface": RuleParser.in_interface,
    "-o": RuleParser.out_interface, "--out-interface": RuleParser.out_interface,
    "-p": RuleParser.protocol, "--protocol": RuleParser.protocol, "--proto": RuleParser.protocol,
    "-m": RuleParser.module, "--match": RuleParser.module, "--comment": RuleParser.comment,
    "--sport": RuleParser.sport, "--source-port": RuleParser.sport,
    "--dport": RuleParser.dport, "--destination-port": RuleParser.dport,
    "--sports": RuleParser.multiport_src, "--source-ports": RuleParser.multiport_src,
    "--dports": RuleParser.multiport_dst, "--destination-ports": RuleParser.multiport_dst,
    "--ports": RuleParser.multiport_either, "--tcp-flags": RuleParser.tcp_flags, "--syn": RuleParser.syn,
    "--icmp-type": RuleParser.icmp_type, "--mark": RuleParser.mark_match,
    "--src-type": RuleParser.src_type, "--dst-type": RuleParser.dst_type,
    "--src-range": RuleParser.src_range, "--dst-range": RuleParser.dst_range,
    "--ctstate": RuleParser.ct_state, "--state": RuleParser.ct_state, "--ctproto": RuleParser.ct_proto,
    "--length": RuleParser.length, "--mode": RuleParser.statistic_mode, "--probability": RuleParser.probability,
    "--every": RuleParser.every, "--packet": RuleParser.every_packet,
    "-j": RuleParser.jump, "--jump": RuleParser.jump, "-g": RuleParser.goto, "--goto": RuleParser.goto,
    "--to-source": RuleParser.to_source, "--to-destination": RuleParser.to_destination,
    "--to-ports": RuleParser.to_ports, "--to": RuleParser.to, "--random": RuleParser.random,
    "--random-fully": RuleParser.random_fully, "--persistent": RuleParser.persistent,
    "--set-mark": RuleParser.set_mark, "--set-xmark": RuleParser.set_xmark, "--and-mark": RuleParser.and_mark,
    "--or-mark": RuleParser.or_mark, "--xor-mark": RuleParser.xor_mark, "--save-mark": RuleParser.save_mark,
    "--restore-mark": RuleParser.restore_mark, "--nfmask": RuleParser.nf_mask, "--ctmask": RuleParser.ct_mask,
    "--mask": RuleParser.both_masks, "--zone": RuleParser.zone, "--zone-orig": RuleParser.zone_orig,
    "--zone-reply": RuleParser.zone_reply, "--notrack": RuleParser.notrack, "--reject-with": RuleParser.reject_with,
    "--log-prefix": RuleParser.log_option, "--log-level": RuleParser.log_option,
    "--log-tcp-sequence": RuleParser.log_option, "--log-tcp-options": RuleParser.log_option,
    "--log-ip-options": RuleParser.log_option, "--log-uid": RuleParser.log_option,
}  # fmt: skip
KNOWN_MODULES = {
    "tcp", "udp", "udplite", "sctp", "icmp", "multiport", "comment", "mark", "connmark", "addrtype", "iprange",
    "conntrack", "state", "statistic", "length",
}  # fmt: skip
TARGETS = {
    "ACCEPT", "DROP", "RETURN", "MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP", "MARK", "CONNMARK", "CT", "NOTRACK",
    "REJECT", "LOG",
}  # fmt: skip
TARGET_CHAINS = {
    "MASQUERADE": ("POSTROUTING",), "SNAT": ("POSTROUTING", "INPUT"), "DNAT": ("PREROUTING", "OUTPUT"),
    "REDIRECT": ("PREROUTING", "OUTPUT"), "NETMAP": BUILT_IN["nat"],
}  # fmt: skip
COUNTERS = re.compile(r"\[(\d+):(\d+)\]$")


def parse(text: str, source: str = "<rules>") -> Rules:
    """Parse iptables-save, or `iptables -t nat -S`, text.

    Parameters
    ----------
    text : str       CRLF, leading blanks and a missing COMMIT are accepted; `-S` text is taken as the nat table
    source : str     the file name for messages

    Returns
    -------
    Rules

    Raises
    ------
    RuleError        names source, line, column, the option and the rule; nothing is half-loaded
    """
    rules = Rules({}, source)
    table: Table | None = None
    for number, line in _lines(text):
        if line.startswith("*"):
            name = line[1:].strip()
            if name not in BUILT_IN and name not in IGNORED_TABLES:
                raise RuleError(f"{source}:{number}: unknown table {name!r}; known are {', '.join(BUILT_IN)}")
            table = rules.tables.setdefault(name, Table(name))
            for built_in in BUILT_IN.get(name, ("INPUT", "FORWARD", "OUTPUT")):
                table.chains.setdefault(built_in, Chain(built_in, "ACCEPT"))
        elif line == "COMMIT":
            table = None
        else:
            if table is None:
                table = rules.tables.setdefault("nat", Table("nat"))
                for built_in in BUILT_IN["nat"]:
                    table.chains.setdefault(built_in, Chain(built_in, "ACCEPT"))
            _table_line(table, rules, number, line)
    for name in IGNORED_TABLES:
        rules.tables.pop(name, None)
    for t in rules.tables.values():
        _resolve(t, source)
    return rules


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line and not line.startswith("#"):
            yield number, line


def _table_line(table: Table, rules: Rules, number: int, line: str) -> None:
    source = rules.source
    words = line.split()
    if line.startswith(":") or words[0] in ("-P", "-N"):
        name = line[1:].split()[0] if line.startswith(":") else words[1] if len(words) > 1 else ""
        policy = words[1] if line.startswith(":") and len(words) > 1 else words[2] if len(words) > 2 else "-"
        counted = COUNTERS.search(line)
        known = BUILT_IN.get(table.name, ())
        if not name or (name in known and policy not in ("ACCEPT", "DROP")) or (name not in known and policy != "-"):
            expected = ":PREROUTING ACCEPT [0:0] or :MY-CHAIN - [0:0]"
            raise RuleError(f"{source}:{number}: bad chain line {line!r}; expected {expected}")
        if table.name == "nat" and policy == "DROP":
            raise RuleError(f"{source}:{number}: policy DROP for {name}: the nat table is not intended for filtering")
        packets, octets = (int(counted[1]), int(counted[2])) if counted else (0, 0)
        rules_there = table.chains[name].rules if name in table.chains else []
        table.chains[name] = Chain(name, policy, packets, octets, rules_there)
        return
    counted = re.match(r"\[(\d+):(\d+)\]\s+", line)
    text = line[counted.end() :] if counted else line
    if table.name in IGNORED_TABLES:
        return
    if not text.startswith(("-A ", "--append ", "-I ")):
        raise RuleError(f"{source}:{number}: {line!r} is no rule; expected -A CHAIN ..., :CHAIN, *TABLE or COMMIT")
    rule = RuleParser(table.name, source, number, text).parse()
    if counted:
        rule.packets, rule.bytes = int(counted[1]), int(counted[2])
    if rule.chain not in table.chains:
        rules.warnings.append(f"{source}:{number}: chain {rule.chain!r} is not declared")
        table.chains[rule.chain] = Chain(rule.chain)
    chain = table.chains[rule.chain].rules
    chain.insert(0, rule) if text.startswith("-I ") else chain.append(rule)


def _resolve(table: Table, source: str) -> None:
    """Check that every jump leads to a chain or a target, and that chains do not loop."""
    calls: dict[str, list[str]] = {name: [] for name in table.chains}
    for chain in table.chains.values():
        for rule in chain.rules:
            name = rule.target.name
            if name in table.chains and name not in BUILT_IN[table.name]:
                calls[chain.name].append(name)
            elif name and (name not in TARGETS or rule.target.goto):
                raise RuleError(
                    f"{source}:{rule.line}: no chain or supported target {name!r} in table {table.name}; supported "
                    f"targets are {', '.join(sorted(TARGETS))}\n  in the rule: {rule.text}"
                )
    done: set[str] = set()
    for start in calls:
        _visit(start, calls, [], done, source)


def _visit(name: str, calls: dict[str, list[str]], path: list[str], done: set[str], source: str) -> None:
    if name in path:
        raise RuleError(f"{source}: chains loop: {' -> '.join([*path[path.index(name) :], name])}")
    if name in done:
        return
    if len(path) > 60:
        raise RuleError(f"{source}: chains nest deeper than 60: {' -> '.join(path[:5])} ...")
    for callee in calls[name]:
        _visit(callee, calls, [*path, name], done, source)
    done.add(name)
