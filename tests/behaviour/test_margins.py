"""At the ends of what is compared, counted and drawn: values at both sides, in both families, beside a short model."""

import ipaddress
import itertools
import random
import re

import numpy as np
import pytest
from behaviour import talks
from behaviour.test_corner_steps import CLIENT, FAMILIES, LAYERS, SERVER, nft_chain, router
from behaviour.test_ipvs_families import OF
from behaviour.test_ipvs_families import node_of as balancer
from nodes import make_dual
from scapy.layers.inet import IP, TCP, UDP, IPOption
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, PadN
from scapy.packet import Raw

import fastnat
from fastnat import Verdict
from fastnat.addresses import V4, V6
from fastnat.dtypes import HZ
from fastnat.node.parts import PolicyRule, Route


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
        # a draw may meet the taken port itself: there are as many as ports, 128 at the most, and two of two may
        none = told[1] is None
        assert none if wanted == 65534 else (none and wanted == 65533) or wanted < told[1] < 65535, (wanted, told)


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
    nft = nft_chain("inet", lines, priority=1)
    nat = fastnat.Engine(make_dual(native=nft))
    ends = {"src": text.to_text(src), "dst": text.to_text(dst)}
    nat.process(nat.packets(proto="udp", sport=1, dport=2, iface="cni0", mark=mark, **ends), 0.0)
    found = [int(n) for n in re.findall(r"counter packets (\d+)", nat.list_nft())]
    assert found == [*map(int, held)]


# recorded with ip6tables and rules of `ip -6 rule`: by device, network and port, of which 5 is marked, what UNREACHABLE
# on the device, UNREACHABLE, rpfilter --validmark and rpfilter say
OF_DEVICES = {
    ("r0", "a", 2): (1, 1, 0, 0), ("r0", "a", 5): (1, 1, 0, 0), ("r0", "c", 2): (1, 0, 0, 0),
    ("r0", "c", 5): (1, 0, 1, 0), ("r0", "d", 2): (1, 1, 0, 0), ("r0", "d", 5): (1, 1, 0, 0),
    ("r1", "a", 2): (0, 1, 1, 1), ("r1", "a", 5): (0, 1, 1, 1), ("r1", "c", 2): (0, 0, 1, 1),
    ("r1", "c", 5): (0, 0, 0, 1), ("r1", "d", 2): (1, 1, 0, 0), ("r1", "d", 5): (1, 1, 0, 0),
}  # fmt: skip


def test_ways_of_devices_and_marks_over_ipv6():
    rules = (
        "*raw\n-A PREROUTING -m addrtype --src-type UNREACHABLE --limit-iface-in\n"
        "-A PREROUTING -m addrtype --src-type UNREACHABLE\n-A PREROUTING -p udp -m udp --dport 5 -j MARK --set-mark 1\n"
        "-A PREROUTING -m rpfilter --validmark\n-A PREROUTING -m rpfilter\nCOMMIT\n"
    )
    node = router(6, rules)
    del node.routes6[-1]
    for network, dev, table in (("a", "r1", "7"), ("c", "r0", "8"), ("c", "r1", "main")):
        node.routes6.append(Route(V6.to_int(f"2001:db8:{network}::"), 48, dev, table=table))
    node.policy_of(V6)[:] = [
        PolicyRule(0, "local"), PolicyRule(100, "7", out="r1"), PolicyRule(101, "8", mark=1, mask=0xFFFFFFFF),
        PolicyRule(32766, "main"),
    ]  # fmt: skip
    nat = fastnat.Engine(node)
    for (dev, network, port), want in OF_DEVICES.items():
        before = counts(nat, 6)
        ends = {"src": f"2001:db8:{network}::1", "dst": "fd01::5", "sport": 1, "dport": port}
        nat.process(nat.packets(proto="udp", iface=dev, **ends), 0.0)
        met = [after - one for one, after in zip(before, counts(nat, 6), strict=True)]
        assert (*met[:2], *met[3:]) == want, (dev, network, port)


@FAMILIES
def test_headers_of_sctp_establish_an_association_by_an_answer_alone(family):
    node = router(family, "*filter\n-A FORWARD -m conntrack --ctstate NEW\nCOMMIT\n")
    nat = fastnat.Engine(node)
    there = {"proto": "sctp", "src": CLIENT[family], "dst": SERVER[family], "sport": 7, "dport": 9, "iface": "r0"}
    back = {"proto": "sctp", "src": SERVER[family], "dst": CLIENT[family], "sport": 9, "dport": 7, "iface": "r1"}
    seconds = {"closed": int(node.sysctl("net.netfilter.nf_conntrack_sctp_timeout_closed", 10))}
    for n, fields in enumerate((there, there, there, back, there, back)):
        nat.process(nat.packets(**fields), 1.0)
        (one,) = list(nat.conntrack)
        assert bool(one.status & fastnat.Status.ASSURED) == (n >= 3), n
        assert (jiffies_left(nat, family) == seconds["closed"] * HZ) == (n < 3), n


