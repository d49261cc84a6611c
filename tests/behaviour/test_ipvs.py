"""Virtual services of IPVS, by the documentation of IPVS and ipvsadm(8): the kernels at hand have none to compare."""

import json
import math
import random
import re

import numpy as np
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, UDPerror
from scapy.layers.sctp import SCTP

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
    # the entries of conntrack are over before those of IPVS
    nat.advance(40)
    assert len(nat.conntrack) == 0
    assert [row.split()[-2:] for row in nat.services().splitlines() if "10.244" in row] == [["0", "1"]] * 3
    nat.advance(300)
    assert [row.split()[-2:] for row in nat.services().splitlines() if "10.244" in row] == [["0", "0"]] * 3
    nat.check()


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


def test_source_hash_passes_over_a_server_without_weight():
    """ip_vs_sh_get_fallback searches the 256 places from twice the hash on."""
    nat = engine("sh -b sh-fallback", (0, 2, 1))
    servers = ("10.244.2.5", "10.244.2.6", "10.244.1.7")
    places = [(0, 1, 1, 2)[n % 4] for n in range(256)]
    for host in range(10, 90):
        address = (0x0AF40200 + host) ^ (0xFD000000 if nat.node.has_ipv6 else 0)
        first = (address * 0x61C88647 & 0xFFFFFFFF) >> 24
        tried = [places[first]] + [places[(2 * first + n) % 256] for n in range(256)]
        assert query(nat, f"10.244.2.{host}") == servers[next(n for n in tried if n)]
    with pytest.raises(InputError, match="flag 'mh-port'"):
        ipvs.parse("-A -u 10.96.0.10:53 -s sh -b sh-port,mh-port")
    (listed,) = ipvs.parse("UDP 10.96.0.10:53 sh (sh-fallback,sh-port) ops\n")
    assert (listed.hash_ports, listed.hash_fallback, listed.one_packet) == (True, True, True)


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
    # its time is over at 160, but connections of it last until 400: a minute more each time (ip_vs_conn_expire)
    assert query(nat, "10.244.2.20", 4, 161) == "10.244.2.5"
    nat.advance(700)
    assert query(nat, "10.244.2.20", 5, 700) == "10.244.1.7"
    nat.check()


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


def without(server, scheduler="rr"):
    text = SAVED.format(scheduler=scheduler, w1=1, w2=1, w3=1)
    return "\n".join(line for line in text.splitlines() if server not in line)


@pytest.mark.parametrize("scheduler", ["rr", "rr -p 60"])
@pytest.mark.parametrize("profile", ["linux-5.4", "linux-6.18"])
def test_a_server_taken_away_ends_its_connections(profile, scheduler):
    """expire_nodest_conn=1, which kube-proxy sets: linux-5.4 waits for the next packet, and loses it."""
    nat = engine(scheduler, profile=profile)
    assert [query(nat, "10.244.2.9"), query(nat, "10.244.2.10")] == ["10.244.2.5", "10.244.2.6"]
    nat.node.load_services(without("10.244.2.5", scheduler))
    nat.reload()
    nat.check()
    listed = nat.service_connections()
    if profile == "linux-5.4":
        assert "10.244.2.5" in listed
        assert len(nat.conntrack) == 2
        pod = IP(src="10.244.2.9", dst="10.96.0.10") / UDP(sport=40000, dport=53) / b"?"
        assert send(nat, pod, now=1.0) == (Verdict.DROP, None)
    else:
        # ip_vs_expire_nodest_conn_flush: templates go with their connections, others' stay
        assert "10.244.2.5" not in listed
        assert len(nat.conntrack) == 1
    assert query(nat, "10.244.2.9", now=2.0) in ("10.244.2.6", "10.244.1.7")
    assert query(nat, "10.244.2.10", now=2.0) == "10.244.2.6"
    nat.check()


@pytest.mark.parametrize("scheduler", ["rr", "wrr"])
def test_a_scheduler_goes_on_where_another_service_changes(scheduler):
    """ipvsadm touches the services that it names; those in front of them in the list, too."""
    weights = {"w1": 1, "w2": 1, "w3": 2 if scheduler == "wrr" else 1}
    saved = SAVED.format(scheduler=scheduler, **weights)
    nat = fastnat.Engine(node_with(saved))
    other = nat.fork()
    clients = [f"10.244.2.{n}" for n in range(9, 16)]
    said = [query(nat, client) for client in clients]
    assert [query(other, client) for client in clients[:2]] == said[:2]
    # one that sorts in front of it, with more servers
    more = "-A -t 10.96.0.2:443 -s rr\n" + "".join(f"-a -t 10.96.0.2:443 -r 10.244.3.{n}:8443 -m\n" for n in range(5))
    other.node.load_services(more + saved)
    other.reload()
    assert [query(other, client) for client in clients[2:5]] == said[2:5]
    other.node.load_services(saved)
    other.reload()
    assert [query(other, client) for client in clients[5:]] == said[5:]
    other.check()


