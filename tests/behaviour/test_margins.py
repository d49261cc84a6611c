"""At the ends of what is compared, counted and drawn: values at both sides, in both families, beside a short model."""

import ipaddress
import random
import re

import numpy as np
import pytest
from behaviour import talks
from behaviour.test_corner_steps import CLIENT, FAMILIES, LAYERS, SERVER, router
from nodes import make_dual
from scapy.layers.inet import TCP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, PadN
from scapy.packet import Raw

import fastnat
from fastnat import Verdict
from fastnat.addresses import V4, V6
from fastnat.dtypes import HZ
from fastnat.node.parts import Route


def counts(engine, family, chain="PREROUTING"):
    """Return the packets that each rule of a chain has met."""
    return [int(n) for n in re.findall(rf"^\[(\d+):\d+\] -A {chain}", engine.save_rules(family), re.MULTILINE)]


@FAMILIES
@pytest.mark.parametrize("seed", range(4))
def test_rpfilter_looks_at_all_routes_to_a_network_over_ipv6_alone(family, seed):
    """Recorded: of IPv6 a route by the device will do, whatever its metric and whatever other networks lie between."""
    rng, families = random.Random(seed), {4: V4, 6: V6}[family]
    node = router(family, "*raw\n-A PREROUTING -m rpfilter\n-A PREROUTING -m rpfilter --loose\nCOMMIT\n")
    node.add_interface("r2", ["10.3.0.1/24", "fd04::1/64"])
    networks = {4: "198.18.{}.0", 6: "2001:db8:{}::"}[family]
    routes = set()
    while len(routes) < 12:
        routes.add((networks.format(rng.randrange(5)), rng.choice(("r1", "r2")), rng.randrange(100, 500, 50)))
    for dst, dev, metric in rng.sample(sorted(routes), len(routes)):
        prefix = {4: 24, 6: 48}[family]
        node.routes_of(families).append(Route(families.to_int(dst), prefix, dev, metric=metric))
    nat = fastnat.Engine(node)
    met = 0
    for n in range(5):
        network = networks.format(n)
        mine = sorted((metric, dev) for dst, dev, metric in routes if dst == network)
        best = {dev for metric, dev in mine if metric == mine[0][0]}
        if len(best) != 1:
            # which of two equal routes is the first one, nobody says
            continue
        for dev in ("r1", "r2"):
            source = str(ipaddress.ip_address(network) + 9)
            before = counts(nat, family)
            nat.process(nat.packets(proto="udp", src=source, dst=CLIENT[family], sport=7, dport=9, iface=dev), 0.0)
            strict, loose = (b - a for a, b in zip(before, counts(nat, family), strict=True))
            ways = {other for _, other in mine} if family == 6 else best
            assert (strict, loose) == (dev in ways, 1), (network, dev, mine)
            met += strict
    assert met


@FAMILIES
@pytest.mark.parametrize("seed", range(3))
def test_a_port_of_ftp_that_is_announced_already_moves_up(family, seed):
    """Linux 6.18 draws from the port that was said to the end; two clients behind one address say the same one."""
    client, server, nat = talks.ENDS[family]
    ends = [client, str(ipaddress.ip_address(client) + 5)]
    rng = random.Random(seed)
    for wanted in (rng.randrange(1024, 65000), 65000, 65533, 65534):
        engine = fastnat.Engine(talks.node(six=family == 6), seed=rng.randrange(1 << 32))
        told = []
        for n, host in enumerate(ends):
            port = 4000 + n
            layer = LAYERS[family]
            last = f"EPRT |{1 if family == 4 else 2}|{host}|{wanted}|\r\n".encode()
            for iface, src, dst, tcp, data in (
                ("cni0", host, server, TCP(sport=port, dport=21, flags="S", seq=1), b""),
                ("eth0", server, nat, TCP(sport=21, dport=port, flags="SA", seq=9, ack=2), b""),
                ("cni0", host, server, TCP(sport=port, dport=21, flags="A", seq=2, ack=10), b""),
                ("cni0", host, server, TCP(sport=port, dport=21, flags="PA", seq=2, ack=10), b"USER a\r\n"),
                ("cni0", host, server, TCP(sport=port, dport=21, flags="PA", seq=10, ack=10), last),
            ):
                verdict, out = engine.process_packet(bytes(layer(src=src, dst=dst) / tcp / data), iface, 0.0)
            said = bytes(layer(out)[TCP].payload) if verdict == Verdict.FORWARD else b""
            told.append(int(said.split(b"|")[3]) if said else None)
        assert told[0] == wanted
        # a draw may meet the taken port itself; 128 of them do not, unless there is no other
        assert told[1] is None if wanted == 65534 else wanted < told[1] < 65535, (wanted, told)


