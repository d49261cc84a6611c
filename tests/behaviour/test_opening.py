"""The short way into the tables, and the short way past them, give what the long way gives: packet, table, counters."""

import random
import re

import numpy as np
import pytest
from nodes import EVENTS, taken_events

import fastnat
from fastnat.dtypes import RECORDS6

RULES = {
    "masquerade": "-A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE",
    "one address": "-A POSTROUTING -s 10.244.0.0/16 -o eth0 -j SNAT --to-source 198.51.100.77",
    "a range": "-A POSTROUTING -o eth0 -j SNAT --to-source 198.51.100.20-198.51.100.29",
    "a few ports": "-A POSTROUTING -o eth0 -p udp -j MASQUERADE --to-ports 5000-5019",
    "random": "-A POSTROUTING -o eth0 -j MASQUERADE --random-fully",
    "half of the ports": "-A POSTROUTING -o eth0 -p udp -j MASQUERADE --to-ports 1040-3000",
    "the source's own address": "-A POSTROUTING -o eth0 -j SNAT --to-source 10.244.1.5",
    "by port": "-A POSTROUTING -p udp -m udp --dport 53 -j SNAT --to-source 198.51.100.40\n"
    "-A POSTROUTING -o eth0 -j MASQUERADE",
    "marked": "-A PREROUTING -p udp -m udp --dport 53 -j MARK --set-mark 3\n"
    "-A POSTROUTING -m mark --mark 3 -j SNAT --to-source 198.51.100.41\n-A POSTROUTING -o eth0 -j MASQUERADE",
    "by type of ICMP": "-A PREROUTING -p icmp -m icmp --icmp-type 8/1 -j MARK --set-mark 3\n"
    "-A POSTROUTING -m mark --mark 3 -j SNAT --to-source 198.51.100.42\n"
    "-A POSTROUTING -o eth0 -p icmp -m icmp --icmp-type 8 -j MASQUERADE --random-fully\n"
    "-A POSTROUTING -o eth0 -j MASQUERADE",
    "no rule that applies": "-A PREROUTING -p udp -m udp --dport 9 -j DNAT --to-destination 203.0.113.1\n"
    "-A POSTROUTING -p udp -m udp --dport 9 -j MASQUERADE",
}
# where DNAT leads: among the servers, so that tuples clash, back to the clients, and elsewhere
LEADS = ("203.0.113.3", "203.0.113.1-203.0.113.2", "10.244.1.4", "192.0.2.9")
TO_PORTS = ("", "", ":53", ":54", ":7000", ":53-54", ":53-55", ":7000-7001")
SOURCES = (
    "", "-j MASQUERADE", "-j MASQUERADE --random-fully", "-j SNAT --to-source 198.51.100.77",
    "-j SNAT --to-source 198.51.100.20-198.51.100.22", "-p udp -j MASQUERADE --to-ports 1025-1200",
    "-p udp -j SNAT --to-source [198.51.100.40]:1022",
)  # fmt: skip


# chains without rules, whose policies count what passes by either way
POLICIES = "".join(
    f"*{table}\n" + "".join(f":{chain} ACCEPT [0:0]\n" for chain in chains) + "COMMIT\n"
    for table, chains in (
        ("raw", ("PREROUTING",)), ("filter", ("INPUT", "FORWARD")),
        ("mangle", ("PREROUTING", "FORWARD", "POSTROUTING")),
    )
)  # fmt: skip


def with_mangle(rule):
    """Return POLICIES, and a rule in mangle, their last table."""
    return POLICIES.removesuffix("COMMIT\n") + f"{rule}\nCOMMIT\n"


def node(rules, mangle=""):
    rules = re.sub(r"\[([\d.-]+)\]", r"\1", rules)
    made = fastnat.Node()
    made.add_interface("cni0", ["10.244.1.1/24"])
    made.add_interface("eth0", ["198.51.100.10/24"])
    made.add_route("default", via="198.51.100.1", dev="eth0")
    made.load_rules(f"*nat\n{rules}\nCOMMIT\n{with_mangle(mangle)}")
    made.sysctls["net.netfilter.nf_conntrack_udp_timeout"] = "3"
    return made


