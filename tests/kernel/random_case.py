"""Random rules with random traffic, seeded."""

import random
import re

from kernel.cases import INTERFACES, INTERFACES6, ROUTES, ROUTES6, SETS, SETS6, Case
from kernel.random_traffic import traffic

PLAIN = [
    "", "-s 10.244.1.0/28", "! -s 10.244.1.4/30", "-d 203.0.113.0/26", "! -d 10.244.0.0/16", "-d 10.96.0.8/29",
    "-p udp", "-p tcp", "! -p icmp", "-p udp -m udp --dport 53:60", "-p tcp -m tcp ! --dport 80",
    "-p tcp -m multiport --dports 80,443,8000:8100", "-p udp -m multiport ! --ports 53,10100:10200",
    "-p tcp -m tcp --tcp-flags SYN,ACK SYN", "-p icmp -m icmp --icmp-type 8", "-m mark --mark 0x1/0x3",
    "-m mark ! --mark 0x2/0x2", "-m addrtype --dst-type LOCAL", "-m addrtype ! --src-type LOCAL --dst-type UNICAST",
    "-m iprange --src-range 10.244.1.5-10.244.1.9", "-m iprange ! --dst-range 203.0.113.9-203.0.113.90",
    "-m statistic --mode nth --every 3 --packet 1", "-m conntrack --ctstate NEW", "-m conntrack ! --ctstate DNAT",
    "-m set --match-set CLIENTS src", "-m set ! --match-set SERVERS dst,dst", "-m ttl --ttl-gt 60",
    "-m length --length 0:40", "-m recent --name R --rcheck --hitcount 2 --rsource", "-m recent --name R --set --rdest",
    "-m quota --quota 900", "-m quota ! --quota 300", "-m ecn --ecn-ip-ect 0", "-p tcp -m ecn ! --ecn-tcp-ece",
    "-p tcp -m tcpmss --mss 1000:1460", "-p tcp -m tcpmss ! --mss 1:99",
    "-m conntrack --ctorigdst 203.0.113.0/25", "-m conntrack --ctproto 17", "-m pkttype --pkt-type unicast",
]  # fmt: skip
MARKS = ["MARK --set-xmark 0x{:x}/0x3", "MARK --or-mark 0x{:x}", "CONNMARK --set-xmark 0x{:x}/0xff"]


def target(rng, chain, callees):
    """Return a -j or -g for a rule of this chain."""
    kind = rng.random()
    if kind < 0.2 and callees:
        return f"-{rng.choice('jjg')} {rng.choice(callees)}"
    if kind < 0.4:
        return "-j " + rng.choice(MARKS).format(rng.randrange(4))
    if kind < 0.5:
        return "-j " + rng.choice(["RETURN", "ACCEPT"])
    if chain.startswith("P") and chain != "POSTROUTING":
        low = rng.randrange(2, 200)
        ports = "" if rng.random() < 0.5 else f":{rng.randrange(1, 60000)}-{rng.randrange(60000, 65536)}"
        dnat = f"-p {rng.choice(['udp', 'tcp'])} -j DNAT --to-destination 10.244.1.{low}-10.244.1.{low + 20}{ports}"
        return rng.choice([dnat, dnat, "-j NETMAP --to 10.244.1.0/27", "-p udp -j REDIRECT --to-ports 99"])
    low = rng.randrange(2, 200)
    snat = f"-j SNAT --to-source 198.51.100.{low}-198.51.100.{low + rng.randrange(50)}"
    return rng.choice(["-j MASQUERADE", snat, snat + " --persistent", "-j NETMAP --to 198.51.100.0/26"])


def rules(rng):
    chains = {"PREROUTING": ["P0", "P1"], "P0": ["P1"], "P1": [], "POSTROUTING": ["S0", "S1"], "S0": ["S1"], "S1": []}
    lines = ["*nat", *(f":{c} - [0:0]" for c in ("P0", "P1", "S0", "S1"))]
    for chain, callees in chains.items():
        for _ in range(rng.randrange(1, 7)):
            iface = rng.choice(["", "", "-i cni0" if chain.startswith("P") and chain != "POSTROUTING" else "-o eth0"])
            said = rng.choice(PLAIN)
            verdict = target(rng, chain, callees)
            if verdict.startswith("-p"):
                said = "" if "-p " in said else said
            lines.append(" ".join(f"-A {chain} {iface} {said} {verdict}".split()))
    lines += ["COMMIT", "*mangle"]
    for _ in range(rng.randrange(3)):
        chain = rng.choice(["PREROUTING", "FORWARD", "POSTROUTING"])
        mark = rng.choice([*MARKS, "CONNMARK --restore-mark", "CONNMARK --save-mark"]).format(rng.randrange(4))
        lines.append(" ".join(f"-A {chain} {rng.choice(PLAIN)} -j {mark}".split()))
    lines += ["COMMIT", "*filter"]
    for _ in range(rng.randrange(3)):
        lines.append(" ".join(f"-A FORWARD {rng.choice(PLAIN[1:])} -j {rng.choice(['DROP', 'ACCEPT'])}".split()))
    return "\n".join([*lines, "COMMIT", ""])


RULES6 = {
    "10.244.1.5-10.244.1.9": "fd01::5-fd01::9",
    "203.0.113.9-203.0.113.90": "fd03::9-fd03::5a",
    "CLIENTS": "CLIENTS6",
    "SERVERS": "SERVERS6",
    "10.244.1.4/30": "fd01::4/126",
    "10.244.1.0/28": "fd01::/124",
    "203.0.113.0/26": "fd03::/122",
    "10.244.0.0/16": "fd01::/64",
    "10.96.0.8/29": "fd66::8/125",
    "203.0.113.0/25": "fd03::/121",
    "-m icmp --icmp-type 8": "-m icmp6 --icmpv6-type 128",
    "-p icmp": "-p ipv6-icmp",
    "10.244.1.0/27": "fd01::/123",
    "-m ttl --ttl-gt": "-m hl --hl-gt",
    "198.51.100.0/26": "fd02::1:0/122",
}


def rules6(rng):
    """The same rules over IPv6 addresses."""
    text = rules(rng)
    for old, new in RULES6.items():
        text = text.replace(old, new)
    text = re.sub(r"--to-source 198\.51\.100\.(\d+)-198\.51\.100\.(\d+)", r"--to-source fd02::\1-fd02::\2", text)
    return re.sub(
        r"--to-destination 10\.244\.1\.(\d+)-10\.244\.1\.(\d+)(:\S+)?",
        lambda m: (
            f"--to-destination [fd01::{m[1]}-fd01::{m[2]}]{m[3]}"
            if m[3]
            else f"--to-destination fd01::{m[1]}-fd01::{m[2]}"
        ),
        text,
    )


def random_case(seed, packets=150, part=0):
    """Seeds that are one less than a multiple of three are IPv6. Parts of a seed have its rules and other traffic.

    With every second seed packets and bytes of connections are counted.
    """
    rng = random.Random(seed)
    family = 6 if seed % 3 == 2 else 4
    made, *ends = (rules6, INTERFACES6, ROUTES6) if family == 6 else (rules, INTERFACES, ROUTES)
    counted = {"net.netfilter.nf_conntrack_acct": seed % 2}
    sets = SETS6 if family == 6 else SETS
    return Case(made(rng), *ends, lambda: traffic(f"{seed}.{part}", family, packets), sets, family, counted)
