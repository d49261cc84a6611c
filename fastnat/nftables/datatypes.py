"""The types of nft: how a value is read and listed, and what number it is.

Source: nft(8), DATA TYPES; libnftables 1.0.6 for the names and the form in which each is listed.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ..addresses import V4, V6, mac_number, mac_text

DURATION = re.compile(r"(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?")
SECONDS = (7 * 86_400, 86_400, 3600, 60, 1)
MILLISECONDS = 1000
PROTOCOL_NAMES = {
    "ip": 0, "hopopt": 0, "icmp": 1, "igmp": 2, "ggp": 3, "ipencap": 4, "st": 5, "tcp": 6, "egp": 8, "igp": 9,
    "pup": 12, "udp": 17, "hmp": 20, "xns-idp": 22, "rdp": 27, "iso-tp4": 29, "dccp": 33, "xtp": 36, "ddp": 37,
    "idpr-cmtp": 38, "ipv6": 41, "ipv6-route": 43, "ipv6-frag": 44, "idrp": 45, "rsvp": 46, "gre": 47, "esp": 50,
    "ah": 51, "skip": 57, "ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "rspf": 73, "vmtp": 81,
    "eigrp": 88, "ospf": 89, "ospfigp": 89, "ax.25": 93, "ipip": 94, "etherip": 97, "encap": 98, "pim": 103,
    "ipcomp": 108, "comp": 108, "vrrp": 112, "l2tp": 115, "isis": 124, "sctp": 132, "fc": 133,
    "mobility-header": 135, "udplite": 136, "mpls-in-ip": 137, "manet": 138, "hip": 139, "shim6": 140, "wesp": 141,
    "rohc": 142, "ethernet": 143,
}  # fmt: skip
# the first name of a number is the one that is listed, but for these
LISTED_PROTOCOLS = {v: k for k, v in reversed(PROTOCOL_NAMES.items())}
STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
STATUSES = {
    "expected": 1, "seen-reply": 2, "assured": 4, "confirmed": 8, "snat": 16, "dnat": 32, "dying": 512,
}  # fmt: skip
TCP_FLAGS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ecn": 64, "cwr": 128}
ICMP_TYPES = {
    "echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8,
    "router-advertisement": 9, "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12,
    "timestamp-request": 13, "timestamp-reply": 14, "info-request": 15, "info-reply": 16, "address-mask-request": 17,
    "address-mask-reply": 18,
}  # fmt: skip
ICMPV6_TYPES = {
    "destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4, "echo-request": 128,
    "echo-reply": 129, "mld-listener-query": 130, "mld-listener-report": 131, "mld-listener-done": 132,
    "mld-listener-reduction": 132, "nd-router-solicit": 133, "nd-router-advert": 134, "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136, "nd-redirect": 137, "router-renumbering": 138, "ind-neighbor-solicit": 141,
    "ind-neighbor-advert": 142, "mld2-listener-report": 143,
}  # fmt: skip
ICMP_CODES = {
    "net-unreachable": 0, "host-unreachable": 1, "prot-unreachable": 2, "port-unreachable": 3, "frag-needed": 4,
    "net-prohibited": 9, "host-prohibited": 10, "admin-prohibited": 13,
}  # fmt: skip
ICMPV6_CODES = {
    "no-route": 0, "admin-prohibited": 1, "addr-unreachable": 3, "port-unreachable": 4, "policy-fail": 5,
    "reject-route": 6,
}  # fmt: skip
ICMPX_CODES = {"no-route": 0, "port-unreachable": 1, "host-unreachable": 2, "admin-prohibited": 3}
DSCP = {
    "cs0": 0, "cs1": 8, "cs2": 16, "cs3": 24, "cs4": 32, "cs5": 40, "cs6": 48, "cs7": 56, "df": 0, "be": 0, "lephb": 1,
    "af11": 10, "af12": 12, "af13": 14, "af21": 18, "af22": 20, "af23": 22, "af31": 26, "af32": 28, "af33": 30,
    "af41": 34, "af42": 36, "af43": 38, "va": 44, "ef": 46,
}  # fmt: skip
ADDRESS_TYPES = {
    "unspec": 0, "unicast": 1, "local": 2, "broadcast": 3, "anycast": 4, "multicast": 5, "blackhole": 6,
    "unreachable": 7, "prohibit": 8,
}  # fmt: skip
ETHERTYPES = {"ip": 0x0800, "arp": 0x0806, "8021q": 0x8100, "vlan": 0x8100, "8021ad": 0x88A8, "ip6": 0x86DD}
PACKET_TYPES = {"host": 0, "unicast": 0, "broadcast": 1, "multicast": 2, "other": 3}
# what nft reads of a user or a group by name, this is the only one that is the same everywhere
ROOT = {"root": 0}
# classes of tc: major and minor number, hexadecimal
CLASSES = {"none": 0, "root": 0xFFFFFFFF}
DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?:\s+(\d{1,2}):(\d{1,2})(?::(\d{1,2}))?)?")
CLASS = re.compile(r"([0-9a-fA-F]{0,4}):([0-9a-fA-F]{0,4})")
DAYS = {
    "Sunday": 0, "Monday": 1, "Tuesday": 2, "Wednesday": 3, "Thursday": 4, "Friday": 5, "Saturday": 6,
}  # fmt: skip
DCCP_TYPES = {
    "request": 0, "response": 1, "data": 2, "ack": 3, "dataack": 4, "closereq": 5, "close": 6, "reset": 7, "sync": 8,
    "syncack": 9,
}  # fmt: skip
ARP_OPERATIONS = {
    "request": 1, "reply": 2, "rrequest": 3, "rreply": 4, "inrequest": 8, "inreply": 9, "nak": 10,
}  # fmt: skip
IGMP_TYPES = {
    "membership-query": 0x11, "membership-report-v1": 0x12, "membership-report-v2": 0x16, "leave-group": 0x17,
    "membership-report-v3": 0x22,
}  # fmt: skip
CLOCK = re.compile(r"(\d\d?):(\d\d)(?::(\d\d))?")
HARDWARE = {"ether": 1, "ppp": 512, "ipip": 768, "ipip6": 769, "loopback": 772, "sit": 776, "ipgre": 778}
# values of a type whose listing is remembered
MOST_KNOWN = 1 << 16
# as `ip` calls those that nft has no name for, or another one
LINK_TYPES = HARDWARE | {"tunnel6": 769, "gre": 778, "gre6": 823, "none": 65534, "ieee802.11": 801, "infiniband": 32}


@dataclass(frozen=True)
class Datatype:
    """A type: its name, its bits, the names of its values, and in which form numbers are listed.

    form: decimal, hex, short hex, address, name (of an interface), text, mac, port, class (of tc) or time.
    flags: values are bits that may stand side by side.
    """

    name: str
    bits: int
    names: Mapping[str, int] = field(default_factory=dict, hash=False)
    form: str = "decimal"
    flags: bool = False
    listed: Mapping[int, str] = field(default_factory=dict, hash=False)
    # how values that were asked for are listed
    known: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def words(self) -> int:
        """Words of 32 bits that a value takes."""
        return (self.bits + 31) // 32

    def number(self, text: str) -> int:
        """Return the number of a value; ValueError for one that is not of this type."""
        if text in self.names:
            return self.names[text]
        if self.form == "address" and self.bits == 32 and (text.isdecimal() or text[:2] == "0x"):
            # inet_aton takes one number, too
            return Datatype("ipv4_addr", 32).number(text)
        if self.form == "address":
            return (V4 if self.bits == 32 else V6).to_int(text)
        if self.form == "name":
            return int.from_bytes(text.rstrip("*").encode()[:16].ljust(16, b"\0"), "big")
        if self.form == "text":
            raise ValueError(f"{text!r} is text, not a number")
        if self.form == "time":
            return round(seconds(text) * MILLISECONDS)
        if self.form == "hour":
            return of_day(text)
        if self.form == "date":
            return nanoseconds(text)
        if self.form == "class" and (m := CLASS.fullmatch(text)):
            return int(m[1] or "0", 16) << 16 | int(m[2] or "0", 16)
        if self.form == "mac" and ":" in text:
            mac = mac_number(text)
            if mac is None:
                raise ValueError(f"{text!r} is no link-layer address, as 02:00:00:00:00:01 is one")
            return mac
        try:
            number = int(text, 16 if text[:2] == "0x" else 10)
        except ValueError:
            number = self._by_name(text)
        if not 0 <= number < 1 << self.bits:
            raise ValueError(f"{text} is not in 0..{(1 << self.bits) - 1}, the range of {self.name}")
        return number

    def _by_name(self, text: str) -> int:
        if self.form == "port":
            try:
                return socket.getservbyname(text)
            except OSError:
                raise ValueError(f"no service is called {text!r}; give its number") from None
        if self.names is ROOT:
            raise ValueError(
                f"{text!r}: the names of the node's users and groups are not known; put its passwd and group there"
            )
        known = ", ".join(list(self.names)[:12]) or "a number"
        raise ValueError(f"{text!r} is no {self.name}; expected {known}")

    def text(self, number: int) -> str:
        """Return a value as nft lists it."""
        if number in self.listed:
            return self.listed[number]
        if self.form == "address":
            return V4.to_text(number) if self.bits == 32 else address6(number)
        if self.form == "mac":
            return mac_text(number)
        if self.form == "class":
            return f"{number >> 16:x}:{number & 0xFFFF:x}"
        if self.form == "hex":
            return self.plain(number)
        if self.form == "short hex":
            return f"0x{number:x}"
        if self.form == "time":
            return duration(number / MILLISECONDS)
        if self.form == "hour":
            return f"{number // 3600:02}:{number // 60 % 60:02}" + (f":{number % 60:02}" if number % 60 else "")
        if self.form == "date":
            return datetime.fromtimestamp(number // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")
        return str(number)

    def plain(self, number: int) -> str:
        """Return a number that is listed without its name."""
        return f"0x{number:0{(self.bits + 3) // 4}x}" if self.form == "hex" else str(number)

    def listing(self, text: str) -> str:
        """Return the text of a value in the form in which nft lists it; unchanged where it is of another type."""
        if self.form in ("name", "text"):
            return text
        found = self.known.get(text)
        if found is None:
            try:
                found = self.text(self.number(text))
            except ValueError:
                return text
            if len(self.known) >= MOST_KNOWN:
                self.known.clear()
            self.known[text] = found
        return found


def address6(number: int) -> str:
    """Return an IPv6 address as inet_ntop prints it."""
    return socket.inet_ntop(socket.AF_INET6, number.to_bytes(16, "big"))


def _named(
    name: str, bits: int, names: Mapping[str, int], form: str = "decimal", flags: bool = False, **listed: str
) -> Datatype:
    """Return a type whose numbers are listed by the first of their names."""
    by_number: dict[int, str] = {}
    for text, number in names.items():
        by_number.setdefault(number, text)
    return Datatype(name, bits, names, form, flags, by_number | {int(k[1:]): v for k, v in listed.items()})


BOOLEAN = _named("boolean", 1, {"missing": 0, "exists": 1})
MARK = Datatype("mark", 32, form="hex")
IFNAME = Datatype("ifname", 128, form="name")
# an interface by its number in the node, and by the index that the kernel gives it
IFACE = Datatype("iface_index", 32, form="name")
INDEX = Datatype("number of an interface", 32)
TEXT = Datatype("string", 128, form="text")
VERDICT = Datatype("verdict", 32, form="text")
TYPES = {
    t.name: t
    for t in (
        Datatype("ipv4_addr", 32, form="address"),
        Datatype("ipv6_addr", 128, form="address"),
        Datatype("ether_addr", 48, form="mac"),
        Datatype("inet_proto", 8, PROTOCOL_NAMES, listed=LISTED_PROTOCOLS),
        Datatype("inet_service", 16, form="port"),
        MARK,
        IFNAME,
        IFACE,
        _named("ct_state", 32, STATES, "short hex", flags=True),
        _named("ct_status", 32, STATUSES, "short hex", flags=True),
        _named("ct_dir", 8, {"original": 0, "reply": 1}),
        Datatype("ct_label", 128, form="text", flags=True),
        _named("icmp_type", 8, ICMP_TYPES),
        _named("icmpv6_type", 8, ICMPV6_TYPES, _132="mld-listener-done"),
        _named("icmp_code", 8, ICMP_CODES),
        _named("icmpv6_code", 8, ICMPV6_CODES),
        _named("icmpx_code", 8, ICMPX_CODES),
        _named("tcp_flag", 8, TCP_FLAGS, "short hex", flags=True),
        _named("dscp", 6, DSCP, "hex", _0="cs0"),
        _named("ecn", 2, {"not-ect": 0, "ect1": 1, "ect0": 2, "ce": 3}, "hex"),
        _named("fib_addrtype", 32, ADDRESS_TYPES),
        _named("nf_proto", 8, {"ipv4": 2, "ipv6": 10}),
        _named("ether_type", 16, ETHERTYPES, "hex"),
        _named("pkt_type", 8, PACKET_TYPES, _0="host"),
        _named("iface_type", 16, HARDWARE),
        _named("devgroup", 32, {"default": 0}),
        _named("igmp_type", 8, IGMP_TYPES),
        _named("arp_op", 16, ARP_OPERATIONS),
        _named("dccp_pkttype", 4, DCCP_TYPES),
        Datatype("uid", 32, ROOT),
        Datatype("gid", 32, ROOT),
        _named("realm", 32, {"cosmos": 0}),
        Datatype("cgroupsv2", 64, form="text"),
        Datatype("time", 64, form="time"),
        Datatype("hour", 32, form="hour"),
        _named("day", 8, DAYS),
        Datatype("date", 64, form="date"),
        Datatype("classid", 32, CLASSES, form="class", listed={0: "none", 0xFFFFFFFF: "root"}),
        TEXT,
        VERDICT,
        BOOLEAN,
    )
}  # fmt: skip

# of which JSON says no more; text says typeof
TYPES["integer"] = Datatype("integer", 32)


def integer(bits: int, form: str = "decimal") -> Datatype:
    """Return the type of a plain number."""
    return Datatype("integer", bits, form=form)


def of_day(text: str) -> int:
    """Return `17:00` or `17:00:30` in seconds of the day; ValueError for anything else."""
    if text.isdecimal() and len(text) < len("86400") + 1 and int(text) < SECONDS[1]:
        return int(text)
    m = CLOCK.fullmatch(text)
    hours, minutes, left = (int(part or 0) for part in m.groups()) if m else (24, 0, 0)
    if hours >= 24 or minutes >= 60 or left >= 60:
        raise ValueError(f"{text!r} is no time of day; write it as 17:00 or 17:00:30")
    return hours * 3600 + minutes * 60 + left


def nanoseconds(text: str) -> int:
    """Return `2026-01-31 12:00:00` in nanoseconds since 1970, in UTC; ValueError for anything else."""
    if text.isdecimal() and len(text) <= len("9999999999"):
        return int(text) * 10**9
    # as strptime does for nft, what stands behind a date is left out
    m = DATE.match(text)
    if m is not None:
        with contextlib.suppress(ValueError):
            year, month, day, hour, minute, second = (int(part or 0) for part in m.groups())
            return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()) * 10**9
    raise ValueError(f"{text!r} is no date; write it as 2026-01-31 or 2026-01-31 12:00:00")


def seconds(text: str) -> float:
    """Return a time as `3h`, `1d2h`, `300s` or `2h59m58s788ms` in seconds; ValueError for anything else."""
    if text.isdecimal():
        return float(int(text[:18]))
    m = DURATION.fullmatch(text)
    if not text or not m:
        raise ValueError(f"{text!r} is no time; write it as 30s, 5m, 3h or 1d12h")
    parts = [int(part[:12]) if part else 0 for part in m.groups()]
    return sum(n * unit for n, unit in zip(parts, SECONDS, strict=False)) + parts[-1] / 1000


def duration(time: float) -> str:
    """Return seconds as nft prints them."""
    left = round(time * 1000)
    if left == 0:
        return "0s"
    said = ""
    for unit, name in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")):
        if left >= unit:
            said += f"{left // unit}{name}"
            left %= unit
    return said


def ascending(low: int, high: int, kind: Datatype) -> None:
    """Refuse a range whose end stands in front of its beginning."""
    if low > high:
        raise ValueError(f"{kind.text(low)}-{kind.text(high)}: Range negative size, as nft says")


def is_address(text: str) -> bool:
    """Tell whether text is an address of one of the families."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
