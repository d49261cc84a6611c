"""One rule line to a Rule: the table of options, and the conditions on a whole rule.

Sources: iptables-extensions(8), iptables-save(8) of iptables 1.8.9; netfilter flags of nf_nat.h.
"""

from __future__ import annotations

from collections.abc import Callable

from ..dtypes import PROTOCOL_NAMES
from ..util.text import excerpt
from . import refused
from .matches import KNOWN_MODULES, MatchOptions
from .model import BUILT_IN, MAP_IPS, PROTO_SPECIFIED, Rule
from .needed import PROTOCOLS
from .rule_words import LENIENT
from .targets import TARGET_CHAINS, TARGET_TABLES, TARGETS, TargetOptions

SHORT = {
    ("--to", "SNAT"): "--to-source", ("--to", "DNAT"): "--to-destination", ("--to", "REDIRECT"): "--to-ports",
    ("--to", "MASQUERADE"): "--to-ports", ("--to-port", "REDIRECT"): "--to-ports",
    ("--to-port", "MASQUERADE"): "--to-ports", ("--to-dest", "DNAT"): "--to-destination",
}  # fmt: skip
# options that another module has under the same name
OF_MODULE = {
    ("--mode", "policy"): "--reqid", ("--proto", "policy"): "--reqid", ("--set", "set"): "--match-set",
}  # fmt: skip
# options that stand for another one beside some module or target
SHARED = {option for option, _ in (*SHORT, *OF_MODULE)}
PORT_PROTOCOLS = (6, 17, 33, 132, 136)


