"""Gateways at random, seeded: nodes of both families, sets, rules of every kind in every chain, and traffic.

It shares nothing with random_case and random_traffic. Traffic reacts: it answers what left, and complains about it.
Flows have ports of their own, so that few of them make the kernel draw one. -m connlimit is left out: within a jiffy it
looks at no connection again, and packets come faster than that here.
"""

# ruff: noqa: B023, E501  one line is one rule of iptables; closures are called within the turn of the loop that makes them
import random
import struct
from ipaddress import IPv4Address, IPv4Interface

from kernel.handmade import (
    chunk,
    csum,
    dccp,
    frags4,
    frags6,
    icmp,
    ip4,
    ip6,
    packed,
    sctp,
    tcp,
    text,
    udp,
    udplite,
)  # fmt: skip


# ---------------------------------------------------------------- node
def on_link(gateway, ip, name):
    """Tell whether a gateway of IPv4 lies in a network of a device."""
    words = [w.split() for w in ip]
    there = [w[2] for w in words if w[:2] == ["addr", "add"] and w[-1] == name and "peer" not in w]
    return name != "wan1" and any(IPv4Address(gateway) in IPv4Interface(a).network for a in there)


def make_node(r, fams):
    devs = {}
    names = ["lan0", "wan0", "wan1", "dmz0"][: r.choice([2, 3, 4, 4])]
    if "wan0" not in names:
        names.append("wan0")
    plan = {
        "lan0": (
            ["192.168.1.1/24", "192.168.2.1/25", "192.168.1.254/24"],
            ["fd00:1::1/64", "fd00:1:2::1/64", "fe80::1/64"],
        ),
        "wan0": (
            ["198.51.100.10/28", "198.51.100.11/28", "198.51.100.33/32", "192.0.2.5/31"],
            ["2001:db8:a::10/64", "2001:db8:a::11/64", "2001:db8:a:f::1/128", "fe80::2/64"],
        ),
        "wan1": (
            ["203.0.113.2/30", "203.0.113.77 peer 203.0.113.78/32"],
            ["2001:db8:b::2/126", "2001:db8:b:1::1/64", "fe80::3/64"],
        ),
        "dmz0": (["172.16.5.1/28", "10.9.0.1/16"], ["fd00:5::1/120", "fd00:9::1/64", "fe80::4/64"]),
    }
    ip = []
    addrs = {n: {4: [], 6: []} for n in names}
    for n in names:
        devs[n] = 1500 if r.random() < 0.8 else r.choice([1280, 1400, 1492])
        for f in fams:
            first = True
            for x in plan[n][f == 6]:
                if not first and r.random() < 0.55:
                    continue
                w = x
                if (
                    f == 4
                    and r.random() < 0.12
                    and x not in ("192.168.1.1/24", "192.168.1.254/24", "198.51.100.10/28", "198.51.100.11/28")
                ):
                    w += " scope " + r.choice(["link", "global"])
                if f == 6 and not x.startswith("fe80") and r.random() < 0.12:
                    w += r.choice([" preferred_lft 0", " home", " nodad"])
                if first and f == 4 and r.random() < 0.03:
                    first = False
                    continue
                first = False
                ip.append(f"{'-6 ' if f == 6 else ''}addr add {w} dev {n}")
                addrs[n][f].append(x.split("/")[0].split()[0])
    if 4 in fams and r.random() < 0.3:
        x = r.choice(["192.0.2.200/32", "10.96.0.0/24", "192.0.2.129/26"])
        ip.append(f"addr add {x} dev lo")
        addrs.setdefault("lo", {4: [], 6: []})[4].append(x.split("/")[0])
    if 6 in fams and r.random() < 0.3:
        x = r.choice(["2001:db8:ff::1/128", "fd96::1/112"])
        ip.append(f"-6 addr add {x} dev lo")
        addrs.setdefault("lo", {4: [], 6: []})[6].append(x.split("/")[0])
    wan = [n for n in names if n.startswith("wan")]
    gw = {
        4: {"wan0": "198.51.100.1", "wan1": "203.0.113.1", "lan0": "192.168.1.3", "dmz0": "172.16.5.4"},
        6: {"wan0": "2001:db8:a::1", "wan1": "2001:db8:b::1", "lan0": "fd00:1::3", "dmz0": "fd00:5::4"},
    }
    special = {"policy": False, "multi": False}
    far = {
        4: ["8.8.4.0/24", "8.8.8.0/24", "100.64.0.0/10", "100.64.7.0/24", "45.0.0.0/8", "10.50.0.0/16", "45.7.7.7/32"],
        6: ["2600::/16", "2600:7::/32", "2a00:1::/64", "2a00:1::7/128", "fd50::/48", "2600:7:7::/48"],
    }
    sysctls = {"net.ipv4.fib_multipath_hash_seed": r.randrange(1, 2**31)}
    for f in fams:
        fl = "-6 " if f == 6 else ""

        def hop(n):
            g = gw[f][n]
            return (
                f"via {g} dev {n}"
                + (" onlink" if r.random() < 0.1 or not addrs[n][f] or (f == 4 and not on_link(g, ip, n)) else "")
                if r.random() < 0.8
                else f"dev {n}"
            )

        def src(n):
            return (
                f" src {r.choice(addrs[n][f])}"
                if addrs[n][f] and not addrs[n][f][0].startswith("fe80") and r.random() < 0.1
                else ""
            )

        k = r.random()
        if k < 0.72:
            n = r.choice(wan)
            ip.append(f"{fl}route add default {hop(n)}{src(n)}")
        elif k < 0.92 and len(wan) > 1:
            special["multi"] = True
            ip.append(
                f"{fl}route add default "
                + " ".join(
                    f"nexthop via {gw[f][n]} dev {n} weight {r.randrange(1, 5)}" + (" onlink" if f == 4 else "")
                    for n in wan
                )
            )
        for net in r.sample(far[f], r.randrange(0, 4)):
            k = r.random()
            if k < 0.55:
                ip.append(f"{fl}route add {net} {hop(r.choice(names))}")
            elif k < 0.7 and len(names) > 1:
                special["multi"] = True
                a2 = r.sample(names, 2)
                ip.append(
                    f"{fl}route add {net} "
                    + " ".join(
                        f"nexthop via {gw[f][n]} dev {n} weight {r.randrange(1, 5)}" + (" onlink" if f == 4 else "")
                        for n in a2
                    )
                )
            else:
                ip.append(f"{fl}route add {r.choice(['blackhole', 'unreachable', 'prohibit', 'throw'])} {net}")
        if r.random() < 0.35:
            special["policy"] = True
            for tb in (100, 101):
                ip.append(f"{fl}route add default {hop(r.choice(names))} table {tb}")
                if r.random() < 0.6:
                    ip.append(f"{fl}route add {r.choice(far[f])} {hop(r.choice(names))} table {tb}")
                if r.random() < 0.3:
                    ip.append(
                        f"{fl}route add {r.choice(['throw', 'blackhole', 'unreachable', 'prohibit'])} {'8.8.8.128/25' if f == 4 else '2600:7:8000::/33'} table {tb}"
                    )
            for pr in range(r.randrange(1, 4)):
                what = r.choice(
                    [
                        f"fwmark {r.randrange(1, 4)}/0x3",
                        f"fwmark {r.randrange(1, 4)}/0x3",
                        f"iif {r.choice(names)}",
                        f"from {r.choice(['192.168.1.0/26', '192.168.1.128/25', '172.16.5.0/28'] if f == 4 else ['fd00:1::/121', 'fd00:5::/120'])}",
                        f"to {r.choice(far[f])}",
                        "ipproto tcp dport 443",
                        "ipproto udp",
                        "ipproto udp sport 1000-30000",
                        "dsfield 0x10",
                        f"not iif {r.choice(names)}",
                        "iif lo",
                        f"oif {r.choice(names)}",
                    ]
                )
                if what.startswith("dsfield"):
                    what = "tos 0x10"
                then = r.choice(
                    [
                        "lookup 100",
                        "lookup 101",
                        "lookup 100",
                        "lookup main suppress_prefixlength 0",
                        "unreachable",
                        "blackhole",
                        "prohibit",
                        "goto 32000" if False else "lookup 101",
                    ]
                )
                ip.append(f"{fl}rule add pref {1000 + pr} {what} {then}")
    if 4 in fams:
        for name, p, vals in (
            ("rp_filter", 0.25, (0, 1, 2)),
            ("accept_local", 0.25, (1,)),
            ("route_localnet", 0.15, (1,)),
            ("forwarding", 0.08, (0,)),
            ("bc_forwarding", 0.2, (1,)),
            ("send_redirects", 0.3, (0,)),
            ("src_valid_mark", 0.2, (1,)),
            ("accept_source_route", 0.3, (0, 1)),
        ):
            for d in [*names, "all"]:
                if r.random() < p and not (d == "all" and name == "forwarding"):
                    sysctls[f"net.ipv4.conf.{d}.{name}"] = r.choice(vals)
        sysctls["net.ipv4.fib_multipath_hash_policy"] = r.choice([0, 0, 1])
    if 6 in fams:
        sysctls["net.ipv6.fib_multipath_hash_policy"] = r.choice([0, 0, 1])
        for name, p, vals in (
            ("forwarding", 0.08, (0,)),
            ("accept_source_route", 0.2, (0, 1, -1)),
            ("force_forwarding", 0.1, (1,)),
            ("accept_ra", 0.1, (0, 1, 2)),
        ):
            for d in names:
                if r.random() < p:
                    sysctls[f"net.ipv6.conf.{d}.{name}"] = r.choice(vals)
        if r.random() < 0.06:
            sysctls["net.ipv6.conf.all.forwarding"] = 0
    if r.random() < 0.5:
        sysctls["net.netfilter.nf_conntrack_acct"] = 1
    nf = "net.netfilter.nf_conntrack_"
    for k, p, vals in (
        ("tcp_loose", 0.15, (0,)),
        ("tcp_be_liberal", 0.15, (1,)),
        ("checksum", 0.15, (0,)),
        ("tcp_ignore_invalid_rst", 0.15, (1,)),
        ("tcp_max_retrans", 0.2, (1, 2, 5)),
    ):
        if r.random() < p:
            sysctls[nf + k] = r.choice(vals)
    return {"devices": devs, "ip": ip, "sysctls": sysctls}, names, addrs, gw, special


