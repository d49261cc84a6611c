"""The match options of a rule, one method an option.

Sources: iptables-extensions(8), iptables-save(8) of iptables 1.8.9; netfilter flags of nf_nat.h.
"""

from __future__ import annotations

from collections.abc import Callable

from ..addresses import V6, mac_number
from ..core.layout import RoutingPart
from ..dtypes import HELPERS
from ..util.text import excerpt
from . import refused
from .context import ContextMatches, TimeMatch
from .model import Match
from .needed import PROTOCOLS
from .rule_words import LENIENT
from .stateful import StatefulMatches

TCP_FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ALL": 63, "NONE": 0}
ICMP_TYPES = {
    "any": (255, 0, 255), "echo-reply": (0, 0, 255), "destination-unreachable": (3, 0, 255),
    "network-unreachable": (3, 0, 0), "host-unreachable": (3, 1, 1), "protocol-unreachable": (3, 2, 2),
    "port-unreachable": (3, 3, 3), "fragmentation-needed": (3, 4, 4), "source-route-failed": (3, 5, 5),
    "network-unknown": (3, 6, 6), "host-unknown": (3, 7, 7), "network-prohibited": (3, 9, 9),
    "host-prohibited": (3, 10, 10), "TOS-network-unreachable": (3, 11, 11), "TOS-host-unreachable": (3, 12, 12),
    "communication-prohibited": (3, 13, 13), "host-precedence-violation": (3, 14, 14),
    "precedence-cutoff": (3, 15, 15), "source-quench": (4, 0, 255), "redirect": (5, 0, 255),
    "network-redirect": (5, 0, 0), "host-redirect": (5, 1, 1), "TOS-network-redirect": (5, 2, 2),
    "TOS-host-redirect": (5, 3, 3), "ttl-zero-during-transit": (11, 0, 0), "ttl-zero-during-reassembly": (11, 1, 1),
    "ip-header-bad": (12, 0, 0), "required-option-missing": (12, 1, 1),
    "echo-request": (8, 0, 255), "router-advertisement": (9, 0, 255), "router-solicitation": (10, 0, 255),
    "time-exceeded": (11, 0, 255), "ttl-exceeded": (11, 0, 255), "parameter-problem": (12, 0, 255),
    "timestamp-request": (13, 0, 255), "timestamp-reply": (14, 0, 255), "address-mask-request": (17, 0, 255),
    "address-mask-reply": (18, 0, 255), "ping": (8, 0, 255), "pong": (0, 0, 255),
}  # fmt: skip
ICMPV6_TYPES = {
    "destination-unreachable": (1, 0, 255), "no-route": (1, 0, 0), "communication-prohibited": (1, 1, 1),
    "beyond-scope": (1, 2, 2), "address-unreachable": (1, 3, 3), "port-unreachable": (1, 4, 4),
    "failed-policy": (1, 5, 5), "reject-route": (1, 6, 6), "ttl-zero-during-transit": (3, 0, 0),
    "ttl-zero-during-reassembly": (3, 1, 1), "bad-header": (4, 0, 0), "unknown-header-type": (4, 1, 1),
    "unknown-option": (4, 2, 2),
    "packet-too-big": (2, 0, 255), "time-exceeded": (3, 0, 255), "ttl-exceeded": (3, 0, 255),
    "parameter-problem": (4, 0, 255), "echo-request": (128, 0, 255), "ping": (128, 0, 255),
    "echo-reply": (129, 0, 255), "pong": (129, 0, 255), "router-solicitation": (133, 0, 255),
    "router-advertisement": (134, 0, 255), "neighbour-solicitation": (135, 0, 255),
    "neighbor-solicitation": (135, 0, 255), "neighbour-advertisement": (136, 0, 255),
    "neighbor-advertisement": (136, 0, 255), "redirect": (137, 0, 255),
}  # fmt: skip
ADDRESS_TYPES = (
    "UNSPEC", "UNICAST", "LOCAL", "BROADCAST", "ANYCAST", "MULTICAST", "BLACKHOLE", "UNREACHABLE", "PROHIBIT",
    "THROW", "NAT", "XRESOLVE",
)  # fmt: skip
CT_STATES = {
    "INVALID": 1, "ESTABLISHED": 2, "RELATED": 4, "NEW": 8, "UNTRACKED": 64, "SNAT": 0x4000, "DNAT": 0x8000,
}  # fmt: skip