def test_a_server_taken_away_may_hold_its_connections():
    """expire_nodest_conn=0, the kernel's default: what its client sends is lost for as long as the connection lasts."""
    node = node_with(SAVED.format(scheduler="rr", w1=1, w2=1, w3=1))
    node.sysctls["net.ipv4.vs.expire_nodest_conn"] = "0"
    nat = fastnat.Engine(node)
    assert query(nat, "10.244.2.9") == "10.244.2.5"
    nat.node.load_services(without("10.244.2.5"))
    nat.reload()
    pod = IP(src="10.244.2.9", dst="10.96.0.10") / UDP(sport=40000, dport=53) / b"?"
    for now in (1.0, 100.0, 299.9):
        assert send(nat, pod, now=now) == (Verdict.DROP, None)
    # the dropped ones did not make it longer
    assert query(nat, "10.244.2.9", now=300.0) in ("10.244.2.6", "10.244.1.7")
    # a server that comes back is theirs again (ip_vs_trash_get_dest)
    nat.node.load_services(SAVED.format(scheduler="rr", w1=1, w2=1, w3=1))
    nat.reload()
    nat.check()


def tcp(nat, flags, now=0.0, sport=40000, back=False, client="10.244.2.9", iface=None):
    """Send a segment of a pod to the API service, or of its server; return verdict, reason and the packet that left."""
    # the numbers matter only to conntrack
    if back:
        packet = IP(src="10.0.0.9", dst=client) / TCP(sport=6443, dport=sport, flags=flags, seq=500, ack=101)
    else:
        packet = IP(src=client, dst="10.96.0.1") / TCP(sport=sport, dport=443, flags=flags, seq=100, ack=501)
    return send(nat, packet, iface or ("eth0" if back else "cni0"), now)


def handshake(nat, now=0.0, **options):
    """Open a TCP connection through the API service."""
    assert tcp(nat, "S", now, **options)[0] == Verdict.FORWARD
    assert tcp(nat, "SA", now, back=True, **options)[0] == Verdict.FORWARD
    assert tcp(nat, "A", now, **options)[0] == Verdict.FORWARD


def test_an_idle_connection_ends_after_fifteen_minutes():
    """Long before conntrack would end it, and with its entry there: what follows is for the node itself."""
    nat = engine()
    handshake(nat)
    assert tcp(nat, "PA", 899.0)[1].dst == "10.0.0.9"
    assert tcp(nat, "PA", 1798.9)[1].dst == "10.0.0.9"
    assert len(nat.conntrack) == 1
    nat.advance(1798.9 + 900)
    assert len(nat.conntrack) == 0
    assert tcp(nat, "PA", 3000.0)[0] == Verdict.LOCAL
    nat.check()


def test_the_timeouts_of_ipvsadm():
    for line in ("--set 30 0 5", "Timeout (tcp tcpfin udp): 30 120 5"):
        nat = fastnat.Engine(node_with(SAVED.format(scheduler="rr", w1=1, w2=1, w3=1) + line + "\n"))
        handshake(nat)
        assert query(nat, "10.244.2.9") == "10.244.2.5"
        nat.advance(5.0)
        assert [line.split()[0] for line in nat.service_connections().splitlines()[2:]] == ["TCP"]
        nat.advance(30.0)
        assert nat.service_connections().splitlines()[2:] == []
    with pytest.raises(InputError, match="timeout"):
        ipvs.parse("--set 1 2 x")


def test_the_times_that_are_left_when_jiffies_wrap():
    nat = engine()
    nat.advance(2**32 / 250 - 100)
    query(nat, "10.244.2.9", now=2**32 / 250 - 100)
    assert nat.service_connections().splitlines()[2].split()[:2] == ["UDP", "05:00"]
    nat.advance(2**32 / 250 + 100)
    assert nat.service_connections().splitlines()[2].split()[:2] == ["UDP", "01:40"]
    nat.check()


def test_the_entries_of_a_dump_have_their_server():
    nat, again = engine(), engine()
    handshake(nat)
    query(nat, "10.244.2.9")
    dump = nat.conntrack.format("extended")
    assert again.conntrack.load(dump) == 2
    assert not any(c.status & fastnat.Status.DST_NAT for c in again.conntrack)
    assert sorted(again.service_connections().splitlines()) == sorted(nat.service_connections().splitlines())
    assert again.services().splitlines()[3:5] == nat.services().splitlines()[3:5]
    assert tcp(again, "PA", 800.0)[1].dst == "10.0.0.9"
    assert query(again, "10.244.2.9", now=800.0) == "10.244.2.5"
    again.advance(1700.0)
    assert len(again.conntrack) == 0
    again.check()


def test_ipvs_remembers_a_query_longer_than_conntrack():
    nat = engine()
    assert query(nat, "10.244.2.9", now=0.0) == "10.244.2.5"
    assert query(nat, "10.244.2.9", now=100.0) == "10.244.2.5"
    assert len(nat.conntrack) == 1
    assert query(nat, "10.244.2.9", now=401.0) == "10.244.2.6"


def test_the_end_of_ipvs_is_the_end_of_the_entry():
    """ip_vs_conn_drop_conntrack; the entry lasts longer here, as its timeout was set to an hour."""
    node = node_with(SAVED.format(scheduler="rr", w1=1, w2=1, w3=1))
    node.sysctls["net.netfilter.nf_conntrack_udp_timeout"] = "3600"
    nat = fastnat.Engine(node, events=100)
    query(nat, "10.244.2.9")
    nat.advance(299.9)
    assert len(nat.conntrack) == 1
    nat.advance(300.0)
    assert len(nat.conntrack) == 0
    assert nat.next_expiry is None