def traffic(nat, n, seed, crowd):
    """Few ends, so that tuples clash, sources come back and replies find their flow; bursts, so that flows expire."""
    rng = np.random.default_rng(seed)
    out = rng.random(n) < 0.75
    hosts = 0x0AF40102 + rng.integers(0, crowd, n)
    servers = 0xCB007100 + rng.integers(0, crowd, n)
    ports = rng.integers(1020, 1020 + crowd, n)
    proto = rng.choice([17, 17, 17, 17, 6, 1, 1], n)
    batch = nat.packets(
        proto=proto,
        src=np.where(out, hosts, servers),
        dst=np.where(out, servers, rng.choice([0xC633640A, 0xC633644D, 0xC6336428, 0xC6336429, 0x0AF40105], n)),
        sport=np.where(out | (proto == 1), ports, 53),
        # of ICMP types and codes: mostly echoes
        dport=np.where(
            proto == 1,
            np.where(out, rng.choice([0x800, 0x800, 0x800, 0x801, 0xD00, 0x300], n), rng.choice([0, 0, 1, 0x800], n)),
            np.where(out, rng.choice([53, 54], n), ports),
        ),
        tcp_flags=2,
        length=rng.integers(28, 1500, n),
        iface=np.where(out, nat.node.iface_number("cni0"), nat.node.iface_number("eth0")),
    )
    return batch, np.cumsum(rng.choice([0, 0, 0, 0.001, 0.3], n))


def six(text):
    """Return rules with each IPv4 address as the low half of an IPv6 one."""

    def mapped(m):
        number = int.from_bytes(bytes(map(int, m[1].split("."))))
        return f"2001:db8::{number >> 16:x}:{number & 0xFFFF:x}" + (f"/{int(m[2]) + 96}" if m[2] else "")

    text = text.replace("-m icmp --icmp-type 8", "-m icmp6 --icmpv6-type 128").replace("-p icmp", "-p ipv6-icmp")
    return re.sub(r"(\d+\.\d+\.\d+\.\d+)(?:/(\d+))?", mapped, text)


def node6(rules, mangle=""):
    made = fastnat.Node()
    made.add_interface("cni0", [six("10.244.1.1/24")])
    made.add_interface("eth0", [six("198.51.100.10/24")])
    made.add_route("::/0", via=six("198.51.100.1"), dev="eth0")
    made.load_rules6(f"*nat\n{six(rules)}\nCOMMIT\n{with_mangle(mangle)}")
    made.sysctls["net.netfilter.nf_conntrack_udp_timeout"] = "3"
    return made


def traffic6(n, seed, crowd):
    """The packets of traffic() over the same ends in IPv6."""
    of_four, times = traffic(fastnat.Engine(node("")), n, seed, crowd)
    batch = np.zeros(n, fastnat.dtypes.PACKET6)
    for name in ("sport", "dport", "iface", "length", "tcp_flags", "isn", "mark"):
        batch[name] = of_four[name]
    icmp = of_four["proto"] == 1
    batch["proto"] = np.where(icmp, 58, of_four["proto"])
    for old, new in {0x800: 0x8000, 0x801: 0x8001, 0xD00: 0x8B00, 0x300: 0x100, 0: 0x8100, 1: 0x8101}.items():
        batch["dport"][icmp & (of_four["dport"] == old)] = new
    for name in ("src", "dst"):
        ends = np.zeros(n, RECORDS6.ADDR)
        ends["low"], ends["high"] = of_four[name], 0x20010DB800000000
        batch[name] = ends
    return batch, times


SEEDS = pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
EVERY_KIND = pytest.mark.parametrize(
    ("name", "crowd", "room"), [(n, *size) for n in RULES for size in ((6, 100_000), (40, 100_000), (200, 700))]
)  # fmt: skip


def both_ways(made, profile, seed, room=100_000, name=""):
    """Return two engines, of which the second remembers nothing. name: of the rules."""
    events = random.Random(f"{profile} {seed} {room} {name}").choice(EVENTS)
    return [fastnat.Engine(made, profile, seed, room, remember=r, events=events) for r in (True, False)]


def assert_alike(engines, batch, times, version):
    """Run the packets through both and compare them, the tables, events and all that is counted."""
    for start in range(0, 6000, 500):
        part = slice(start, start + 500)
        quick, slow = (nat.process(batch[part], times[part]) for nat in engines)
        np.testing.assert_array_equal(quick, slow)
        assert taken_events(engines[0], version) == taken_events(engines[1], version)
    for nat in engines:
        nat.check()
    quick, slow = engines
    assert quick.stats == slow.stats
    assert quick.stats["new"] > 100
    assert quick.conntrack.format() == slow.conntrack.format()
    assert quick.save_rules(version) == slow.save_rules(version)
    assert quick.core_of(version).tables["tuple_groups"] == slow.core_of(version).tables["tuple_groups"]