class RuleParser(MatchOptions, TargetOptions):
    """The options that every rule may have, and the parser."""

    # of -I and -D: the rule's number, 0 none given
    position = 0

    def parse(self) -> Rule:
        """Return the rule; RuleError for anything that is not understood."""
        while self.at < len(self.tokens):
            option = self.option = self.tokens[self.at]
            self.option_at = self.at
            self.at += 1
            if option == "!":
                if self.invert:
                    raise self.fail("multiple consecutive ! not allowed")
                self.invert = True
                continue
            whole = self._whole(option) if option in SHARED or option not in OPTIONS else option
            method = OPTIONS.get(whole)
            if method is None:
                raise self.fail(f"unknown option {excerpt(option)!r}{self._hint()}")
            wrong = self.uses.option(option if whole == "--reqid" else whole, self.invert)
            if wrong:
                raise self.fail(wrong)
            method(self)
            self.invert = False
        self._finish()
        return self.rule

    def _whole(self, option: str) -> str:
        """Return the option that a shortened or shared one stands for, as getopt reads "--to" after -j SNAT."""
        if self.modules and not self.rule.target.name and (option, self.modules[-1]) in OF_MODULE:
            return OF_MODULE[option, self.modules[-1]]
        if option in OPTIONS and (option, self.rule.target.name) not in SHORT:
            return option
        return SHORT.get((option, self.rule.target.name), option)

    def _hint(self) -> str:
        for name in (self.rule.target.name, *reversed(self.modules)):
            if name and name not in KNOWN_MODULES and name not in TARGETS:
                return f" (of {name!r})"
        return ""

    def helper(self) -> None:
        """--helper NAME, of the match or of CT."""
        name = self.take("a helper")
        if self.rule.target.name == "CT":
            self.give_helper(name)
        else:
            self.announced_by(name)

    def _finish(self) -> None:
        r = self.rule
        t = r.target
        missing = self.uses.missing(t.name)
        if missing:
            raise self.fail(missing)
        if self.uses.matches or t.name in ("TCPMSS", "TPROXY", "NFQUEUE"):
            self._check_kernel_side()
        if t.name == "REJECT" and self.resets and (r.proto != 6 or r.invert_proto):
            raise self.fail("REJECT --reject-with tcp-reset needs -p tcp")
        if t.name == "CT" and t.mask2:
            self.check_helper()
        # ICMP counts as a protocol with ports, ICMPv6 does not
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
            raise self.fail(f"{t.name} is valid only in the nat table, chains {', '.join(chains)}, and user chains")
        if t.name in TARGET_TABLES and self.table not in TARGET_TABLES[t.name]:
            raise self.fail(f"{t.name} is valid only in the {' or '.join(TARGET_TABLES[t.name])} table")
        if r.matches:
            self.leave_header_match()
            self._check_protocol({m.kind for m in r.matches})
            self.check_statistic()
            self.check_time()
            self.check_hashlimit()
        if r.in_iface and r.chain in ("POSTROUTING", "OUTPUT"):
            raise self.fail(f"Can't use -i with {r.chain}")
        if r.out_iface and r.chain in ("PREROUTING", "INPUT"):
            raise self.fail(f"Can't use -o with {r.chain}")

    def _check_kernel_side(self) -> None:
        """Check what iptables leaves to the kernel, which answers with no more than the line that failed."""
        r = self.rule
        for name, _ in self.uses.matches:
            proto = PROTOCOLS.get(name)
            if proto is not None and (r.proto != proto or r.invert_proto):
                raise self.fail(f"match {name!r} needs -p {PROTOCOL_NAMES[proto]} in front of it")
            if name == "rpfilter" and self.table not in ("raw", "mangle"):
                raise self.fail("match 'rpfilter' is valid only in the raw and mangle tables")
            if name == "socket" and "--transparent" not in self.uses.used:
                raise self.fail(f"match 'socket': {refused.OPTIONS['-m socket']}{LENIENT}")
            if name == "rt" and self.family.version == 4:
                raise self.fail("match 'rt' is one of IPv6")
        if r.target.name == "TPROXY" and (r.proto not in (6, 17) or r.invert_proto):
            raise self.fail("TPROXY works only with -p tcp or -p udp")
        if r.target.name == "NFQUEUE" and "--queue-bypass" not in self.uses.used:
            raise self.fail(f"target NFQUEUE is not supported: {refused.OPTIONS['-j NFQUEUE']}{LENIENT}")
        if r.target.name == "TCPMSS":
            syn = any(m.kind == "tcp-flags" and m.values[1] & 2 and not m.invert for m in r.matches)
            if r.proto != 6 or r.invert_proto or not syn:
                raise self.fail("TCPMSS works only on TCP SYN packets: -p tcp --syn")

    def _check_protocol(self, kinds: set[str]) -> None:
        r = self.rule
        if not kinds.isdisjoint(("sport", "dport", "multiport")) and (r.proto not in PORT_PROTOCOLS or r.invert_proto):
            raise self.fail("a port match needs -p tcp, udp, udplite, sctp or dccp in front of it")
        if not kinds.isdisjoint(("tcp-flags", "tcp-option")) and r.proto != 6:
            raise self.fail("--tcp-flags, --syn and --tcp-option need -p tcp in front of them")
        if "ecn" in kinds and (r.proto != 6 or r.invert_proto):
            raise self.fail("--ecn-tcp-cwr and --ecn-tcp-ece need -p tcp in front of them")
        if "icmp-type" in kinds and r.proto != self.family.icmp:
            raise self.fail(f"an ICMP type needs -p {'icmpv6' if self.family.version == 6 else 'icmp'} in front of it")

    def mask(self) -> None:
        """--mask, of recent before a target is named, else of CONNMARK."""
        if self.modules[-1:] == ["recent"] and not self.rule.target.name:
            self.recent_mask()
        else:
            self.both_masks()

    def listed_as(self) -> None:
        """Text of a listing after the addresses that no rule can be made of."""
        text = self.take("a text")
        raise self.fail(f"cannot tell from the listing what {text!r} means; give the output of iptables-save")

    def counters(self) -> None:
        """-c PACKETS BYTES, as `iptables -S -v` prints them."""
        self.rule.packets = self.number(self.take("packets"), 2**64 - 1)
        self.rule.bytes = self.number(self.take("bytes"), 2**64 - 1)

    def append_to(self) -> None:
        """-A CHAIN, -I CHAIN [NUMBER], -D CHAIN."""
        self.rule.chain = self.take("a chain")
        if self.option != "-A" and self.at < len(self.tokens) and self.tokens[self.at].isdecimal():
            self.position = self.number(self.take("a number"))

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
        self.rule.proto = self.protocol_number(self.take("a protocol"))
        self.rule.invert_proto = self.invert
        if self.invert and not self.rule.proto:
            raise self.fail("rule would never match protocol")


