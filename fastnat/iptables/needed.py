"""Which options a match or target needs, which exclude each other, which stand once: as iptables 1.8.9 checks them.

Source: the option tables and final checks of its extensions, each met by `iptables-restore` itself in the tests.
"""

from __future__ import annotations

# other names of an option
SAME = {
    "--source": "-s", "--src": "-s", "--destination": "-d", "--dst": "-d", "--in-interface": "-i",
    "--out-interface": "-o", "--protocol": "-p", "--jump": "-j", "-g": "-j", "--goto": "-j",
    "--source-port": "--sport", "--destination-port": "--dport", "--source-ports": "--sports",
    "--destination-ports": "--dports", "--syn": "--tcp-flags", "--ttl": "--ttl-eq", "--hashlimit": "--hashlimit-upto",
}  # fmt: skip
# options that may stand more than once, or that say themselves why they may not
REPEATED = {
    "--to-source", "--to-destination", "-m", "--match", "-A", "--append", "-I", "--insert", "-D", "--delete", "!",
    "--next", "--strict",
}  # fmt: skip
# options of matches that a `!` turns round; of targets none
INVERTED = {
    "-s", "-d", "-i", "-o", "-p", "-f", "--fragment", "--sport", "--dport", "--tcp-flags", "--tcp-option",
    "--chunk-types", "--sports", "--dports", "--ports", "--icmp-type", "--icmpv6-type", "--mark", "--src-type",
    "--dst-type", "--src-range", "--dst-range", "--state", "--ctstate", "--ctproto", "--ctorigsrc", "--ctorigdst",
    "--ctreplsrc", "--ctrepldst", "--ctorigsrcport", "--ctorigdstport", "--ctreplsrcport", "--ctrepldstport",
    "--ctstatus", "--ctexpire", "--probability", "--every", "--length", "--match-set", "--set", "--rcheck",
    "--update", "--remove", "--hashlimit-upto", "--hashlimit-above", "--ttl-eq", "--hl-eq", "--dscp", "--dscp-class",
    "--tos", "--physdev-in", "--physdev-out", "--physdev-is-in", "--physdev-is-out", "--physdev-is-bridged",
    "--pkt-type", "--helper", "--cpu", "--ipvs", "--vproto", "--vaddr", "--vport", "--vdir", "--vmethod", "--vportctl",
    "--reqid", "--spi", "--proto", "--tunnel-src", "--tunnel-dst", "--update-counters", "--update-subcounters",
    "--listed-as", "--packets-eq", "--bytes-eq", "--uid-owner", "--gid-owner", "--socket-exists", "--weekdays",
    "--monthdays", "--ecn-tcp-cwr",
    "--ecn-tcp-ece", "--ecn-ip-ect", "--mss", "--quota", "--connbytes", "--connlimit-above", "--connlimit-upto",
    "--rt-type", "--rt-segsleft", "--rt-len", "--mac-source",
}  # fmt: skip
CONNTRACK = (
    "--ctstate", "--ctproto", "--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst", "--ctorigsrcport",
    "--ctorigdstport", "--ctreplsrcport", "--ctrepldstport", "--ctstatus", "--ctexpire", "--ctdir",
)  # fmt: skip
SET_COUNTERS = tuple(f"--{what}-{how}" for what in ("packets", "bytes") for how in ("eq", "lt", "gt"))
POLICY = ("--dir", "--pol", "--reqid", "--spi", "--proto", "--mode", "--tunnel-src", "--tunnel-dst")
HASHLIMIT = (
    "--hashlimit-upto", "--hashlimit-above", "--hashlimit-name", "--hashlimit-mode", "--hashlimit-burst",
    "--hashlimit-srcmask", "--hashlimit-dstmask", "--hashlimit-htable-size", "--hashlimit-htable-max",
    "--hashlimit-htable-expire", "--hashlimit-htable-gcinterval", "--hashlimit-rate-match", "--hashlimit-rate-interval",
)  # fmt: skip
RECENT = ("--set", "--rcheck", "--update", "--remove")
TTL, HL = ("--ttl-eq", "--ttl-lt", "--ttl-gt"), ("--hl-eq", "--hl-lt", "--hl-gt")
PHYSDEV = ("--physdev-in", "--physdev-out", "--physdev-is-in", "--physdev-is-out", "--physdev-is-bridged")
OWNER, ECN = ("--uid-owner", "--gid-owner", "--socket-exists"), ("--ecn-tcp-cwr", "--ecn-tcp-ece", "--ecn-ip-ect")
CONNLIMIT, SIDES = ("--connlimit-above", "--connlimit-upto"), ("--connlimit-saddr", "--connlimit-daddr")
ZONES = ("--kerneltz", "--utc", "--localtz")
TIME = ("--timestart", "--timestop", "--datestart", "--datestop", "--weekdays", "--monthdays", "--contiguous", *ZONES)
# the options of a match of which one use does not exclude another use by a second match of that name
OF_MATCH: dict[str, tuple[str, ...]] = {
    "tcp": ("--sport", "--dport", "--tcp-flags", "--tcp-option"), "udp": ("--sport", "--dport"),
    "udplite": ("--sport", "--dport"), "sctp": ("--sport", "--dport", "--chunk-types"), "icmp": ("--icmp-type",),
    "icmp6": ("--icmpv6-type",), "icmpv6": ("--icmpv6-type",), "multiport": ("--sports", "--dports", "--ports"),
    "comment": ("--comment",), "mark": ("--mark",), "connmark": ("--mark",), "conntrack": CONNTRACK,
    "addrtype": ("--src-type", "--dst-type", "--limit-iface-in", "--limit-iface-out"),
    "iprange": ("--src-range", "--dst-range"), "state": ("--state",),
    "statistic": ("--mode", "--probability", "--every", "--packet"), "length": ("--length",),
    "set": ("--match-set", "--return-nomatch", "--update-counters", "--update-subcounters", *SET_COUNTERS),
    "recent": (*RECENT, "--name", "--seconds", "--hitcount", "--rsource", "--rdest", "--reap", "--rttl", "--mask"),
    "limit": ("--limit", "--limit-burst"), "hashlimit": HASHLIMIT, "ttl": TTL, "hl": HL,
    "dscp": ("--dscp", "--dscp-class"), "tos": ("--tos",), "physdev": PHYSDEV, "policy": POLICY,
    "pkttype": ("--pkt-type",), "nfacct": ("--nfacct-name",), "helper": ("--helper",), "cpu": ("--cpu",),
    "mac": ("--mac-source",),
    "rpfilter": ("--loose", "--validmark", "--accept-local", "--invert"), "owner": (*OWNER, "--suppl-groups"),
    "time": TIME, "ecn": ECN, "tcpmss": ("--mss",), "quota": ("--quota",),
    "connbytes": ("--connbytes", "--connbytes-dir", "--connbytes-mode"),
    "connlimit": (*CONNLIMIT, *SIDES, "--connlimit-mask"),
    "socket": ("--transparent", "--nowildcard", "--restore-skmark"),
    "rt": ("--rt-type", "--rt-segsleft", "--rt-len", "--rt-0-res", "--rt-0-addrs", "--rt-0-not-strict"),
}  # fmt: skip
# matches, and of their options groups of which each must have one that is used
MATCHES: dict[str, list[tuple[str, ...]]] = {
    "icmp": [("--icmp-type",)], "icmp6": [("--icmpv6-type",)], "icmpv6": [("--icmpv6-type",)],
    "multiport": [("--sports", "--dports", "--ports")], "comment": [("--comment",)], "mark": [("--mark",)],
    "connmark": [("--mark",)], "conntrack": [CONNTRACK], "addrtype": [("--src-type", "--dst-type")],
    "iprange": [("--src-range", "--dst-range")], "state": [("--state",)], "statistic": [("--mode",)],
    "length": [("--length",)], "set": [("--match-set",)], "recent": [RECENT],
    "hashlimit": [("--hashlimit-upto", "--hashlimit-above"), ("--hashlimit-name",)], "ttl": [TTL], "hl": [HL],
    "dscp": [("--dscp", "--dscp-class")], "tos": [("--tos",)], "physdev": [PHYSDEV], "policy": [("--dir",)],
    "connbytes": [("--connbytes",), ("--connbytes-dir",), ("--connbytes-mode",)],
    "owner": [OWNER], "ecn": [ECN], "tcpmss": [("--mss",)], "quota": [("--quota",)], "connlimit": [CONNLIMIT],
    "pkttype": [("--pkt-type",)], "nfacct": [("--nfacct-name",)], "helper": [("--helper",)], "cpu": [("--cpu",)],
    "mac": [("--mac-source",)],
}  # fmt: skip
# matches that -p brings with it, and options that other things have, too: -p itself, targets
WITH_PROTOCOL = ("tcp", "udp", "udplite", "sctp", "icmp", "icmp6", "icmpv6")
OF_OTHERS = {"--proto", "--mask", "--helper"}
# the matches that have an option, one of which has to be named in front of it
HAVE: dict[str, tuple[str, ...]] = {
    option: tuple(name for name, known in OF_MATCH.items() if option in known)
    for name, options in OF_MATCH.items() for option in options
    if name not in WITH_PROTOCOL and option not in OF_OTHERS
}  # fmt: skip
SETS_MARK = ("--set-mark", "--set-xmark", "--and-mark", "--or-mark", "--xor-mark")
SETS_TTL, SETS_HL = ("--ttl-set", "--ttl-inc", "--ttl-dec"), ("--hl-set", "--hl-inc", "--hl-dec")
TARGETS: dict[str, tuple[str, ...]] = {
    "TOS": ("--set-tos", "--and-tos", "--or-tos", "--xor-tos"), "DSCP": ("--set-dscp", "--set-dscp-class"),
    "TTL": SETS_TTL, "HL": SETS_HL, "MARK": SETS_MARK, "CONNMARK": (*SETS_MARK, "--save-mark", "--restore-mark"),
    "TCPMSS": ("--set-mss", "--clamp-mss-to-pmtu"), "CLASSIFY": ("--set-class",), "CHECKSUM": ("--checksum-fill",),
    "SECMARK": ("--selctx",), "AUDIT": ("--type",), "TPROXY": ("--on-port",), "TEE": ("--gateway",),
}  # fmt: skip
# matches that the kernel binds to a protocol
PROTOCOLS = {"tcp": 6, "tcpmss": 6, "udp": 17, "udplite": 136, "sctp": 132, "icmp": 1, "icmp6": 58, "icmpv6": 58}
# of each group one option only
EXCLUSIVE: tuple[tuple[str, ...], ...] = (
    ("--sports", "--dports", "--ports"), RECENT, TTL, HL, ("--dscp", "--dscp-class"), *TARGETS.values(),
    SET_COUNTERS[:3], SET_COUNTERS[3:], ("--limit-iface-in", "--limit-iface-out"), ("--hashlimit-upto",
    "--hashlimit-above"), ("--rsource", "--rdest"),
    CONNLIMIT, SIDES, ZONES,
)  # fmt: skip
GROUPS: dict[str, tuple[str, ...]] = {option: group for group in EXCLUSIVE for option in group}


