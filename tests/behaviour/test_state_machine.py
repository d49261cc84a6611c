"""Random orders of calls over both families, every table walked after each: Engine.check() never finds anything."""

import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from nodes import examples
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

import fastnat
from fastnat import FastnatError

RULES = """*raw
-A PREROUTING -p tcp --dport 21 -j CT --helper ftp
-A PREROUTING -p udp --dport 69 -j CT --helper tftp
-A PREROUTING -p udp --dport 7 -j CT --zone-orig 3
COMMIT
*mangle
-A POSTROUTING -m mark --mark 0x1/0x1 -j CONNMARK --save-mark
COMMIT
*nat
-A PREROUTING -d {vip} -p tcp --dport 80 -j DNAT --to-destination {backend}
-A POSTROUTING -o eth0 -p udp -j MASQUERADE {options}
-A POSTROUTING -o eth0 -p tcp -j MASQUERADE --to-ports 2000-2031 {options}
-A POSTROUTING -o eth0 -j MASQUERADE
COMMIT
"""
FAMILIES = {
    4: {"src": "10.244.1.", "dst": "203.0.113.", "own": "198.51.100.10", "vip": "203.0.113.1", "ip": IP},
    6: {"src": "2001:db8:a::", "dst": "2001:db8:c::", "own": "2001:db8:b::1", "vip": "2001:db8:c::1", "ip": IPv6},
}
BACKEND = {4: "203.0.113.9:80", 6: "[2001:db8:c::9]:80"}
families, few, ports = st.sampled_from([4, 6]), st.integers(1, 6), st.sampled_from([7, 21, 53, 69, 80, 443])
protocols = st.sampled_from(["udp", "tcp", "icmp", "sctp"])
flags = st.sampled_from([2, 18, 16, 17, 4, 20, 0])


def rules_of(version, options=""):
    family = FAMILIES[version]
    return RULES.format(vip=family["vip"], backend=BACKEND[version], options=options)