@pytest.mark.parametrize(
    ("profile", "mode", "servers"),
    [
        # linux-5.4 loses the SYN of each port in use again, which costs the client a second
        ("linux-5.4", "1", ["a", None, "b"]),
        ("linux-5.4", "0", ["a", "a", "a"]),
        ("linux-6.18", "1", ["a", "b", "b"]),
        ("linux-6.18", "0", ["a", "a", "a"]),
    ],
)
def test_a_port_in_use_again(profile, mode, servers):
    saved = "-A -t 10.96.0.1:443 -s rr\n" + "".join(f"-a -t 10.96.0.1:443 -r 10.0.0.{n}:6443 -m -w 1\n" for n in (8, 9))
    node = node_with(saved)
    node.sysctls["net.ipv4.vs.conn_reuse_mode"] = mode
    nat = fastnat.Engine(node, profile=profile)
    client = IP(src="10.244.2.9", dst="10.96.0.1")
    server = IP(src="10.0.0.8", dst="10.244.2.9")
    to, fro = {"sport": 40000, "dport": 443}, {"sport": 6443, "dport": 40000}
    names = {"10.0.0.8": "a", "10.0.0.9": "b", None: None}

    def opening(now, seq):
        out = send(nat, client / TCP(**to, flags="S", seq=seq), "cni0", now)[1]
        return names[out and out.dst]

    found = [opening(0.0, 100)]
    for packet in (
        server / TCP(**fro, flags="SA", seq=500, ack=101), client / TCP(**to, flags="A", seq=101, ack=501),
        client / TCP(**to, flags="FA", seq=101, ack=501), server / TCP(**fro, flags="FA", seq=501, ack=102),
        client / TCP(**to, flags="A", seq=102, ack=502),
    ):  # fmt: skip
        assert send(nat, packet, "eth0" if packet.src == "10.0.0.8" else "cni0", 1.0)[0] == Verdict.FORWARD
    assert "TIME_WAIT" in nat.service_connections()
    found += [opening(2.0, 900_000), opening(3.0, 900_000)]
    assert found == servers
    nat.check()


def test_two_services_of_one_server_answer_as_the_newer_one():
    """One port of a client, two services, one server: the answers to both come from the service asked last."""
    saved = "".join(f"-A -u 10.96.0.{n}:53 -s rr\n-a -u 10.96.0.{n}:53 -r 10.0.0.9:53 -m -w 1\n" for n in (1, 10))
    nat = fastnat.Engine(node_with(saved))
    for service in ("10.96.0.1", "10.96.0.10"):
        out = send(nat, IP(src="10.244.2.9", dst=service) / UDP(sport=40000, dport=53) / b"?")[1]
        assert out.dst == "10.0.0.9"
        ports = out.sport
    # the second entry of conntrack had to take another port, which its answer goes to
    assert ports != 40000
    answers = [
        send(nat, IP(src="10.0.0.9", dst="10.244.2.9") / UDP(sport=53, dport=port) / b"!", "eth0")[1]
        for port in (40000, ports)
    ]
    assert [(a.src, a.dport) for a in answers] == [("10.96.0.10", 40000)] * 2


def test_a_server_without_weight_keeps_its_connections_but_no_clients():
    saved = SAVED.format(scheduler="rr -p 60", w1=1, w2=1, w3=1)
    for quiescent, again in (("1", "10.244.2.6"), ("0", "10.244.2.5")):
        node = node_with(saved)
        node.sysctls["net.ipv4.vs.expire_quiescent_template"] = quiescent
        nat = fastnat.Engine(node)
        assert query(nat, "10.244.2.20", 1) == "10.244.2.5"
        nat.node.load_services(saved.replace("10.244.2.5:53 -m -w 1", "10.244.2.5:53 -m -w 0"))
        nat.reload()
        assert query(nat, "10.244.2.20", 1, 1.0) == "10.244.2.5"
        assert query(nat, "10.244.2.20", 2, 2.0) == again
        nat.check()


def test_one_packet_services_choose_for_each_datagram():
    nat = fastnat.Engine(node_with(SAVED.format(scheduler="rr -o", w1=1, w2=1, w3=1)))
    for n, server in enumerate(["10.244.2.5", "10.244.2.6", "10.244.1.7", "10.244.2.5"]):
        assert query(nat, "10.244.2.9", now=n) == server
        # the entry in conntrack is one for all of them
        assert (len(nat.conntrack), nat.stats["delete"]) == (1, 0)
        nat.check()
    nat.advance(4.0)
    assert nat.service_connections().splitlines()[2:] == []
    assert "10.96.0.10:53 rr ops" in nat.services()
    nat.check()


def test_a_client_of_a_mark_keeps_its_server_over_a_reload():
    """The template of a mark holds for all addresses and ports that have it, and goes on with the service."""
    saved = "-A -f 9 -s rr -p 600\n" + "".join(f"-a -f 9 -r 10.0.0.{n}:0 -m -w 1\n" for n in (8, 9))
    node = node_with(saved)
    node.load_rules("*mangle\n-A PREROUTING -d 10.96.0.0/24 -p tcp -j MARK --set-mark 9\nCOMMIT\n" + RULES)
    nat = fastnat.Engine(node)

    def asked(dst, dport, sport, now):
        packet = IP(src="10.244.2.9", dst=dst) / TCP(sport=sport, dport=dport, flags="S", seq=sport)
        return send(nat, packet, now=now)[1].dst

    server = asked("10.96.0.1", 8080, 1, 0.0)
    assert asked("10.96.0.10", 443, 2, 1.0) == server
    nat.reload()
    assert asked("10.96.0.1", 80, 3, 2.0) == server
    nat.check()
    # without the service its clients keep nothing, and its address is the node's (ip_vs_expire_nodest_conn_flush)
    node.load_services("")
    nat.reload()
    nat.check()
    packet = IP(src="10.244.2.9", dst="10.96.0.1") / TCP(sport=3, dport=80, flags="S", seq=3)
    assert send(nat, packet, now=3.0)[0] == Verdict.LOCAL