# ---------------------------------------------------------------- sets
def make_sets(r, fams):
    out, sets = [], {}

    def add(name, kind, create, elements, dims, f):
        opts = ""
        if r.random() < 0.3:
            opts += " counters"
        if r.random() < 0.3:
            opts += " comment"
        tmo = r.random() < 0.25
        if tmo:
            opts += f" timeout {r.choice([0, 3000])}"
        out.append(f"create {name} {kind} {create}{opts}")
        for e in elements:
            x = e
            if tmo and r.random() < 0.4:
                x += f" timeout {r.choice([0, 900, 5000])}"
            if "counters" in opts and r.random() < 0.3:
                x += f" packets {r.randrange(9)} bytes {r.randrange(900)}"
            if "comment" in opts and r.random() < 0.3:
                x += ' comment "a b"'
            out.append(f"add {name} {x} -exist")
        sets[name] = (dims, f, "counters" in opts, kind)

    for f in fams:
        fam, s = f"family inet{'6' if f == 6 else ''}", str(f)
        cl = (lambda: f"192.168.1.{r.randrange(2, 30)}") if f == 4 else (lambda: f"fd00:1::{r.randrange(2, 30):x}")
        sv = (
            (lambda: f"{r.choice(['8.8.8', '45.7.7', '100.64.7'])}.{r.randrange(1, 20)}")
            if f == 4
            else (lambda: f"{r.choice(['2600:7', '2a00:1', '2600:7:7'])}::{r.randrange(1, 20):x}")
        )
        net = (
            (lambda: r.choice([f"{cl()}/{r.choice([32, 30, 28, 27])}", f"{sv()}/{r.choice([32, 31, 29, 24, 9])}"]))
            if f == 4
            else (
                lambda: r.choice([f"{cl()}/{r.choice([128, 126, 124])}", f"{sv()}/{r.choice([128, 127, 120, 64, 30])}"])
            )
        )

        def pp():
            return r.choice(
                [
                    f"tcp:{r.choice([80, 443, 22])}",
                    f"udp:{r.choice([53, 123, 500])}",
                    "sctp:36",
                    "icmp:echo-request" if f == 4 else "icmpv6:echo-request",
                    "udplite:53",
                    "47:0" if r.random() < 0.5 else "gre:0",
                    f"tcp:{r.randrange(1000)}",
                ]
            )

        nm = f" netmask {r.choice([24, 30, 28] if f == 4 else [64, 124, 126])}" if r.random() < 0.3 else ""
        add("HI" + s, "hash:ip", fam + nm, {r.choice([cl, sv])() for _ in range(6)}, 1, f)
        add("HN" + s, "hash:net", fam, [net() + (" nomatch" if r.random() < 0.25 else "") for _ in range(6)], 1, f)
        add("HIP" + s, "hash:ip,port", fam, [f"{r.choice([cl, sv])()},{pp()}" for _ in range(9)], 2, f)
        add(
            "HNP" + s,
            "hash:net,port",
            fam,
            [f"{net()},{pp()}" + (" nomatch" if r.random() < 0.2 else "") for _ in range(9)],
            2,
            f,
        )
        add("HIPI" + s, "hash:ip,port,ip", fam, [f"{cl()},{pp()},{sv()}" for _ in range(9)], 3, f)
        add(
            "HIPN" + s,
            "hash:ip,port,net",
            fam,
            [f"{cl()},{pp()},{net()}" + (" nomatch" if r.random() < 0.2 else "") for _ in range(12)],
            3,
            f,
        )
        add(
            "HNI" + s,
            "hash:net,iface",
            fam,
            [
                f"{net()},{r.choice(['lan0', 'wan0', 'wan1', 'dmz0'])}" + (" nomatch" if r.random() < 0.2 else "")
                for _ in range(8)
            ],
            2,
            f,
        )
    if 4 in fams:
        add(
            "BI",
            "bitmap:ip",
            "range 192.168.1.0-192.168.1.63" if r.random() < 0.6 else "range 192.168.0.0/16 netmask 28",
            [f"192.168.1.{r.randrange(2, 30)}" for _ in range(5)],
            1,
            4,
        )
    add("BP", "bitmap:port", "range 0-2000", {str(r.choice([80, 53, 443, 22, 500, 123])) for _ in range(4)}, 1, 0)
    members = r.sample(sorted(sets), 3)
    out.append("create LS list:set size 8" + (" counters" if r.random() < 0.3 else ""))
    out += [f"add LS {m}" for m in members]
    sets["LS"] = (r.choice([1, 2, 3]), 0, False, "list:set")
    return "\n".join(out) + "\n", sets


