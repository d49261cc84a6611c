"""Random rules of nftables in the running kernel and in the engine: the same packets, table and counters."""

import os
import random
import re
import shutil

import pytest

import fastnat
from kernel import differential, recorder
from kernel.cases import INTERFACES, ROUTES, Case
from kernel.random_traffic import traffic
from kernel.test_live import missing

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(bool(missing()), reason=missing() or "kernel is at hand"),
    pytest.mark.skipif(not shutil.which("nft"), reason="needs nft"),
]

MATCHES = [
    "", "ip saddr 10.244.1.0/28", "ip saddr != 10.244.1.4/30", "ip daddr { 203.0.113.0/26, 10.96.0.0/24 }",
    "ip daddr != 10.244.0.0/16", "ip saddr @some", "ip saddr . th dport @pairs", "ip saddr . th dport != @pairs",
    "ip daddr . meta l4proto { 203.0.113.0/25 . udp, 10.96.0.0/16 . 0-10 }", "udp dport 53-60", "tcp dport != 80",
    "tcp dport { 80, 443, 8000-8100 }", "udp dport != { 53, 10100-10200 }", "th dport > 1000",
    "tcp flags syn / syn,ack", "tcp flags & (fin | rst) == 0", "tcp flags syn", "tcp flags ! ack", "tcp flags != syn",
    "icmp type echo-request", "meta mark & 0x3 == 0x1", "meta mark 0x2", "meta mark & 0x2 != 0x2",
    "meta mark { 1, 3 }", "ct mark & 0xff == 1", "meta l4proto { tcp, udp }", "meta length 0-40", "meta length > 60",
    'iifname "cni0"', 'iifname "eth*"', 'oifname { "eth0", "x*" }', 'iifname . ip daddr { "cni0" . 203.0.113.0/24 }',
    "ct state new", "ct state established,related", "ct state ! new", "ct state { new, established }",
    "ct status snat", "ct status ! dnat", "ct direction reply", "ct original ip daddr 203.0.113.0/25",
    "ct reply ip saddr != 203.0.113.9", "ct original proto-dst 1-1000", "ct protocol udp", "ct l3proto ipv4",
    "fib daddr type local", "fib saddr type != local", "fib daddr . iif type unicast", "fib saddr . iif oif exists",
    'fib saddr oif "cni0"', "ip ttl > 60", "ip length < 50", "ip dscp 0", "ip protocol != tcp", "ip id & 1 == 1",
    "ip frag-off & 0x1fff == 0", "ip hdrlength 5", "@nh,72,8 17", "@th,0,16 > 2000", "tcp option maxseg exists",
    "tcp option maxseg size > 1000", "tcp window > 100", "udp length > 30", "numgen inc mod 3 1",
    "numgen inc mod 2 offset 4 == 5", "jhash ip saddr . th sport mod 4 seed 0x1234 == 1",
    "jhash ip saddr mod 3 seed 7 != 0", "jhash th dport mod 2 seed 9 == 0",
    "jhash ip saddr . th dport mod 2 seed 1 == 1", "limit rate 1/hour burst 5 packets",
    "limit rate over 1/hour burst 3 packets", "limit rate 1 kbytes/day burst 300 bytes", "quota 900 bytes",
    "quota over 300 bytes", "add @seen { ip saddr }", "update @seen { ip daddr timeout 1h }",
    "delete @seen { ip saddr }", "ip saddr @seen", "ip daddr != @seen",
    "add @limited { ip saddr limit rate over 1/hour burst 2 packets }",
]  # fmt: skip
CHANGES = [
    "meta mark set {}", "meta mark set meta mark | {}", "meta mark set meta mark ^ {}", "ct mark set {}",
    "ct mark set meta mark", "meta mark set ct mark", "meta mark set meta mark << 1",
    "meta mark set th dport map {{ 53 : 1, 80 : 2, * : 3 }}", "ip dscp set {}", "ip ttl set 4{}", "counter", "log",
    "meta mark set numgen inc mod 3", "tcp option maxseg size set 90{}", "ip ecn set {}",
]  # fmt: skip
SETS = """
set some { type ipv4_addr; flags interval; elements = { 10.244.1.2-10.244.1.9, 203.0.113.0/28 } }
set pairs { type ipv4_addr . inet_service; flags interval
elements = { 10.244.1.0/28 . 53, 10.244.1.0/24 . 80-443, 203.0.113.0/24 . 1000-60000 } }
set seen { type ipv4_addr; flags dynamic,timeout; timeout 1h; }
set limited { type ipv4_addr; flags dynamic; }
counter c { }
"""
BASES = {
    "raw": ("filter", "prerouting", "raw"),
    "pre": ("filter", "prerouting", "mangle"),
    "late": ("filter", "prerouting", "filter"),
    "forw": ("filter", "forward", "filter"),
    "forw2": ("filter", "forward", "filter + 5"),
    "postm": ("filter", "postrouting", "mangle"),
    "last": ("filter", "postrouting", "110"),
    "to_dst": ("nat", "prerouting", "dstnat"),
    "to_src": ("nat", "postrouting", "srcnat"),
    "to_src2": ("nat", "postrouting", "srcnat + 1"),
}


