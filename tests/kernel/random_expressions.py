"""Rules of nftables with every expression that the tables of fastnat.nftables name, and values of their types.

A field that is added there is drawn here at once. What nft does not take is left out, as it knows best which fields
stand together, and in which hooks; what it takes the engine has to take, and to decide alike.
"""

import random
import re
import subprocess

from fastnat.nftables import fields
from fastnat.nftables.datatypes import TYPES, Datatype
from kernel import random_traffic, test_nftables, walks

ADDRESSES = {
    32: [*(f"10.244.1.{n}" for n in range(2, 12)), *(f"203.0.113.{n}" for n in range(2, 30)), "198.51.100.10"],
    128: [*(f"fd01::{n:x}" for n in range(2, 12)), *(f"fd03::{n:x}" for n in range(2, 30))],
}
NETWORKS = {32: ["10.244.1.0/28", "203.0.113.0/26", "10.0.0.0/8"], 128: ["fd01::/124", "fd03::/120", "fd00::/8"]}
NUMBERS = [0, 1, 2, 5, 6, 17, 40, 53, 58, 63, 64, 80, 443, 1000, 1460, 8080]
NAMES = ["cni0", "eth0", "lo", "nope", '"eth*"']
HOOKS = [("prerouting", -150), ("input", 0), ("forward", 0), ("postrouting", -150)]
RULES = 30
TRY = "".join(f"ip tuntap add {name} mode tun; " for name in walks.DEVICES) + "nft -f - && nft list ruleset"
# by chance, of another clock, unknown here, or said in docs/nftables.md to differ
UNSURE = {
    "meta cpu", "meta random", "meta time", "meta day", "meta hour", "meta skuid", "meta skgid", "meta cgroup",
    "meta priority", "meta secmark", "meta sdif", "meta sdifname", "meta iifkind", "meta oifkind", "meta iifgroup",
    "meta oifgroup", "meta rtclassid", "meta ibrname", "meta obrname", "meta ibriport", "meta obriport", "meta broute",
    "meta iiftype", "meta oiftype", "ct secmark", "ct expiration", "ct helper", "ct label", "ct event", "ct count",
    "ct id", "rt classid",
}  # fmt: skip
# nft 1.0.6 compares wrongly under a mask what begins and ends within octets
RAW = [(0, 4), (4, 4), (36, 4), (0, 8), (24, 8), (16, 16), (32, 16), (32, 32)]
# nft 1.0.6 moves bits of two octets to the wrong side in a concatenation
NOT_SIDE_BY_SIDE = {"ip6 dscp", "frag frag-off"}


def all_fields():
    """Return all expressions with their types."""
    found = [
        (f"{protocol} {name}", field.type)
        for protocol, known in fields.HEADERS.items()
        if protocol not in (*fields.LINK, "igmp", "dccp")
        for name, field in known.items()
    ]
    found += [(f"meta {key}", kind) for key, kind in fields.META.items()]
    for key, kind in fields.CT.items():
        found += [(f"ct {way}{key}", kind) for way in ("", "original ", "reply ") if kind is not None]
    for family, bits in (("ip", 32), ("ip6", 128)):
        kind = TYPES[f"ipv{4 if bits == 32 else 6}_addr"]
        found += [(f"ct {way} {family} {end}", kind) for way in ("original", "reply") for end in ("saddr", "daddr")]
    found += [
        (f"fib {flags} type", TYPES["fib_addrtype"]) for flags in ("saddr", "daddr", "daddr . iif", "saddr . oif")
    ]
    found += [("fib saddr . iif oif", TYPES["iface_index"]), ("rt mtu", fields.RT["mtu"])]
    for kind, known in (("tcp option", fields.TCP_OPTIONS), ("ip option", fields.IP_OPTIONS)):
        found += [(f"{kind} {name}", TYPES["boolean"]) for name in known if name not in ("sack1", "sack2", "sack3")]
        found += [(f"{kind} {name} {f}", number(bits)) for name in known for f, (_, bits) in known[name][1].items()]
    for name, (_, known) in fields.EXTENSIONS.items():
        found += [(f"exthdr {name}", TYPES["boolean"])]
        found += [(f"{name} {f}", number(bits)) for f, (_, bits) in known.items() if f != "nexthdr"]
    found += [(f"@{base},{at},{bits}", number(bits)) for base in ("nh", "th") for at, bits in RAW]
    return [(text, kind) for text, kind in found if re.sub("(original|reply) ", "", text) not in UNSURE]


def number(bits):
    """Return the type of a plain number."""
    return Datatype("integer", bits)


FIELDS = all_fields()