class Machine(RuleBasedStateMachine):
    """An engine of little room, so that everything meets."""

    @initialize(profile=st.sampled_from(["linux-6.18", "linux-5.4"]), size=st.sampled_from([12, 300]),
                events=st.sampled_from([0, 3, 500]), little=st.booleans())  # fmt: skip
    def start(self, profile, size, events, little):
        node = fastnat.Node()
        node.add_interface("cni0", ["10.244.1.1/24", "2001:db8:a::1/64"])
        node.add_interface("eth0", ["198.51.100.10/24", "2001:db8:b::1/64"])
        node.add_route("default", via="198.51.100.1", dev="eth0")
        node.add_route("::/0", via="2001:db8:b::fe", dev="eth0")
        node.load_rules(rules_of(4))
        node.load_rules6(rules_of(6))
        self.services(node, 2)
        self.now, self.sent = 0.0, {4: None, 6: None}
        bits = 4000 if little else 32 << 20
        self.nat = fastnat.Engine(node, profile, max_connections=size, events=events, bitmap_bytes=bits)

    @staticmethod
    def services(node, n):
        servers = "".join(f"-a -t 198.51.100.10:21 -r 10.244.1.{8 + k}:21 -m -w {k + 1}\n" for k in range(n))
        node.load_services(f"-A -t 198.51.100.10:21 -s wrr\n{servers}-A -u 198.51.100.10:53 -s rr\n")

    @rule(v=families, proto=protocols, src=few, sport=few, dst=few, dport=ports, tcp=flags, mark=few,
          n=st.integers(1, 40), cpus=st.sampled_from([1, 1, 8]), spread=st.booleans())  # fmt: skip
    def open(self, v, proto, src, sport, dst, dport, tcp, mark, n, cpus, spread):
        family = FAMILIES[v]
        fields = {
            "proto": {"icmp": 58 if v == 6 else 1}.get(proto, proto), "src": f"{family['src']}{src + 1}",
            "dst": f"{family['dst']}{dst}", "sport": 1000 + sport + np.arange(n) * spread,
            "dport": (128 if v == 6 else 8) << 8 if proto == "icmp" else dport, "tcp_flags": tcp, "mark": mark,
            "isn": np.arange(n),
        }  # fmt: skip
        self.sent[v] = batch = self.nat.packets(iface="cni0", **fields)
        self.out = self.nat.process(batch, self.now, cpus=cpus)

    @rule(v=families, tcp=flags)
    def reply(self, v, tcp):
        if self.sent[v] is None:
            return
        batch = self.sent[v].copy()
        out = self.nat.process(batch, self.now)
        back = batch.copy()
        back["src"], back["dst"], back["sport"], back["dport"] = out["dst"], out["src"], out["dport"], out["sport"]
        back["iface"], back["tcp_flags"] = 2, tcp
        self.nat.process(back, self.now)

    @rule(v=families, port=st.sampled_from([21, 69]), sport=few, wrong=st.booleans())
    def helper(self, v, port, sport, wrong):
        """A control connection announces another, which comes, or comes broken."""
        family = FAMILIES[v]
        ip, client, server = family["ip"], f"{family['src']}2", f"{family['dst']}5"
        sport += 3000

        def run(packet, iface):
            return self.nat.process_packet(bytes(packet), iface, self.now)[1]

        if port == 69:
            sent = run(ip(src=client, dst=server) / UDP(sport=sport, dport=69) / b"\0\1x\0octet\0", "cni0")
        else:
            run(ip(src=client, dst=server) / TCP(sport=sport, dport=21, seq=100), "cni0")
            sent = run(ip(src=client, dst=server) / TCP(sport=sport, dport=21, flags="A", seq=101) / b"X\r\n", "cni0")
            command = b"EPRT |2|2001:db8:a::2|5000|\r\n" if v == 6 else b"PORT 10,244,1,2,19,136\r\n"
            run(ip(src=client, dst=server) / TCP(sport=sport, dport=21, flags="PA", seq=104) / command, "cni0")
        if sent is None:
            return
        near = ip(sent)
        data = TCP(sport=20, dport=5000, flags="S") if port == 21 else UDP(sport=999, dport=near.sport)
        if wrong:
            data.chksum = 1
        run(ip(src=server, dst=near.src) / data / b"x", "eth0")

    @rule(src=few, sport=few)
    def service(self, src, sport):
        fields = {"src": f"203.0.113.{src + 20}", "sport": sport, "dst": "198.51.100.10", "dport": 21, "tcp_flags": 2}
        self.nat.process(self.nat.packets(proto="tcp", iface="eth0", **fields), self.now)

    @rule(v=families, sport=few, hold=st.sampled_from([0.0, 1.0]))
    def connect_and_close(self, v, sport, hold):
        family = FAMILIES[v]
        opened = self.nat.connect("tcp", f"{family['src']}3", 4000 + sport, f"{family['dst']}7", 443, self.now)
        self.now += hold
        if opened is not None:
            self.nat.close(opened, self.now)

    @rule(seconds=st.sampled_from([0.004, 1.0, 31.0, 121.0, 500_000.0]))
    def expire(self, seconds):
        self.now += seconds
        self.nat.advance(self.now)

    @rule()
    def flush(self):
        self.nat.conntrack.flush()

    @rule(which=st.integers(0, 50))
    def delete(self, which):
        listed = list(self.nat.conntrack)
        if listed:
            self.nat.conntrack.delete(listed[which % len(listed)])

    @rule()
    def dump_and_load(self):
        text = self.nat.conntrack.format("extended")
        self.nat.conntrack.flush()
        try:
            self.nat.conntrack.load(text)
        except FastnatError:
            assert len(list(self.nat.conntrack)) == 0

    @rule(seed=st.integers(0, 3))
    def fork(self, seed):
        other = self.nat.fork(seed or None)
        self.nat.check()
        self.nat = other

    @rule()
    def save_and_restore(self):
        before = sorted(self.nat.conntrack.format("extended").splitlines())
        with tempfile.TemporaryDirectory() as folder:
            self.nat.save(Path(folder) / "state")
            self.nat = fastnat.Engine.restore(Path(folder) / "state")
        assert sorted(self.nat.conntrack.format("extended").splitlines()) == before

    @rule(options=st.sampled_from(["", "--random-fully"]), servers=st.integers(0, 3))
    def reload(self, options, servers):
        node = self.nat.node
        node.load_rules(rules_of(4, options))
        node.load_rules6(rules_of(6, options))
        self.services(node, servers)
        self.nat.reload()

    @rule(name=st.sampled_from(["cni0", "eth0"]))
    def link_down(self, name):
        self.nat.link_down(name)

    @rule(v=families)
    def trace(self, v):
        if self.sent[v] is not None:
            self.nat.trace(self.sent[v][:1])

    @rule()
    def events(self):
        for version in (4, 6):
            with suppress(FastnatError):
                self.nat.events(version)

    @invariant()
    def everything_is_as_it_should_be(self):
        if hasattr(self, "nat"):
            self.nat.check()
            assert len(self.nat.conntrack) <= self.nat.max_connections
            assert self.nat.now <= self.now


Machine.TestCase.settings = settings(max_examples=examples(40), stateful_step_count=30, deadline=None)
test_machine = pytest.mark.drawn(Machine.TestCase)