OPTIONS: dict[str, Callable[[RuleParser], None]] = {
    "-A": RuleParser.append_to, "--append": RuleParser.append_to, "-I": RuleParser.append_to,
    "--insert": RuleParser.append_to, "-D": RuleParser.append_to, "--delete": RuleParser.append_to,
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
    "--tcp-option": RuleParser.tcp_option, "--chunk-types": RuleParser.chunk_types,
    "--ctexpire": RuleParser.ct_expire,
    "--icmp-type": RuleParser.icmp_type,
    "--icmpv6-type": RuleParser.icmp_type,
    "--hl-eq": RuleParser.ttl, "--hl-lt": RuleParser.ttl, "--hl-gt": RuleParser.ttl,
    "--mark": RuleParser.mark_match,
    "--src-type": RuleParser.src_type, "--dst-type": RuleParser.dst_type,
    "--limit-iface-in": RuleParser.limit_iface, "--limit-iface-out": RuleParser.limit_iface,
    "--src-range": RuleParser.src_range, "--dst-range": RuleParser.dst_range,
    "--ctstate": RuleParser.ct_state, "--state": RuleParser.ct_state, "--ctproto": RuleParser.ct_proto,
    "--match-set": RuleParser.match_set, "--return-nomatch": RuleParser.set_option,
    "--update-counters": RuleParser.set_option, "--update-subcounters": RuleParser.set_option,
    **{f"--{what}-{how}": RuleParser.set_counter for what in ("packets", "bytes") for how in ("eq", "lt", "gt")},
    "--name": RuleParser.recent_name, "--set": RuleParser.recent_operation, "--rcheck": RuleParser.recent_operation,
    "--update": RuleParser.recent_operation, "--remove": RuleParser.recent_operation,
    "--seconds": RuleParser.recent_seconds, "--hitcount": RuleParser.recent_hitcount,
    "--rsource": RuleParser.recent_flag, "--rdest": RuleParser.recent_flag, "--reap": RuleParser.recent_flag,
    "--rttl": RuleParser.recent_flag, "--limit": RuleParser.limit, "--limit-burst": RuleParser.limit_burst,
    "--ttl-eq": RuleParser.ttl, "--ttl": RuleParser.ttl, "--ttl-lt": RuleParser.ttl, "--ttl-gt": RuleParser.ttl,
    "--dscp": RuleParser.dscp, "--dscp-class": RuleParser.dscp, "--tos": RuleParser.tos,
    "--physdev-in": RuleParser.physdev, "--physdev-out": RuleParser.physdev,
    "--physdev-is-in": RuleParser.physdev, "--physdev-is-out": RuleParser.physdev,
    "--physdev-is-bridged": RuleParser.physdev, "--pkt-type": RuleParser.packet_type,
    "--mac-source": RuleParser.mac_source,
    "--nfacct-name": RuleParser.accounting, "--helper": RuleParser.helper, "--cpu": RuleParser.cpu,
    "--hashlimit": RuleParser.hashlimit_rate, "--hashlimit-upto": RuleParser.hashlimit_rate,
    "--hashlimit-above": RuleParser.hashlimit_rate, "--hashlimit-mode": RuleParser.hashlimit_mode,
    "--hashlimit-srcmask": RuleParser.hashlimit_mask, "--hashlimit-dstmask": RuleParser.hashlimit_mask,
    "--hashlimit-name": RuleParser.hashlimit_name, "--hashlimit-burst": RuleParser.hashlimit_burst,
    "--hashlimit-rate-match": RuleParser.hashlimit_rate_match,
    "--hashlimit-rate-interval": RuleParser.hashlimit_interval, "--connbytes": RuleParser.connbytes_range,
    "--connbytes-dir": RuleParser.connbytes_direction, "--connbytes-mode": RuleParser.connbytes_mode,
    "--hashlimit-htable-size": RuleParser.hashlimit_number, "--hashlimit-htable-max": RuleParser.hashlimit_number,
    "--hashlimit-htable-expire": RuleParser.hashlimit_number,
    "--hashlimit-htable-gcinterval": RuleParser.hashlimit_number,
    "--vproto": RuleParser.ipvs_option, "--vaddr": RuleParser.ipvs_option, "--vport": RuleParser.ipvs_option,
    "--vdir": RuleParser.ipvs_option, "--vmethod": RuleParser.ipvs_option, "--vportctl": RuleParser.ipvs_option,
    "--ctevents": RuleParser.ct_option, "--expevents": RuleParser.ct_option,
    "--ipvs": RuleParser.ipvs, "--loose": RuleParser.reverse_path, "--validmark": RuleParser.reverse_path,
    "--accept-local": RuleParser.reverse_path, "--invert": RuleParser.reverse_path,
    "--dir": RuleParser.policy_dir, "--pol": RuleParser.policy, "--strict": RuleParser.policy_flag,
    "--next": RuleParser.policy_flag, "--reqid": RuleParser.policy_option, "--spi": RuleParser.policy_option,
    "--tunnel-src": RuleParser.policy_option, "--tunnel-dst": RuleParser.policy_option,
    "--uid-owner": RuleParser.owner_uid, "--gid-owner": RuleParser.owner_gid,
    "--suppl-groups": RuleParser.further_groups, "--socket-exists": RuleParser.has_socket,
    "--timestart": RuleParser.time_of_day, "--timestop": RuleParser.time_of_day, "--datestart": RuleParser.date,
    "--datestop": RuleParser.date, "--weekdays": RuleParser.weekdays, "--monthdays": RuleParser.monthdays,
    "--contiguous": RuleParser.contiguous, "--kerneltz": RuleParser.time_zone, "--utc": RuleParser.time_zone,
    "--localtz": RuleParser.time_zone, "--ecn-tcp-cwr": RuleParser.ecn_flag, "--ecn-tcp-ece": RuleParser.ecn_flag,
    "--ecn-ip-ect": RuleParser.ecn_ip, "--mss": RuleParser.segment_size, "--quota": RuleParser.quota,
    "--connlimit-above": RuleParser.connlimit_number, "--connlimit-upto": RuleParser.connlimit_number,
    "--connlimit-mask": RuleParser.connlimit_mask, "--connlimit-saddr": RuleParser.connlimit_side,
    "--connlimit-daddr": RuleParser.connlimit_side, "--rt-type": RuleParser.routing_type,
    "--rt-segsleft": RuleParser.routing_segments, "--rt-len": RuleParser.routing_length,
    "--rt-0-res": RuleParser.routing_reserved, "--rt-0-addrs": RuleParser.routing_addresses,
    "--rt-0-not-strict": RuleParser.routing_addresses,
    "-f": RuleParser.fragment, "--fragment": RuleParser.fragment,
    "--ctorigsrc": RuleParser.ct_address, "--ctorigdst": RuleParser.ct_address,
    "--ctreplsrc": RuleParser.ct_address, "--ctrepldst": RuleParser.ct_address,
    "--ctorigsrcport": RuleParser.ct_port, "--ctorigdstport": RuleParser.ct_port,
    "--ctreplsrcport": RuleParser.ct_port, "--ctrepldstport": RuleParser.ct_port,
    "--ctstatus": RuleParser.ct_status, "--ctdir": RuleParser.ct_dir, "-c": RuleParser.counters,
    "--set-counters": RuleParser.counters,
    "--length": RuleParser.length, "--mode": RuleParser.statistic_mode, "--probability": RuleParser.probability,
    "--every": RuleParser.every, "--packet": RuleParser.every_packet,
    "-j": RuleParser.jump, "--jump": RuleParser.jump, "-g": RuleParser.goto, "--goto": RuleParser.goto,
    "--to-source": RuleParser.to_source, "--to-destination": RuleParser.to_destination,
    "--to-ports": RuleParser.to_ports, "--to": RuleParser.to, "--random": RuleParser.random,
    "--random-fully": RuleParser.random_fully, "--persistent": RuleParser.persistent,
    "--listed-as": RuleParser.listed_as,
    "--set-mark": RuleParser.set_mark, "--set-xmark": RuleParser.set_xmark, "--and-mark": RuleParser.and_mark,
    "--or-mark": RuleParser.or_mark, "--xor-mark": RuleParser.xor_mark, "--save-mark": RuleParser.save_mark,
    "--restore-mark": RuleParser.restore_mark, "--nfmask": RuleParser.nf_mask, "--ctmask": RuleParser.ct_mask,
    "--mask": RuleParser.mask, "--zone": RuleParser.zone, "--zone-orig": RuleParser.zone_orig,
    "--zone-reply": RuleParser.zone_reply, "--notrack": RuleParser.notrack, "--reject-with": RuleParser.reject_with,
    "--nflog-group": RuleParser.passing_option, "--nflog-prefix": RuleParser.passing_option,
    "--nflog-range": RuleParser.passing_option, "--nflog-size": RuleParser.passing_option,
    "--nflog-threshold": RuleParser.passing_option, "--set-mss": RuleParser.set_mss,
    "--set-class": RuleParser.passing_option, "--selctx": RuleParser.passing_option,
    "--transparent": RuleParser.socket_flag, "--nowildcard": RuleParser.socket_flag,
    "--restore-skmark": RuleParser.socket_flag, "--gateway": RuleParser.passing_option,
    "--on-port": RuleParser.proxy_option, "--on-ip": RuleParser.proxy_option, "--tproxy-mark": RuleParser.proxy_mark,
    "--queue-num": RuleParser.queue_option, "--queue-balance": RuleParser.queue_option,
    "--queue-bypass": RuleParser.queue_option, "--queue-cpu-fanout": RuleParser.queue_option,
    "--timeout": RuleParser.passing_option, "--label": RuleParser.passing_option,
    "--type": RuleParser.passing_option, "--clamp-mss-to-pmtu": RuleParser.clamp_mss,
    "--checksum-fill": RuleParser.passing_flag, "--save": RuleParser.passing_flag,
    "--restore": RuleParser.passing_flag,
    "--ulog-nlgroup": RuleParser.passing_option, "--ulog-prefix": RuleParser.passing_option,
    "--ulog-cprange": RuleParser.passing_option, "--ulog-qthreshold": RuleParser.passing_option,
    "--set-tos": RuleParser.set_tos, "--and-tos": RuleParser.set_tos, "--or-tos": RuleParser.set_tos,
    "--xor-tos": RuleParser.set_tos, "--set-dscp": RuleParser.set_dscp, "--set-dscp-class": RuleParser.set_dscp,
    "--ttl-set": RuleParser.set_ttl, "--ttl-inc": RuleParser.set_ttl, "--ttl-dec": RuleParser.set_ttl,
    "--hl-set": RuleParser.set_ttl, "--hl-inc": RuleParser.set_ttl, "--hl-dec": RuleParser.set_ttl,
    "--log-prefix": RuleParser.log_option, "--log-level": RuleParser.log_option,
    "--log-tcp-sequence": RuleParser.log_option, "--log-tcp-options": RuleParser.log_option,
    "--log-ip-options": RuleParser.log_option, "--log-uid": RuleParser.log_option,
}  # fmt: skip
