"""Gateways at random whose devices, addresses, routes, policy rules and sysctls change while packets pass."""

import random

from kernel.gateway import RELOAD
from kernel.random_gateway import gateway_of

# what devices may have beside what random_gateway gives them
MORE = {
    "lan0": ["192.168.1.2/24", "192.168.3.1/24", "-6 fd00:1::2/64", "-6 fd00:1:3::1/64"],
    "wan0": ["198.51.100.12/28", "198.51.100.40/32", "-6 2001:db8:a::12/64", "-6 2001:db8:a:e::1/128"],
    "wan1": ["203.0.113.3/30", "192.0.2.9/29", "-6 2001:db8:b::3/126"],
    "dmz0": ["172.16.5.2/28", "10.10.0.1/16", "-6 fd00:5::2/120"],
}
FAR = {
    "": ["default", "8.8.4.0/24", "8.8.8.0/24", "100.64.7.0/24", "45.0.0.0/8", "10.50.0.0/16", "45.7.7.7/32"],
    "-6 ": ["default", "2600::/16", "2600:7::/32", "2a00:1::/64", "2a00:1::7/128", "fd50::/48"],
}
SYSCTLS = [
    ("net.ipv4.conf.{}.rp_filter", (0, 1, 2)), ("net.ipv4.conf.{}.accept_local", (0, 1)),
    ("net.ipv4.conf.{}.route_localnet", (0, 1)), ("net.ipv4.conf.{}.forwarding", (0, 1, 1)),
    ("net.ipv4.conf.{}.send_redirects", (0, 1)), ("net.ipv4.conf.{}.src_valid_mark", (0, 1)),
    ("net.ipv6.conf.{}.forwarding", (0, 1, 1)), ("net.netfilter.nf_conntrack_tcp_loose", (0, 1)),
    ("net.netfilter.nf_conntrack_tcp_be_liberal", (0, 1)), ("net.netfilter.nf_conntrack_udp_timeout", (25, 300)),
    ("net.netfilter.nf_conntrack_tcp_timeout_established", (300, 4000)),
    ("net.netfilter.nf_conntrack_checksum", (0, 1)), ("net.netfilter.nf_conntrack_udp_timeout_stream", (90, 500)),
]  # fmt: skip


class Moving:
    """Traffic of a gateway with changes of the node in between."""

    def __init__(self, r, node, traffic, most):
        self.r, self.traffic, self.left, self.tell = r, traffic, most, traffic.tell
        self.names, self.rested = list(node["devices"]), True
        self.fronts = [front for front, v in (("", 4), ("-6 ", 6)) if node[f"rules{v}"] is not None]
        self.addresses = [w for w in node["ip"] if "addr add" in w]
        self.rules = [w for w in node["ip"] if "rule add" in w]
        # nothing comes in by it
        self.down = ""

    def refused(self, _step):
        """What the kernel refuses is left out."""

    def address(self):
        """Return words that give a device an address, or take one."""
        r = self.r
        if self.addresses and r.random() < 0.5:
            words = r.choice(self.addresses)
            self.addresses.remove(words)
            short = words.replace("addr add", "addr del").split(" scope ")[0].split(" preferred_lft ")[0]
            return short.replace(" home", "").replace(" nodad", "") + self.device_of(words, short)
        name = r.choice([n for n in self.names if n in MORE])
        said = r.choice(MORE[name])
        front = "-6 " if said.startswith("-6 ") else ""
        words = f"{front}addr add {said.removeprefix('-6 ')} dev {name}"
        if front not in self.fronts:
            return self.route()
        self.addresses.append(words)
        return words

    @staticmethod
    def device_of(words, short):
        return "" if " dev " in short else f" dev {words.split()[-1]}"

    def route(self):
        r, front = self.r, self.r.choice(self.fronts)
        to = r.choice(FAR[front])
        if r.random() < 0.3:
            return f"{front}route del {to}"
        if r.random() < 0.2:
            return f"{front}route replace {r.choice(['blackhole', 'unreachable', 'prohibit'])} {to}"
        table = r.choice(["", "", "", " table 100"])
        return f"{front}route replace {to} dev {r.choice(self.names)}{table}"

    def rule(self):
        """Return words that add a policy rule, or delete one; the last one stays: see docs/differences.md."""
        r = self.r
        if len(self.rules) > len(self.fronts) and r.random() < 0.5:
            words = r.choice(self.rules)
            self.rules.remove(words)
            return words.replace("rule add", "rule del")
        front = r.choice(self.fronts)
        asked = ["fwmark 1/0x3", "fwmark 2/0x3", f"iif {r.choice(self.names)}"]
        if not self.traffic.local_ok:
            # of the node's own packets the kernel asks their socket
            asked += ["ipproto udp", "ipproto tcp dport 443"]
        what = r.choice(asked)
        then = r.choice(["lookup 100", "lookup 101", "unreachable", "lookup main suppress_prefixlength 0"])
        words = f"{front}rule add pref {r.randrange(900, 2000)} {what} {then}"
        self.rules.append(words)
        return words

    def device(self):
        """Return words that take a device down, or bring it up again, or give it another MTU."""
        r = self.r
        if r.random() < 0.3:
            return f"link set {r.choice(self.names)} mtu {r.choice([1280, 1400, 1500])}"
        if self.down:
            name, self.down = self.down, ""
            return f"link set {name} up"
        self.down = r.choice(self.names)
        return f"link set {self.down} down"

    def sysctl(self):
        name, values = self.r.choice(SYSCTLS)
        if "ipv6" in name and "-6 " not in self.fronts:
            name, values = SYSCTLS[0]
        return {name.format(self.r.choice(self.names)): self.r.choice(values)}

    def change(self):
        """Return a change of the node."""
        words, sysctls = [], {}
        for _ in range(self.r.choice([1, 1, 2, 3])):
            every = [self.address, self.address, self.route, self.route, self.rule, self.sysctl]
            # one that goes down and comes up again between two states of the node is seen by nobody
            every += [] if any(word.endswith(" down") for word in words) else [self.device]
            kind = self.r.choice(every)
            said = kind()
            if isinstance(said, dict):
                sysctls |= said
            else:
                words.append(said)
        return RELOAD, {"ip": words, "sysctls": sysctls, "counters": False}

    def step(self):
        """Return what comes next: a packet, a change, or None at the end."""
        if self.left <= 0:
            return None
        if not self.rested and self.r.random() < 0.03:
            self.rested = True
            return self.change()
        self.rested = False
        self.left -= 1
        said = self.traffic.step()
        while said and said[0] == self.down:
            said = self.traffic.step()
        return said


def moving_gateway(seed, most):
    """Return the node of a seed and its traffic of so many packets."""
    node, traffic, _ = gateway_of(seed)
    return node, Moving(random.Random(f"moves {seed}"), node, traffic, most)
