"""Batches of packet headers beside the running kernel, which gets each of them as a packet."""

import os
import random
import time

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6

import fastnat
from fastnat.addresses import V4, V6
from kernel import cases, gateway, random_case
from kernel.test_live import pytestmark as needs_kernel
from kernel.walks import node_of

pytestmark = needs_kernel

SEEDS = int(os.environ.get("FASTNAT_SEEDS", "6"))
PACKETS = int(os.environ.get("FASTNAT_PACKETS", "400"))
# what these ask for is not in a header
BYTES = ("-m ttl", "-m hl", "-m ecn", "-m tcpmss")
SYN, SYN_ACK = 2, 18
ECHO, ECHO_REPLY = {4: 8 << 8, 6: 128 << 8}, {4: 0, 6: 129 << 8}


def random_node(rng, family):
    """Return a node with random rules of NAT, marks and verdicts."""
    text = (random_case.rules if family == 4 else random_case.rules6)(rng)
    kept = "".join(f"{line}\n" for line in text.splitlines() if not any(word in line for word in BYTES))
    accounted = {"net.netfilter.nf_conntrack_acct": rng.randrange(2)}
    sets = cases.SETS if family == 4 else cases.SETS6
    return node_of(family, accounted, **{f"rules{family}": kept, "sets": sets})


def client(rng, family):
    """Return a header of a client's packet as a dict of the fields of Engine.packets."""
    host, far = rng.randrange(2, 14), rng.randrange(1, 90)
    proto = rng.choice([17, 17, 6, 58 if family == 6 else 1])
    src, dst = (f"10.244.1.{host}", f"203.0.113.{far}") if family == 4 else (f"fd01::{host:x}", f"fd03::{far:x}")
    sport, dport = rng.randrange(10000, 10040), rng.choice([53, 80, 443, 8050, rng.randrange(1, 60000)])
    if proto in (1, 58):
        dport = ECHO[family]
    return {"proto": proto, "src": src, "dst": dst, "sport": sport, "dport": dport, "iface": "cni0",
            "tcp_flags": SYN if proto == 6 else 0}  # fmt: skip


def bytes_of(header, family):
    """Return the packet of a header."""
    l3 = (IP if family == 4 else IPv6)(src=header["src"], dst=header["dst"])
    sport, dport, proto = header["sport"], header["dport"], header["proto"]
    if proto == 17:
        return bytes(l3 / UDP(sport=sport, dport=dport))
    if proto == 6:
        flags = header["tcp_flags"]
        return bytes(l3 / TCP(sport=sport, dport=dport, flags=flags, seq=1000, ack=1001 if flags == SYN_ACK else 0))
    if family == 6:
        return bytes(l3 / (ICMPv6EchoReply if dport == ECHO_REPLY[6] else ICMPv6EchoRequest)(id=sport))
    return bytes(l3 / ICMP(type=dport >> 8, id=sport))


def answer_to(header, result):
    """Return the header of what the server answers to a packet that left as a result says."""
    dport = ECHO_REPLY[4 if header["proto"] == 1 else 6] if header["proto"] in (1, 58) else result["sport"]
    sport = result["sport"] if header["proto"] in (1, 58) else result["dport"]
    return {"proto": header["proto"], "src": result["dst"], "dst": result["src"], "sport": sport, "dport": dport,
            "iface": result["iface"], "tcp_flags": SYN_ACK if header["proto"] == 6 else 0}  # fmt: skip


def ends_of(data):
    """Return addresses and ports of a packet, as results have them."""
    family, at = (V4, (data[0] & 15) * 4) if data[0] >> 4 == 4 else (V6, 40)
    src, dst = (data[12:16], data[16:20]) if family is V4 else (data[8:24], data[24:40])
    proto = data[9] if family is V4 else data[6]
    ports = (4, 0) if proto in (1, 58) else (0, 2)
    sport, dport = (int.from_bytes(data[at + n : at + n + 2]) for n in ports)
    return family.to_text(int.from_bytes(src)), family.to_text(int.from_bytes(dst)), sport, dport


def run(seed, number, folder, meet=lambda node: None):
    """Compare batches up to a port that is drawn at random; return how many packets. meet: is told the node."""
    rng, family = random.Random(f"headers {seed}"), 6 if seed % 3 == 2 else 4
    node, known, done = random_node(rng, family), [], 0
    meet(node)
    kernel = gateway.Gateway(node)
    try:
        for name, text in kernel.files().items():
            (folder / name).write_text(text)
        engine, start = fastnat.Engine(fastnat.Node.load(folder)), time.monotonic()
        while done < number:
            headers = []
            for _ in range(rng.choice([1, 2, 7, 40])):
                fresh = client(rng, family)
                headers.append(rng.choice([fresh, *known[-60:]]) if rng.random() < 0.6 else fresh)
                if headers[-1]["proto"] == 6 and headers[-1] in known:
                    # without sequence numbers nobody can tell which SYN is answered
                    known.remove(headers[-1])
            datagrams = [bytes_of(h, family) for h in headers]
            columns = {name: [h[name] for h in headers] for name in headers[0] if name != "iface"}
            numbers = [engine.node.iface_number(h["iface"]) for h in headers]
            batch = engine.packets(**columns, iface=numbers, length=[len(d) for d in datagrams])
            results = engine.process(batch, now=time.monotonic() - start)
            if engine.stats["random_draws"]:
                return done
            for header, data, result in zip(headers, datagrams, results, strict=True):
                done += 1
                out = kernel.go(header["iface"], data, int(result["verdict"] == fastnat.Verdict.FORWARD))
                mine = []
                if result["verdict"] == fastnat.Verdict.FORWARD:
                    kind = V4 if family == 4 else V6
                    src, dst = (kind.to_text(kind.unpack(result[name])) for name in ("src", "dst"))
                    ports = int(result["sport"]), int(result["dport"])
                    mine = [(engine.iface_names[result["out_iface"]], src, dst, *ports)]
                theirs = [(iface, *ends_of(there)) for iface, there in out]
                assert mine == theirs, (seed, done, header)
                if header["proto"] != 6:
                    known.append(header)
                if mine and header["iface"] == "cni0" and rng.random() < 0.6:
                    fields = dict(zip(("iface", "src", "dst", "sport", "dport"), mine[0], strict=True))
                    known.append(answer_to(header, fields))
        gateway.compare_ends(kernel, engine, [])
    finally:
        kernel.close()
    return done


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_headers(seed, tmp_path):
    """More: FASTNAT_SEEDS=500 FASTNAT_PACKETS=2000."""
    run(seed, PACKETS, tmp_path)
