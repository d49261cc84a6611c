"""Runs of rules that each ask for one source, destination, port, mark or device: looking them up shows in nothing.

Rule sets of providers are drawn, with runs of every kind in every table. An engine that looks rules up and remembers
equals one that walks all of them: results, bytes, connections, rules' counters, for headers and datagrams, in both
families.
"""

import ipaddress

import numpy as np
import pytest
from workloads import datagrams

import fastnat
from fastnat.core.layout import DispatchKey, RuleTests, TargetKind

NETS = {4: 0x64400000, 6: 0xFD00 << 112}
OUT = {4: 0xC6336400, 6: 0x20010DB8000B << 80}
FAR = {4: 0xCB007100, 6: 0x20010DB8000C << 80}
BITS = {4: 32, 6: 128}


def text(version, number):
    return str((ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address)(number))


class Drawn:
    """Rules of a provider, as iptables-save or ip6tables-save writes them."""

    def __init__(self, rng, version):
        self.rng, self.version, self.chains = rng, version, {}
        self.entry = ("", "-i eth0 ")[int(rng.integers(0, 2))]
        # subscribers' networks are of one size, or single addresses
        self.open_bits = int(rng.choice([0, 0, 2, 8]))
        self.count = int(rng.integers(8, 40))
        self.kinds = rng.permutation(
            [
                "host",
                "ports",
                "two protocols",
                "mark",
                "iface",
                "ctorigsrc",
                "filter",
                "jump",
                "unlike",
                "dst",
                "dports",
            ]
        )[: rng.integers(2, 6)].tolist()

    def subscriber(self, k):
        return NETS[self.version] + ((k + 1) << self.open_bits)

    def source(self, k):
        return f"{text(self.version, self.subscriber(k))}/{BITS[self.version] - self.open_bits}"

    def outside(self, k):
        address = text(self.version, OUT[self.version] + 20 + k % 50)
        return f"[{address}]" if self.version == 6 else address

    def add(self, table, chain, rule):
        self.chains.setdefault(table, {}).setdefault(chain, []).append(rule)

    def rules(self):
        for kind in self.kinds:
            order = self.rng.permutation(self.count).tolist()
            if self.rng.random() < 0.3:
                # one subscriber twice
                order += order[:2]
            for n, k in enumerate(order):
                self.rule(kind, n, k)
        net = f"{text(self.version, NETS[self.version])}/{BITS[self.version] - 16}"
        if self.rng.random() < 0.5:
            self.add("nat", "POSTROUTING", f"-s {net} -o eth0 -j MASQUERADE")
        if "filter" in self.kinds:
            self.add("filter", "FORWARD", "-m conntrack --ctstate NEW -j DROP")
        lines = []
        for table, chains in self.chains.items():
            own = [f":{name} - [0:0]" for name in chains if not name.isupper()]
            rules = [f"-A {chain} {rule}" for chain, every in chains.items() for rule in every]
            lines += [f"*{table}", *own, *rules, "COMMIT", ""]
        return "\n".join(lines)

    def rule(self, kind, n, k):
        source = self.source(k)
        snat = f"-j SNAT --to-source {self.outside(n).strip('[]')}"
        ports = f"-j SNAT --to-source {self.outside(n)}:{2000 + 100 * n}-{2099 + 100 * n}"
        if kind == "host":
            self.add("nat", "POSTROUTING", f"-s {source} -o eth0 {snat}")
        elif kind == "ports":
            self.add("nat", "POSTROUTING", f"-s {source} -p {('udp', 'tcp')[n % 2]} {ports}")
        elif kind == "two protocols":
            for proto in ("tcp", "udp"):
                self.add("nat", "POSTROUTING", f"-s {source} -p {proto} {ports}")
        elif kind == "mark":
            self.add("mangle", "PREROUTING", f"-s {source} -j MARK --set-mark {k + 1}")
            self.add("nat", "POSTROUTING", f"-m mark --mark {k + 1} {snat}")
        elif kind == "iface":
            self.add("filter", "FORWARD", f"-i sub{k % 12} -p udp --dport {7000 + k} -j DROP")
        elif kind == "ctorigsrc":
            self.add("nat", "POSTROUTING", f"-m conntrack --ctorigsrc {source} {snat}")
        elif kind == "filter":
            self.add("filter", "FORWARD", f"-s {source} -j ACCEPT")
        elif kind == "jump":
            self.add("nat", "POSTROUTING", f"-s {source} -j to{k}")
            self.chains["nat"][f"to{k}"] = [f"-p udp {ports}", snat]
        elif kind == "unlike":
            self.add("nat", "POSTROUTING", f"-s {source} -p udp --dport {7000 + n} {snat}")
        elif kind == "dst":
            inside = text(self.version, self.subscriber(k))
            self.add("nat", "PREROUTING", f"-d {self.outside(n).strip('[]')} -j DNAT --to-destination {inside}")
        else:
            inside = text(self.version, self.subscriber(k))
            to = f"--to-destination {inside}:80" if self.version == 4 else f"--to-destination [{inside}]:80"
            self.add("nat", "PREROUTING", f"{self.entry}-p tcp -m tcp --dport {7000 + n} -j DNAT {to}")


def node(version, rules):
    made = fastnat.Node()
    bits = BITS[version]
    for k in range(10):
        made.add_interface(f"sub{k}", [f"{text(version, NETS[version] + ((k + 2) << 20))}/{bits - 16}"])
    made.add_interface("lan", [f"{text(version, NETS[version])}/{bits - 16}"])
    made.add_interface("eth0", [f"{text(version, OUT[version] + 10)}/{bits - 8}"])
    made.add_route("default" if version == 4 else "::/0", via=text(version, OUT[version] + 1), dev="eth0")
    (made.load_rules if version == 4 else made.load_rules6)(rules)
    return made