# ---------------------------------------------------------------- rules
class Rules:
    def __init__(self, r, f, names, addrs, sets, ports):
        self.r, self.f, self.names, self.addrs, self.sets, self.ports = r, f, names, addrs, sets, ports
        self.icmp = "icmp" if f == 4 else "ipv6-icmp"
        self.n = 0
        self.rings = {}

    def chance(self, p):
        return self.r.random() < p

    def inv(self, p=0.2):
        return "! " if self.r.random() < p else ""

    def client(self):
        return f"192.168.1.{self.r.randrange(2, 12)}" if self.f == 4 else f"fd00:1::{self.r.randrange(2, 12):x}"

    def server(self):
        r = self.r
        return (
            f"{r.choice(['8.8.8', '45.7.7', '100.64.7', '10.50.1'])}.{r.randrange(1, 12)}"
            if self.f == 4
            else f"{r.choice(['2600:7', '2a00:1', '2600:7:7', 'fd50'])}::{r.randrange(1, 12):x}"
        )

    def net(self):
        r = self.r
        if self.f == 4:
            return r.choice(
                [
                    "192.168.1.0/24",
                    "192.168.1.0/29",
                    "192.168.0.0/16",
                    "172.16.5.0/28",
                    "8.8.0.0/16",
                    "45.0.0.0/8",
                    "100.64.0.0/10",
                    "8.8.8.8/29",
                    "198.51.100.0/24",
                    self.server() + "/32",
                    self.client() + "/32",
                    "192.168.1.1/255.255.0.255",
                ]
            )
        return r.choice(
            [
                "fd00:1::/64",
                "fd00:1::/125",
                "fd00::/16",
                "fd00:5::/120",
                "2600::/16",
                "2a00:1::/64",
                "2001:db8::/32",
                self.server() + "/128",
                self.client() + "/128",
            ]
        )

    def port(self):
        return self.r.choice([53, 80, 443, 22, 123, 500, 36, 4500, 8080])

    def prange(self):
        r = self.r
        return r.choice(
            [
                str(self.port()),
                f"{r.randrange(1, 400)}:{r.randrange(400, 60000)}",
                f"{r.randrange(1000, 60000)}:",
                f":{r.randrange(1000, 60000)}",
            ]
        )

    def proto_part(self, want=None):
        """-p ... with matches of the protocol."""
        r = self.r
        k = want or r.choice(["udp", "udp", "tcp", "tcp", "tcp", "icmp", "sctp", "udplite", "dccp", "other", "multi"])
        if k == "udp":
            return "-p udp" + r.choice(
                [
                    "",
                    " -m udp",
                    f" -m udp {self.inv()}--dport {self.prange()}",
                    f" -m udp {self.inv()}--sport {self.prange()}",
                    f" -m udp --sport {self.prange()} --dport {self.prange()}",
                ]
            )
        if k == "tcp":
            return "-p tcp" + r.choice(
                [
                    "",
                    " -m tcp",
                    f" -m tcp {self.inv()}--dport {self.prange()}",
                    f" -m tcp {self.inv()}--tcp-flags {r.choice(['SYN,ACK', 'FIN,SYN,RST,ACK', 'ALL', 'RST', 'PSH,URG'])} {r.choice(['SYN', 'ACK', 'NONE', 'RST', 'FIN,ACK'])}",
                    f" -m tcp {self.inv()}--syn",
                    f" -m tcp {self.inv()}--tcp-option {r.choice([2, 3, 4, 8])}",
                    f" -m tcpmss {self.inv()}--mss {r.choice(['1:1000', '536', '1300:1500'])}",
                    f" -m ecn {self.inv()}--ecn-tcp-cwr",
                    f" -m ecn {self.inv()}--ecn-tcp-ece",
                ]
            )
        if k == "icmp":
            if self.f == 4:
                return "-p icmp" + r.choice(
                    [
                        "",
                        " -m icmp --icmp-type any",
                        f" -m icmp {self.inv()}--icmp-type {r.choice(['8', '0', '3', '3/1', '3/4', '11', '5/1', '13', '17'])}",
                    ]
                )
            return "-p ipv6-icmp" + r.choice(
                [
                    "",
                    f" -m icmp6 {self.inv()}--icmpv6-type {r.choice(['128', '129', '1', '1/3', '2', '3', '4', '135', '133', '137', '1/0'])}",
                ]
            )
        if k == "sctp":
            return "-p sctp" + r.choice(["", " -m sctp", f" -m sctp {self.inv()}--dport {self.prange()}"])
        if k == "udplite":
            return "-p udplite" + r.choice(["", " -m multiport --ports 53,80"])
        if k == "dccp":
            return "-p dccp" + r.choice(["", " -m multiport --dports 53,80:443"])
        if k == "multi":
            p = r.choice(["tcp", "udp", "sctp", "udplite", "dccp"])
            return f"-p {p} -m multiport {self.inv()}--{r.choice(['sports', 'dports', 'ports'])} {','.join(sorted({r.choice([str(self.port()), f'{r.randrange(1, 500)}:{r.randrange(500, 40000)}']) for _ in range(r.randrange(1, 5))}))}"
        return r.choice(
            [
                f"{self.inv()}-p {x}"
                for x in (
                    "esp",
                    "ah",
                    "gre",
                    "47",
                    "99",
                    "ipv6-nonxt" if self.f == 6 else "igmp",
                    "tcp",
                    "udp",
                    self.icmp,
                    "ipencap",
                )
            ]
        )

    def any_part(self, table, chain):
        """One match that needs no protocol."""
        r = self.r
        s = self.f
        opts = [
            lambda: f"{self.inv()}-s {self.net()}",
            lambda: f"{self.inv()}-d {self.net()}",
            lambda: f"{self.inv()}-s {self.net()}",
            lambda: f"{self.inv()}-d {self.net()}",
            lambda: f"-m mark {self.inv()}--mark {r.randrange(4)}/{r.choice(['0x3', '0x1', '0xff'])}",
            lambda: f"-m connmark {self.inv()}--mark {r.randrange(4)}/{r.choice(['0x3', '0x1', '0xff'])}",
            lambda: (
                f"-m addrtype {self.inv()}--{r.choice(['src', 'dst'])}-type {self.types()}"
                + (
                    " --limit-iface-in"
                    if chain in ("PREROUTING", "INPUT") and self.chance(0.3)
                    else " --limit-iface-out"
                    if chain in ("POSTROUTING", "OUTPUT") and self.chance(0.3)
                    else ""
                )
            ),
            lambda: f"-m addrtype {self.inv()}--src-type {self.types()} {self.inv()}--dst-type {self.types()}",
            lambda: (
                f"-m iprange {self.inv()}--{r.choice(['src', 'dst'])}-range "
                + (
                    f"192.168.1.{r.randrange(2, 6)}-192.168.1.{r.randrange(6, 60)}"
                    if s == 4
                    else f"fd00:1::{r.randrange(2, 6):x}-fd00:1::{r.randrange(6, 60):x}"
                )
            ),
            lambda: (
                f"-m iprange {self.inv()}--{r.choice(['src', 'dst'])}-range "
                + (
                    f"8.8.8.{r.randrange(0, 6)}-45.7.7.{r.randrange(6, 60)}"
                    if s == 4
                    else f"2600:7::{r.randrange(2, 6):x}-2a00:1::{r.randrange(6, 60):x}"
                )
            ),
            lambda: (
                f"-m conntrack {self.inv(0.3)}--ctstate {','.join(r.sample(['NEW', 'ESTABLISHED', 'RELATED', 'INVALID', 'UNTRACKED', 'SNAT', 'DNAT'], r.randrange(1, 4)))}"
            ),
            lambda: (
                f"-m conntrack {self.inv(0.3)}--ctstate {','.join(r.sample(['NEW', 'ESTABLISHED', 'RELATED', 'INVALID'], r.randrange(1, 3)))} {self.ctopt()}"
            ),
            lambda: f"-m conntrack {self.ctopt()}",
            lambda: f"-m conntrack {self.ctopt(2)} {self.ctopt(1)}",
            lambda: f"-m state {self.inv()}--state {r.choice(['NEW', 'RELATED,ESTABLISHED', 'INVALID', 'UNTRACKED'])}",
            lambda: f"-m statistic --mode nth {self.inv()}--every {(n := r.randrange(2, 6))} --packet {r.randrange(n)}",
            lambda: f"-m length {self.inv()}--length {r.choice(['0:60', '20', '28:64', '100:', '1200:65535'])}",
            lambda: (
                f"-m ttl --ttl-{r.choice(['eq', 'lt', 'gt'])} {r.choice([1, 2, 62, 63, 64, 128])}"
                if s == 4
                else f"-m hl --hl-{r.choice(['eq', 'lt', 'gt'])} {r.choice([1, 2, 62, 63, 64, 128])}"
            ),
            lambda: f"-m dscp {self.inv()}--dscp {r.choice(['0x0a', '0x2e', '0x00'])}",
            lambda: f"-m tos {self.inv()}--tos {r.choice(['0x10', '0x08/0x3f', 'Minimize-Delay'])}",
            lambda: f"-m ecn {self.inv()}--ecn-ip-ect {r.randrange(4)}",
            lambda: f"-m pkttype {self.inv()}--pkt-type {r.choice(['unicast', 'broadcast', 'multicast'])}",
            lambda: f"-m limit --limit {r.choice(['1/hour', '20/day', '5/hour'])} --limit-burst {r.randrange(1, 30)}",
            lambda: f"-m quota {self.inv()}--quota {r.choice([100, 1000, 5000])}",
            lambda: self.hashlimit(),
            lambda: self.hashlimit(),
            lambda: self.recent(),
            lambda: self.recent(),
            lambda: self.setm(),
            lambda: self.setm(),
            lambda: self.setm(),
            lambda: self.setm(),
            lambda: (
                f"-m connbytes {self.inv()}--connbytes {r.choice(['1', '2:4', '100:', '200:5000'])} --connbytes-dir {r.choice(['original', 'reply', 'both'])} --connbytes-mode {r.choice(['packets', 'bytes', 'avgpkt'])}"
            ),
            lambda: "-m cpu ! --cpu 77",
            lambda: f"-m helper {self.inv()}--helper {r.choice(['ftp', 'irc'])}",
            lambda: (
                "-m policy --dir "
                + ("in" if chain in ("PREROUTING", "INPUT") else "out")
                + r.choice([" --pol none", " --pol ipsec"])
                if chain in ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING", "FORWARD")
                else ""
            ),
            lambda: (
                f"-m time {self.inv(0.0)}{r.choice(['--datestart 2020-01-01', '--datestop 2021-01-01', '--weekdays Mon,Tue,Wed,Thu,Fri,Sat,Sun', '--timestart 00:00 --timestop 23:59:59', '--monthdays 31'])}"
            ),
            lambda: '-m comment --comment "x y"',
        ]
        if self.f == 4:
            opts.append(lambda: f"{self.inv()}-f")
        if self.f == 6:
            opts.append(
                lambda: (
                    f"-m rt {r.choice(['--rt-type 0', '--rt-segsleft 0', '--rt-segsleft 1:3', '--rt-len 24', '--rt-type 2', '! --rt-type 4'])}"
                )
            )
        if chain in ("PREROUTING",) and table in ("raw", "mangle"):
            opts += [
                lambda: (
                    "-m rpfilter"
                    + "".join(
                        x for x in (" --loose", " --validmark", " --accept-local", " --invert") if self.chance(0.4)
                    )
                )
            ] * 3
        if chain in ("OUTPUT", "POSTROUTING"):
            opts += [
                lambda: (
                    f"-m owner {self.inv()}{r.choice(['--uid-owner 0', '--gid-owner 0', '--socket-exists', '--uid-owner 5-9'])}"
                )
            ] * 2
        return r.choice(opts)()

    def types(self):
        if self.f == 4:
            return ",".join(
                self.r.sample(
                    [
                        "UNSPEC",
                        "UNICAST",
                        "LOCAL",
                        "BROADCAST",
                        "MULTICAST",
                        "BLACKHOLE",
                        "UNREACHABLE",
                        "PROHIBIT",
                        "ANYCAST",
                    ],
                    self.r.choice([1, 1, 1, 2]),
                )
            )
        return ",".join(
            self.r.sample(
                ["UNSPEC", "UNICAST", "LOCAL", "MULTICAST", "ANYCAST", "UNREACHABLE"], self.r.choice([1, 1, 1, 2])
            )
        )

    def ctopt(self, which=0):
        r = self.r
        i = self.inv()
        groups = [
            [
                f"{i}--ctproto {r.choice(['tcp', 'udp', '1', '58', '132', '0'])}",
                f"{i}--ctstatus {r.choice(['NONE', 'EXPECTED', 'SEEN_REPLY', 'ASSURED', 'CONFIRMED', 'SEEN_REPLY,ASSURED'])}",
                f"--ctdir {r.choice(['ORIGINAL', 'REPLY'])}",
                # what is left of others depends on when the machine was started
                f"--ctstatus CONFIRMED {i}--ctexpire {r.choice(['0:10', '20:40', '100:'])}",
            ],
            [
                f"{i}--ctorigsrc {self.net()}",
                f"{i}--ctorigdst {self.net()}",
                f"{i}--ctreplsrc {self.net()}",
                f"{i}--ctrepldst {self.net()}",
                f"{i}--ctorigsrcport {self.prange()}",
                f"{i}--ctorigdstport {self.prange()}",
                f"{i}--ctreplsrcport {self.prange()}",
                f"{i}--ctrepldstport {self.prange()}",
            ],
        ]
        return r.choice(groups[which % 2] if which else groups[0] + groups[1])

    def hashlimit(self):
        r = self.r
        self.n += 1
        name = f"h{self.f}{self.n}" if self.chance(0.8) else f"h{self.f}s"
        mode = ",".join(r.sample(["srcip", "dstip", "srcport", "dstport"], r.randrange(0, 4)))
        m = f" --hashlimit-mode {mode}" if mode else ""
        if "srcip" in mode and self.chance(0.4):
            m += f" --hashlimit-srcmask {r.choice([0, 24, 30] if self.f == 4 else [0, 64, 126])}"
        if "dstip" in mode and self.chance(0.4):
            m += f" --hashlimit-dstmask {r.choice([8, 24, 30] if self.f == 4 else [16, 64, 126])}"
        return f"-m hashlimit --hashlimit-{r.choice(['upto', 'above'])} {r.choice(['1/hour', '5/hour', '20/day'])} --hashlimit-burst {r.randrange(1, 12)}{m} --hashlimit-name {name} --hashlimit-htable-expire 900000"

    def recent(self):
        r = self.r
        name = f"r{self.f}" + r.choice("abc")
        side = r.choice(["--rsource", "--rdest"])
        mask = "" if self.chance(0.7) else " --mask " + ("255.255.255.0" if self.f == 4 else "ffff:ffff::")
        op = r.choice(["--set", "--set", "--rcheck", "--update", "--remove", "--rcheck", "--update"])
        o = ""
        if op in ("--rcheck", "--update"):
            if self.chance(0.5):
                o += f" --seconds {r.choice([300, 1000])}" + (" --reap" if self.chance(0.2) else "")
            if self.chance(0.5):
                o += f" --hitcount {r.randrange(1, 8)}"
            if self.chance(0.2):
                o += " --rttl"
        return f"-m recent {self.inv(0.15)}{op}{o} --name {name}{mask} {side}"

    def setm(self):
        r = self.r
        ok = [n for n, (d, f, c, k) in self.sets.items() if f in (0, self.f)]
        name = r.choice(ok)
        d, _f, c, k = self.sets[name]
        d = d if self.chance(0.9) else r.randrange(1, 4)
        fl = ",".join(r.choice(["src", "dst"]) for _ in range(d))
        o = ""
        if "net" in k and self.chance(0.3):
            o += " --return-nomatch"
        if c and self.chance(0.5):
            o += r.choice(
                [
                    " ! --update-counters",
                    f" --packets-gt {r.randrange(5)}",
                    f" --bytes-lt {r.randrange(2000)}",
                    f" --packets-eq {r.randrange(5)}",
                    f" ! --packets-eq {r.randrange(4)}",
                ]
            )
        if k == "list:set" and self.chance(0.3):
            o += " ! --update-subcounters"
        return f"-m set {self.inv()}--match-set {name} {fl}{o}"

    def devs(self, chain):
        r = self.r
        out = ""
        names = [*self.names, "lo", "wan+", "ppp0", "+"]
        if chain in ("PREROUTING", "INPUT", "FORWARD") and self.chance(0.35):
            out += f" {self.inv()}-i {r.choice(names)}"
        if chain in ("FORWARD", "OUTPUT", "POSTROUTING") and self.chance(0.35):
            out += f" {self.inv()}-o {r.choice(names)}"
        return out

    def own(self):
        xs = [x for d in self.addrs.values() for x in d[self.f] if not x.startswith("fe80")]
        return self.r.choice(xs) if xs else ("198.51.100.10" if self.f == 4 else "2001:db8:a::10")

    def nat_target(self, chain):
        """(-p part needed, target)."""
        r = self.r

        def br(x, p):
            return f"[{x}]{p}" if self.f == 6 and p else x + p

        if chain in ("PREROUTING", "OUTPUT"):
            k = r.random()
            dests = (
                [
                    f"192.168.1.{r.randrange(2, 12)}",
                    f"172.16.5.{r.randrange(2, 12)}",
                    "127.0.0.1" if r.random() < 0.3 else "172.16.5.5",
                ]
                if self.f == 4
                else [f"fd00:1::{r.randrange(2, 12):x}", f"fd00:5::{r.randrange(2, 12):x}"]
            )
            d = r.choice(dests)
            if k < 0.35:
                return r.choice(
                    ["tcp", "udp", "sctp", "dccp"]
                ), f"-j DNAT --to-destination {br(d, r.choice(['', f':{self.port()}', f':{self.port()}']))}"
            if k < 0.5:
                return None, f"-j DNAT --to-destination {d}" + r.choice(["", " --persistent"])
            if k < 0.65:
                a1 = "192.168.1.2-192.168.1.11" if self.f == 4 else "fd00:1::2-fd00:1::b"
                return None, f"-j DNAT --to-destination {a1}" + r.choice(["", " --persistent"])
            if k < 0.75:
                return (
                    r.choice(["tcp", "udp"]),
                    f"-j DNAT --to-destination {br(d, f':{(b := r.randrange(1000, 3000))}-{b + 3000}/{r.choice([1, 80, 400])}')}",
                )
            if k < 0.9:
                return r.choice(["tcp", "udp"]), f"-j REDIRECT --to-ports {self.port()}"
            if k < 0.95:
                return None, "-j REDIRECT"
            return None, "-j NETMAP --to " + ("192.168.1.0/28" if self.f == 4 else "fd00:1::/124")
        o = self.own()
        k = r.random()
        if chain == "INPUT":
            k = max(k, 0.35)
        if k < 0.35:
            return None, "-j MASQUERADE"
        if k < 0.55:
            return None, f"-j SNAT --to-source {o}" + r.choice(["", "", " --persistent"])
        if k < 0.75:
            return None, "-j SNAT --to-source " + (
                "198.51.100.12-198.51.100.14" if self.f == 4 else "2001:db8:a::20-2001:db8:a::2f:ffff"
            ) + r.choice(["", " --persistent"])
        if k < 0.9:
            return r.choice(["tcp", "udp", "icmp"]) if self.f == 4 else r.choice(
                ["tcp", "udp"]
            ), f"-j SNAT --to-source {br(o, ':1024-65535')}"
        return None, "-j NETMAP --to " + ("198.51.100.16/28" if self.f == 4 else "2001:db8:a:77::/64")

    def rule(self, table, chain, builtin, users, kind):
        """kind: count, act, nat, jump."""
        r = self.r
        _parts, proto = [], None
        tgt = ""
        if kind == "nat":
            proto, tgt = self.nat_target(builtin)
        elif kind == "jump":
            u = r.choice(users)
            tgt = f"-{r.choice('jjg')} {u}"
        elif kind == "act":
            xs = []
            if table in ("filter",):
                xs += [
                    "DROP",
                    "ACCEPT",
                    "ACCEPT",
                    "RETURN",
                    "REJECT",
                    "LOG --log-prefix x",
                    "NFLOG",
                    "MARK --set-xmark 1/3",
                ]
            if table == "mangle":
                xs += [
                    f"MARK --set-xmark {r.randrange(4)}/3",
                    f"MARK --set-xmark {r.randrange(4)}/3",
                    f"CONNMARK --set-xmark {r.randrange(4)}/3",
                    "CONNMARK --save-mark",
                    "CONNMARK --restore-mark",
                    "CONNMARK --restore-mark --nfmask 0x3 --ctmask 0x3",
                    "MARK --or-mark 2",
                    "MARK --xor-mark 3",
                    "MARK --and-mark 1",
                    f"TOS --set-tos {r.choice(['0x10', '0x08/0x3f'])}",
                    "TOS --or-tos 4",
                    f"DSCP --set-dscp {r.choice(['0x0a', '0x2e'])}",
                    ("TTL --ttl-" if self.f == 4 else "HL --hl-") + r.choice(["set 64", "inc 1", "dec 1", "set 2"]),
                    "RETURN",
                    "ACCEPT",
                    "DROP",
                    *(["CLASSIFY --set-class 1:1"] if builtin in ("FORWARD", "OUTPUT", "POSTROUTING") else []),
                    "CHECKSUM --checksum-fill",
                    "TCPMSS",
                    "TCPMSS",
                ]
            if table == "raw":
                xs += [
                    f"CT --zone {r.randrange(3)}",
                    f"CT --zone-orig {r.randrange(3)}",
                    f"CT --zone-reply {r.randrange(3)}",
                    "CT --zone mark",
                    "NOTRACK",
                    "CT --notrack",
                    "DROP",
                    "ACCEPT",
                    "RETURN",
                    "MARK --set-xmark 2/3",
                    "CONNMARK --restore-mark",
                    "TTL",
                ]
            if table == "nat":
                xs += ["ACCEPT", "RETURN", "MARK --set-xmark 1/3", "CONNMARK --set-xmark 2/3", "LOG"]
            t = r.choice(xs)
            if t == "TTL":
                t = "ACCEPT"
            if t == "TCPMSS":
                proto = "-p tcp -m tcp --tcp-flags SYN,RST SYN"
                t = r.choice(
                    ["TCPMSS --set-mss 1000"]
                    + (["TCPMSS --clamp-mss-to-pmtu"] if builtin not in ("PREROUTING", "INPUT") else [])
                )
            tgt = "-j " + t
        if proto and not proto.startswith("-p"):
            proto = self.proto_part(proto)
        if not proto and self.chance(0.5):
            proto = self.proto_part()
        dv = self.devs(builtin) if chain == builtin else self.devs(r.choice([builtin, "FORWARD"]))
        others = []
        for _ in range(r.choice([0, 1, 1, 1, 2, 2, 3])):
            x = self.any_part(table, builtin)
            if not x:
                continue
            key = x.replace("! ", "").split()[0] + (
                x.replace("! ", "").split()[1] if x.replace("! ", "").startswith("-m") else ""
            )
            if x and key not in [k for k, _ in others]:
                others.append((key, x))
        if proto and "-p tcp" in proto and any(k == "-mecn" for k, _ in others):
            others = [o for o in others if o[0] != "-mecn"]
        # nat rules must hold often
        if kind == "nat" and self.chance(0.5):
            others = others[:1]
        ms = [x for _, x in others]
        # half of the time matches in front of those of the protocol
        front = [x for x in ms if not x.startswith("-m")]
        rest = [x for x in ms if x.startswith("-m")]
        line = f"-A {chain}{dv} {' '.join(front)} {proto or ''} {' '.join(rest)} {tgt}"
        return " ".join(line.split())


