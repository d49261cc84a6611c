"""Rules of nftables at random that change while packets pass, as `nft -f` changes them: whole, or by commands.

Tables of all families of IP with sets that rules fill, timeouts of some seconds, counters, limits, quotas and counted
connections. It shares nothing with test_nftables and random_gateway.
"""

import random
import re
import struct

from kernel.gateway import PAUSE, RELOAD
from kernel.handmade import icmp, ip4, ip6, tcp, text, udp

# seconds; no multiple of BREAK comes near one of the timeouts
BREAK, SHORT, LONG = 1.4, (1, 2, 4), (600, 4000, 90)
NODE = {
    "devices": {"lan0": 1500, "wan0": 1500},
    "ip": [
        "addr add 10.1.0.1/24 dev lan0", "addr add 198.51.100.1/24 dev wan0", "addr add 198.51.100.2/24 dev wan0",
        "route add default via 198.51.100.254 dev wan0", "-6 addr add fd00:1::1/64 dev lan0",
        "-6 addr add fd00:2::1/64 dev wan0", "-6 addr add fd00:2::2/64 dev wan0",
        "-6 route add default via fd00:2::fe dev wan0",
    ],
    "sysctls": {"net.netfilter.nf_conntrack_acct": 1}, "sets": "", "rules4": "", "rules6": "",
}  # fmt: skip
PORTS = (53, 80, 123, 443)
# of policies: states with a timeout
STATES = {
    "udp": ("unreplied", "replied"),
    "tcp": ("syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "time_wait", "close", "retrans", "unack"),
}
TIMEOUTS = {"tu1": "udp", "tu2": "udp", "tt1": "tcp", "tt2": "tcp"}
BASES = {
    "raw": "type filter hook prerouting priority raw; policy {};",
    "pre": "type filter hook prerouting priority mangle; policy {};",
    "fw": "type filter hook forward priority filter; policy {};",
    "fw2": "type filter hook forward priority 10; policy {};",
    "inp": "type filter hook input priority filter; policy {};",
    "out": "type filter hook output priority filter; policy {};",
    "post": "type filter hook postrouting priority mangle; policy {};",
    "to_dst": "type nat hook prerouting priority dstnat; policy {};",
    "to_src": "type nat hook postrouting priority srcnat; policy {};",
}


def named(kind, name):
    """Return how a rule names an object."""
    return f'ct timeout set "{name}"' if kind == "ct timeout" else f"{kind} name {name}"


def client(r, f):
    return f"10.1.0.{r.randrange(2, 8)}" if f == 4 else f"fd00:1::{r.randrange(2, 8):x}"


def server(r, f):
    return f"203.0.113.{r.randrange(1, 6)}" if f == 4 else f"fd00:3::{r.randrange(1, 6):x}"


def timeout_says(r, protocol):
    """Return what a `ct timeout` says; no two of its times are alike."""
    states = r.sample(STATES[protocol], r.randrange(len(STATES[protocol]) + 1))
    times = ", ".join(f"{state} : {time}" for state, time in zip(states, r.sample(range(20, 900, 11), 9), strict=False))
    return f"protocol {protocol};{f' policy = {{ {times} }};' if times else ''}"


class Table:
    """A table of one family: its parts as texts, by their names."""

    def __init__(self, r, family, name, version, timeouts, most):
        self.timeouts, self.per = timeouts, "second" if timeouts is SHORT else "day"
        self.r, self.family, self.name, self.f = r, family, name, version
        self.ip = "ip" if version == 4 else "ip6"
        self.kind = "ipv4_addr" if version == 4 else "ipv6_addr"
        self.head = f"{family} {name}"
        # elements of one set carry the same: docs/nftables.md
        self.most = most
        self.sets, self.objects, self.chains, self.full = {}, {}, {}, {}
        self.make()

    def make(self):
        r = self.r
        every = {
            "seen": (f"type {self.kind}; flags dynamic;", None),
            "brief": (f"type {self.kind}; flags dynamic,timeout; timeout {r.choice(self.timeouts)}s;", "brief"),
            "pairs": (f"type {self.kind} . inet_service; flags dynamic,timeout;", "pairs"),
            "busy": (f"type {self.kind}; flags dynamic;", None),
            "some": (f"type {self.kind}; {r.choice(['', 'counter;', 'flags timeout;'])}", "some"),
            "nets": (f"type {self.kind}; flags interval; {r.choice(['', 'auto-merge;', 'counter;'])}", "nets"),
            "ways": ("type inet_service : verdict;", "ways"),
            "to": (f"type {self.kind} : mark; flags dynamic,timeout;", "to"),
            "kept": (f"type {self.kind}; flags dynamic; counter;", None),
        }
        for name in r.sample(list(every), r.randrange(4, len(every) + 1)):
            said, kind = every[name]
            self.sets[name] = said, [self.element(name, said) for _ in range(r.randrange(5))] if kind else []
        for kind, name, said in (
            ("counter", "c1", ""), ("counter", "c2", ""), ("quota", "q1", f"over {r.randrange(2, 9) * 100} bytes"),
            ("limit", "l1", f"rate over 1/hour burst {r.randrange(2, 9)} packets"),
        ):  # fmt: skip
            if r.random() < 0.7:
                self.objects[kind, name] = said
        for name, protocol in TIMEOUTS.items():
            if r.random() < 0.3:
                self.objects["ct timeout", name] = timeout_says(r, protocol)
        called = r.sample(["sub1", "sub2"], r.randrange(3))
        for name in called:
            self.chains[name] = None, []
        for name in called:
            self.chains[name] = None, [self.rule("", ()) for _ in range(r.randrange(4))]
        for name in r.sample(list(BASES), r.randrange(2, 6)):
            policy = "drop" if r.random() < 0.06 and name not in ("to_dst", "to_src") else "accept"
            rules = [self.rule(name, called) for _ in range(r.randrange(1, 5))]
            self.chains[name] = BASES[name].format(policy), rules

    def element(self, name, said=""):
        """Return an element of a set that is made by these words."""
        r = self.r
        key = r.choice([client, server])(r, self.f)
        timeout = f" timeout {r.choice(self.timeouts)}s" if r.random() < 0.6 else ""
        if name == "pairs":
            key += f" . {r.choice(PORTS)}"
        if name == "nets":
            key, timeout = r.choice([client(r, self.f), self.net()]), ""
        if "timeout" not in said and name != "ways":
            timeout = ""
        if name == "ways":
            key, timeout = str(r.choice(PORTS)), f" : {r.choice(['accept', 'drop', 'continue', 'return'])}"
        if name == "to":
            timeout += f" : {r.randrange(1, 4)}"
        return key + timeout

    def net(self):
        return self.r.choice(
            ["203.0.113.0/31", "203.0.113.2/31", "10.1.0.16-10.1.0.20"]
            if self.f == 4
            else ["fd00:3::/127", "fd00:3::2/127", "fd00:1::10-fd00:1::14"]
        )

    def match(self):
        r, ip = self.r, self.ip
        said = [
            "", "", f"{ip} saddr {client(r, self.f)}", f"{ip} daddr {server(r, self.f)}",
            f"udp dport {r.choice(PORTS)}",
            "meta l4proto != 1", "ct state new", "ct state established", "meta mark 0x1", "ct mark 0x2",
            "numgen inc mod 3 1", f"th dport {{ {r.choice(PORTS)}, 1000-2000 }}",
            'iifname "lan0"', "ct direction reply", "ct count over 5", f"ct count {r.randrange(2, 6)}",
            f"limit rate 1/hour burst {r.randrange(2, 9)} packets", f"quota {r.randrange(2, 9) * 100} bytes",
            f"quota over {r.randrange(2, 9) * 100} bytes", f"limit rate {r.choice([1, 2])}/{self.per} burst 2 packets",
            f"limit rate over 1 kbytes/hour burst {r.randrange(2, 9) * 100} bytes",
        ]  # fmt: skip
        for name in self.sets:
            said += [f"{ip} {way} {no}@{name}" for way in ("saddr", "daddr") for no in ("", "!= ")
                     if name not in ("pairs", "ways", "to", "busy")]  # fmt: skip
        if "pairs" in self.sets:
            said += [f"{ip} saddr . th dport @pairs", f"{ip} daddr . th dport @pairs"] * 2
        said += [self.filling() for _ in range(3)]
        return r.choice(said)

    def filling(self):
        """Return a statement that changes a set, or nothing."""
        r, ip = self.r, self.ip
        way, timeout = r.choice(["saddr", "daddr"]), r.choice(["", f" timeout {r.choice(self.timeouts)}s"])
        known = {
            "seen": f"{r.choice(['add', 'update', 'delete'])} @seen {{ {ip} {way} }}",
            "brief": f"{r.choice(['add', 'update', 'add', 'delete'])} @brief {{ {ip} {way} }}",
            "pairs": f"{r.choice(['add', 'update'])} @pairs {{ {ip} {way} . th dport{timeout} }}",
            "busy": f"add @busy {{ {ip} {way} ct count over {self.most} }}",
            "to": f"{r.choice(['add', 'update'])} @to {{ {ip} {way}{timeout} : {r.randrange(1, 4)} }}",
            "kept": f"add @kept {{ {ip} {way} }}",
        }
        there = [said for name, said in known.items() if name in self.sets]
        return r.choice(there) if there else ""

    def rule(self, base, called):
        r = self.r
        said = [self.match() for _ in range(r.choice([0, 1, 1, 2]))]
        if base == "raw":
            said = [s for s in said if "ct " not in s]
        if base not in ("to_dst", "to_src", "") and r.random() < 0.15:
            said.append(self.filling())
        if self.family == "inet":
            said.insert(0, f"meta nfproto ipv{self.f}")
        if r.random() < 0.5:
            said.append("counter")
        said += [named(kind, name) for kind, name in self.objects if r.random() < (0.3 if " " in kind else 0.12)]
        return " ".join(w for w in [*said, self.end(base, called)] if w) or "counter"

    def end(self, base, called):
        r, to = self.r, self.ip + " " if self.family == "inet" else ""
        if base == "to_dst" and r.random() < 0.7:
            at = "10.1.0.7" if self.f == 4 else "fd00:1::7"
            return r.choice([f"dnat {to}to {at}", f"udp dport 123 dnat {to}to {at}", "udp dport 53 redirect to :5353"])
        if base == "to_src" and r.random() < 0.8:
            own = "198.51.100.2" if self.f == 4 else "fd00:2::2"
            return r.choice(['oifname "wan0" masquerade', f'oifname "wan0" snat {to}to {own}', "masquerade"])
        some = ["", "", "", "accept", "return", "continue", "meta mark set 1", "meta mark set ct mark"]
        some += ["ct mark set 2", "ct mark set meta mark"] if base not in ("raw",) else []
        some += ["notrack"] if base == "raw" else []
        some += [f"{how} {name}" for name in called for how in ("jump", "goto")]
        some += ["th dport vmap @ways"] if "ways" in self.sets else []
        some += [f"meta mark set {self.ip} saddr map @to"] if "to" in self.sets else []
        some += ["drop"] * 2
        return r.choice(some)

    def text(self):
        lines = [f"table {self.head} {{"]
        for (kind, name), said in self.objects.items():
            lines.append(f"{kind} {name} {{ {said} }}")
        for name, (said, elements) in self.sets.items():
            there = f" elements = {{ {', '.join(self.apart(name, elements))} }}" if elements else ""
            lines.append(f"{'map' if name in ('ways', 'to') else 'set'} {name} {{ {said}{there} }}")
        for name, (base, rules) in self.chains.items():
            lines += [f"chain {name} {{", *([base] if base else []), *rules, "}"]
        return "\n".join([*lines, "}", ""])

    def apart(self, name, elements):
        """Return elements of different keys."""
        return list({e.split(" timeout")[0].split(" :")[0]: e for e in elements}.values())


class Turns:
    """Traffic with changes of rules in between, and real time if `slow`."""

    def __init__(self, seed, most, slow):
        self.r, self.left, self.slow = random.Random(f"turns {seed}"), most, slow
        self.begun, self.rested, self.port, self.flows = False, True, 20000, []
        self.versions, self.most = self.r.choice([(4,), (6,), (4, 6)]), self.r.randrange(1, 4)
        self.tables = self.make_tables()
        self.before = self.tables

    def make_tables(self):
        r, found = self.r, []
        for name in ("a", "b")[: r.choice([1, 2])]:
            version = r.choice(self.versions)
            family = r.choice(["ip" if version == 4 else "ip6", "inet"])
            found.append(Table(r, family, name, version, SHORT if self.slow else LONG, self.most))
        return found

    def text(self):
        return "".join(t.text() for t in self.tables)

    def node(self):
        """Return the node; where time passes its rules come with the first step, when the engine's time runs, too."""
        return NODE | {"nft": "table ip none { }\n" if self.slow else self.text()}

    # ---- changes

    def change(self):
        """Return a change of the rules: all of them anew, or commands."""
        r = self.r
        self.before = self.tables
        if r.random() < 0.25:
            if r.random() < 0.6:
                self.tables = self.make_tables()
            return RELOAD, {"nft": f"flush ruleset\n{self.text()}", "counters": False}
        table = r.choice(self.tables)
        # places of rules are those before all commands of a change, and nft takes some of them for rules that are gone
        lines = [self.rule_less(table) if r.random() < 0.5 else self.rule_at(table)]
        if r.random() < 0.8:
            lines = [self.command(table) for _ in range(r.choice([1, 1, 2, 3]))]
        if any(line.startswith("delete table") for line in lines):
            # nft 1.0.6 adds again what is first deleted from a set of ranges that the same commands declare
            lines = [line for line in lines if not re.match(r"delete element \S+ \S+ nets ", line)]
        return RELOAD, {"commands": "\n".join([*lines, ""]), "counters": False}

    def command(self, t):
        r = self.r
        kinds = [self.table_anew, self.chain_anew, self.rule_more, self.elements, self.elements]
        return r.choice([*kinds, self.objects, self.policy, self.sets])(t)

    def table_anew(self, t):
        made = t if self.r.random() < 0.5 else Table(self.r, t.family, t.name, t.f, t.timeouts, t.most)
        self.tables = [made if x is t else x for x in self.tables]
        return f"delete table {t.head}\n{made.text()}"

    def chain_anew(self, t):
        name = self.r.choice(list(t.chains))
        base = name if t.chains[name][0] else ""
        rules = [t.rule(base, [n for n, c in t.chains.items() if not c[0] and n != name and base])
                 for _ in range(self.r.randrange(4))]  # fmt: skip
        return "\n".join([f"flush chain {t.head} {name}", *(f"add rule {t.head} {name} {rule}" for rule in rules)])

    def rule_more(self, t):
        r, name = self.r, self.r.choice(list(t.chains))
        rule = t.rule(name if t.chains[name][0] else "", ())
        return f"{r.choice(['add', 'insert'])} rule {t.head} {name} {rule}"

    def rule_at(self, t):
        r, name = self.r, self.r.choice(list(t.chains))
        at = r.choice([f"position @{r.randrange(2)}", f"index {r.randrange(2)}"])
        rule = t.rule(name if t.chains[name][0] else "", ())
        return f"{r.choice(['add', 'insert'])} rule {t.head} {name} {at} {rule}"

    def rule_less(self, t):
        r, name = self.r, self.r.choice(list(t.chains))
        if r.random() < 0.4:
            # nft 1.0.6 fails to replace a rule by one with a set of ranges
            rule = t.rule(name if t.chains[name][0] else "", ()).replace(", 1000-2000", "")
            return f"replace rule {t.head} {name} handle @{r.randrange(3)} {rule}"
        return f"delete rule {t.head} {name} handle @{r.randrange(3)}"

    def elements(self, t):
        r = self.r
        if not t.sets:
            return f"add counter {t.head} c9"
        name, kind = r.choice(list(t.sets)), r.random()
        what = "map" if name in ("ways", "to") else "set"
        if kind < 0.15:
            return f"flush {what} {t.head} {name}"
        element = t.element(name, t.sets[name][0] if r.random() < 0.95 else "timeout")
        if kind < 0.5:
            return f"add element {t.head} {name} {{ {element} }}"
        key = element.split(" timeout")[0]
        deleted = f"delete element {t.head} {name} {{ {key if name != 'to' else key.split(' :')[0]} }}"
        return deleted if kind < 0.8 else f"{deleted}\nadd element {t.head} {name} {{ {element} }}"

    def objects(self, t):
        r = self.r
        kinds = [("counter", "c1"), ("counter", "c2"), ("quota", "q1"), ("limit", "l1")]
        kind, name = r.choice([*kinds, ("ct timeout", r.choice(list(TIMEOUTS)))])
        said = {"counter": "", "quota": "over 900 bytes", "limit": "rate over 1/hour burst 4 packets"}.get(kind, "")
        if kind == "ct timeout":
            body = f"{kind} {t.head} {name} {{ {timeout_says(r, TIMEOUTS[name])} }}"
            gone = f"delete {kind} {t.head} {name}"
            return r.choice([f"add {body}", gone, f"{gone}\nadd {body}", f"create {body}"])
        body = f"{kind} {t.head} {name} {{ {said} }}"
        return r.choice([f"add {body}", f"delete {kind} {t.head} {name}", f"delete {kind} {t.head} {name}\nadd {body}",
                         f"create {kind} {t.head} {name} {said}"])  # fmt: skip

    def policy(self, t):
        r, name = self.r, self.r.choice(list(t.chains))
        base = t.chains[name][0]
        if not base or r.random() < 0.4:
            chain = f"chain {t.head} {name}"
            return r.choice([f"delete {chain}", f"flush {chain}\ndelete {chain}", f"add {chain}",
                             f"add chain {t.head} extra", f"flush table {t.head}"])  # fmt: skip
        policy = "accept" if name.startswith("to_") or r.random() < 0.6 else "drop"
        return f"chain {t.head} {name} {{ {base.split(' policy')[0]} policy {policy}; }}"

    def sets(self, t):
        r = self.r
        if not t.sets:
            return f"add counter {t.head} c8"
        name = r.choice(list(t.sets))
        what = "map" if name in ("ways", "to") else "set"
        if r.random() < 0.3:
            return f"delete {what} {t.head} {name}"
        element = t.element(name, t.sets[name][0] if r.random() < 0.95 else "timeout")
        return f"table {t.head} {{\n{what} {name} {{ {t.sets[name][0]} elements = {{ {element} }} }}\n}}"

    def refused(self, _step):
        self.tables = self.before

    # ---- packets

    def step(self):
        r = self.r
        if self.left <= 0:
            return None
        if self.slow and not self.begun:
            self.begun = True
            return RELOAD, {"nft": self.text(), "counters": False}
        if not self.rested and r.random() < 0.05:
            self.rested = True
            return (PAUSE, BREAK) if self.slow and r.random() < 0.5 else self.change()
        self.rested = False
        self.left -= 1
        if not self.flows or r.random() < 0.3:
            self.flows = [*self.flows[-25:], self.new_flow()]
        flow = r.choice(self.flows)
        if flow["out"] is not None and r.random() < 0.5:
            return self.reply(flow)
        data = self.packet(flow, flow["src"], flow["dst"], flow["sp"], flow["dp"], flow["n"], 0)
        flow["n"] += 1
        return flow["dev"], data, flow

    def new_flow(self):
        r = self.r
        f, self.port = r.choice(self.versions), self.port + 1
        src, dst, dev = client(r, f), server(r, f), "lan0"
        if r.random() < 0.2:
            own = ["198.51.100.1", "198.51.100.2"] if f == 4 else ["fd00:2::1", "fd00:2::2"]
            src, dst, dev = server(r, f), r.choice(own), "wan0"
        elif r.random() < 0.15:
            src, dev = "198.51.100.1" if f == 4 else "fd00:2::1", "local"
        kind = r.choice(["udp"] * 5 + ["tcp"] * 3 + ["icmp"])
        return {"f": f, "src": src, "dst": dst, "dev": dev, "kind": kind, "sp": self.port, "dp": r.choice(PORTS),
                "n": 0, "m": 0, "out": None}  # fmt: skip

    def reply(self, flow):
        dev, b = flow["out"]
        at = (b[0] & 15) * 4 if b[0] >> 4 == 4 else 40
        src, dst = (text(b[12:16]), text(b[16:20])) if b[0] >> 4 == 4 else (text(b[8:24]), text(b[24:40]))
        sp, dp = struct.unpack(">HH", b[at : at + 4] if flow["kind"] != "icmp" else b[at + 4 : at + 6] * 2)
        data = self.packet(flow, dst, src, dp, sp, flow["m"], 1)
        flow["m"] += 1
        return dev, data, flow | {"back": True}

    def packet(self, flow, src, dst, sp, dp, n, back):
        r, f = self.r, flow["f"]
        if flow["kind"] == "udp":
            proto, data = 17, udp(src, dst, sp, dp, bytes(r.randrange(40)))
        elif flow["kind"] == "tcp":
            flags = ("S", "SA")[back] if n == 0 else r.choice(["A", "A", "A", "PA", "FA", "R"] if n > 2 else ["A"])
            mine, other = (5000, 1000) if back else (1000, 5000)
            proto, data = 6, tcp(src, dst, sp, dp, flags, mine + (n > 0), other + 1 if "A" in flags else 0)
        else:
            proto, four = (1, True) if f == 4 else (58, False)
            kind = (8, 0)[back] if four else (128, 129)[back]
            data = icmp(kind, 0, struct.pack(">HH", sp, 1), v6=None if four else (src, dst))
        return ip4(src, dst, proto, data) if f == 4 else ip6(src, dst, proto, data)

    def tell(self, step, outs):
        flow = step[2]
        if "back" not in flow and flow["out"] is None and len(outs) == 1:
            flow["out"] = outs[0]


def turning_gateway(seed, most, slow=False):
    """Return a node and its traffic of so many packets."""
    traffic = Turns(seed, most, slow)
    return traffic.node(), traffic