@pytest.mark.parametrize("between", [0, 1, 2])
def test_the_key_of_a_tunnel_lies_behind_all_headers_in_front_of_it(between):
    """GRE of version 1 over IPv6, which DNAT sends elsewhere: nothing but the address and the hop limit changes."""
    node = router(6, f"*nat\n-A PREROUTING -p 47 -j DNAT --to-destination {SERVER[6]}\nCOMMIT\n")
    nat = fastnat.Engine(node)
    extra = [
        IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]),
        IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)]),
    ]
    packet = IPv6(src=CLIENT[6], dst="fd02::7", hlim=9)
    for header in extra[:between]:
        packet /= header
    last = packet.lastlayer()
    last.nh = 47
    sent = bytes(packet / Raw(bytes.fromhex("3001880b0004abcd 00000007 01020304".replace(" ", ""))))
    verdict, out = nat.process_packet(sent, "r0", 0.0)
    assert verdict == Verdict.FORWARD
    want = bytearray(sent)
    want[7] -= 1
    want[24:40] = ipaddress.ip_address(SERVER[6]).packed
    assert bytes(out) == bytes(want)


def speak(nat, family, *segments):
    """Send segments of one connection: (from the client, seq, ack, flags); return the verdicts."""
    said, layer = [], LAYERS[family]
    for client, seq, ack, flags in segments:
        src, dst = (CLIENT[family], SERVER[family]) if client else (SERVER[family], CLIENT[family])
        ports = {"sport": 5000, "dport": 80} if client else {"sport": 80, "dport": 5000}
        packet = layer(src=src, dst=dst) / TCP(**ports, seq=seq, ack=ack, flags=flags, window=8192)
        said.append(nat.process_packet(bytes(packet), "r0" if client else "r1", 1.0)[0])
    return said


def jiffies_left(nat, family):
    (timeout,) = nat.stacks[family].core.arrays["conns"]["timeout"][:1]
    return int(timeout) - round(nat.stacks[family].core.now * HZ)


@FAMILIES
@pytest.mark.parametrize("kind", ["FA", "R"])
@pytest.mark.parametrize(
    ("established", "unacknowledged", "left"),
    [(119, 60, 119), (120, 60, 60), (121, 60, 60), (121, 120, 120), (121, 121, 121), (121, 122, 121), (120, 120, 120)],
)
def test_two_segments_out_of_the_window_shorten_what_lasts_two_minutes(family, kind, established, unacknowledged, left):
    """nf_tcp_handle_invalid: FIN or RST of both ends, and two minutes left or more."""
    node = router(family, "*filter\n-A FORWARD -m conntrack --ctstate NEW\nCOMMIT\n")
    prefix = "net.netfilter.nf_conntrack_tcp_timeout_"
    node.sysctls |= {f"{prefix}established": str(established), f"{prefix}unacknowledged": str(unacknowledged)}
    nat = fastnat.Engine(node)
    speak(nat, family, (True, 100, 0, "S"), (False, 200, 101, "SA"), (True, 101, 201, "A"))
    assert jiffies_left(nat, family) == established * HZ
    # far behind, and far ahead of, what the other end takes
    far = 1 << 28
    speak(nat, family, (True, 101 + far, 201, kind))
    assert jiffies_left(nat, family) == established * HZ
    speak(nat, family, (True, 101 + far, 201, kind))
    assert jiffies_left(nat, family) == established * HZ
    speak(nat, family, (False, 201 + far, 101, kind))
    assert jiffies_left(nat, family) == left * HZ


