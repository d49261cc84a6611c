"""Virtual services of IPVS, by the documentation of IPVS and ipvsadm(8): the kernels at hand have none to compare."""

import re

import pytest
from scapy.layers.inet import IP, TCP, UDP

import fastnat
from fastnat import Verdict
from fastnat.errors import InputError
from fastnat.node import ipvs

SAVED = """-A -t 10.96.0.1:443 -s rr
-a -t 10.96.0.1:443 -r 10.0.0.9:6443 -m -w 1
-A -u 10.96.0.10:53 -s {scheduler}
-a -u 10.96.0.10:53 -r 10.244.2.5:53 -m -w {w1}
-a -u 10.96.0.10:53 -r 10.244.2.6:53 -m -w {w2}
-a -u 10.96.0.10:53 -r 10.244.1.7:53 -m -w {w3}
"""
# what kube-proxy in IPVS mode writes
RULES = """*nat
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE
-A KUBE-SERVICES ! -s 10.244.0.0/16 -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ
-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT
COMMIT
"""
SETS = """create KUBE-CLUSTER-IP hash:ip,port family inet
add KUBE-CLUSTER-IP 10.96.0.1,tcp:443
add KUBE-CLUSTER-IP 10.96.0.10,udp:53
"""


def node_with(saved):
    node = fastnat.Node()
    node.add_interface("eth0", ["10.0.0.5/24"])
    node.add_interface("cni0", ["10.244.2.1/24"])
    node.add_interface("kube-ipvs0", ["10.96.0.1/32", "10.96.0.10/32"])
    node.add_route("10.244.0.0/16", via="10.0.0.7")
    node.add_route("default", via="10.0.0.1")
    node.load_sets(SETS)
    node.load_rules(RULES)
    node.load_services(saved)
    return node


def engine(scheduler="rr", weights=(1, 1, 1), **options):
    w1, w2, w3 = weights
    return fastnat.Engine(node_with(SAVED.format(scheduler=scheduler, w1=w1, w2=w2, w3=w3)), **options)


def send(nat, packet, iface="cni0", now=0.0):
    verdict, data = nat.process_packet(bytes(packet), iface, now)
    return verdict, IP(data) if data else None


def query(nat, client, sport=40000, now=0.0):
    """Send a query of a client and return the server that gets it."""
    verdict, out = send(nat, IP(src=client, dst="10.96.0.10") / UDP(sport=sport, dport=53) / b"?", now=now)
    assert verdict == Verdict.FORWARD, verdict
    return out.dst


def test_the_query_of_a_pod_and_its_answer():
    nat = engine()
    pod = IP(src="10.244.2.9", dst="10.96.0.10") / UDP(sport=40000, dport=53) / b"?"
    verdict, out = send(nat, pod)
    assert (verdict, out.src, out.dst, out.dport, out.ttl) == (Verdict.FORWARD, "10.244.2.9", "10.244.2.5", 53, 63)
    assert bytes(out) == bytes(IP(src=out.src, dst=out.dst, ttl=63) / UDP(sport=40000, dport=53) / b"?")
    answer = IP(src="10.244.2.5", dst="10.244.2.9") / UDP(sport=53, dport=40000) / b"!"
    verdict, out = send(nat, answer)
    assert (verdict, out.src, out.sport, out.dst) == (Verdict.FORWARD, "10.96.0.10", 53, "10.244.2.9")
    again = send(nat, pod)[1]
    assert again.dst == "10.244.2.5"
    (connection,) = nat.conntrack
    line = nat.conntrack.format()
    assert "dst=10.96.0.10 sport=40000 dport=53 src=10.244.2.5 dst=10.244.2.9" in line
    assert not connection.status & fastnat.Status.DST_NAT


def test_a_client_outside_is_masqueraded_and_answered():
    nat = engine(weights=(0, 0, 1))
    verdict, out = send(nat, IP(src="10.0.0.77", dst="10.96.0.10") / UDP(sport=1000, dport=53) / b"?", "eth0")
    assert (verdict, out.src, out.dst) == (Verdict.FORWARD, "10.0.0.5", "10.244.1.7")
    answer = IP(src="10.244.1.7", dst="10.0.0.5") / UDP(sport=53, dport=out.sport) / b"!"
    verdict, out = send(nat, answer, "eth0")
    assert (verdict, out.src, out.dst, out.dport) == (Verdict.FORWARD, "10.96.0.10", "10.0.0.77", 1000)


def test_the_node_itself_reaches_a_service():
    nat = engine()
    verdict, out = send(nat, IP(src="10.0.0.5", dst="10.96.0.1") / TCP(sport=1000, dport=443, flags="S"), "local")
    assert (verdict, out.dst, out.dport) == (Verdict.FORWARD, "10.0.0.9", 6443)
    verdict, out = send(
        nat, IP(src="10.0.0.9", dst=out.src) / TCP(sport=6443, dport=out.sport, flags="SA", ack=1), "eth0"
    )
    assert (verdict, out.src, out.sport, out.dst) == (Verdict.LOCAL, "10.96.0.1", 443, "10.0.0.5")