def value(rng, kind):
    """Return a value of a type."""
    if kind.form == "address":
        return rng.choice(ADDRESSES[kind.bits])
    if kind.form == "name":
        return rng.choice(NAMES[:3] if kind.name == "iface_index" else NAMES)
    if kind.names and rng.random() < 0.8:
        return rng.choice(list(kind.names))
    return str(min(rng.choice([*NUMBERS, rng.getrandbits(kind.bits)]), (1 << kind.bits) - 1))


def element(rng, kind):
    """Return an element of a set."""
    plain = not kind.flags and not kind.names and kind.form != "name"
    if kind.form == "address" and rng.random() < 0.3:
        return rng.choice(NETWORKS[kind.bits])
    if plain and rng.random() < 0.3:
        return "-".join(sorted({value(rng, kind), value(rng, kind)}, key=kind.number))
    return value(rng, kind)


def match(rng):
    """Return a comparison, or a look-up in a verdict map."""
    if rng.random() < 0.25:
        several = [f for f in rng.sample(FIELDS, 6) if f[0] not in NOT_SIDE_BY_SIDE][: rng.choice([2, 2, 3])]
        said = (" . ".join(element(rng, kind) for _, kind in several) for _ in range(rng.randrange(1, 4)))
        return f"{' . '.join(text for text, _ in several)} {rng.choice(['', '!= '])}{{ {', '.join(said)} }}"
    text, kind = rng.choice(FIELDS)
    form = rng.random()
    if kind.flags:
        some = [",".join(rng.sample(list(kind.names), rng.choice([1, 2, 3]))) for _ in range(2)]
        said = [some[0], f"!= {some[0]}", f"! {some[0]}", f"{some[0]} / {some[1]}", f"!= {some[0]} / {some[1]}"]
        return f"{text} {rng.choice(said)}"
    if form < 0.35:
        return f"{text} {rng.choice(['', '!= '])}{value(rng, kind)}"
    if form < 0.6:
        said = ", ".join(element(rng, kind) for _ in range(rng.randrange(1, 5)))
        return f"{text} {rng.choice(['', '!= '])}{{ {said} }}"
    if form < 0.7:
        return f"{text} {rng.choice(['< ', '> ', '<= ', '>= '])}{value(rng, kind)}"
    if form < 0.85 and kind.bits > 1:
        bits = rng.choice([1, 3, 0xF, 0xF0])
        return f"{text} & {bits} {rng.choice(['==', '!='])} {bits & rng.getrandbits(8)}"
    return f"{text} vmap {{ {value(rng, kind)} : jump x, {value(rng, kind)} : continue, * : jump x }}"


def chain(hook, priority, rules):
    """Return a base chain."""
    lines = "".join(f"{rule}\n" for rule in rules)
    return f"chain {hook}_ {{\ntype filter hook {hook} priority {priority}\n{lines}}}\n"


def table(family, *chains):
    """Return the text of a table."""
    return f"table {family} t {{\nchain x {{\ncounter\n}}\n{''.join(chains)}}}\n"


def nft_takes(text):
    """Tell whether nft takes a text, and lists it: it does not know the size of some numbers."""
    words = ["unshare", "-n", "sh", "-c", TRY]
    return not subprocess.run(
        words, input=text, text=True, errors="replace", check=False, capture_output=True
    ).returncode


def taken(family, hook, priority, rules):
    """Return those rules of a chain that nft takes."""
    if not rules or nft_takes(table(family, chain(hook, priority, rules))):
        return rules
    half = len(rules) // 2
    if not half:
        return []
    return taken(family, hook, priority, rules[:half]) + taken(family, hook, priority, rules[half:])


def node_of(seed, version, most=150):
    """Return a node with such rules, and its traffic. version: of IP."""
    rng = random.Random(f"expressions {seed}")
    family = rng.choice(["inet", "ip6" if version == 6 else "ip"])
    chains = []
    for hook, priority in HOOKS:
        rules = [f"{' '.join(match(rng) for _ in range(rng.choice([1, 1, 2])))} counter" for _ in range(RULES)]
        chains.append(chain(hook, priority, taken(family, hook, priority, rules)))
    sysctls = {"net.ipv6.conf.all.disable_ipv6": 1} if version == 4 else {}
    # indexes of interfaces that are their places in the node, and such as are not
    node = walks.node_of(version, sysctls, nft=table(family, *chains)) | {"gone": seed % 3 * 5}
    talk = random_traffic.traffic(f"expressions {seed}", version, most)
    return node, walks.Walk(random_traffic.changed(talk, lambda data: test_nftables.extended(rng, data)))