@FAMILIES
@pytest.mark.parametrize("begun", [1.0, 1e7])
def test_a_flow_that_somebody_described_is_a_stream_at_once(family, begun):
    """Also after months, when the jiffies that a field of 0 stands for lie ahead."""
    nat = fastnat.Engine(router(family, "*filter\n-A FORWARD -m conntrack --ctstate NEW\nCOMMIT\n"))
    nat.advance(begun)
    layer = LAYERS[family]
    one, other = CLIENT[family], SERVER[family]
    nat.conntrack.load(f"udp      17 30 src={one} dst={other} sport=7 dport=9 src={other} dst={one} sport=9 dport=7")
    for client in (False, True):
        src, dst = (CLIENT[family], SERVER[family]) if client else (SERVER[family], CLIENT[family])
        packet = layer(src=src, dst=dst) / UDP(sport=7 if client else 9, dport=9 if client else 7) / b"x"
        nat.process_packet(bytes(packet), "r0" if client else "r1", begun + 1)
    (one,) = list(nat.conntrack)
    assert one.status & fastnat.Status.ASSURED


@FAMILIES
def test_the_seed_decides_what_is_drawn(family):
    rules = "*nat\n-A POSTROUTING -o r1 -j MASQUERADE --random-fully\nCOMMIT\n"
    drawn = []
    for seed in (1, 2, 3, 1):
        nat = fastnat.Engine(router(family, rules), seed=seed)
        ends = {"src": CLIENT[family], "dst": SERVER[family], "dport": 53, "iface": "r0"}
        out = nat.process(nat.packets(proto="udp", sport=np.arange(2000, 2020), **ends), 1.0)
        drawn.append(tuple(out["sport"].tolist()))
    assert drawn[0] == drawn[3]
    assert len(set(drawn)) == 3


@pytest.mark.parametrize("seed", range(3))
def test_rates_of_bytes_are_one_in_both_families(seed):
    """Of IPv4 the kernel has judged them (kernel/bounds); of IPv6 the same lengths at the same times fare alike."""
    rng = np.random.default_rng(seed)
    rates = [(4000, 8000, "srcip"), (16000, 20000, "dstip"), (2000, 3000, "srcip,dstport")]
    asks = [
        f"-m hashlimit --hashlimit-upto {rate}b/s --hashlimit-burst {burst}b --hashlimit-mode {mode} "
        f"--hashlimit-name n{n}"
        for n, (rate, burst, mode) in enumerate(rates)
    ]
    rules = "*filter\n" + "".join(f"-A FORWARD {rule}\n" for rule in asks) + "COMMIT\n"
    times = np.cumsum(rng.choice([0, 0.004, 0.02], 150))
    lengths, hosts, ports = rng.integers(60, 1400, 150), rng.integers(2, 5, 150), rng.integers(50, 52, 150)
    found = []
    for family in (4, 6):
        nat = fastnat.Engine(router(family, rules))
        src = [CLIENT[family][:-1] + str(k) for k in hosts]
        ends = {"src": src, "dst": SERVER[family], "sport": 9, "dport": ports, "length": lengths, "iface": "r0"}
        batch = nat.packets(proto="udp", **ends)
        steps = []
        for k in range(len(batch)):
            nat.process(batch[k : k + 1], times[k])
            steps.append(counts(nat, family, "FORWARD"))
        found.append(steps)
    assert found[0] == found[1]
    assert all(0 < n < len(times) for n in found[0][-1])


@FAMILIES
@pytest.mark.parametrize("on", [0, 1])
def test_linux_54_gives_helpers_by_the_port_of_the_real_server(family, on):
    """nf_conntrack_alter_reply: IPVS has changed who answers, and with that the port by which helpers are found."""
    service, server = OF[family]["service"], OF[family]["pod"]
    shown = [f"[{at}]" if family == 6 else at for at in (service, server)]
    text = "".join(
        f"-A -t {shown[0]}:{ask} -s rr\n-a -t {shown[0]}:{ask} -r {shown[1]}:{port} -m -w 1\n"
        for ask, port in ((2121, 21), (21, 2121), (80, 8080))
    )
    rules = "*filter\n-A FORWARD -m conntrack --ctstate NEW\nCOMMIT\n"
    node = balancer(family, text, rules)
    node.sysctls["net.netfilter.nf_conntrack_helper"] = str(on)
    nat = fastnat.Engine(node, "linux-5.4")
    for port in (2121, 21, 80):
        ends = {"src": OF[family]["far"], "dst": service, "sport": 5000, "dport": port, "iface": "eth0"}
        assert nat.process(nat.packets(proto="tcp", tcp_flags=2, **ends), 1.0)["verdict"][0] == Verdict.FORWARD
        line = str(nat.conntrack.find("tcp", OF[family]["far"], 5000, service, port))
        assert ("helper=ftp" in line) == (on and port == 2121), line