def test_round_robin_takes_all_in_turn_and_skips_weight_zero():
    nat = engine()
    servers = [query(nat, f"10.244.2.{n}") for n in range(10, 16)]
    assert servers == ["10.244.2.5", "10.244.2.6", "10.244.1.7"] * 2
    nat = engine(weights=(1, 0, 1))
    assert [query(nat, f"10.244.2.{n}") for n in range(10, 14)] == ["10.244.2.5", "10.244.1.7"] * 2


def test_weighted_round_robin_gives_weights_and_starts_with_the_heaviest():
    # ipvsadm(8), wrr: weights 4, 3, 2 give the order A A B A B C A B C
    nat = engine("wrr", (4, 3, 2))
    a, b, c = "10.244.2.5", "10.244.2.6", "10.244.1.7"
    assert [query(nat, f"10.244.2.{n}") for n in range(10, 19)] == [a, a, b, a, b, c, a, b, c]


def test_least_connections_counts_inactive_ones_and_forgets_the_dead():
    nat = engine("lc")
    a, b, c = "10.244.2.5", "10.244.2.6", "10.244.1.7"
    assert [query(nat, f"10.244.2.{n}") for n in range(10, 13)] == [a, b, c]
    assert [row.split()[-2:] for row in nat.services().splitlines() if "10.244" in row] == [["0", "1"]] * 3
    nat.advance(40)
    assert [row.split()[-2:] for row in nat.services().splitlines() if "10.244" in row] == [["0", "0"]] * 3


def test_tcp_is_active_until_it_closes():
    nat = engine()
    client = IP(src="10.244.2.9", dst="10.96.0.1")
    assert send(nat, client / TCP(sport=1, dport=443, flags="S", seq=1))[0] == Verdict.FORWARD
    assert re.search(r"10.0.0.9:6443 +Masq +1 +1 +0$", nat.services(), re.M)
    # kube-proxy's rules mark no pod, so the answer goes to the pod itself
    send(nat, IP(src="10.0.0.9", dst="10.244.2.9") / TCP(sport=6443, dport=1, flags="SA", seq=5, ack=2), "eth0")
    send(nat, client / TCP(sport=1, dport=443, flags="FA", seq=2, ack=6))
    assert re.search(r"10.0.0.9:6443 +Masq +1 +0 +1$", nat.services(), re.M)


def test_weighted_least_connections_prefers_the_heavier():
    nat = engine("wlc", (1, 3, 1))
    servers = [query(nat, f"10.244.2.{n}") for n in range(10, 20)]
    assert servers.count("10.244.2.6") == 6


def test_source_hash_keeps_a_client_on_its_server():
    nat = engine("sh")
    first = {n: query(nat, f"10.244.2.{n}") for n in range(10, 60)}
    assert {n: query(nat, f"10.244.2.{n}", sport=7) for n in first} == first
    assert set(first.values()) == {"10.244.2.5", "10.244.2.6", "10.244.1.7"}


@pytest.mark.parametrize("weights", [(1, 1, 1), (3, 1, 2), (0, 2, 1), (1, 0, 0), (0, 0, 5), (100, 1, 7)])
def test_source_hash_deals_256_places(weights):
    """ip_vs_sh_reassign: each server in turn as often as it weighs, once if it weighs nothing; nobody gets that one."""
    nat = engine("sh", weights)
    servers = ("10.244.2.5", "10.244.2.6", "10.244.1.7")
    turns = [n for n, weight in enumerate(weights) for _ in range(weight or 1)]
    for host in range(10, 90):
        # over_ipv6.py puts fd00 in front, which is folded into the address
        address = (0x0AF40200 + host) ^ (0xFD000000 if nat.node.has_ipv6 else 0)
        wanted = turns[((address * 0x61C88647 & 0xFFFFFFFF) >> 24) % len(turns)]
        packet = IP(src=f"10.244.2.{host}", dst="10.96.0.10") / UDP(sport=40000, dport=53)
        verdict, out = send(nat, packet)
        assert (out.dst if verdict == Verdict.FORWARD else None) == (servers[wanted] if weights[wanted] else None)


def test_persistence_keeps_a_client_for_its_time():
    saved = SAVED.format(scheduler="rr -p 60", w1=1, w2=1, w3=1)
    nat = fastnat.Engine(node_with(saved))
    assert query(nat, "10.244.2.20", 1, 0) == query(nat, "10.244.2.20", 2, 50) == query(nat, "10.244.2.20", 3, 100)
    assert query(nat, "10.244.2.21", 1, 100) == "10.244.2.6"
    assert query(nat, "10.244.2.20", 4, 161) == "10.244.1.7"


def test_no_server_left_drops_with_a_reason():
    nat = engine(weights=(0, 0, 0))
    batch = nat.packets(proto="udp", src="10.244.2.9", dst="10.96.0.10", sport=1, dport=53, iface="cni0")
    out = nat.process(batch)
    assert (out["verdict"][0], out["reason"][0]) == (Verdict.DROP, fastnat.Reason.NO_SERVER)
    assert len(nat.conntrack) == 0