PORT_PROTOCOLS = (6, 17, 33, 132, 136)
# XT_MULTI_PORTS
MULTIPORT_SLOTS = 15
# the hooks in which a packet has the device that it came in by, or the one that it goes out by
WITH_DEVICE = {"in": ("PREROUTING", "INPUT", "FORWARD"), "out": ("FORWARD", "OUTPUT", "POSTROUTING")}
# the number of a helper that nobody has
NO_HELPER = 255
CT_STATUS = {"NONE": 0, "EXPECTED": 1, "SEEN_REPLY": 2, "ASSURED": 4, "CONFIRMED": 8}


# these need a header of the rule's protocol
L4_MATCHES = ("sport", "dport", "multiport", "tcp-flags", "tcp-option", "icmp-type", "l4-header")


class MatchOptions(StatefulMatches, ContextMatches):
    """The options of the -m modules."""

    # of the last -m conntrack: its matches that ask the connection, and whether --ctstate is one of its options
    conntrack: list[Match]
    with_state = False
    # of the last -m addrtype: its matches, and the device whose addresses count
    addrtype: list[Match]
    limited_to = 0

    def module(self) -> None:
        """-m NAME: the module must be known; its options follow."""
        name = self.take("a match name")
        if name in refused.MODULES:
            raise self.fail(f"match {name!r} cannot be answered: {refused.MODULES[name]}{LENIENT}")
        if name not in KNOWN_MODULES:
            raise self.fail(f"unknown match {name!r}; expected one of {', '.join(sorted(KNOWN_MODULES))}{LENIENT}")
        self.modules.append(name)
        self.uses.match(name)
        if name == "set":
            self.match_of_set = None
        elif name == "recent":
            self.recent = None
        elif name == "hashlimit":
            self.hashlimit = None
        elif name == "conntrack":
            self.conntrack, self.with_state = [], False
        elif name == "addrtype":
            self.addrtype, self.limited_to = [], 0
        elif name in BARE:
            self.rule.matches.append(BARE[name](self.family.full))
            self.grouped = False
        elif name in PROTOCOLS and name != "tcpmss":
            # -m udp and its kind: the packet has a header of the protocol, or is dropped, with or without an option
            self.rule.matches.append(Match("l4-header"))

    def leave_header_match(self) -> None:
        """Leave out what the match right behind it asks for as well."""
        matches = self.rule.matches
        same = [*((b.kind in L4_MATCHES and b.kind != "multiport") for b in matches[1:]), False]
        self.rule.matches = [m for m, kept in zip(matches, same, strict=True) if m.kind != "l4-header" or not kept]

    def comment(self) -> None:
        """--comment TEXT."""
        self.take("a text")

    def sport(self) -> None:
        """--sport P[:Q]."""
        self._port_match("sport")

    def dport(self) -> None:
        """--dport P[:Q]."""
        self._port_match("dport")

    def _port_match(self, kind: str) -> None:
        low, high = self.port_range(self.take("a port"))
        # of UDP a range that ends before it begins is one without ports
        if low > high and self.rule.proto in (6, 132):
            raise self.fail(f"option {self.option!r}: invalid portrange (min > max)")
        self.add_match(kind, low, high)

    def _multiport(self, which: int) -> None:
        if self.rule.proto not in PORT_PROTOCOLS or self.rule.invert_proto:
            raise self.fail("multiport needs -p tcp, udp, udplite, sctp or dccp in front of it")
        slots: list[int] = []
        parts = self.take("ports").split(",", MULTIPORT_SLOTS)
        for part in parts[:MULTIPORT_SLOTS]:
            low, high = self.port_range(part)
            if low > high or (low == high and ":" in part):
                raise self.fail(f"option {self.option!r}: invalid portrange specified")
            slots += low, high
        taken = sum(1 if a == b else 2 for a, b in zip(slots[::2], slots[1::2], strict=True))
        if len(parts) > MULTIPORT_SLOTS or taken > MULTIPORT_SLOTS:
            raise self.fail(f"option {self.option!r}: more than {MULTIPORT_SLOTS} ports; a range counts as two")
        self.add_match("multiport", which, *slots)

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
                raise self.fail(f"option {self.option!r}: {name!r} is not one of {', '.join(TCP_FLAGS)}")
            value |= TCP_FLAGS[name]
        return value

    def tcp_flags(self) -> None:
        """--tcp-flags MASK COMP."""
        mask = self._flags(self.take("a mask"))
        self.add_match("tcp-flags", mask, self._flags(self.take("the flags set")))

    def syn(self) -> None:
        """--syn."""
        self.add_match("tcp-flags", 0x17, 0x02)

    def icmp_type(self) -> None:
        """--icmp-type, --icmpv6-type TYPE[/CODE] or a name."""
        text = self.take("a type")
        names = ICMPV6_TYPES if self.family is V6 else ICMP_TYPES
        if text in names:
            self.add_match("icmp-type", *names[text])
            return
        type_, _, code = text.partition("/")
        low, high = (self.number(code, 255),) * 2 if code else (0, 255)
        self.add_match("icmp-type", self.number(type_, 255), low, high)

    def mark_match(self) -> None:
        """--mark V[/M] of mark and connmark."""
        kind = "connmark" if self.modules and self.modules[-1] == "connmark" else "mark"
        self.add_match(kind, *self.mask_value(self.take("a mark")))

    def _address_type(self, kind: str) -> None:
        bits = 0
        for name in self.take("types").upper().split(","):
            if name not in ADDRESS_TYPES:
                raise self.fail(f"option {self.option!r}: {name!r} is not one of {', '.join(ADDRESS_TYPES)}")
            bits |= 1 << ADDRESS_TYPES.index(name)
        self.add_match(kind, bits, self.limited_to)
        self.addrtype.append(self.rule.matches[-1])

    def limit_iface(self) -> None:
        """--limit-iface-in, --limit-iface-out: of both addresses only those of that device count."""
        if "addrtype" not in self.modules:
            raise self.fail(f"{self.option} needs -m addrtype in front of it")
        self.limited_to = 1 if self.option.endswith("in") else 2
        for match in self.addrtype:
            match.values = (match.values[0], self.limited_to)
            match.hooks = WITH_DEVICE[self.option.removeprefix("--limit-iface-")]

    def src_type(self) -> None:
        """--src-type LIST."""
        self._address_type("addrtype-src")

    def dst_type(self) -> None:
        """--dst-type LIST."""
        self._address_type("addrtype-dst")

    def _address_range(self, kind: str) -> None:
        low, sep, high = self.take("a range").partition("-")
        self.add_match(kind, self.address(low), self.address(high) if sep else self.address(low))

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
                raise self.fail(f"option {self.option!r}: {name!r} is not one of {', '.join(CT_STATES)}")
            bits |= CT_STATES[name]
        self.add_match("ctstate", bits)
        if self.option == "--ctstate":
            self.with_state = True
            for match in self.conntrack:
                match.values = (1, *match.values[1:])

    def _of_connection(self, kind: str, *values: int) -> None:
        """Add a match that asks the connection, with a first value that says whether --ctstate stands beside it."""
        self.add_match(kind, int(self.with_state), *values)
        self.conntrack.append(self.rule.matches[-1])

    def ct_proto(self) -> None:
        """--ctproto PROTO."""
        self._of_connection("ctproto", self.protocol_number(self.take("a protocol")))

    def length(self) -> None:
        """--length A[:B]."""
        self.add_match("length", *self.port_range(self.take("a length")))

    def ttl(self) -> None:
        """--ttl-eq, --ttl-lt, --ttl-gt N; of IPv6 --hl-*."""
        n = self.number(self.take("a TTL"), 255)
        low, high = {"lt": (0, n - 1), "gt": (n + 1, 255)}.get(self.option[-2:], (n, n))
        if high < 0:
            self.add_match("const", 0)
        else:
            self.add_match("ttl", low, high)

    def dscp(self) -> None:
        """--dscp N, --dscp-class NAME."""
        value = self.dscp_value()
        self.add_match("tos", 0xFC, value << 2)

    def tos(self) -> None:
        """--tos VALUE[/MASK], or a name, which stands for the bits 0x3f."""
        value, mask = self.tos_value(self.take("a TOS"))
        self.add_match("tos", mask & 0xFF, value & 0xFF)

    def physdev(self) -> None:
        """--physdev-*: no packet here crosses a bridge, so only the inverted forms hold."""
        if self.option in ("--physdev-in", "--physdev-out"):
            self.take("an interface")
        self.add_match("const", 0)

    def packet_type(self) -> None:
        """--pkt-type: the destination address decides, as there is no link layer."""
        name = self.take("a packet type").lower()
        if name == "otherhost":
            # for another host's link-layer address: IP never sees it
            self.add_match("const", 0)
            return
        types = ("unicast", "broadcast", "multicast")
        if name not in types:
            raise self.fail(f"--pkt-type {name!r} is not one of {', '.join(types)}")
        self.add_match("pkt-type", types.index(name))

    def mac_source(self) -> None:
        """--mac-source: the address of the device that sent the frame."""
        number = mac_number(self.take("a link-layer address"))
        if number is None:
            raise self.fail("--mac-source: expected six pairs of hexadecimal digits, as 02:00:00:00:00:01")
        hooks = ("PREROUTING", "INPUT", "FORWARD")
        self.rule.matches.append(Match("mac", self.invert, (number >> 32, number & 0xFFFFFFFF), hooks=hooks))

    def accounting(self) -> None:
        """--nfacct-name counts, and always matches."""
        self.take("a name")
        self.add_match("const", 1)

    def announced_by(self, name: str) -> None:
        """--helper NAME: a connection watched by this helper has announced that of the packet."""
        if name and name not in HELPERS:
            # no connection has it, but the rule asks each
            self.add_match("helper", NO_HELPER)
        else:
            self.add_match("helper", HELPERS[name][0] if name else 0)

    def cpu(self) -> None:
        """--cpu N: the engine is one CPU, number 0."""
        self.add_match("const", int(self.number(self.take("a CPU")) == 0))

    def ipvs(self) -> None:
        """--ipvs: no packet here belongs to an IPVS connection."""
        self.add_match("const", 0)

    def ipvs_option(self) -> None:
        """--vproto, --vaddr, --vport, --vdir, --vmethod, --vportctl of ipvs."""
        self.take("a value")
        self.ipvs()

    def reverse_path(self) -> None:
        """--loose, --validmark, --accept-local, --invert of rpfilter."""
        last = self.rule.matches[-1] if self.rule.matches else Match("")
        if last.kind != "rpfilter":
            raise self.fail(f"{self.option} needs -m rpfilter in front of it")
        bit = {"--loose": 1, "--accept-local": 2, "--validmark": 4, "--invert": 0}[self.option]
        last.values = (last.values[0] | bit,)
        last.invert = last.invert or self.option == "--invert"

    def socket_flag(self) -> None:
        """--transparent and --nowildcard of socket."""
        if self.modules[-1:] != ["socket"]:
            raise self.fail(f"{self.option} needs -m socket in front of it")
        if self.option == "--restore-skmark":
            raise self.fail(f"{self.option}: {refused.OPTIONS['-m socket --restore-skmark']}{LENIENT}")

    def policy_dir(self) -> None:
        """--dir of policy."""
        direction = self.take("in or out")
        if direction not in WITH_DEVICE:
            raise self.fail(f"--dir {excerpt(direction)!r} is not in or out")
        self._policy().hooks = WITH_DEVICE[direction]

    def _policy(self) -> Match:
        return next((m for m in reversed(self.rule.matches) if m.name == "policy"), Match("const"))

    def policy(self) -> None:
        """--pol ipsec|none: no packet here has an IPsec policy."""
        text = self.take("ipsec or none")
        if text not in ("ipsec", "none"):
            raise self.fail(f"--pol {excerpt(text)!r} is not ipsec or none")
        self._policy().values = (int(text == "none"),)

    def policy_option(self) -> None:
        """--reqid, --spi, --proto, --mode, --tunnel-src, --tunnel-dst of policy."""
        self.take("a value")

    def policy_flag(self) -> None:
        """--strict, --next of policy."""

    def fragment(self) -> None:
        """-f, of IPv4: a fragment that is not the first; where conntrack is at work no rule sees one."""
        if self.family.version == 6:
            raise self.fail("unknown option '-f': ip6tables has none")
        self.rule.fragment, self.rule.invert_fragment = True, self.invert

    def ct_address(self) -> None:
        """--ctorigsrc, --ctorigdst, --ctreplsrc, --ctrepldst A[/M]."""
        which = ("--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst").index(self.option)
        self._of_connection("ctaddr", *self.prefix(self.take("an address")), which)

    def ct_port(self) -> None:
        """--ctorigsrcport, --ctorigdstport and their reply forms."""
        which = ("--ctorigsrcport", "--ctorigdstport", "--ctreplsrcport", "--ctrepldstport").index(self.option)
        self._of_connection("ctport", *self.port_range(self.take("a port")), which)

    def ct_status(self) -> None:
        """--ctstatus LIST; NONE is no bit, and never matches."""
        bits = 0
        for name in self.take("states").upper().split(","):
            if name not in CT_STATUS:
                raise self.fail(f"option {self.option!r}: {name!r} is not one of {', '.join(CT_STATUS)}")
            bits |= CT_STATUS[name]
        self._of_connection("ctstatus", bits)

    def ct_expire(self) -> None:
        """--ctexpire T[:U]: whole seconds left."""
        low, sep, high = self.take("seconds").partition(":")
        first = self.number(low) if low else 0
        last = first if not sep else self.number(high) if high else 2**32 - 1
        self._of_connection("ctexpire", first, last)

    def tcp_option(self) -> None:
        """--tcp-option N: the segment has this option; a packet header without bytes has none."""
        kind = self.number(self.take("an option"), 255)
        if not kind:
            raise self.fail("--tcp-option 0: expected 1..255")
        self.add_match("tcp-option", kind)

    def chunk_types(self) -> None:
        """--chunk-types of sctp."""
        raise self.fail(f"--chunk-types: {refused.OPTIONS['-m sctp --chunk-types']}{LENIENT}")

    def ct_dir(self) -> None:
        """--ctdir ORIGINAL|REPLY."""
        text = self.take("a direction").upper()
        if text not in ("ORIGINAL", "REPLY"):
            raise self.fail(f"--ctdir {text!r} is not ORIGINAL or REPLY")
        self._of_connection("ctdir", int(text == "REPLY"))


