"""Rules of nftables as the running kernel lists them, and as the engine writes them back."""

import contextlib
import random
import re
import subprocess

import pytest

import fastnat
from fastnat import nftables
from fastnat.nftables.reserved import RESERVED
from kernel.test_frames import Plain, Wires
from kernel.test_nftables import pytestmark as needs_kernel

pytestmark = needs_kernel

SEEDS = 8
FAMILIES = {"ip": ("4",), "ip6": ("6",), "inet": ("4", "6"), "netdev": ("4", "6")}
MAC = "02:00:00:00:00:01"
# of what nft leaves out, adds, or puts elsewhere when it lists a rule; by the family of whose packets it is
PROTOCOLS = {
    "4": ["ip protocol tcp", "ip protocol udp", "ip protocol icmp", "meta protocol ip"],
    "6": ["ip6 nexthdr tcp", "ip6 nexthdr udp", "ip6 nexthdr ipv6-icmp", "meta protocol ip6"],
    "": ["meta l4proto tcp", "meta l4proto udp", "iifname port1"],
}
FIELDS = {
    "4": ["ip saddr 10.0.0.1", "ip daddr != 10.0.0.0/8", "icmp type echo-request", "ip ttl 5"],
    "6": ["ip6 saddr fd00::1", "ip6 daddr != fd00::/16", "icmpv6 type echo-request", "ip6 hoplimit 5"],
    "": ["tcp dport 80", "udp sport 53", "tcp dport { 80, 443 }", f"ether saddr {MAC}", f"ether daddr != {MAC}",
         f"ether daddr {MAC}", f"ether saddr {MAC} ether daddr {MAC}", f"iiftype ether ether saddr {MAC}",
         "tcp flags & (fin | syn) < fin", "tcp flags & (fin | syn) == fin",
         "tcp flags & (syn | ack) >= syn", "tcp flags & (fin | syn) != fin", 'meta time < "2024-5-5 7:3"',
         'meta time != "2024-05-05 19:30-21:00"', "meta priority 1:2", "meta priority 0"],
}  # fmt: skip

# what ends a rule; nft says in front of it what a reject asks for
ENDS = {
    "4": ["counter reject", "counter reject with icmp type host-unreachable"],
    "6": ["counter reject", "counter reject with icmpv6 type no-route"],
    "": [
        "counter",
        "counter",
        "reject with tcp reset",
        "counter reject with tcp reset",
        "log counter reject with tcp reset",
    ],
}


def of_protocol(text):
    """Return which protocol a part of a rule is about, "" if any."""
    return next((name for name in ("tcp", "udp", "icmp") if name in text), "")


def drawn(rng, family):
    """Return a rule that nft takes: one protocol, and packets of one family."""
    version = rng.choice(FAMILIES[family])
    asked = [rng.choice(PROTOCOLS[version] + PROTOCOLS[""]) for _ in range(rng.randrange(2))]
    parts = asked + [rng.choice(FIELDS[version] + FIELDS[""]) for _ in range(1)]
    # beside these nft loses what it was told of the family, or lists what the reject asks as bits of the frame
    plain = family == "netdev" or (family == "inet" and any("meta protocol" in p or "ether" in p for p in parts))
    end = "counter" if plain else rng.choice(ENDS[version] + ENDS[""])
    kinds = {of_protocol(part) for part in (*parts, end)} - {""}
    return " ".join((*parts, end)) if len(kinds) <= 1 and len(set(parts)) == len(parts) else drawn(rng, family)


def rules_of(listing):
    """Return the rules of a listing."""
    return [line.strip() for line in listing.splitlines() if "counter packets" in line or "reject" in line]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("family", FAMILIES)
def test_rules_are_written_back_as_nft_lists_them(family, seed):
    rng = random.Random(f"listings {family} {seed}")
    hook = "ingress device port1" if family == "netdev" else "prerouting"
    lines = "".join(f"  {drawn(rng, family)}\n" for _ in range(40))
    text = f"table {family} t {{\n chain c {{\n  type filter hook {hook} priority 0;\n{lines} }}\n}}\n"
    wires = Wires(Plain(4))
    with contextlib.closing(wires):
        wires.run("nft", "-f", "-", text=text)
        listed = wires.run("nft", "list", "ruleset")
        assert rules_of(nftables.text_of(nftables.load(text))) == rules_of(listed)
        # what was written back loads, and lists the same
        wires.run("nft", "-f", "-", text="flush ruleset\n" + nftables.text_of(nftables.load(listed)))
        assert wires.run("nft", "list", "ruleset") == listed


@pytest.mark.parametrize("seed", range(5 * SEEDS))
def test_sets_declared_again(seed):
    """Up to four declarations of a set, in one text or several, each with times, an interval, a size, or without."""
    rng = random.Random(f"declared {seed}")
    texts, node = [], fastnat.Node()
    node.add_interface("port1", ["10.0.0.1/24"])
    for n in range(rng.randrange(2, 5)):
        words = [
            rng.choice(("", word)) for word in ("timeout 90s;", "timeout 600s;", "gc-interval 20s;", f"size {40 + n};")
        ]
        items = ", ".join(f"10.0.{n}.{k}{rng.choice(('', ' timeout 90s', ' timeout 600s'))}" for k in range(1, 4))
        said = f"type ipv4_addr; flags dynamic,timeout; {''.join(words)} elements = {{ {items} }}"
        text = f"table ip a {{\nset b {{ {said}\n}}\n}}\n"
        if texts and rng.random() < 0.5:
            texts[-1] += text
        else:
            texts.append(text)
    node.load_nft(texts[0])
    engine = fastnat.Engine(node)
    for text in texts[1:]:
        engine.change_nft(text)
    listed = subprocess.run(
        ["unshare", "-n", "sh", "-ec", "\n".join(f"nft -f - <<X\n{text}X" for text in texts) + "\nnft list ruleset"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert lasting(engine.list_nft()) == lasting(listed)


def lasting(listed):
    """Return the words of a listing without the seconds that are left."""
    return re.sub(r"(expires )\S+?(?=,? )", r"\1...", " ".join(listed.split()))


def test_words_that_nft_takes_as_names():
    """Of its own words none, of those that rules also say elsewhere, as `saddr`, all."""
    text = "table ip t {{\n chain {} {{\n }}\n}}\n"
    for word in (*random.Random(1).sample(sorted(RESERVED), 40), "saddr", "state", "input", "filter", "last", "label"):
        done = subprocess.run(["unshare", "-n", "nft", "-c", "-f", "-"], input=text.format(word).encode(),
                              capture_output=True, check=False)  # fmt: skip
        assert (done.returncode != 0) == (word in RESERVED), word