@pytest.mark.parametrize("scheduler", ["rr", "wrr", "lc", "wlc", "sh"])
def test_every_scheduler_leaves_servers_without_weight_out(scheduler):
    nat = engine(scheduler, weights=(0, 0, 0))
    pod = IP(src="10.244.2.9", dst="10.96.0.10") / UDP(sport=1, dport=53) / b"?"
    assert send(nat, pod)[0] == Verdict.DROP
    # sh gives nobody the places of a server without weight (ip_vs_sh_get)
    nat = engine(scheduler, weights=(0, 1, 0))
    pods = (IP(src=f"10.244.2.{n}", dst="10.96.0.10") / UDP(dport=53) for n in range(9, 40))
    assert {out.dst for out in (send(nat, packet)[1] for packet in pods) if out} == {"10.244.2.6"}
    saved = "\n".join(
        line for line in SAVED.format(scheduler=scheduler, w1=1, w2=1, w3=1).splitlines() if "-a -u" not in line
    )
    assert send(fastnat.Engine(node_with(saved)), pod)[0] == Verdict.DROP


def test_sctp_in_headers_alone_and_an_abort_behind_a_cookie():
    saved = "-A --sctp-service 10.96.0.10:53 -s rr\n-a --sctp-service 10.96.0.10:53 -r 10.0.0.9:53 -m -w 1\n"
    nat = fastnat.Engine(node_with(saved))
    # a header has no chunk, and stands for data
    batch = nat.packets(proto="sctp", src="10.244.2.9", sport=1, dst="10.96.0.10", dport=53, iface="cni0")
    assert nat.process(batch)["verdict"][0] == Verdict.FORWARD
    assert "ESTABLISHED" in nat.service_connections()
    again = fastnat.Engine(node_with(saved))
    assert again.conntrack.load(nat.conntrack.format()) == 1
    assert "ESTABLISHED" in again.service_connections()
    init = bytes([1, 0, 0, 20]) + bytes([0, 0, 0, 7]) + bytes([0, 0, 16, 0, 0, 1, 0, 1, 0, 0, 0, 1])
    aborted = bytes([10, 0, 0, 5, 1, 0, 0, 0]) + bytes([6, 0, 0, 4])
    for tag, body, state in ((0, init, "INIT1"), (7, aborted, "CLOSED"), (7, b"", "CLOSED")):
        send(nat, IP(src="10.244.2.9", dst="10.96.0.10") / SCTP(sport=2, dport=53, tag=tag) / body)
        line = next(line for line in nat.service_connections().splitlines() if ":2 " in line)
        assert state in line
    nat.check()


@pytest.mark.parametrize("scheduler", ["lc", "wlc"])
def test_the_connection_of_one_packet_counts_for_no_other(scheduler):
    """It ends with its packet (ip_vs_conn_put), not a jiffy later: the first of equal servers gets all of a burst."""
    nat = fastnat.Engine(node_with(SAVED.format(scheduler=f"{scheduler} -o", w1=1, w2=1, w3=1)))
    assert [query(nat, "10.244.2.9") for _ in range(3)] == ["10.244.2.5"] * 3
    assert "10.244" not in nat.service_connections()
    nat.check()


def test_states_of_sctp():
    """The four packets of an association, its end, and an INIT whose answer never came (ip_vs_proto_sctp.c)."""
    saved = "-A --sctp-service 10.96.0.10:53 -s rr\n-a --sctp-service 10.96.0.10:53 -r 10.0.0.9:53 -m -w 1\n"
    nat = fastnat.Engine(node_with(saved))

    def chunk(kind, back=False, sport=40000, now=0.0):
        ends = {"sport": 53, "dport": sport} if back else {"sport": sport, "dport": 53}
        body = bytes([kind, 0, 0, 20]) + bytes([0, 0, 0, 7]) + bytes([0, 0, 16, 0, 0, 1, 0, 1, 0, 0, 0, 1])
        tag = 0 if kind == 1 else 7
        addresses = {"src": "10.0.0.9", "dst": "10.244.2.9"} if back else {"src": "10.244.2.9", "dst": "10.96.0.10"}
        packet = IP(**addresses) / SCTP(**ends, tag=tag) / body
        out = send(nat, packet, "eth0" if back else "cni0", now)
        line = [row.split() for row in nat.service_connections().splitlines()[2:] if f":{sport} " in row]
        return out[0], [tuple(words[1:3]) for words in line]

    # DATA opens nothing
    assert chunk(0) == (Verdict.LOCAL, [])
    assert chunk(1, sport=40001) == (Verdict.FORWARD, [("00:04", "INIT1")])
    nat.advance(10.0)
    states = [
        chunk(kind, back, now=10.0)[1][0]
        for kind, back in (
            (1, False),
            (2, True),
            (10, False),
            (11, True),
            (0, False),
            (7, False),
            (8, True),
            (14, False),
        )
    ]
    assert states == [
        ("00:04", "INIT1"), ("01:01", "C-SENT"), ("01:01", "C-REPLIED"), ("15:00", "ESTABLISHED"),
        ("15:00", "ESTABLISHED"), ("01:01", "S-RECEIVED"), ("01:01", "S-ACK-SENT"), ("01:01", "CLOSED"),
    ]  # fmt: skip
    nat.check()