def leading(seed):
    """Return rules with DNAT to one address or several, with ports or without, and some rule for the source or none."""
    draw = random.Random(seed)

    def lead():
        dst, port = draw.choice(LEADS), draw.choice(TO_PORTS)
        wanted = f"-d 203.0.113.{draw.randrange(4)}/{draw.choice((30, 31, 32))}"
        proto = draw.choice(("udp", "udp", "tcp", "icmp"))
        if proto == "icmp":
            kind = draw.choice(("", " -m icmp --icmp-type 8", " -m icmp --icmp-type 8/1"))
            return f"-A PREROUTING -i cni0 {wanted} -p icmp{kind} -j DNAT --to-destination {dst}"
        lead_to = f"[{dst}]{port}" if port else dst
        random_ = draw.choice(("", "", "", " --random", " --persistent"))
        return (
            f"-A PREROUTING -i cni0 {wanted} -p {proto} -m {proto} --dport {draw.choice((53, 54))} -j DNAT "
            f"--to-destination {lead_to}{random_}"
        )

    rules = [lead() for _ in range(draw.randrange(1, 6))]
    rules += [f"-A POSTROUTING -o {draw.choice(('cni0', 'eth0'))} {s}" for s in draw.choices(SOURCES, k=2) if s]
    return "\n".join(rules)


@pytest.mark.one_of(3)
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("profile", ["linux-6.18", "linux-5.4"])
@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(n, marks=pytest.mark.slow) for n in range(6, 60))])
def test_both_ways_lead_to_the_same(seed, profile, version):
    rules, crowd = leading(seed), (6, 40, 200)[seed % 3]
    # a null binding that changes the id of an echo shows in its state
    mangle = random.Random(seed).choice(("", "-A FORWARD -m conntrack --ctstate DNAT -j LOG"))
    engines = both_ways((node if version == 4 else node6)(rules, mangle), profile, seed)
    batch, times = traffic(engines[0], 6000, seed, crowd) if version == 4 else traffic6(6000, seed, crowd)
    assert_alike(engines, batch, times, version)


@pytest.mark.one_of(4)
@SEEDS
@pytest.mark.parametrize("profile", ["linux-6.18", "linux-5.4"])
@EVERY_KIND
def test_both_ways_give_the_same(name, seed, crowd, room, profile):
    engines = both_ways(node(RULES[name]), profile, seed, room, name)
    assert_alike(engines, *traffic(engines[0], 6000, seed, crowd), 4)


@pytest.mark.one_of(3)
@SEEDS
@EVERY_KIND
def test_both_ways_give_the_same_in_ipv6(name, seed, crowd, room):
    engines = both_ways(node6(RULES[name]), "linux-6.18", seed, room, name)
    assert_alike(engines, *traffic6(6000, seed, crowd), 6)


def crowding(seed):
    """Return rules that leave the clients few ports, so that bitmaps know most of them, and where packets go."""
    draw = random.Random(seed)
    low = draw.choice((1024, 1030, 2000))
    # a window within one page of a bitmap, over two, or larger than the first round of a search
    ports = f"{low}-{low + draw.choice((40, 120, 300))}"
    flags = draw.choice(("", "", " --random", " --random-fully"))
    target = draw.choice((f"MASQUERADE --to-ports {ports}", f"SNAT --to-source [198.51.100.77]:{ports}"))
    rules = [f"-A POSTROUTING -o eth0 -p {proto} -j {target}{flags}" for proto in ("udp", "tcp")]
    if draw.random() < 0.4:
        to = draw.choice(("203.0.113.3", "[203.0.113.3]:53", "[203.0.113.3]:54"))
        rules.insert(
            0, f"-A PREROUTING -i cni0 -d 203.0.113.1/32 -p udp -m udp --dport 53 -j DNAT --to-destination {to}"
        )
    return "\n".join(rules)