HOSTS = {4: "10.244.2.{}", 6: "fd00:1::2:{}"}
PEERS = {4: "203.0.113.{}", 6: "2001:db8:7::{}"}


@FAMILIES
@pytest.mark.parametrize("way", ["-s", "-d"])
@pytest.mark.parametrize("table", ["mangle", "filter"])
def test_who_is_in_a_run_of_rules_fares_otherwise_than_who_went_before(family, way, table):
    """Connections that no rule of the run asks for go first: what is remembered of them is not for the others."""
    ends = HOSTS[family] if way == "-s" else PEERS[family]
    target = "MARK --set-mark 1" if table == "mangle" else "DROP"
    run = "".join(
        f"-A FORWARD {way} {ends.format(k)} -m conntrack --ctstate ESTABLISHED -j {target}\n" for k in range(20, 60)
    )
    dropping = "-A FORWARD -m mark --mark 1 -j DROP\n"
    rules = f"*{table}\n{run}COMMIT\n" + (f"*filter\n{dropping}COMMIT\n" if table == "mangle" else "")
    rules += "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"
    nat = fastnat.Engine(make_dual(**{"rules" if family == 4 else "rules6": rules}))
    hosts = [*range(1, 20), 60, 61, 20, 21, 40, 58, 59, *range(62, 70)] * 4
    src = [HOSTS[family].format(k if way == "-s" else 7) for k in hosts]
    dst = [PEERS[family].format(k if way == "-d" else 7) for k in hosts]
    ports = 1000 + np.arange(len(hosts))
    there = nat.packets(proto="udp", src=src, dst=dst, sport=ports, dport=53, iface="cni0")
    opened = nat.process(there, 1.0)
    back = nat.packets(proto="udp", src=dst, dst=opened["src"], sport=53, dport=opened["sport"], iface="eth0")
    for n, batch in enumerate((back, there, there, back, there)):
        dropped = (nat.process(batch, 1.0)["verdict"] == Verdict.DROP).tolist()
        assert dropped == [batch is there and 20 <= k < 60 for k in hosts], n


@FAMILIES
@pytest.mark.parametrize("seed", range(4))
def test_two_loaded_values_are_combined_bit_by_bit(family, seed):
    rng, bits = random.Random(seed), {4: 32, 6: 128}[family]
    kind, text = {4: ("ip", V4), 6: ("ip6", V6)}[family]
    src, dst = ({4: rng.getrandbits(24) | 10 << 24, 6: rng.getrandbits(64) | 0xFD00 << 112}[family] for _ in "12")
    mark = rng.getrandbits(32)
    outcomes = {"&": lambda a, b: a & b, "|": lambda a, b: a | b, "^": lambda a, b: a ^ b}
    rules, held = [], []
    for op, function in outcomes.items():
        value = function(src, dst)
        for other in (value, value ^ 1, value ^ 1 << bits - 1, value ^ 1 << rng.randrange(bits)):
            rules.append(f"{kind} saddr {op} {kind} daddr == {text.to_text(other)} counter")
            held.append(other == value)
        value = function(mark, 0x0F0F55AA)
        for other in (value, value ^ 1, value ^ 1 << 31):
            rules.append(f"meta mark {op} ct mark == {other} counter")
            held.append(other == value)
    lines = "\n".join(["ct mark set 0x0f0f55aa", *rules])
    nft = f"table inet t {{\nchain c {{\ntype filter hook forward priority 1;\n{lines}\n}}\n}}\n"
    nat = fastnat.Engine(make_dual(native=nft))
    ends = {"src": text.to_text(src), "dst": text.to_text(dst)}
    nat.process(nat.packets(proto="udp", sport=1, dport=2, iface="cni0", mark=mark, **ends), 0.0)
    found = [int(n) for n in re.findall(r"counter packets (\d+)", nat.list_nft())]
    assert found == [*map(int, held)]