def test_what_has_no_chunk_is_dropped():
    """sctp_conn_schedule asks for a chunk before it asks for a service; one of a connection goes on."""
    packet = IP(src="10.244.2.9", dst="10.244.2.1") / SCTP(sport=40000, dport=53, tag=7)
    assert send(engine(), packet)[0] == Verdict.DROP
    assert send(fastnat.Engine(node_with("")), packet)[0] == Verdict.LOCAL


def test_a_template_is_assured_by_what_it_controls():
    """ip_vs_control_assure_ct: a connection that is established, or answered over UDP."""
    nat = fastnat.Engine(
        node_with(SAVED.format(scheduler="rr -p 60", w1=1, w2=1, w3=1).replace("-s rr\n", "-s rr -p 60\n"))
    )

    def states():
        return [line.split()[2] for line in nat.service_connections().splitlines()[2:] if ":0 " in line]

    server = query(nat, "10.244.2.9")
    assert states() == ["NONE"]
    send(nat, IP(src=server, dst="10.244.2.9") / UDP(sport=53, dport=40000) / b"!")
    assert states() == ["ASSURED"]
    tcp(nat, "S")
    tcp(nat, "SA", back=True)
    assert sorted(states()) == ["ASSURED", "NONE"]
    tcp(nat, "A")
    assert states() == ["ASSURED", "ASSURED"]


@pytest.mark.parametrize("code", [1, 3])
def test_errors_about_packets_to_a_server_come_from_its_service(code):
    """ip_vs_out_icmp, for one that a router sends: its own address would tell the client nothing."""
    nat = engine()
    pod = IP(src="10.244.2.9", dst="10.96.0.10") / UDP(sport=40000, dport=53) / b"?"
    sent = send(nat, pod)[1]
    error = IP(src="10.244.1.1", dst="10.244.2.9") / ICMP(type=3, code=code) / sent
    verdict, out = send(nat, error, "cni0")
    assert (verdict, out.src, out.dst) == (Verdict.FORWARD, "10.96.0.10", "10.244.2.9")
    quoted = out[IPerror]
    assert (quoted.src, quoted.dst, quoted[UDPerror].sport, quoted[UDPerror].dport) == (
        "10.244.2.9", "10.96.0.10", 40000, 53,
    )  # fmt: skip
    right = IP(bytes(out))
    del right.chksum, right[ICMP].chksum
    assert bytes(right) == bytes(out)


def test_errors_about_answers_go_on_to_the_server():
    """ip_vs_in_icmp: a client that cannot take an answer tells the service, and means the server."""
    nat = engine()
    send(nat, IP(src="10.244.2.9", dst="10.96.0.10") / UDP(sport=40000, dport=53) / b"?")
    answer = send(nat, IP(src="10.244.2.5", dst="10.244.2.9") / UDP(sport=53, dport=40000) / b"!")[1]
    error = IP(src="10.244.2.9", dst="10.96.0.10") / ICMP(type=3, code=3) / answer
    verdict, out = send(nat, error, "cni0")
    assert (verdict, out.src, out.dst) == (Verdict.FORWARD, "10.244.2.9", "10.244.2.5")
    assert (out[IPerror].src, out[UDPerror].sport) == ("10.244.2.5", 53)
    right = IP(bytes(out))
    del right.chksum, right[ICMP].chksum
    assert bytes(right) == bytes(out)


def test_services_survive_saving_and_forking(tmp_path):
    nat = engine()
    query(nat, "10.244.2.9")
    nat.node.save(tmp_path)
    assert fastnat.Node.load(tmp_path).services == nat.node.services
    assert query(nat.fork(), "10.244.2.10") == query(nat, "10.244.2.10") == "10.244.2.6"
    handshake(nat)
    nat.save(tmp_path / "state")
    again = fastnat.Engine.restore(tmp_path / "state")
    again.check()
    assert sorted(again.service_connections().splitlines()) == sorted(nat.service_connections().splitlines())
    assert again.services() == nat.services()
    # what conntrack has forgotten, IPVS has not
    assert query(again, "10.244.2.10", now=200.0) == query(nat, "10.244.2.10", now=200.0) == "10.244.2.6"


def test_a_server_is_found_again_by_its_own_port(tmp_path):
    """A persistent service of all ports leaves the client's port, whatever its server's (ip_vs_sched_persist)."""
    every = "-A -u 10.96.0.10:0 -s rr -p 60\n-a -u 10.96.0.10:0 -r 10.244.2.5:5353 -m -w 1\n"
    nat = fastnat.Engine(node_with(every))
    assert query(nat, "10.244.2.9") == "10.244.2.5"
    nat.save(tmp_path / "state")
    for again in (nat, fastnat.Engine.restore(tmp_path / "state")):
        # neither another weight nor a service of the port itself takes its server
        mine = "-A -u 10.96.0.10:53 -s rr\n-a -u 10.96.0.10:53 -r 10.244.2.6:53 -m -w 1\n"
        again.node.load_services(every.replace("-w 1", "-w 2") + mine)
        again.reload()
        assert query(again, "10.244.2.9", now=1.0) == "10.244.2.5"
        assert query(again, "10.244.2.10", now=1.0) == "10.244.2.6"
        again.check()