def test_a_source_route_through_the_node_s_own_addresses_ends_at_the_last():
    """ip_options_rcv_srr: each of them is the destination in its turn, which the packet says when it is delivered."""
    node = fastnat.Node()
    node.add_interface("r0", ["10.1.0.1/16", "10.1.0.3/16", "10.1.0.5/16"])
    node.add_route("default", via="10.1.0.254", dev="r0")
    for name in ("all", "r0"):
        node.sysctls[f"net.ipv4.conf.{name}.accept_source_route"] = "1"
    nat = fastnat.Engine(node)
    for kind, n in itertools.product((131, 137), range(3)):
        hops = ["10.1.0.3", "10.1.0.5"][:n]
        route = bytes([kind, 3 + 4 * n, 4]) + b"".join(ipaddress.ip_address(a).packed for a in hops)
        option = IPOption(route) if n else []
        packet = IP(src="10.1.7.7", dst="10.1.0.1", options=option) / UDP(sport=5, dport=9) / b"data"
        verdict, out = nat.process_packet(bytes(packet), "r0", 1.0)
        assert verdict == Verdict.LOCAL
        assert IP(out).dst == ["10.1.0.1", *hops][-1]


@FAMILIES
def test_headers_alone_have_no_options_and_nothing_between_them(family):
    asks = {
        4: [f"ip option {name}" for name in ("rr", "lsrr", "ssrr", "ra")],
        6: [f"exthdr {name}" for name in ("hbh", "rt", "frag", "dst")],
    }[family] + [f"tcp option {name}" for name in ("maxseg", "sack-perm", "window", "timestamp")]
    lines = "\n".join(f"{ask} {there} counter" for ask in asks for there in ("exists", "missing"))
    nft = nft_chain(family, lines, priority=1)
    nat = fastnat.Engine(router(family, nft=nft))
    ends = {"src": CLIENT[family], "dst": SERVER[family], "sport": 7, "dport": 9, "iface": "r0"}
    nat.process(nat.packets(proto="tcp", tcp_flags=2, **ends), 1.0)
    assert [int(n) for n in re.findall(r"counter packets (\d+)", nat.list_nft())] == [0, 1] * len(asks)


@FAMILIES
def test_an_address_that_differs_from_the_client_s_in_one_bit_opens_nothing(family):
    """loose=0: only who listens itself is announced; all others are told as they were."""
    client, server, nat = talks.ENDS[family]
    layer, own = LAYERS[family], ipaddress.ip_address(client)
    engine = fastnat.Engine(talks.node(six=family == 6))
    for iface, src, dst, tcp, data in (
        ("cni0", client, server, TCP(sport=4000, dport=21, flags="S", seq=1), b""),
        ("eth0", server, nat, TCP(sport=21, dport=4000, flags="SA", seq=9, ack=2), b""),
        ("cni0", client, server, TCP(sport=4000, dport=21, flags="PA", seq=2, ack=10), b"USER a\r\n"),
    ):
        assert engine.process_packet(bytes(layer(src=src, dst=dst) / tcp / data), iface, 0.0)[0] == Verdict.FORWARD
    seq = 10
    for bit in range({4: 32, 6: 128}[family]):
        other = type(own)(int(own) ^ 1 << bit)
        plain = f"PORT {str(other).replace('.', ',')},7,1\r\n"
        extended = f"EPRT |{1 if family == 4 else 2}|{other}|1793|\r\n"
        for said in (plain, extended) if family == 4 else (extended,):
            packet = (
                layer(src=client, dst=server) / TCP(sport=4000, dport=21, flags="PA", seq=seq, ack=10) / said.encode()
            )
            verdict, out = engine.process_packet(bytes(packet), "cni0", 0.0)
            assert verdict == Verdict.FORWARD
            assert bytes(layer(out)[TCP].payload) == said.encode()
            seq += len(said)
    assert engine.stats["expect_create"] == 0