class Uses:
    """The options that a rule has used so far."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        # each -m, and where its options begin in `order`
        self.matches: list[tuple[str, int]] = []
        self.order: list[str] = []

    def match(self, name: str) -> None:
        """Note -m NAME: its options may be used anew."""
        self.used.difference_update(OF_MATCH.get(name, ()))
        self.matches.append((name, len(self.order)))

    def option(self, option: str, inverted: bool) -> str:
        """Note an option; return what is wrong with using it here, "" for nothing."""
        if option in SAME:
            option = SAME[option]
        if option in HAVE and not any(name in HAVE[option] for name, _ in self.matches):
            return f'unknown option "{option}": write -m {" or -m ".join(HAVE[option])} in front of it'
        if inverted and option not in INVERTED:
            return f'option "{option}" cannot be inverted'
        if option in self.used:
            return "multiple -j flags not allowed" if option == "-j" else f'option "{option}" can only be used once'
        if option in GROUPS:
            group = GROUPS[option]
            # rsource is what recent takes anyway, and may be said with rdest before it
            other = next((o for o in group if o in self.used), None)
            if other and group != ("--rsource", "--rdest"):
                return f'option "{option}" cannot be used together with "{other}"'
        if option not in REPEATED:
            self.used.add(option)
            self.order.append(option)
        return ""

    def missing(self, target: str) -> str:
        """Return what a rule lacks at its end, "" where it has all it needs."""
        for n, (name, begin) in enumerate(self.matches, 1):
            if name in MATCHES:
                end = next((at for other, at in self.matches[n:] if other == name), None)
                for group in MATCHES[name]:
                    if not any(option in group for option in self.order[begin:end]):
                        return f"{name}: {' or '.join(group)} must be specified"
        if target in TARGETS and self.used.isdisjoint(TARGETS[target]):
            return f"{target}: {' or '.join(TARGETS[target])} must be specified"
        if "--reap" in self.used and "--seconds" not in self.used:
            return 'recent: option "--reap" also requires "--seconds"'
        if "--set" in self.used and not self.used.isdisjoint(("--seconds", "--hitcount", "--reap")):
            return "recent: --seconds, --hitcount and --reap do not go with --set"
        return ""