@pytest.mark.parametrize("seed", [1, pytest.param(range(2, 40), marks=pytest.mark.slow)])
def test_random_services_are_the_same_after_restoring(seed, tmp_path):
    """Each connection has its server again, whatever ports services and servers have, and whichever are persistent."""
    for one in seed if isinstance(seed, range) else [seed]:
        draw = random.Random(one)
        nat = fastnat.Engine(node_with(random_services(draw)))
        for step in range(40):
            port = draw.choice([53, 5353, 0])
            packet = IP(src=f"10.244.2.{draw.randint(9, 12)}", dst="10.96.0.10") / UDP(sport=step % 5, dport=port)
            nat.process_packet(bytes(packet), "cni0", step * draw.choice([0.1, 1.0, 3.0]) + nat.core_of(4).now)
            if draw.random() < 0.1:
                nat.node.load_services(random_services(draw))
                nat.reload()
            nat.check()
        nat.save(tmp_path / "state")
        again = fastnat.Engine.restore(tmp_path / "state")
        again.check()
        assert again.services() == nat.services()
        assert sorted(again.service_connections().splitlines()) == sorted(nat.service_connections().splitlines())


def random_services(draw):
    """Return services of one port and of all ports of one address, with some of four servers each."""
    lines = []
    for port in draw.sample([53, 5353, 0], draw.randint(1, 3)):
        kept = f" -p {draw.choice([1, 60])}" if port == 0 or draw.random() < 0.4 else ""
        lines.append(f"-A -u 10.96.0.10:{port} -s {draw.choice(['rr', 'wrr', 'lc', 'wlc', 'sh'])}{kept}")
        lines += [
            f"-a -u 10.96.0.10:{port} -r 10.244.2.{n}:{draw.choice([0, port, 7000])} -m -w {draw.choice([0, 1, 3])}"
            for n in draw.sample(range(5, 9), draw.randint(0, 4))
        ]
    return "\n".join(lines) + "\n"


def test_what_comes_from_port_0_is_scheduled_each_time():
    """ip_vs_conn_in_get: port 0 there means that the port is not known yet."""
    nat = engine()
    assert [query(nat, "10.244.2.9", sport=0) for _ in range(3)] == ["10.244.2.5", "10.244.2.6", "10.244.1.7"]
    nat.advance(301.0)
    nat.check()


def test_127_0_0_1_stays_on_the_node():
    """crosses_local_route_boundary: the well-known NodePort that cannot be reached by 127.0.0.1."""
    saved = "-A -t 127.0.0.1:30080 -s rr\n-a -t 127.0.0.1:30080 -r {}:8080 -m -w 1\n"
    packet = bytes(IP(src="127.0.0.1", dst="127.0.0.1") / TCP(sport=1000, dport=30080, flags="S"))
    for server, verdict in (("10.244.2.5", Verdict.DROP), ("10.244.2.1", Verdict.LOCAL)):
        nat = fastnat.Engine(node_with(saved.format(server)))
        assert nat.process_packet(packet, "local")[0] == verdict
        nat.check()
    # nor does a packet from elsewhere get there
    nat = fastnat.Engine(node_with("-A -t 10.96.0.1:443 -s rr\n-a -t 10.96.0.1:443 -r 127.0.0.1:8080 -m -w 1\n"))
    assert tcp(nat, "S")[0] == Verdict.DROP


@pytest.mark.parametrize(("chain", "device"), [("PREROUTING", "eth0"), ("OUTPUT", "cni0")])
def test_policy_rules_see_only_the_server(chain, device, tmp_path):
    """do_output_route4 asks for the server's address alone; mangle in OUTPUT has the packet routed anew by its mark."""
    node = node_with(SAVED.format(scheduler="rr", w1=0, w2=0, w3=1))
    node.save(tmp_path)
    (tmp_path / "rules.v4").write_text(f"*mangle\n-A {chain} -p udp -j MARK --set-mark 1\nCOMMIT\n" + RULES)
    routes = [
        {"dst": "10.0.0.0/24", "dev": "eth0"}, {"dst": "10.244.2.0/24", "dev": "cni0"},
        {"dst": "10.244.0.0/16", "gateway": "10.0.0.7", "dev": "eth0"},
        {"dst": "default", "gateway": "10.244.2.77", "dev": "cni0", "table": "100"},
    ]  # fmt: skip
    policy = [{"priority": n, "src": "all", "table": name} for n, name in ((0, "local"), (32766, "main"))]
    policy.insert(1, {"priority": 5, "src": "all", "fwmark": "0x1", "table": "100"})
    (tmp_path / "route-all.json").write_text(json.dumps(routes))
    (tmp_path / "rule.json").write_text(json.dumps(policy))
    nat = fastnat.Engine(fastnat.Node.load(tmp_path))
    batch = nat.packets(proto="udp", src="10.244.2.9", dst="10.96.0.10", sport=40000, dport=53, iface="cni0")
    (out,) = nat.process(batch)
    assert out["verdict"] == Verdict.FORWARD
    assert nat.node.iface_names[out["out_iface"]] == device


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