@pytest.mark.one_of(2)
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("profile", ["linux-6.18", "linux-5.4"])
@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(n, marks=pytest.mark.slow) for n in range(4, 40))])
def test_both_ways_take_the_port_that_a_bitmap_knows(seed, profile, version, monkeypatch):
    """Many clients with few source ports behind few ports: the short way searches where the bitmaps know enough."""
    monkeypatch.setattr("fastnat.engine.settings.BITMAP_PROBES", 1)
    engines = []
    for remember in (True, False):
        made = node(crowding(seed)) if version == 4 else node6(crowding(seed))
        engines.append(fastnat.Engine(made, profile, seed, remember=remember))
    rng = np.random.default_rng(seed)
    n = 6000
    # from as few clients as their ports suffice for, and from more
    clients = 0x0AF40102 + rng.integers(0, (20, 60, 200)[seed % 3], n)
    ends = {"src": clients, "dst": 0xCB007101 + rng.integers(0, 2, n)}
    batch = np.zeros(n, fastnat.dtypes.PACKET if version == 4 else fastnat.dtypes.PACKET6)
    batch["proto"] = rng.choice([17, 6], n)
    batch["sport"] = rng.choice([1024, 1040, 2001, 50_000], n)
    batch["dport"] = rng.choice([53, 80], n)
    batch["iface"], batch["tcp_flags"], batch["length"], batch["isn"] = 1, 2, 60, rng.integers(0, 65_536, n)
    for name, values in ends.items():
        if version == 4:
            batch[name] = values
            continue
        wide = np.zeros(n, RECORDS6.ADDR)
        wide["low"], wide["high"] = values, 0x20010DB800000000
        batch[name] = wide
    assert_alike(engines, batch, np.cumsum(rng.choice([0, 0, 0, 0.01, 0.1], n)), version)
    assert engines[0].stats["port_searches"] > 100
    assert engines[0].core_of(version).tables["bitmaps"] > 0


def test_growth_and_memos_that_go(monkeypatch):
    """Many connections in one batch while the tables grow, and more kinds of packets than there are memos."""
    for place in ("arrays", "settings"):
        monkeypatch.setattr(f"fastnat.engine.{place}.MEMOS", 8)
    ports = "".join(
        f"-A POSTROUTING -p udp -m udp --dport {n} -j SNAT --to-source 198.51.100.{n}\n" for n in range(60, 90)
    )
    engines = [fastnat.Engine(node(ports), seed=1, remember=r) for r in (True, False)]
    k = np.arange(60_000)
    batch = engines[0].packets(
        proto="udp", src=0x0AF40102 + k % 200, sport=1024 + k // 200, dst=0xCB000000 + k, dport=60 + k * 7 % 33,
        iface="cni0",
    )  # fmt: skip
    quick, slow = (nat.process(batch) for nat in engines)
    np.testing.assert_array_equal(quick, slow)
    assert engines[0].stats == engines[1].stats
    for nat in engines:
        nat.core_of(4).check_invariants()
        assert len(nat.conntrack) == 60_000


def test_a_released_record_is_not_taken_for_what_it_was():
    """Two packets of one flow in one batch, between them the flow ends: the second opens a new one."""
    nat = fastnat.Engine(node(RULES["masquerade"]))
    packet = nat.packets(proto="udp", src="10.244.1.5", sport=5, dst="203.0.113.5", dport=53, iface="cni0")
    batch = np.concatenate([packet, packet, packet])
    out = nat.process(batch, np.array([0.0, 1.0, 5.0]))
    assert out["ctinfo"].tolist() == [2, 2, 2]
    assert nat.stats["new"] == 2
    assert nat.stats["expired"] == 1


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("proto", ["udp", "tcp", "echo"])
@pytest.mark.parametrize("events", [0, 1000])
def test_first_packets_are_opened_from_memory(proto, version, events):
    """The comparisons above would hold where nothing is remembered, too."""
    made = node(RULES["masquerade"]) if version == 4 else node6(RULES["masquerade"])
    nat = fastnat.Engine(made, events=events)
    number, dport = {
        "udp": (17, 53), "tcp": (6, 53), "echo": (1, 0x800) if version == 4 else (58, 0x8000),
    }[proto]  # fmt: skip
    batch, _ = traffic(nat, 500, 1, 200) if version == 4 else traffic6(500, 1, 200)
    batch = batch[batch["iface"] == nat.node.iface_number("cni0")]
    batch["proto"], batch["dport"] = number, dport
    out = nat.process(batch)
    assert (out["verdict"] == fastnat.Verdict.FORWARD).all()
    memos = nat.core_of(version).arrays["memos"]
    assert memos["packets"].sum() > 300
    if events:
        kinds = nat.events(version)["kind"].tolist()
        assert kinds.count(fastnat.dtypes.Event.NEW) == nat.stats["new"]