# what a module says before its first option; it is told all bits of an address
BARE: dict[str, Callable[[int], Match]] = {
    "rpfilter": lambda full: Match("rpfilter", values=(0,), hooks=("PREROUTING",)),
    "socket": lambda full: Match("socket", values=(1,), hooks=("PREROUTING", "INPUT")),
    "time": lambda full: TimeMatch("time"), "connlimit": lambda full: Match("connlimit", values=(0, 0, full)),
    "connbytes": lambda full: Match("connbytes", values=(0, 2**64 - 1, 0, 0)),
    "policy": lambda full: Match("const", values=(0,), name="policy"),
    "rt": lambda full: Match("routing", values=(RoutingPart.SEGMENTS_LEFT, 0, 2**32 - 1)),
}  # fmt: skip
KNOWN_MODULES = {
    "tcp", "udp", "udplite", "sctp", "icmp", "icmp6", "icmpv6", "multiport", "comment", "mark", "connmark", "addrtype",
    "iprange", "conntrack", "state", "statistic", "length", "set", "recent", "limit", "hashlimit", "ttl", "hl", "dscp",
    "tos", "physdev", "policy", "pkttype", "nfacct", "helper", "cpu", "ipvs", "rpfilter", "owner", "time", "ecn",
    "tcpmss", "rt", "connlimit", "quota", "connbytes", "socket", "mac",
}  # fmt: skip
