"""A router between two networks, and a short way to write what packets go in and must come out.

    A = 10.1.0.2, A3 = 10.1.0.3, C = 10.1.0.1 (r0); N = 10.2.0.1 (r1), B = 10.2.0.2, B3 = 10.2.0.3

One line is one packet: `udp A:5000>B:53 -> N:5000>B:53`. After the arrow also `drop`, `local A:1>N:2`, a port
`1024-65535` (any of them), `!400` (any other). In front: the seconds `@2.5`; behind the addresses: TCP flags `SA` or
`none`, `seq=`, `ack=`, `win=`, `len=` bytes of payload, `chk=` a wrong checksum. `icmp 8 A>B 77` is type, addresses, id
It enters on r0 when its source is in 10.1.0.0/24 and on r1 otherwise; `local` in front: the router sends it.
Router(family=6) is the same with IPv6: 10.1.0.2 is fd01::2, and so on, in rules as well.
"""

import re

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6

import fastnat
from fastnat import Verdict

NAMES = {"A": "10.1.0.2", "A3": "10.1.0.3", "C": "10.1.0.1", "N": "10.2.0.1", "B": "10.2.0.2", "B3": "10.2.0.3"}
PACKET = re.compile(
    r"(?:@(?P<at>[\d.]+) )?(?P<own>local )?(?P<proto>udp|tcp|icmp|esp|gre|ulite|proto) ?(?P<type>\d+(?:/\d+)?)? "
    r"(?P<src>[\w.]+?)(?::(?P<sport>\d+))?>(?P<dst>[\w.]+?)(?::(?P<dport>\d+))?(?: (?P<id>\d+))?"
    r"(?: (?P<flags>[SAFRPU]+|none))?(?P<options>(?: \w+=\w+)*)$"
)
M = "-A POSTROUTING -o r1 -j MASQUERADE"


# what stands in place of addresses and protocols of IPv4
OF_IPV6 = [
    (r"(--to-\w+ )([\d.]+)(?:-([\d.]+))?:(\S+)", lambda m: f"{m[1]}[{m[2]}]{f'-[{m[3]}]' if m[3] else ''}:{m[4]}"),
    (r"\b10\.(\d+)\.0\.(\d+)/(\d+)", lambda m: f"fd{int(m[1]):02}::{int(m[2]):x}/{96 + int(m[3])}"),
    (r"\b10\.(\d+)\.0\.(\d+)", lambda m: f"fd{int(m[1]):02}::{int(m[2]):x}"),
    (r"\b192\.168\.7\.(\d+)/24", r"fd07::\1/120"),
    (r"\b192\.168\.7\.(\d+)", r"fd07::\1"),
    (r"\b9\.9\.9\.9", "fd09::9"),
    (r"-p icmp\b", "-p ipv6-icmp"),
]  # fmt: skip
ECHO = {8: ICMPv6EchoRequest, 0: ICMPv6EchoReply}


def of_ipv6(text):
    """Return rules, or an address, over IPv6."""
    for old, new in OF_IPV6:
        text = re.sub(old, new, text)
    return text


def address(name, family=4):
    found = NAMES.get(name, name)
    return of_ipv6(found) if family == 6 else found


def build(line, family=4):
    """Return (seconds or None, interface, packet) of the left side of a line."""
    said = PACKET.match(line)
    assert said, f"cannot read {line!r}"
    options = dict(word.split("=") for word in said["options"].split())
    ends = {"src": address(said["src"], family), "dst": address(said["dst"], family)}
    hops = int(options.pop("ttl", 64))
    ip = IP(**ends, ttl=hops) if family == 4 else IPv6(**ends, hlim=hops)
    payload = bytes(int(options.pop("len", 0)))
    ports = {"sport": int(said["sport"] or 0), "dport": int(said["dport"] or 0)}
    if said["proto"] == "tcp":
        numbers = {k: int(options.pop(k)) for k in ("seq", "ack") if k in options}
        flags = 0 if said["flags"] == "none" else said["flags"] or "S"
        l4 = TCP(**ports, flags=flags, window=int(options.pop("win", 65535)), **{"seq": 1000, **numbers})
    elif said["proto"] == "icmp" and family == 6:
        l4 = ECHO[int(said["type"])](id=int(said["id"] or 0))
    elif said["proto"] == "icmp":
        kind, _, code = said["type"].partition("/")
        l4 = ICMP(type=int(kind), code=int(code or 0), id=int(said["id"] or 0))
    elif said["proto"] == "udp":
        l4 = UDP(**ports)
    else:
        setattr(ip, "proto" if family == 4 else "nh", {"esp": 50, "gre": 47}.get(said["proto"], int(said["type"] or 0)))
        l4 = b"\0\0\0\0\0\0\0\0"
    if "chk" in options:
        l4.chksum = int(options.pop("chk"), 0)
    assert not options, f"options {options} of {line!r}"
    iface = "local" if said["own"] else "r0" if ip.src.startswith(("10.1.0.", "fd01::")) else "r1"
    return said["at"], iface, ip / l4 / payload