# by direction and segment: (state before: state behind), elsewhere as it was; ipvsadm(8) names the states
NEXT = {
    ("in", "S"): {"NONE": "SYN_RECV", "SYN_SENT": "ESTABLISHED", "ESTABLISHED": "ESTABLISHED", "": "SYN_RECV"},
    ("in", "F"): {"NONE": "CLOSE", "ESTABLISHED": "CLOSE_WAIT", "SYN_RECV": "TIME_WAIT", "FIN_WAIT": "TIME_WAIT"},
    ("in", "A"): {"NONE": "ESTABLISHED", "SYN_RECV": "ESTABLISHED"},
    ("in", "R"): {"SYN_RECV": "SYN_RECV", "": "CLOSE"},
    ("out", "S"): {"ESTABLISHED": "ESTABLISHED", "SYN_RECV": "SYN_RECV", "": "SYN_SENT"},
    ("out", "F"): {
        "NONE": "TIME_WAIT", "ESTABLISHED": "FIN_WAIT", "SYN_SENT": "SYN_SENT", "CLOSE": "CLOSE",
        "FIN_WAIT": "FIN_WAIT", "": "TIME_WAIT",
    },
    ("out", "A"): {"NONE": "ESTABLISHED", "SYN_RECV": "ESTABLISHED"},
    ("out", "R"): {"SYN_SENT": "SYN_SENT", "TIME_WAIT": "TIME_WAIT", "": "CLOSE"},
}  # fmt: skip
SECONDS = {
    "NONE": 2, "ESTABLISHED": 900, "SYN_SENT": 120, "SYN_RECV": 60, "FIN_WAIT": 120, "TIME_WAIT": 120, "CLOSE": 10,
    "CLOSE_WAIT": 60, "UDP": 300,
}  # fmt: skip
ACTIVE = {"ESTABLISHED", "SYN_SENT", "SYN_RECV"}


class Model:
    """IPVS once more, by its documentation: a list of connections, the newest first, each a dictionary."""

    def __init__(self, profile, mode, services):
        self.profile, self.mode, self.services = profile, mode, services
        self.turn = dict.fromkeys(services, 0)
        self.conns = []

    def pass_time(self, now):
        self.conns = [c for c in self.conns if c["expires"] > now]

    def see(self, c, direction, flag, now):
        if c["proto"] == "tcp":
            row = NEXT[direction, flag]
            c["state"] = row.get(c["state"], row.get("", c["state"]))
        c["expires"] = now + SECONDS[c["state"]]

    def request(self, proto, client, service, flag, now, is_new):
        """Return the real server of a packet to a service, None: it is for the node, "drop"."""
        found = next(
            (c for c in self.conns if (c["proto"], c["client"], c["service"]) == (proto, client, service)), None
        )
        if found and flag == "S" and found["state"] in ("TIME_WAIT", "CLOSE") and self.mode:
            # the timer comes behind the packet
            found["expires"] = now + 0.004
            if self.profile == "linux-5.4" or not is_new:
                return "drop"
            found = None
        if found is None:
            if proto == "tcp" and flag != "S":
                return None
            servers = self.services[proto, service]
            server = servers[self.turn[proto, service] % len(servers)]
            self.turn[proto, service] += 1
            found = {
                "proto": proto, "client": client, "service": service, "server": server,
                "state": "NONE" if proto == "tcp" else "UDP",
            }  # fmt: skip
            self.conns.insert(0, found)
        self.see(found, "in", flag, now)
        return found["server"]

    def reply(self, proto, client, server, flag, now):
        """Return the service that a real server's packet comes from, None: it stays as it is."""
        found = next((c for c in self.conns if (c["proto"], c["client"], c["server"]) == (proto, client, server)), None)
        if found:
            self.see(found, "out", flag, now)
        return found and found["service"]

    def counts(self, proto, service, server):
        here = [c for c in self.conns if (c["proto"], c["service"], c["server"]) == (proto, service, server)]
        active = sum(c["state"] in ACTIVE for c in here)
        return [str(active), str(len(here) - active)]


@pytest.mark.parametrize("seed", [1, pytest.param(range(2, 16), marks=pytest.mark.slow)])
def test_random_packets_and_a_model(seed):
    for one in seed if isinstance(seed, range) else [seed]:
        compare_with_model(random.Random(one))


def tracked_as(nat, packet, iface, now):
    """Return RESULT of a packet in a copy of the engine, and whether it would open an entry.

    The model is IPVS alone, conntrack is given. A packet that is NEW may belong to an entry without an answer.
    """
    data, copy = np.frombuffer(bytes(packet), np.uint8).copy(), nat.fork()
    result = copy.process_frames(data, np.array([0, len(data)]), iface, now)[0]
    return result, copy.stats["new"] != nat.stats["new"]


