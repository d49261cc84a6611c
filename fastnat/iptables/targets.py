"""The targets of a rule and their options, one method an option.

Sources: iptables-extensions(8), iptables-save(8) of iptables 1.8.9; netfilter flags of nf_nat.h.
"""

from __future__ import annotations

import re

from ..addresses import V6
from ..dtypes import HELPERS
from ..util.text import excerpt
from . import refused
from .model import BUILT_IN, MAP_IPS, PERSISTENT, PROTO_OFFSET, PROTO_RANDOM, PROTO_SPECIFIED, RANDOM_FULLY, Target
from .rule_words import LENIENT, SERVICES, RuleWords

TARGETS = {
    "ACCEPT", "DROP", "RETURN", "MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP", "MARK", "CONNMARK", "CT", "NOTRACK",
    "REJECT", "LOG", "NFLOG", "ULOG", "TRACE", "AUDIT", "TCPMSS", "CLASSIFY", "CHECKSUM", "SECMARK", "CONNSECMARK",
    "IDLETIMER", "TOS", "DSCP", "TTL", "HL", "TPROXY", "NFQUEUE", "TEE",
}  # fmt: skip
# targets that do not end the walk, and change neither tuple nor mark
PASSING = ("NFLOG", "ULOG", "TRACE", "AUDIT", "CLASSIFY", "CHECKSUM", "SECMARK", "CONNSECMARK", "IDLETIMER", "TEE")
# what their options may be at most
PASSING_NUMBERS = {
    "--nflog-group": 65_535, "--nflog-range": 2**32 - 1, "--nflog-size": 2**32 - 1, "--nflog-threshold": 65_535,
    "--ulog-nlgroup": 32,
}  # fmt: skip
AUDITED = ("accept", "drop", "reject")
TARGET_CHAINS = {
    "MASQUERADE": ("POSTROUTING",), "SNAT": ("POSTROUTING", "INPUT"), "DNAT": ("PREROUTING", "OUTPUT"),
    "REDIRECT": ("PREROUTING", "OUTPUT"), "NETMAP": BUILT_IN["nat"],
}  # fmt: skip
# the tables in which the kernel accepts a target
TARGET_TABLES = {
    "REJECT": ("filter",), "CT": ("raw",), "NOTRACK": ("raw",), "CHECKSUM": ("mangle",), "TTL": ("mangle",),
    "HL": ("mangle",), "TOS": ("mangle",), "DSCP": ("mangle",), "TRACE": ("raw",), "TPROXY": ("mangle",),
}  # fmt: skip

REJECTS = (
    "icmp-net-unreachable", "net-unreach", "icmp-host-unreachable", "host-unreach", "icmp-proto-unreachable",
    "proto-unreach", "icmp-port-unreachable", "port-unreach", "icmp-net-prohibited", "net-prohib",
    "icmp-host-prohibited", "host-prohib", "tcp-reset", "tcp-rst", "icmp-admin-prohibited", "admin-prohib",
)  # fmt: skip
REJECTS6 = (
    "icmp6-no-route", "no-route", "icmp6-adm-prohibited", "adm-prohibited", "icmp6-addr-unreachable", "addr-unreach",
    "icmp6-port-unreachable", "port-unreach", "tcp-reset", "icmp6-policy-fail", "policy-fail", "icmp6-reject-route",
    "reject-route",
)  # fmt: skip
LOG_LEVELS = ("alert", "crit", "debug", "emerg", "error", "info", "notice", "panic", "warning")
# leading zeros are read as decimal
PORT = re.compile(r"[0-9]{1,18}")