def port_fits(pattern, port):
    if pattern is None:
        return True
    low, _, high = pattern.lstrip("!").partition("-")
    return (int(low) <= port <= int(high or low)) != pattern.startswith("!")


class Router:
    """An engine between r0 and r1; check() runs lines."""

    def __init__(self, rules="", profile="linux-6.18", sysctls=(), table="nat", addresses=(), seed=1, family=4):
        self.node, self.family = fastnat.Node(), family
        self.layer = IP if family == 4 else IPv6
        self.node.add_interface("r0", ["10.1.0.1/24" if family == 4 else "fd01::1/120"])
        self.node.add_interface("r1", ["10.2.0.1/24" if family == 4 else "fd02::1/120"])
        self.node.add_route("default" if family == 4 else "::/0", via=address("B", family), dev="r1")
        for address_, scope in addresses:
            self.node.add_address("r1", address_, scope)
        for name, value in dict(sysctls).items():
            self.node.sysctls[f"net.netfilter.{name}"] = str(value)
        text = rules if "*" in rules else f"*{table}\n{rules}\nCOMMIT\n"
        (self.node.load_rules6 if family == 6 else self.node.load_rules)(of_ipv6(text) if family == 6 else text)
        self.nat = fastnat.Engine(self.node, profile, seed)
        self.now = 0.0
        self.n = 0

    def send(self, line):
        at, iface, packet = build(line, self.family)
        self.now = float(at) if at else self.now + 0.001
        before = dict(self.nat.stats)
        verdict, data = self.nat.process_packet(bytes(packet), iface, self.now)
        self.counted = {k: v - before[k] for k, v in self.nat.stats.items() if v != before[k]}
        return verdict, self.layer(data) if data else None

    def check(self, script):
        """Run lines and compare; return the last packet that came out."""
        out = None
        for line in filter(None, (text.split("#")[0].strip() for text in script.strip().splitlines())):
            given, _, expected = (part.strip() for part in line.partition("->"))
            verdict, out = self.send(given)
            said = f"{line}: got {verdict.name} {out.summary() if out else None}"
            assert self.fits(expected, verdict, out, "chk=" in given), said
        return out

    def fits(self, expected, verdict, out, wrong_checksum=False):
        words = expected.split()
        if words[:1] == ["drop"]:
            return verdict == Verdict.DROP
        if words[:1] == ["local"]:
            words.pop(0)
            if verdict != Verdict.LOCAL:
                return False
        elif verdict != Verdict.FORWARD:
            return False
        if not words:
            return True
        found = re.fullmatch(r"([\w.]+?)(?::([!\d-]+))?>([\w.]+?)(?::([!\d-]+))?", words[0])
        assert found, f"cannot read {expected!r}"
        src, sport, dst, dport = found.groups()
        ident = int(words[1]) if len(words) > 1 and words[1].isdigit() else None
        same = (out.src, out.dst) == (address(src, self.family), address(dst, self.family))
        same = same and port_fits(sport, getattr(out.payload, "sport", 0))
        same = same and port_fits(dport, getattr(out.payload, "dport", 0))
        return same and (ident is None or out.payload.id == ident) and (wrong_checksum or sound(out))

    def table(self):
        """Return the table's lines, addresses shortened, without mark and use."""
        lines = self.nat.conntrack.format().replace(" mark=0 use=1", "")
        for short in NAMES:
            full = address(short, self.family)
            lines = re.sub(rf"={re.escape(full)}(?=\s)", f"={short}", lines)
        return [re.sub(r"^(\S+) +\d+ ", r"\1 ", line) for line in lines.splitlines()]

    def states(self):
        """Return of each connection: seconds left, state, UNREPLIED or ASSURED."""
        return [" ".join(re.findall(r"(?<= )(?:\d+(?= )|[A-Z_0-9]{4,}|\[\w+\])", line)) for line in self.table()]


def sound(packet):
    """Tell whether all checksums of a packet are right."""
    again = type(packet)(bytes(packet))
    layer = again
    while layer and layer.name != "NoPayload":
        if hasattr(layer, "cksum"):
            layer.cksum = None
        if hasattr(layer, "chksum") and not (isinstance(layer, UDP) and layer.chksum == 0):
            if layer.name.endswith("in ICMP"):
                break
            layer.chksum = None
        layer = layer.payload
    return bytes(again) == bytes(packet)
