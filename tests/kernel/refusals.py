"""What nft and the kernel refuse of commands and declarations, recorded from the running kernel.

    python tests/kernel/refusals.py     as root, records the texts of refusals.json anew; new ones stand there with []

Each text of `commands` is carried out on BASE in place (nft -f of BASE, then nft -f of the commands), and loaded behind
it in one text: the two answers. Each declaration of `sets` follows each other one in a text: those that are taken.
Each statement of `hooks` stands in a chain of each of HOOKS: those that take it.
`drawn` says which of the texts of drawn() nft loads, in their order: they are the same at each time.
"""

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path

PATH = Path(__file__).with_name("refusals.json")
BASE = "table ip t {\nchain c {\ntype filter hook forward priority 0\n}\nchain d {\n}\n}\n"
# family, type and hook of base chains
HOOKS = [
    *(f"inet filter {hook}" for hook in ("prerouting", "input", "forward", "output", "postrouting", "ingress")),
    *(f"inet nat {hook}" for hook in ("prerouting", "input", "output", "postrouting")),
    "inet route output", "netdev filter ingress", "netdev filter egress",
]  # fmt: skip


# what a rule asks before, and what it then does; a family has them in its own words
ASKS = [
    "tcp dport 3", "tcp dport != 3", "tcp dport { 3, 4 }", "udp sport . IP saddr { 3 . ADDR }", "th dport 3",
    "meta l4proto tcp", "meta l4proto { tcp, udp }", "meta l4proto != tcp", "meta l4proto 6-17",
    "meta l4proto { 6-17 }", "meta l4proto 99", "meta l4proto vmap { tcp : continue }",
    "udp dport vmap { 3 : continue }", "ct protocol tcp", "ct l3proto IPV", "ct original protocol udp",
    "IP saddr ADDR", "IP saddr != { ADDR }", "IP daddr { ADDR, }", "IP daddr { ADDR,, }", "meta mark 3",
    "meta nfproto IPV", "meta nfproto != IPV", "meta nfproto { IPV }", "meta mark & 6 == 6", "counter", "@th,16,16 3",
    "ct state new", "ct state ! new", "ct mark ! 1", "IP saddr ! ADDR", "tcp flags ! syn", "ct original mark 1",
    "ct original zone 1", "ct reply packets 3", "ct reply status dnat", "ct original IP saddr ADDR", "iifname lo",
    "iifname log", "iifname { mark, lo }", "IP saddr { }", "IP saddr { ADDR : accept }", "IP saddr ADDR/129",
    "limit rate 1/second burst 0 packets", "limit rate 1/second burst 2 packets",
    "limit rate 1 kbytes/second burst 2 packets", "log level debug", "log level loud", "log flags tcp options",
    "log flags options", "log prefix 3", "log prefix \"mark\"", "log prefix mark", "add @s { meta mark }",
    "add @s { meta mark timeout 3s }", "add @s { meta mark timeout 3 }", "add @s { tcp dport }", "continue",
    "ct original ip saddr 10.0.0.1", "ct original ip6 saddr fd00::1", "udp length 9", "jhash tcp dport mod 2 1",
]  # fmt: skip
ACTS = [
    "", "accept", "drop", "jump x", "goto x", "return", "masquerade", "masquerade to :1024", "snat to ADDR",
    "snat IP to ADDR:3-4", "snat IP to ADDR", "accept comment x", "accept comment 3", "accept comment mark",
    "ct original proto-dst 80", "ct proto-dst 80", "ct reply proto-src { 80, 90-91 }",
    "IP saddr . ct original proto-src { ADDR . 3 }", "ct saddr ADDR", "accept counter", "masquerade accept",
    "counter accept", "reject", "reject with icmpx no-route", "reject with tcp reset", "reject counter",
    "reject with icmp host-unreachable", "reject with icmpv6 no-route", "reject with icmpx nothing",
    "jump { accept; }", "jump { accept }", "jump { counter; }\n counter",
]  # fmt: skip
WORDS = {
    "ip": ("10.0.0.1", "ipv4"), "ip6": ("fd00::1", "ipv6")
}  # fmt: skip
DRAWN = 800


def drawn():
    """Yield texts of one rule or two, some of which nft takes."""
    rng = random.Random(0)
    for _ in range(DRAWN):
        family = rng.choice(["ip", "ip6", "inet", "inet"])
        own = rng.choice(list(WORDS)) if family == "inet" else family
        nat = rng.random() < 0.5
        kind = "nat hook postrouting priority srcnat" if nat else "filter hook forward priority 0"
        of_kind = [act for act in ACTS if ("nat" in act or "masq" in act) <= nat and ("reject" in act) <= (not nat)]
        asked = [rng.sample(ASKS, rng.choice([0, 1, 1, 1, 2])) for _ in range(rng.choice([1, 1, 2]))]
        rules = [" ".join([*asks, rng.choice(of_kind)]) for asks in asked]
        address, version = WORDS[own]
        rules = [r.replace("IPV", version).replace("IP ", f"{own} ").replace("ADDR", address) for r in rules]
        rules = [r.replace(f"{address}:", f"[{address}]:") if own == "ip6" else r for r in rules if r.strip()]
        ends = [rng.choice(["\n", "\n", ";", "; "]) for _ in rules]
        if rng.random() < 0.1:
            ends[-1:] = [""]
        body = "".join(map("".join, zip(rules, ends, strict=True)))
        close = rng.choice(["\n", "\n", "\n", "\n", "\n", ";", ""])
        flags = rng.choice(["timeout;", "timeout; timeout 3s\n", "timeout"] if rng.random() < 0.1 else ["timeout;"])
        yield (
            f"table {family} t {{\nset s {{ type mark; flags dynamic,{flags} }}\nchain x {{\n}}\n"
            f"chain c {{ type {kind}; {body}}}{close}}}\n"
        )


def in_hook(base, statement):
    """Return a text with a statement in a base chain."""
    family, kind, hook = base.split()
    device = 'device "lo"' if hook in ("ingress", "egress") else ""
    return f"table {family} t {{\nchain c {{\ntype {kind} hook {hook} {device} priority 0\n{statement}\n}}\n}}\n"


def declared(first, second):
    """Return a text with two declarations of one set."""
    return f"table ip t {{\n{first}\n}}\ntable ip t {{\n{second}\n}}\n"


def taken(text):
    """Return whether nft takes a text."""
    return not subprocess.run(["nft", "-f", "-"], input=text, text=True, capture_output=True, check=False).returncode


def recorded(texts):
    """Return what the running kernel takes of texts, in this namespace."""
    said = {"commands": {}, "sets": {first: [] for first in texts["sets"]}, "hooks": {}}
    said["drawn"] = "".join("01"[taken(f"flush ruleset\n{text}")] for text in drawn())
    for statement in texts["hooks"]:
        said["hooks"][statement] = [base for base in HOOKS if taken(f"flush ruleset\n{in_hook(base, statement)}")]
    for text in texts["commands"]:
        assert taken(f"flush ruleset\n{BASE}")
        there = taken(text)
        said["commands"][text] = [there, taken(f"flush ruleset\n{BASE}{text}")]
    for first, second in itertools.product(said["sets"], repeat=2):
        if taken(f"flush ruleset\n{declared(first, second)}"):
            said["sets"][first].append(second)
    return said


if __name__ == "__main__":
    if sys.argv[1:] != ["here"]:
        sys.exit(subprocess.run(["unshare", "-n", sys.executable, __file__, "here"], check=False).returncode)
    PATH.write_text(json.dumps(recorded(json.loads(PATH.read_text())), indent=0) + "\n")