class TargetOptions(RuleWords):
    """The options of -j and -g."""

    # REJECT answers with a TCP reset
    resets = False

    def jump(self) -> None:
        """-j TARGET or CHAIN."""
        self.rule.target.name = self.take("a target")
        t = self.rule.target
        if t.name in refused.TARGETS:
            raise self.fail(f"target {t.name} is not supported: {refused.TARGETS[t.name]}{LENIENT}")
        if t.name == "REDIRECT" or t.name == "MASQUERADE":
            t.min_addr = t.max_addr = 0

    def goto(self) -> None:
        """-g CHAIN."""
        self.rule.target.name = self.take("a chain")
        self.rule.target.goto = True

    def _of(self, *targets: str) -> Target:
        if self.rule.target.name not in targets:
            raise self.fail(f"option {self.option!r} belongs to {' or '.join(targets)}, not to "
                            f"{self.rule.target.name or 'a rule without target'}")  # fmt: skip
        return self.rule.target

    def _nat_range(self, text: str) -> None:
        t = self.rule.target
        if self.family is V6:
            # [address]-[address]:port, or addresses alone
            bracketed = re.fullmatch(r"\[([^]]*)\](?:-\[([^]]*)\])?(?::(.*))?|:(?!:)(.*)", text)
            if bracketed:
                first, last, after, alone = bracketed.groups()
                addresses = f"{first}-{last}" if last else first or ""
                ports = after if after is not None else alone or ""
                colon = ":" if ports else ""
            else:
                addresses, colon, ports = text, "", ""
        else:
            addresses, colon, ports = text.partition(":")
        if addresses:
            low, dash, high = addresses.partition("-")
            t.min_addr = self.address(low)
            t.max_addr = self.address(high) if dash else t.min_addr
            t.flags |= MAP_IPS
        if not colon and not addresses:
            raise self.fail(f"option {self.option!r}: empty range")
        if colon:
            self._nat_ports(ports)

    def _nat_ports(self, text: str) -> None:
        t = self.rule.target
        if text in SERVICES:
            # only a service alone: in a range numbers are expected
            t.min_proto = t.max_proto = SERVICES[text]
            t.flags |= PROTO_SPECIFIED
            return
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
        if not PORT.fullmatch(text) or int(text) > 65535:
            raise self.fail(f"Port {excerpt(text)!r} not valid: a number in 0..65535")
        return int(text)

    def to_source(self) -> None:
        """--to-source [A[-B]][:P[-Q]]."""
        if self._of("SNAT").flags & (MAP_IPS | PROTO_SPECIFIED):
            raise self.fail("SNAT: Multiple --to-source not supported (kernels before 2.6.11 had it)")
        self._nat_range(self.take("a range"))

    def to_destination(self) -> None:
        """--to-destination [A[-B]][:P[-Q[/BASE]]]."""
        if self._of("DNAT").flags & (MAP_IPS | PROTO_SPECIFIED):
            raise self.fail("DNAT: Multiple --to-destination not supported (kernels before 2.6.11 had it)")
        self._nat_range(self.take("a range"))

    def to_ports(self) -> None:
        """--to-ports P[-Q]."""
        self._of("MASQUERADE", "REDIRECT")
        self._nat_ports(self.take("ports"))

    def to(self) -> None:
        """--to NETWORK of NETMAP."""
        t = self._of("NETMAP")
        network, mask = self.prefix(self.take("a network"))
        t.min_addr, t.max_addr = network, network | ~mask & self.family.full
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
        t = self._of("CT", "NOTRACK")
        text = self.take("a zone")
        if t.name == "NOTRACK":
            # what is not tracked is in no zone
            return
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

    def give_helper(self, name: str) -> None:
        """--helper NAME of CT."""
        if name not in HELPERS:
            raise self.fail(f"CT --helper {name}: expected one of {', '.join(HELPERS)}{LENIENT}")
        if name == "pptp" and self.family is V6:
            raise self.fail("CT --helper pptp: No such helper for IPv6")
        self.rule.target.mask2 = HELPERS[name][0]

    def check_helper(self) -> None:
        """A helper watches one protocol, which the rule must name (xt_ct_set_helper)."""
        r = self.rule
        for name, (number, proto) in HELPERS.items():
            if number != r.target.mask2:
                continue
            if r.invert_proto or r.proto == 0:
                raise self.fail("CT --helper: You must specify a L4 protocol and not use inversions on it")
            if r.proto != proto:
                wants = "tcp" if proto == 6 else "udp"
                raise self.fail(f"CT --helper {name}: No such helper for this protocol; it watches -p {wants}")

    def ct_option(self) -> None:
        """--ctevents, --expevents of CT change no decision."""
        self._of("CT")
        self.take("a list")

    def notrack(self) -> None:
        """--notrack of CT."""
        t = self._of("CT")
        t.name, t.op, t.value, t.mask = "NOTRACK", 0, 0, 0

    def set_tos(self) -> None:
        """--set-tos V[/M], --and-tos, --or-tos, --xor-tos B of TOS: the octet becomes (octet & ~mask) ^ value."""
        t = self._of("TOS")
        value, mask = self.tos_value(self.take("a TOS"))
        t.value, t.mask = {
            "--set-tos": (value, mask & 0xFF), "--and-tos": (0, ~value & 0xFF), "--or-tos": (value, value),
            "--xor-tos": (value, 0),
        }[self.option]  # fmt: skip

    def set_dscp(self) -> None:
        """--set-dscp N, --set-dscp-class NAME."""
        t = self._of("DSCP")
        value = self.dscp_value()
        t.value, t.mask = value << 2, 0xFC

    def set_ttl(self) -> None:
        """--ttl-set, --ttl-inc, --ttl-dec N; of IPv6 --hl-*."""
        t = self._of("TTL", "HL")
        t.value, t.op = self.number(self.take("a TTL"), 255), ("set", "inc", "dec").index(self.option[-3:])
        if t.op and not t.value:
            raise self.fail(f"option {self.option!r}: 0 changes nothing; 1..255")

    def set_mss(self) -> None:
        """--set-mss N."""
        t = self._of("TCPMSS")
        t.value, t.op = self.number(self.take("a segment size"), 65535), 0

    def clamp_mss(self) -> None:
        """--clamp-mss-to-pmtu: where the packet has a route."""
        t = self._of("TCPMSS")
        if self.rule.chain in ("PREROUTING", "INPUT"):
            raise self.fail("path-MTU clamping only supported in FORWARD, OUTPUT and POSTROUTING hooks")
        t.value, t.op = 0, 1

    def reject_with(self) -> None:
        """--reject-with TYPE."""
        self._of("REJECT")
        text = self.take("a type").lower()
        types = REJECTS6 if self.family is V6 else REJECTS
        # any beginning of a name will do
        found = next((name for name in types if name.startswith(text)), None)
        if found is None:
            raise self.fail(f"unknown reject type {excerpt(text)!r}; known are {', '.join(types)}")
        self.resets = found.startswith("tcp-r")

    def log_option(self) -> None:
        """--log-prefix, --log-level and the other options of LOG."""
        self._of("LOG")
        if self.option == "--log-level":
            level = self.take("a level")
            if level not in LOG_LEVELS and not (level.isdecimal() and len(level) < 9 and int(level) <= 7):
                raise self.fail(f"log level {excerpt(level)!r} unknown: 0..7, or {', '.join(LOG_LEVELS)}")
        elif self.option not in ("--log-tcp-sequence", "--log-tcp-options", "--log-ip-options", "--log-uid"):
            self.take("a value")

    def proxy_option(self) -> None:
        """--on-port P and --on-ip A of TPROXY: where the proxy listens."""
        self._of("TPROXY")
        if self.option == "--on-port":
            self._nat_port(self.take("a port"))
        else:
            self.network(self.take("an address"))

    def proxy_mark(self) -> None:
        """--tproxy-mark V[/M]."""
        t = self._of("TPROXY")
        t.value, t.mask = self.mask_value(self.take("a mark"))

    def queue_option(self) -> None:
        """--queue-num, --queue-balance and the flags of NFQUEUE."""
        self._of("NFQUEUE")
        if self.option in ("--queue-num", "--queue-balance"):
            for number in self.take("numbers of queues").split(":"):
                self.number(number, 65_535)

    def passing_option(self) -> None:
        """Take an option of a target that changes no decision: NFLOG, CLASSIFY, SECMARK, AUDIT."""
        if self.rule.target.name == "CT" and self.option == "--timeout":
            raise self.fail(f"CT --timeout: {refused.OPTIONS['-j CT --timeout']}{LENIENT}")
        self._of(*PASSING)
        text = self.take("a value")
        if self.option in PASSING_NUMBERS:
            self.number(text, PASSING_NUMBERS[self.option])
        if self.option == "--type" and text not in AUDITED:
            raise self.fail(f"AUDIT --type {excerpt(text)!r} is not one of {', '.join(AUDITED)}")

    def passing_flag(self) -> None:
        """Take a flag of a target that changes no decision: CHECKSUM, CONNSECMARK."""
        self._of(*PASSING)