@FAMILIES
def test_an_option_that_a_rule_takes_away_becomes_nops(family):
    rule = "reset tcp option sack-perm"
    nft = nft_chain(family, rule, priority=1)
    nat = fastnat.Engine(router(family, nft=nft))
    before = [("MSS", 1460), ("SAckOK", b""), ("WScale", 7)]
    after = [("MSS", 1460), ("NOP", None), ("NOP", None), ("WScale", 7)]
    layer = LAYERS[family]
    made = [
        bytes(layer(src=CLIENT[family], dst=SERVER[family]) / TCP(sport=7, dport=9, flags="S", seq=5, options=options))
        for options in (before, after)
    ]
    verdict, out = nat.process_packet(made[0], "r0", 1.0)
    assert verdict == Verdict.FORWARD
    assert bytes(layer(out)[TCP]) == bytes(layer(made[1])[TCP])


@FAMILIES
def test_bytes_behind_the_options_are_none(family):
    """What a segment carries may begin with the very bytes that a rule looks for."""
    asks = ["-p tcp -m tcp --tcp-option 77", "-p tcp -m tcp ! --tcp-option 77", "-p tcp -m tcpmss --mss 1460"]
    rules = "".join(f"-A FORWARD {ask}\n" for ask in asks)
    nat = fastnat.Engine(router(family, f"*filter\n{rules}COMMIT\n"))
    met = [0, 0, 0]
    for options, data in itertools.product(
        ([], [("NOP", None)] * 4, [(77, b"xy")]), (b"", b"M\x04M", b"\x02\x04\x05\xb4")
    ):
        segment = TCP(sport=7, dport=9, flags="S", options=options) / data
        nat.process_packet(bytes(LAYERS[family](src=CLIENT[family], dst=SERVER[family]) / segment), "r0", 1.0)
        met[0 if (77, b"xy") in options else 1] += 1
        assert counts(nat, family, "FORWARD") == met, (options, data)


@pytest.mark.parametrize("invert", ["", "! "])
def test_what_kind_of_address_none_at_all_is(invert):
    """match_type6: :: is UNSPEC, and neither a group nor unicast; of LOCAL and its kind the routes say nothing."""
    kinds = ("UNSPEC", "UNICAST", "MULTICAST", "LOCAL", "ANYCAST", "UNREACHABLE")
    asked = [found for n in (1, 2, 3) for found in itertools.combinations(kinds, n)]
    lines = "".join(f"-A PREROUTING -m addrtype {invert}--src-type {','.join(one)}\n" for one in asked)
    nat = fastnat.Engine(router(6, f"*raw\n{lines}COMMIT\n"))
    for src, mine in {"::": {"UNSPEC"}, "fd01::2": {"UNICAST"}, "fd01::1": {"UNICAST", "LOCAL"}}.items():
        before = counts(nat, 6)
        nat.process(nat.packets(proto="udp", src=src, dst=SERVER[6], sport=7, dport=9, iface="r0"), 0.0)
        met = [bool(b - a) for a, b in zip(before, counts(nat, 6), strict=True)]
        by_route = {"LOCAL", "ANYCAST", "UNREACHABLE"}
        # kinds have to hold, all of them; of what the routes say any will do
        said = [
            set(one) - by_route <= mine and (not set(one) & by_route or bool(set(one) & by_route & mine))
            for one in asked
        ]
        assert met == [one != bool(invert) for one in said], src


@FAMILIES
def test_for_whom_a_packet_is(family):
    """pkttype_mt, and meta pkttype: by the destination on a device with a link layer, and for the node on any other."""
    kinds = ("unicast", "broadcast", "multicast")
    rules = "".join(f"-A PREROUTING -m pkttype {invert}--pkt-type {kind}\n" for kind in kinds for invert in ("", "! "))
    native = nft_chain(
        family, "\n".join(f"meta pkttype {kind} counter" for kind in ("host", *kinds[1:])), "prerouting", -300
    )
    node = router(family, f"*raw\n{rules}COMMIT\n", native)
    node.interfaces["r1"].link_type = "none"
    nat = fastnat.Engine(node)
    group, everybody = {4: ("224.0.0.9", "10.1.255.255"), 6: ("ff02::9", "ff02::1")}[family]
    met, seen = [0] * 6, [0] * 3
    for device, dst in itertools.product(("r0", "r1"), (SERVER[family], group, everybody, CLIENT[family])):
        nat.process(nat.packets(proto="udp", src=CLIENT[family], dst=dst, sport=7, dport=9, iface=device), 0.0)
        kind = 0
        if device == "r0" and dst in (group, everybody):
            kind = 1 if family == 4 and dst == everybody else 2
        met = [n + ((k // 2 == kind) != k % 2) for k, n in enumerate(met)]
        seen[kind] += 1
        assert counts(nat, family) == met, (device, dst)
    assert [int(n) for n in re.findall(r"counter packets (\d+)", nat.list_nft())] == seen