def verdict(rng, base, callees):
    """Return how a rule of a chain ends."""
    kind, low = rng.random(), rng.randrange(2, 200)
    if kind < 0.25 and callees:
        return f"{rng.choice(['jump', 'goto'])} {rng.choice(callees)}"
    if kind < 0.35 and callees:
        return f"th dport vmap {{ 53 : jump {rng.choice(callees)}, 80-90 : accept, 443 : return, * : continue }}"
    if kind < 0.6:
        return rng.choice(CHANGES).format(rng.randrange(4))
    if kind < 0.75:
        return rng.choice(["accept", "return", "continue", "counter name c accept"])
    if base == "to_dst":
        ports = rng.choice(["", f":{low}", f":{low}-{low + 1000}"])
        protocol = f"meta l4proto {rng.choice(['tcp', 'udp'])} " if ports else ""
        mapped = "dnat to ip saddr map { 10.244.1.2 : 10.244.1.77, 10.244.1.3-10.244.1.9 : 10.244.1.78 }"
        one = f"{protocol}dnat to 10.244.1.{low}-10.244.1.{low + 20}{ports}"
        return rng.choice([one, "dnat prefix to 10.244.1.0/27", "meta l4proto udp redirect to :99", mapped])
    if base.startswith("to_src"):
        mapped = "snat to ip saddr map { 10.244.1.0/25 : 198.51.100.7, 10.244.1.128/25 : 198.51.100.8 }"
        several = f"snat to 198.51.100.{low}-198.51.100.{low + 20}"
        one = f"snat to 198.51.100.{low} persistent"
        return rng.choice(["masquerade", several, one, "snat prefix to 198.51.100.0/26", mapped])
    return rng.choice(["drop", "accept", "counter"] if base != "raw" else ["accept", "notrack", "notrack", "counter"])


def ruleset(rng):
    """Return the text of random rules."""
    lines, chosen = [SETS], rng.sample(list(BASES), rng.randrange(2, 7))
    for base in chosen:
        callees = [f"{base}_a", f"{base}_b"]
        for name, below in ((callees[1], []), (callees[0], callees[1:]), (base, callees)):
            lines.append(f"chain {name} {{")
            if name == base:
                kind, hook, priority = BASES[base]
                lines.append(f"type {kind} hook {hook} priority {priority}; policy accept;")
            for _ in range(rng.randrange(1, 5)):
                said = [rng.choice(MATCHES) for _ in range(rng.choice([1, 1, 2]))]
                if base in ("raw", "to_dst", "late", "pre"):
                    said = [s for s in said if "oifname" not in s and " oif " not in s]
                counted = "counter" if rng.random() < 0.5 else ""
                lines.append(" ".join(" ".join([*said, counted, verdict(rng, base, below)]).split()))
            lines.append("}")
    family, text = rng.choice(["ip", "ip", "inet"]), "\n".join(lines)
    if family == "inet":
        text = re.sub(r"\b(snat|dnat)( prefix)? to", r"\1 ip\2 to", text)
    return f"table {family} t {{\n{text}\n}}\n"


class Kernel(recorder.Namespace):
    """A namespace with rules of nftables."""

    def __init__(self, case, nft):
        super().__init__(case)
        try:
            self.run("nft", "-f", "-", text=nft)
        except RuntimeError:
            self.close()
            raise

    def listing(self):
        """Return the listing of the table of the case."""
        return self.run("nft", "list", "ruleset")


def counts(text):
    """Return what the counters of a listing say, in order."""
    return re.findall(r"packets \d+ bytes \d+", text)


def differing(theirs, mine):
    """Return the lines of a listing whose counters differ from those of another."""
    lines = [[line for line in text.splitlines() if counts(line)] for text in (theirs, mine)]
    pairs = ((a.strip(), b.strip()) for a, b in zip(*lines, strict=True) if counts(a) != counts(b))
    return "\n".join(f"kernel {a}\nengine {b}" for a, b in pairs)


def loaded(rng, case):
    """Return rules that nft takes, and a namespace with them: it refuses some combinations of statements."""
    while True:
        nft = ruleset(rng)
        try:
            return nft, Kernel(case, nft)
        except RuntimeError:
            continue


def run(seed, packets):
    """Run one rule set through both, up to a port drawn at random; raise Difference where they differ."""
    case = Case("", INTERFACES, ROUTES, lambda: traffic(f"nft {seed}", 4, packets))
    nft, kernel = loaded(random.Random(f"nft {seed}"), case)
    try:
        compare(case, nft, kernel)
    finally:
        kernel.close()


def compare(case, nft, kernel):
    """Compare packet by packet, then the counters of the rules."""
    node = case.node()
    node.load_nft(nft)
    engine, answer, talk, done = fastnat.Engine(node), None, case.traffic(), 0
    while True:
        try:
            iface, data = next(talk) if not done else talk.send(answer)
        except StopIteration:
            break
        if engine.stats["random_draws"]:
            return
        verdict, mine = engine.process_packet(data, iface, now=done * 0.001)
        mine = mine if verdict == fastnat.Verdict.FORWARD else None
        out = kernel.pass_packet(iface, data, wait=0.001 if mine is None else 0.2)
        answer, done = out[1] if out else None, done + 1
        if mine != answer and not engine.stats["random_draws"]:
            named = (("in", data), ("kernel", answer), ("engine", mine))
            said = "\n".join(f"{who} {d.hex() if d else 'nothing'}" for who, d in named)
            counters = differing(kernel.listing(), engine.list_nft())
            raise differential.Difference("packet", f"{said}\n{nft}{counters}", [])
    theirs, ours = kernel.listing(), engine.list_nft()
    if counts(theirs) != counts(ours):
        raise differential.Difference("counters", f"{nft}{differing(theirs, ours)}", [])


@pytest.mark.parametrize("seed", range(int(os.environ.get("FASTNAT_SEEDS", "10"))))
def test_random_rules_of_nftables(seed):
    """More: FASTNAT_SEEDS=200 FASTNAT_PACKETS=500 make kernel-test."""
    run(seed, int(os.environ.get("FASTNAT_PACKETS", "100")))
