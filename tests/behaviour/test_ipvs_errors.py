"""Services of IPVS in both families: errors about their packets, chunks that open, addresses of all on a link."""

import itertools
import random
import struct

import pytest
from behaviour.test_corner_steps import FAMILIES, LAYERS
from behaviour.test_ipvs_again import SERVERS, shown
from behaviour.test_ipvs_families import OF, node_of
from behaviour.test_margins import counts
from kernel.bound_rules import datagram
from kernel.handmade import chunk, icmp, sctp, tcp, udp
from scapy.layers.inet import UDP

import fastnat
from fastnat import Verdict

ERRORS = {4: [(3, 1), (3, 3), (3, 4), (11, 0)], 6: [(1, 0), (1, 4), (2, 0), (3, 0)]}
L4 = {17: udp, 6: lambda src, dst, sport, dport: tcp(src, dst, sport, dport, "S")}


@FAMILIES
@pytest.mark.parametrize("gone", [False, True])
def test_errors_about_packets_of_a_service_in_either_direction(family, gone):
    """ip_vs_in_icmp, ip_vs_out_icmp: the address of the service or of the server, outside and in what is quoted.

    gone: the service's address is the node's no more, so that errors about answers come through FORWARD.
    """
    layer, rng = LAYERS[family], random.Random(family)
    pod, service, server = OF[family]["pod"], OF[family]["service"], SERVERS[family][0]
    said = shown(family)
    lines = "".join(
        f"-A -{flag} {said['service']}:{port} -s rr\n"
        f"-a -{flag} {said['service']}:{port} -r {f'[{server}]' if family == 6 else server}:{port + 1000} -m -w 1\n"
        for flag, port in (("u", 53), ("t", 80))
    )
    rules = "*mangle\n-A POSTROUTING -o cni0\n-A POSTROUTING -o eth0\nCOMMIT\n"
    for n, ((proto, port), error) in enumerate(itertools.product(((17, 53), (6, 80)), ERRORS[family])):
        profile = ("linux-5.4", "linux-6.18")[n % 2]
        nat = fastnat.Engine(node_of(family, lines, rules), profile=profile, max_connections=1000)
        sport = rng.randrange(1024, 65536)

        def there(src, dst, a, b, proto=proto):
            return datagram(family, proto, L4[proto](src, dst, a, b), ends=(src, dst))

        def about(src, dst, quoted, error=error):
            made = icmp(*error, struct.pack(">I", 0), quoted, v6=(src, dst) if family == 6 else None)
            return datagram(family, "icmp", made, ends=(src, dst))

        verdict, out = nat.process_packet(there(pod, service, sport, port), "cni0", 0.0)
        assert (verdict, layer(out).dst) == (Verdict.FORWARD, server)
        if gone:
            interface = nat.node.interfaces["kube-ipvs0"]
            (interface.addresses if family == 4 else interface.addresses6).clear()
            nat.reload()
        # the client asks why the answer came: the error goes on to the server, which knows itself and the client
        answer = there(service, pod, port, sport)
        verdict, out = nat.process_packet(about(pod, service, answer), "cni0", 0.0)
        assert (verdict, layer(out).src, layer(out).dst) == (Verdict.FORWARD, pod, server)
        quoted = layer(out).payload.payload
        assert (quoted.src, quoted.dst, quoted.sport) == (server, pod, port + 1000)
        # the request and the error, by the device that the server is behind
        assert counts(nat, family, "POSTROUTING") == [2, 0]
        # the server's error about the request, and that of a router on the way, come from the service
        for sender in (server, OF[family]["far"]):
            iface = "eth0" if sender != server else "cni0"
            error_ = about(sender, pod, there(pod, server, sport, port + 1000))
            verdict, out = nat.process_packet(error_, iface, 0.0)
            assert (verdict, layer(out).src, layer(out).dst) == (Verdict.FORWARD, service, pod)
            quoted = layer(out).payload.payload
            assert (quoted.src, quoted.dst, quoted.dport) == (pod, service, port)
        nat.check()


@pytest.mark.one_of(2)
@FAMILIES
@pytest.mark.parametrize("sloppy", [0, 1])
def test_chunks_that_open_a_connection(family, sloppy):
    """sctp_conn_schedule: INIT, with sloppy_sctp any but ABORT; a datagram without a chunk is dropped."""
    server = f"[{SERVERS[family][0]}]" if family == 6 else SERVERS[family][0]
    front = "--sctp-service {service}:53"
    saved = f"-A {front} -s rr\n-a {front} -r {server}:53 -m -w 1\n".format(**shown(family))
    node = node_of(family, saved)
    node.sysctls["net.ipv4.vs.sloppy_sctp"] = str(sloppy)
    pod, service = OF[family]["pod"], OF[family]["service"]
    nat, there = fastnat.Engine(node), 0
    for n, kind in enumerate([*range(16), 63, 64, 192, 193, 255, None]):
        body = chunk(kind, body=bytes(16)) if kind is not None else b""
        made = sctp(4000 + n, 53, 0 if kind == 1 else 7, body)
        verdict, out = nat.process_packet(datagram(family, 132, made, ends=(pod, service)), "cni0", 0.0)
        opens = kind is not None and (kind == 1 or (sloppy == 1 and kind != 6))
        there += opens
        assert len(nat.service_connections(family).splitlines()[2:]) == there, kind
        if kind is None:
            assert verdict == Verdict.DROP
        elif opens:
            assert (verdict, LAYERS[family](out).dst) == (Verdict.FORWARD, SERVERS[family][0])
        nat.check()


@pytest.mark.parametrize("iface", ["cni0", "eth0", "local"])
def test_what_is_sent_to_all_is_balanced_for_the_node_alone(iface):
    """ip_vs_in_hook: of what came, only what is for this host (PACKET_HOST); what the node sends in any case."""
    everybody = {"cni0": "10.244.2.255", "eth0": "10.0.0.255", "local": "10.244.2.255"}[iface]
    front = f"-u {everybody}:53"
    nat = fastnat.Engine(node_of(4, f"-A {front} -s rr\n-a {front} -r {SERVERS[4][0]}:53 -m -w 1\n"))
    src = {"cni0": OF[4]["pod"], "eth0": "10.0.0.9", "local": OF[4]["own"]}[iface]
    packet = bytes(LAYERS[4](src=src, dst=everybody) / UDP(sport=4000, dport=53) / b"?")
    verdict, out = nat.process_packet(packet, iface, 0.0)
    balanced = out is not None and LAYERS[4](out).dst == SERVERS[4][0]
    assert balanced == (iface == "local")
    assert len(nat.service_connections().splitlines()[2:]) == balanced
    assert verdict == (Verdict.FORWARD if balanced else Verdict.LOCAL)