def traffic(nat, drawn, n, rng):
    version = drawn.version
    outward = rng.random(n) < 0.8
    k = rng.integers(0, drawn.count + 3, n)
    source = [
        drawn.subscriber(int(k[i])) + int(rng.integers(0, 1 << drawn.open_bits))
        if outward[i]
        else FAR[version] + int(k[i])
        for i in range(n)
    ]
    dst = [
        FAR[version] + int(rng.integers(0, 9)) if out else OUT[version] + 20 + int(rng.integers(0, 50))
        for out in outward
    ]
    inward = [nat.node.iface_number(name) for name in ("lan", *(f"sub{i}" for i in range(10)))]
    return nat.packets(
        proto=rng.choice([6, 17, 17, 1 if version == 4 else 58], n),
        src=[text(version, a) for a in source],
        dst=[text(version, a) for a in dst],
        sport=rng.integers(2000, 2300, n),
        dport=rng.integers(7000, 7040, n),
        tcp_flags=rng.choice([2, 16], n),
        length=rng.choice([60, 1400], n),
        mark=rng.choice([0, 0, 3], n),
        iface=np.where(outward, rng.choice(inward, n), nat.node.iface_number("eth0")),
    )


def counters(nat, version):
    stack = nat.stacks[version]
    return [
        (int(r["packets"]), int(r["bytes"]))
        for r, (_, _, rule) in zip(stack.core.rule_counters(), stack.ruleset.origin, strict=True)
        if rule is not None or r["target"] != TargetKind.DISPATCH
    ]


def pair(monkeypatch, seed, version):
    drawn = Drawn(np.random.default_rng(seed), version)
    rules = drawn.rules()
    monkeypatch.setattr("fastnat.rules.compiler.WIDE_RUN", (1, 64)[seed % 2])
    monkeypatch.setattr("fastnat.rules.alike.MIN_APART", (4096, 8)[seed // 2 % 2])
    quick = fastnat.Engine(node(version, rules), seed=seed)
    with monkeypatch.context() as patch:
        patch.setattr("fastnat.rules.runs.MIN_RUN", 10**6)
        plain = fastnat.Engine(node(version, rules), seed=seed, remember=False)
    assert len(plain.stacks[version].ruleset.dispatches) == 0
    return drawn, quick, plain


def compare(quick, plain, version):
    assert quick.conntrack.to_numpy().tobytes() == plain.conntrack.to_numpy().tobytes()
    different = {k for k in quick.stats if quick.stats[k] != plain.stats[k]}
    assert different <= {"rules_walked"}
    assert counters(quick, version) == counters(plain, version)
    quick.stacks[version].core.check_invariants()


@pytest.mark.one_of(2)
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("seed", [*range(10), *(pytest.param(n, marks=pytest.mark.slow) for n in range(10, 40))])
def test_headers(monkeypatch, seed, version):
    drawn, quick, plain = pair(monkeypatch, seed, version)
    rng = np.random.default_rng(seed)
    for round_ in range(3):
        batch = traffic(quick, drawn, 600, rng)
        one, other = (nat.process(batch, 20.0 * round_) for nat in (quick, plain))
        assert one.tobytes() == other.tobytes()
        compare(quick, plain, version)
    assert (one["verdict"] == fastnat.Verdict.FORWARD).any()


@pytest.mark.parametrize("seed", range(6))
def test_datagrams(monkeypatch, seed):
    """The same with bytes, one batch and one at a time."""
    drawn, quick, plain = pair(monkeypatch, seed, 4)
    batch = traffic(quick, drawn, 300, np.random.default_rng(seed))
    frames, offsets = datagrams(batch[np.isin(batch["proto"], [6, 17])])
    ifaces = batch["iface"][np.isin(batch["proto"], [6, 17])]
    said = []
    for nat in (quick, plain):
        buffer = frames.copy()
        said.append(nat.process_frames(buffer, offsets, ifaces, 0.0).tobytes() + buffer.tobytes())
        for n in range(0, len(offsets) - 1, 3):
            data = frames[offsets[n] : offsets[n + 1]].tobytes()
            said[-1] += repr(nat.process_packet(data, nat.node.iface_names[ifaces[n]], 1.0)).encode()
    assert said[0] == said[1]
    compare(quick, plain, 4)


@pytest.mark.one_of(2)
@pytest.mark.parametrize("version", [4, 6])
def test_every_kind_of_run_is_looked_up(monkeypatch, version):
    """The comparison would hold for an engine that walks every rule, too."""
    kinds, alike, unlike, memos = set(), 0, 0, 0
    for seed in range(20):
        drawn, quick, _ = pair(monkeypatch, seed, version)
        stack = quick.stacks[version]
        quick.process(traffic(quick, drawn, 600, np.random.default_rng(seed)))
        kinds |= set(stack.ruleset.dispatches["kind"].tolist())
        apart = stack.ruleset.dispatches["apart"] > 0
        alike += (stack.ruleset.dispatches["alike"][apart] == 1).sum()
        unlike += (stack.ruleset.dispatches["alike"][apart] == 0).sum()
        memos += (stack.core.arrays["memos"]["varied"] > 0).sum()
        assert ((stack.core.arrays["rules"]["tests"] & RuleTests.ALIKE) > 0).any() == (
            stack.ruleset.dispatches["alike"].any()
        )
    assert kinds == set(map(int, DispatchKey))
    assert alike > 3
    assert unlike > 3
    assert memos > 3