def compare_with_model(draw):
    profile, mode = draw.choice(["linux-5.4", "linux-6.18"]), draw.choice([0, 1])
    servers = [(f"10.0.0.{n}", 7000) for n in (8, 9)]
    services = {
        (proto, (f"10.96.0.{n}", 443)): draw.sample(servers, draw.choice([1, 2]))
        for proto in ("tcp", "udp") for n in (1, 10)
    }  # fmt: skip
    text = "".join(
        f"-A -{proto[0]} {address}:{port} -s rr\n"
        + "".join(f"-a -{proto[0]} {address}:{port} -r {a}:{p} -m -w 1\n" for a, p in there)
        for (proto, (address, port)), there in services.items()
    )
    node = node_with(text)
    node.sysctls["net.ipv4.vs.conn_reuse_mode"] = str(mode)
    # conntrack judges no numbers: they are not what is compared
    node.sysctls["net.netfilter.nf_conntrack_tcp_be_liberal"] = "1"
    nat = fastnat.Engine(node, profile=profile)
    model = Model(profile, mode, services)
    now = 0.0
    for step in range(400):
        now = round((now + draw.choice([0.004, 0.1, 1, 20, 70, 310])) * 250) / 250
        nat.advance(now)
        model.pass_time(now)
        proto, service = draw.choice(list(services))
        client = ("10.244.2.9", draw.choice([1000, 1001]))
        flag = draw.choice("SAFR")
        flags = {"S": "S", "A": "A", "F": "FA", "R": "R"}[flag]
        layer = TCP(flags=flags, seq=step * 70_000, ack=1) if proto == "tcp" else UDP()
        if draw.random() < 0.6:
            layer.sport, layer.dport = client[1], service[1]
            packet = IP(src=client[0], dst=service[0]) / layer
            tracked, is_new = tracked_as(nat, packet, "cni0", now)
            verdict, out = send(nat, packet, "cni0", now)
            wanted = model.request(proto, client, service, flag, now, is_new)
            got = "drop" if verdict == Verdict.DROP else (out.dst, out.dport) if verdict == Verdict.FORWARD else None
            # an entry that a server's packet has opened may have the reply tuple
            assert got == wanted or tracked["reason"] == fastnat.Reason.CLASH, (step, now, proto, flag)
        else:
            server = draw.choice(servers)
            layer.sport, layer.dport = server[1], client[1]
            packet = IP(src=server[0], dst=client[0]) / layer
            tracked, _ = tracked_as(nat, packet, "eth0", now)
            verdict, out = send(nat, packet, "eth0", now)
            wanted = model.reply(proto, client, server, flag, now)
            if tracked["ctinfo"] in (fastnat.CtInfo.NEW, fastnat.CtInfo.ESTABLISHED):
                # an entry that began with a server's packet may lose its port to the client's, or clash with that
                assert verdict == Verdict.DROP or not wanted or out.src == wanted[0]
                continue
            assert verdict == Verdict.FORWARD
            assert ((out.src, out.sport) if (out.src, out.sport) != server else None) == wanted, (
                step,
                now,
                proto,
                flag,
            )
    nat.check()
    lines = [line.split() for line in nat.services().splitlines() if "->" in line][1:]
    every = [(key, server) for key, there in services.items() for server in there]
    for (key, server), line in zip(every, lines, strict=True):
        assert line[-2:] == model.counts(*key, server)


@pytest.mark.one_of(3)
@pytest.mark.parametrize("scheduler", ["lc", "wlc"])
@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, 3), (2, 4, 1), (0, 3, 3), (5, 0, 1)])
def test_the_server_with_the_fewest_connections_by_a_list(scheduler, weights):
    """ip_vs_lc_schedule, ip_vs_wlc_schedule: the first of equals, by the product of load and the other's weight."""
    nat, servers = engine(scheduler, weights), ["10.244.2.5", "10.244.2.6", "10.244.1.7"]
    held = {}
    for n in range(90):
        loads = [sum(server == s for s in held.values()) for server in servers]
        best = None
        for k, weight in enumerate(weights):
            if not weight:
                continue
            # UDP counts as inactive: one each
            less = best is None or (
                loads[k] < loads[best] if scheduler == "lc" else loads[best] * weight > loads[k] * weights[best]
            )
            best = k if less else best
        held[40_000 + n] = query(nat, "10.244.2.9", sport=40_000 + n)
        assert held[40_000 + n] == servers[best], (n, loads)


def test_a_service_of_any_port_has_what_no_other_has():
    """ip_vs_service_find: the port itself goes before port 0, which only a persistent service may have."""
    saved = (
        "-A -u 10.96.0.10:0 -s rr -p 300\n-a -u 10.96.0.10:0 -r 10.244.2.5:0 -m -w 1\n"
        "-A -u 10.96.0.10:1 -s rr\n-a -u 10.96.0.10:1 -r 10.244.2.6:1 -m -w 1\n"
        "-A -u 10.96.0.10:53 -s rr\n-a -u 10.96.0.10:53 -r 10.244.1.7:53 -m -w 1\n"
    )
    nat = fastnat.Engine(node_with(saved))
    for n, (dport, server) in enumerate(
        [(53, "10.244.1.7"), (1, "10.244.2.6"), (54, "10.244.2.5"), (2, "10.244.2.5")] * 2
    ):
        packet = IP(src="10.244.2.9", dst="10.96.0.10") / UDP(sport=40_000 + n, dport=dport) / b"?"
        verdict, out = send(nat, packet)
        assert (verdict, out.dst, out.dport) == (Verdict.FORWARD, server, dport)


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 2, 3), (2, 4, 6), (0, 1, 1), (3, 0, 3), (0, 0, 1), (5, 1, 1)])
def test_servers_in_turn_by_their_weights(weights):
    """ip_vs_wrr_schedule: once through the list for each weight, from the greatest down in steps of their divisor."""
    nat, servers = engine("wrr", weights), ["10.244.2.5", "10.244.2.6", "10.244.1.7"]
    step = math.gcd(*weights)
    turn = [
        server for w in range(max(weights), 0, -step) for server, has in zip(servers, weights, strict=True) if has >= w
    ]
    said = [query(nat, "10.244.2.9", sport=40_000 + n) for n in range(3 * len(turn))]
    assert said == turn * 3
