"""The match options of a rule, one method an option.

Sources: iptables-extensions(8), iptables-save(8) of iptables 1.8.9; netfilter flags of nf_nat.h.
"""

from __future__ import annotations

from ..dtypes import PROTOCOLS
from .model import Match
from .words import RuleWords

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


class MatchOptions(RuleWords):
    """What -m modules understand."""

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
        self.add_match("sport", *self.port_range(self.take("a port")))

    def dport(self) -> None:
        """--dport P[:Q]."""
        self.add_match("dport", *self.port_range(self.take("a port")))

    def _multiport(self, which: int) -> None:
        slots: list[int] = []
        for part in self.take("ports").split(","):
            slots += self.port_range(part)
        if sum(1 if a == b else 2 for a, b in zip(slots[::2], slots[1::2], strict=True)) > 15:
            raise self.fail(f"option {self.option.text!r}: more than 15 ports; a range counts as two")
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
                raise self.fail(f"option {self.option.text!r}: {name!r} is not one of {', '.join(TCP_FLAGS)}")
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
        """--icmp-type TYPE[/CODE] or a name."""
        text = self.take("a type")
        if text in ICMP_TYPES:
            self.add_match("icmp-type", *ICMP_TYPES[text])
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
                raise self.fail(f"option {self.option.text!r}: {name!r} is not one of {', '.join(ADDRESS_TYPES)}")
            bits |= 1 << ADDRESS_TYPES.index(name)
        self.add_match(kind, bits)

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
                raise self.fail(f"option {self.option.text!r}: {name!r} is not one of {', '.join(CT_STATES)}")
            bits |= CT_STATES[name]
        self.add_match("ctstate", bits)

    def ct_proto(self) -> None:
        """--ctproto PROTO."""
        text = self.take("a protocol").lower()
        self.add_match("ctproto", PROTOCOLS[text] if text in PROTOCOLS else self.number(text, 255))

    def length(self) -> None:
        """--length A[:B]."""
        self.add_match("length", *self.port_range(self.take("a length")))

    def statistic_mode(self) -> None:
        """--mode random|nth."""
        mode = self.take("random or nth")
        if mode not in ("random", "nth"):
            raise self.fail(f"--mode {mode!r} is not random or nth")
        self.add_match(mode, *((0,) if mode == "random" else (0, 0)))

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


KNOWN_MODULES = {
    "tcp", "udp", "udplite", "sctp", "icmp", "multiport", "comment", "mark", "connmark", "addrtype", "iprange",
    "conntrack", "state", "statistic", "length",
}  # fmt: skip
