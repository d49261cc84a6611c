"""Rules of nftables as the running kernel lists them, and as the engine writes them back."""

import contextlib
import random

import pytest

from fastnat import nftables
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