def test_tcp_without_syn_is_not_scheduled():
    nat = engine()
    verdict, out = send(nat, IP(src="10.244.2.9", dst="10.96.0.1") / TCP(sport=1, dport=443, flags="A"))
    assert (verdict, out.dst) == (Verdict.LOCAL, "10.96.0.1")


def test_a_server_taken_away_ends_its_connections():
    nat = engine()
    query(nat, "10.244.2.9")
    query(nat, "10.244.2.10")
    text = SAVED.format(scheduler="rr", w1=1, w2=1, w3=1)
    nat.node.load_services("\n".join(line for line in text.splitlines() if "10.244.2.5" not in line))
    nat.reload()
    assert len(nat.conntrack) == 1
    assert re.search(r"10.244.2.6:53 +Masq +1 +0 +1$", nat.services(), re.M)
    assert query(nat, "10.244.2.9") in ("10.244.2.6", "10.244.1.7")


def test_services_survive_saving_and_forking(tmp_path):
    nat = engine()
    query(nat, "10.244.2.9")
    nat.node.save(tmp_path)
    assert fastnat.Node.load(tmp_path).services == nat.node.services
    assert query(nat.fork(), "10.244.2.10") == query(nat, "10.244.2.10") == "10.244.2.6"


def test_the_listing_and_ipv6():
    listing = """IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.96.0.1:443 rr persistent 10800
  -> 10.0.0.9:6443                Masq    1      4          2
UDP  [fd00::10]:53 sh
  -> [fd00::5]:53                 Masq    1      0          0
FWM  7 wlc
  -> 10.0.0.8:0                   Masq    2      0          0
"""
    one, two, three = ipvs.parse(listing)
    assert (one.persistence, one.client_mask, one.servers[0].port) == (10800, 0xFFFFFFFF, 6443)
    assert (two.family.version, two.scheduler, three.fwmark, three.servers[0].weight) == (6, "sh", 7, 2)


def test_ipv6_services_are_translated_too():
    node = node_with("-A -u [fd00:96::a]:53 -s rr\n-a -u [fd00:96::a]:53 -r [fd00:1::5]:5353 -m -w 1\n")
    node.add_address("kube-ipvs0", "fd00:96::a/128")
    node.add_address("cni0", "fd00:1::1/64")
    nat = fastnat.Engine(node)
    batch = nat.packets(proto="udp", src="fd00:1::9", dst="fd00:96::a", sport=1, dport=53, iface="cni0")
    out = nat.process(batch)
    assert (out["verdict"][0], out["dport"][0]) == (Verdict.FORWARD, 5353)


def test_a_service_of_a_firewall_mark():
    node = node_with("-A -f 9 -s rr\n-a -f 9 -r 10.0.0.8:0 -m -w 1\n")
    node.load_rules("*mangle\n-A PREROUTING -d 10.96.0.1 -p tcp -j MARK --set-mark 9\nCOMMIT\n" + RULES)
    verdict, out = send(
        fastnat.Engine(node), IP(src="10.244.2.9", dst="10.96.0.1") / TCP(sport=1, dport=8080, flags="S")
    )
    assert (verdict, out.dst, out.dport) == (Verdict.FORWARD, "10.0.0.8", 8080)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("-A -t 10.96.0.1:443 -s maglev", "scheduler 'maglev'"),
        ("-A -t 10.96.0.1:https -s rr", "use -n"),
        ("-A -t 10.96.0.1:443 -s rr\n-a -t 10.96.0.1:443 -r 10.0.0.9:443 -g -w 1", "direct routing"),
        ("-a -t 10.96.0.1:443 -r 10.0.0.9:443 -m", "not added before"),
        ("-A -t 10.96.0.1:443 -s rr\n-a -t 10.96.0.1:443 -r [fd00::1]:443 -m", "another family"),
        ("-A -t 10.96.0.1:443 -s rr\n-A -t 10.96.0.1:443 -s rr", "twice"),
        ("-A -t 10.96.0.1:443 -s rr\n-a -t 10.96.0.1:443 -r 10.0.0.9:443 -m -x 5", "thresholds"),
        ("-A -t", "a value is missing|list index"),
        ("garbage", "neither -A nor -a"),
        ("-A -t 1.2.3.4:0 -s rr", "port 0"),
        ("-A -t 1.2.3.4:1 -s rr --weird", "--weird"),
    ],
)
def test_bad_text_is_named_with_its_line(text, word):
    with pytest.raises(InputError, match=r"<ipvs>:\d+: .*" + f"(?:{word})"):
        ipvs.parse(text)


def test_services_without_conntrack_are_refused():
    node = node_with("")
    node.sysctls["net.ipv4.vs.conntrack"] = "0"
    with pytest.raises(InputError, match=r"net.ipv4.vs.conntrack"):
        node.load_services("-A -u 10.96.0.10:53 -s rr")