BUILT = {
    "raw": ["PREROUTING", "OUTPUT"],
    "mangle": ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
    "nat": ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
    "filter": ["INPUT", "FORWARD", "OUTPUT"],
}


def make_rules(r, f, names, addrs, sets, special, density=1.0):
    R = Rules(r, f, names, addrs, sets, None)
    out = []
    tables = [t for t, p in (("raw", 0.6), ("mangle", 0.75), ("nat", 0.85), ("filter", 0.85)) if r.random() < p]
    r.shuffle(tables)
    for t in tables:
        out.append("*" + t)
        for c in BUILT[t]:
            pol = "ACCEPT"
            if t == "filter" and r.random() < 0.12:
                pol = "DROP"
            out.append(f":{c} {pol} [{r.choice(['0:0', '0:0', '5:500'])}]")
        users = {b: [f"U{b[0]}{b[2]}{i}" for i in range(r.randrange(0, 3))] for b in BUILT[t]}
        for us in users.values():
            out += [f":{u} - [0:0]" for u in us]
        for b in BUILT[t]:
            # real gateways' own lines
            if t == "nat" and b == "POSTROUTING" and r.random() < 0.6:
                out.append(f"-A POSTROUTING -o {r.choice(names)} -j MASQUERADE")
            if t == "filter" and r.random() < 0.4:
                out.append(f"-A {b} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
            if t == "mangle" and b == "PREROUTING" and r.random() < 0.25:
                out += [
                    "-A PREROUTING -j CONNMARK --restore-mark --nfmask 0x3 --ctmask 0x3",
                    "-A PREROUTING -m mark ! --mark 0/0x3 -j ACCEPT",
                    f"-A PREROUTING -i {r.choice(names)} -m conntrack --ctstate NEW -j MARK --set-xmark {r.randrange(1, 4)}/0x3",
                    "-A PREROUTING -j CONNMARK --save-mark --nfmask 0x3 --ctmask 0x3",
                ]
            n = r.choice([0, 1, 2, 3, 5])
            for c in [b, *users[b]]:
                for _ in range(n if c == b else r.randrange(0, 4)):
                    lower = users[b][users[b].index(c) + 1 :] if c in users[b] else users[b]
                    kinds = (
                        ["count", "count", "act", "act"]
                        + (["jump"] * 2 if lower else [])
                        + (["nat"] * 5 if t == "nat" else [])
                    )
                    line = R.rule(t, c, b, lower, r.choice(kinds))
                    if r.random() < 0.1:
                        line = f"[{r.randrange(9)}:{r.randrange(900)}] {line}"
                    out.append(line)
        out.append("COMMIT")
    return "\n".join(out) + "\n"


# ---------------------------------------------------------------- traffic
class Traffic:
    """Reactive: next() gives (iface, bytes list), tell(outs) what left."""

    def __init__(self, r, fams, names, addrs, special):
        self.r, self.fams, self.names, self.addrs, self.special = r, fams, names, addrs, special
        self.flows, self.port = [], 20000
        self.last = None
        self.recent_out = {4: [], 6: []}
        # raw sockets: the kernel looks up without source, protocol and ports
        self.local_ok = not special["policy"] and not special["multi"]
        self.queue = []
        self.ident = 1

    def near(self, f, dev):
        r = self.r
        if f == 4:
            return {
                "lan0": lambda: f"192.168.1.{r.randrange(2, 12)}",
                "dmz0": lambda: f"172.16.5.{r.randrange(2, 12)}",
                "wan0": lambda: r.choice([self.far(4), f"198.51.100.{r.randrange(1, 9)}"]),
                "wan1": lambda: r.choice([self.far(4), "203.0.113.1", "203.0.113.78"]),
            }[dev]()
        return {
            "lan0": lambda: f"fd00:1::{r.randrange(2, 12):x}",
            "dmz0": lambda: f"fd00:5::{r.randrange(2, 12):x}",
            "wan0": lambda: r.choice([self.far(6), f"2001:db8:a::{r.randrange(1, 9):x}"]),
            "wan1": lambda: r.choice([self.far(6), "2001:db8:b::1"]),
        }[dev]()

    def far(self, f):
        r = self.r
        if f == 4:
            return (
                f"{r.choice(['8.8.8', '8.8.4', '45.7.7', '100.64.7', '10.50.1', '8.8.8'])}.{r.randrange(1, 12)}"
                if r.random() < 0.9
                else f"8.8.8.{r.randrange(128, 140)}"
            )
        return (
            f"{r.choice(['2600:7', '2a00:1', '2600:7:7', 'fd50'])}::{r.randrange(1, 12):x}"
            if r.random() < 0.9
            else f"2600:7:8000::{r.randrange(1, 9):x}"
        )

    def own(self, f):
        xs = [x for d in self.addrs.values() for x in d[f]]
        return self.r.choice(xs) if xs else self.far(f)

    def odd(self, f):
        if f == 4:
            return self.r.choice(
                [
                    "0.0.0.0",
                    "255.255.255.255",
                    "127.0.0.1",
                    "127.0.0.5",
                    "224.0.0.1",
                    "224.0.0.251",
                    "239.1.2.3",
                    "192.168.1.255",
                    "192.168.1.0",
                    "198.51.100.15",
                    "0.1.2.3",
                    "240.0.0.1",
                    "169.254.3.4",
                    "203.0.113.3",
                    "172.16.5.15",
                    "192.0.2.201",
                    "10.96.0.7",
                    "192.0.2.191",
                ]
            )
        return self.r.choice(
            [
                "::",
                "::1",
                "ff02::1",
                "ff02::2",
                "ff05::7",
                "ff0e::9",
                "fd00:1::",
                "2001:db8:a::",
                "fe80::9",
                "fe80::1",
                "::ffff:1.2.3.4",
                "::5",
                "ff01::1",
                "ff02::1:ff00:1",
                "ff02::1:ff00:10",
                "64:ff9b::1",
                "2001:db8:b::",
                "fd96::1:7",
                "fd00:5::",
                "ff02::fb",
            ]
        )

    def new_flow(self):
        r = self.r
        f = r.choice(self.fams)
        self.port += 1
        dev = r.choice(self.names + ["lan0", "lan0"] + (["local"] if self.local_ok else []))
        if dev == "local":
            xs = [x for d in self.addrs.values() for x in d[f] if not x.startswith("fe80")]
            if not xs:
                dev = "lan0"
                src = self.near(f, dev)
            else:
                src = r.choice(xs)
        else:
            src = self.near(f, dev)
        k = r.random()
        dst = (
            self.far(f)
            if k < 0.55
            else self.own(f)
            if k < 0.75
            else self.near(f, r.choice(self.names))
            if k < 0.93
            else self.odd(f)
        )
        # the kernel takes a socket's :: for ::1
        if dev == "local" and f == 6 and (dst == "::" or dst.startswith(("fe80", "ff"))):
            dst = self.far(f)
        if r.random() < 0.03:
            src = self.odd(f) if dev != "local" else src
        kind = r.choice(
            ["udp"] * 5 + ["tcp"] * 7 + ["icmp"] * 3 + ["sctp"] * 2 + ["udplite", "dccp", "gre", "esp", "ah", "other"]
        )
        sp, dp = self.port, r.choice([53, 80, 443, 22, 123, 500, 36, 8080, r.randrange(1, 65536)])
        return {
            "f": f,
            "dev": dev,
            "src": src,
            "dst": dst,
            "kind": kind,
            "sp": sp,
            "dp": dp,
            "out": None,
            "n": 0,
            "cs": r.randrange(2**32),
            "ss": r.randrange(2**32),
            "tag": r.randrange(1, 2**31),
            "tag2": r.randrange(1, 2**31),
            "cur": {},
        }

    def l3(self, f, src, dst, proto, pl):
        r = self.r
        ttl = r.choice([64, 64, 64, 64, 64, 63, 128, 1, 2, 255])
        tos = r.choice([0, 0, 0, 0, 0x10, 0x08, 0x28, 0xB8, 1, 2, 3])
        if f == 4:
            opts = b""
            if r.random() < 0.03:
                opts = r.choice(
                    [
                        b"\x07\x07\4\0\0\0\0\0",
                        b"\x07\x0b\4" + bytes(8) + b"\0",
                        b"\x44\x0c\x05\x00" + bytes(8),
                        b"\x44\x0c\x05\x01" + bytes(8),
                        b"\x83\x07\4" + packed(self.own(4)) + b"\0",
                        b"\x89\x07\4" + packed(self.far(4)) + b"\0",
                        b"\x83\x0b\4" + packed(self.far(4)) + packed(self.near(4, "lan0")) + b"\0",
                        b"\x94\4\0\0",
                        b"\1\1\1\1",
                        b"\x82\x04\0\0",
                        b"\x86\x06\0\0\0\0\1\0",
                        b"\x44\x08\x09\x13\0\0\0\0",
                        b"\x07\x03\x04\0",
                        b"\x07\x07\x09\0\0\0\0\0",
                        b"\xde\x04\1\2",
                    ]
                )
            self.ident = (self.ident % 65535) + 1
            off = r.choice([0, 0, 0x4000])
            return ip4(src, dst, proto, pl, ttl, tos, self.ident, off, opts)
        ext = []
        if r.random() < 0.05:
            ext = r.choice(
                [
                    [(0, b"\0\1\4\0\0\0\0")],
                    [(60, b"\0\1\4\0\0\0\0")],
                    [(43, b"\0\0\0\0\0\0\0")],
                    [(43, b"\2\4\1\0\0\0\0" + bytes(16))],
                    [(43, b"\2\2\0\0\0\0\0" + bytes(16))],
                    [(0, b"\0\5\2\0\0\1\0"), (60, b"\0\1\4\0\0\0\0")],
                    [(44, b"\0\0\0\0\0\0\7")],
                    [(60, b"\0\xc1\4\0\0\0\0")],
                    [(0, b"\0\xc1\4\0\0\0\0")],
                    [(0, b"\0\x41\4\0\0\0\0")],
                    [(51, b"\4\0\0" + bytes(20))],
                    [(135, b"\0\1\0\0\0\0\0")],
                    [(0, b"\1\1\4\0\0\0\0")],
                    [(43, b"\0\3\1\0\0\0\0")],
                ]
            )
        return ip6(src, dst, proto, pl, ttl, tos, r.choice([0, 0, r.randrange(2**20)]), ext)

    def l4(self, fl, way, src, dst, sp, dp):
        """way 0: from the client. Returns proto, bytes."""
        r, k = self.r, fl["kind"]
        data = bytes(r.randrange(0, 40)) if r.random() < 0.9 else bytes(r.randrange(200, 1300))
        if k == "udp":
            return 17, udp(
                src,
                dst,
                sp,
                dp,
                data,
                zero=r.random() < 0.05 and fl["f"] == 4,
                length=None if r.random() < 0.98 else r.choice([0, 7, 8, 8 + len(data) + 3]),
            )
        if k == "udplite":
            return 136, udplite(src, dst, sp, dp, data, r.choice([0, 8, 8 + len(data), 4, 9]))
        if k == "tcp":
            mine, other = ("cs", "ss") if way == 0 else ("ss", "cs")
            n = fl["n"]
            fl["n"] += 1
            if r.random() < 0.7:
                f = (
                    "S"
                    if way == 0 and n == 0
                    else "SA"
                    if way == 1 and not fl.get("sa")
                    else r.choice(["A", "A", "PA", "PA", "A", "FA", "R", "RA"])
                    if n > 2
                    else "A"
                )
                if f == "SA":
                    fl["sa"] = True
            else:
                f = r.choice(["S", "SA", "A", "FA", "R", "RA", "", "FPU", "SF", "SR", "AU", "SEC", "PA", "SAE", "F"])
            sh = r.choice([0] * 9 + [-1, 1, 1000, -1000, 70000, -70000, 2**31])
            opts = b""
            if "S" in f:
                if r.random() < 0.7:
                    opts += b"\2\4" + struct.pack(">H", r.choice([1460, 536, 1000, 9000, 1400]))
                if r.random() < 0.5:
                    opts += b"\1\3\3" + bytes([r.randrange(0, 15)])
                if r.random() < 0.5:
                    opts += b"\4\2"
            elif r.random() < 0.15:
                lo = fl[other] + r.choice([0, 100, -100])
                opts += b"\1\1\5\x0a" + struct.pack(">II", lo & 0xFFFFFFFF, (lo + 50) & 0xFFFFFFFF)
            if r.random() < 0.15:
                opts += b"\1\1\x08\x0a" + bytes(8)
            if r.random() < 0.02:
                opts += r.choice([b"\2\0", b"\2\1", b"\3\x28", b"\5\x05abc"])
            if "S" in f:
                data = b"" if r.random() < 0.9 else data
            seq, ack = fl[mine] + sh, fl[other] + r.choice([0] * 6 + [1, -500, 90000])
            if sh == 0:
                fl[mine] = fl[mine] + len(data) + ("S" in f) + ("F" in f)
            return 6, tcp(
                src,
                dst,
                sp,
                dp,
                f,
                seq,
                ack if "A" in f or r.random() < 0.05 else 0,
                r.choice([0, 500, 65535, 65535, 30000]),
                data,
                opts[:40],
            )
        if k == "icmp":
            if fl["f"] == 4:
                q = fl.setdefault("q", r.choice([8, 8, 8, 13, 15, 17, 10, 9]))
                typ = q if way == 0 else {8: 0, 13: 14, 15: 16, 17: 18, 10: 9, 9: 9}[q]
                if r.random() < 0.03:
                    typ = r.randrange(0, 42)
                return 1, icmp(typ, 0 if r.random() < 0.97 else 3, struct.pack(">HH", sp, 1), data)
            typ = 128 if way == 0 else 129
            if r.random() < 0.08:
                typ = r.choice(
                    [130, 131, 132, 133, 134, 135, 136, 137, 138, 139, 140, 141, 143, 144, 151, 155, 200, 1, 100]
                )
            return 58, icmp(typ, 0, struct.pack(">HH", sp, 1), data, v6=(src, dst))
        if k == "sctp":
            mine, other = (fl["tag"], fl["tag2"]) if way == 0 else (fl["tag2"], fl["tag"])

            def init(t_):
                return struct.pack(">IIHHI", mine, 50000, 5, 5, 1)

            cs = {
                1: init,
                2: init,
                10: lambda t_: b"cookie12",
                11: lambda t_: b"",
                0: lambda t_: bytes(12) + b"data",
                3: lambda t_: bytes(12),
                4: lambda t_: b"\0\1\0\x08abcd",
                5: lambda t_: b"\0\1\0\x08abcd",
                6: lambda t_: b"",
                7: lambda t_: bytes(4),
                8: lambda t_: b"",
                14: lambda t_: b"",
                9: lambda t_: b"\0\1\0\4",
                192: lambda t_: b"zz",
            }
            n = fl["n"]
            fl["n"] += 1
            seqs = [1, 2, 10, 11]
            ids = (
                [seqs[n]]
                if n < 4 and r.random() < 0.8
                else [
                    r.choice([0, 0, 3, 4, 5, 6, 7, 8, 14, 1, 2, 10, 11, 9, 192])
                    for _ in range(r.choice([1, 1, 1, 2, 3]))
                ]
            )
            vt = 0 if ids[0] == 1 else other
            if r.random() < 0.08:
                vt = r.choice([0, mine, 5])
            return 132, sctp(sp, dp, vt, b"".join(chunk(i, r.choice([0, 0, 0, 1]), cs[i](0)) for i in ids))
        if k == "dccp":
            return 33, dccp(
                src, dst, sp, dp, r.choice([0, 2, 2, 3, 4, 5]) if way == 0 else r.choice([1, 2, 4, 6, 7]), 1 + fl["n"]
            )
        if k == "gre":
            fl["n"] += 1
            return 47, r.choice(
                [b"\0\0\x08\0", b"\x20\0\x08\0\0\0\0\1", struct.pack(">HHHHI", 0x2001, 0x880B, 4, sp, 1)]
            ) + data
        if k == "esp":
            return 50, struct.pack(">II", sp, 1) + data
        if k == "ah":
            return 51, struct.pack(">BBHII", 59, 4, 0, sp, 1) + bytes(12) + data
        return fl.setdefault("num", r.choice([4, 41, 89, 99, 103, 112, 255, 2 if fl["f"] == 4 else 59])), data

    def step(self):
        r = self.r
        if self.queue:
            return self.queue.pop(0)
        if not self.flows or r.random() < 0.25:
            self.flows = [*self.flows[-40:], self.new_flow()]
        x = r.random()
        if x < 0.07:
            e = self.error()
            if e:
                return e
        fl = r.choice(self.flows)
        if fl["out"] is not None and r.random() < 0.45:
            dev, b = fl["out"]
            f = b[0] >> 4
            if f == 4:
                src, dst, hl = text(b[12:16]), text(b[16:20]), (b[0] & 15) * 4
            else:
                src, dst, hl = text(b[8:24]), text(b[24:40]), 40
            sp = int.from_bytes(b[hl : hl + 2], "big")
            dp = int.from_bytes(b[hl + 2 : hl + 4], "big")
            if fl["kind"] == "icmp":
                sp = dp = int.from_bytes(b[hl + 4 : hl + 6], "big")
            proto, pl = self.l4(fl, 1, dst, src, dp, sp)
            if dev == "local":
                pass
            pkt, iface, way = self.l3(f, dst, src, proto, pl), dev, 1
            if r.random() < 0.03:
                iface = r.choice(self.names)
        else:
            proto, pl = self.l4(fl, 0, fl["src"], fl["dst"], fl["sp"], fl["dp"])
            pkt, iface, way = self.l3(fl["f"], fl["src"], fl["dst"], proto, pl), fl["dev"], 0
            if r.random() < 0.02 and iface != "local":
                iface = r.choice(self.names)
        if iface == "local" and len(pkt) > 1200:
            return self.step()
        if iface == "local" and pkt[0] >> 4 == 4 and (pkt[0] & 15) > 5:
            pkt = ip4(fl["src"], fl["dst"], proto, pl)
        if r.random() < 0.03 and iface != "local":
            pkt = self.damage(pkt)
        if r.random() < 0.05 and iface != "local" and not (fl["kind"] == "tcp" and fl["n"] < 3):
            parts = self.cut(pkt)
            self.queue = [(iface, p, fl, way) for p in parts[1:]]
            pkt = parts[0]
        return iface, pkt, fl, way

    def cut(self, pkt):
        r = self.r
        f = pkt[0] >> 4
        if len(pkt) < 44 or (f == 4 and (pkt[0] & 15) * 4 + 16 > len(pkt)):
            return [pkt]
        sizes = [r.choice([8, 16, 24, 8, 400, 4 if r.random() < 0.05 else 8]) for _ in range(r.randrange(1, 4))]
        try:
            parts = frags4(pkt, sizes) if f == 4 else frags6(pkt, sizes, r.randrange(2**32))
        except IndexError:
            return [pkt]
        if r.random() < 0.4:
            r.shuffle(parts)
        if r.random() < 0.15:
            parts.insert(r.randrange(len(parts) + 1), r.choice(parts))
        if r.random() < 0.1:
            parts.pop(r.randrange(len(parts)))
        return parts or [pkt]

    def damage(self, b):
        r = self.r
        b = bytearray(b)
        k = r.random()
        hl = (b[0] & 15) * 4 if b[0] >> 4 == 4 else 40
        if k < 0.4:
            return bytes(b[: r.randrange(1, len(b))])
        if k < 0.6:
            n = r.randrange(hl, len(b) + 1)  # shorter, and it says so
            b = b[:n]
            if b[0] >> 4 == 4:
                b[2:4] = struct.pack(">H", n)
                b[10:12] = b"\0\0"
                b[10:12] = struct.pack(">H", csum(bytes(b[:hl])))
            else:
                b[4:6] = struct.pack(">H", n - 40)
            return bytes(b)
        if k < 0.7:
            return bytes(b) + bytes(r.randrange(1, 9))
        i = r.randrange(len(b))
        b[i] ^= 1 << r.randrange(8)
        if k < 0.85 and b[0] >> 4 == 4 and 20 <= hl <= len(b) and (b[0] & 15) >= 5:
            b[10:12] = b"\0\0"
            b[10:12] = struct.pack(">H", csum(bytes(b[:hl])))
        return bytes(b)

    def error(self):
        r = self.r
        f = r.choice(self.fams)
        if not self.recent_out[f]:
            return None
        dev, q = r.choice(self.recent_out[f])
        if f == 4:
            src, dst = text(q[12:16]), text(q[16:20])
        else:
            src, dst = text(q[8:24]), text(q[24:40])
        if dst.startswith(("ff", "224")):
            return None
        frm = dst if r.random() < 0.5 else self.near(f, dev if dev in self.names else "wan0")
        q = q[: r.choice([len(q), len(q), 28, 48, 60, 24, 40, 20, 56, 44])]
        if r.random() < 0.06:
            q = bytearray(q)
            i = r.randrange(len(q))
            q[i] ^= 1 << r.randrange(8)
            q = bytes(q)
        if f == 4:
            pl = icmp(
                *r.choice([(3, 1), (3, 3), (3, 4), (11, 0), (12, 0), (4, 0), (5, 1), (3, 13)]),
                struct.pack(">HH", 0, r.choice([0, 1280])),
                q,
            )
            if r.random() < 0.05:
                pl = pl[:2] + b"\1\2" + pl[4:]
            return dev, self.l3(4, frm, src, 1, pl), None, 0
        pl = icmp(
            *r.choice([(1, 0), (1, 3), (1, 4), (2, 0), (3, 0), (4, 0), (4, 1)]),
            struct.pack(">I", 1280),
            q,
            v6=(frm, src),
        )
        if r.random() < 0.05:
            pl = pl[:2] + b"\1\2" + pl[4:]
        return dev, self.l3(6, frm, src, 58, pl), None, 0

    def tell(self, item, outs):
        _iface, _pkt, fl, way = item
        for dev, b in outs:
            f = b[0] >> 4
            self.recent_out[f] = [*self.recent_out[f][-30:], (dev, b)]
        if fl is not None and outs and way == 0 and fl["out"] is None and len(outs) == 1:
            b = outs[0][1]
            if (b[0] >> 4 == 4 and not (b[6] & 0x3F or b[7])) or (b[0] >> 4 == 6 and b[6] not in (0, 43, 44, 60)):
                fl["out"] = outs[0]


def gateway_of(seed):
    """Return the node of a seed, as gateway.Gateway has it, its traffic, and what makes other rules of a family for it."""
    rng = random.Random(seed)
    families = rng.choice([[4], [4], [6], [6], [4, 6]])
    node, names, addrs, _, special = make_node(rng, families)
    node["sets"], sets = make_sets(rng, families)

    def rules(f):
        return make_rules(rng, f, names, addrs, sets, special)

    for f in (4, 6):
        node[f"rules{f}"] = rules(f) if f in families else None
    return node, Traffic(random.Random(seed * 7 + 1), families, names, addrs, special), rules


def random_gateway(seed):
    """Return the node of a seed and its traffic."""
    return gateway_of(seed)[:2]
