"""Whose device sent a packet: frames of captures, neighbours of the node, devices without frames."""

import json
import struct

import pytest
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

import fastnat
from fastnat.capture.pcap import read
from fastnat.capture.replay import replay
from fastnat.errors import InputError

OWN, HERE, THERE, ROUTER = "02:00:00:00:00:01", "02:00:00:00:01:09", "02:00:00:00:01:0a", "02:00:00:00:02:01"
KNOWN = f"set known {{ type ether_addr; elements = {{ {HERE} }}; }}"


def node_of(rules, folder=None):
    """Return a node with a LAN, whose hosts .9 and .10 it knows, an uplink, and a tunnel."""
    node = fastnat.Node()
    node.add_interface("lan0", ["10.0.1.1/24", "fd00:1::1/64"])
    node.add_interface("wan0", ["198.51.100.2/24"])
    node.add_interface("tun0", ["10.0.3.1/24"])
    node.add_route("default", via="198.51.100.1", dev="wan0")
    node.interfaces["tun0"].link_type = "none"
    node.interfaces["lan0"].mac = int(OWN.replace(":", ""), 16)
    for address, mac in (("10.0.1.9", HERE), ("10.0.1.10", THERE), ("fd00:1::9", HERE)):
        node.add_neighbour("lan0", address, mac)
    node.add_neighbour("wan0", "198.51.100.1", ROUTER)
    node.load_nft(rules, folder=folder)
    return node


def verdicts(rules, *senders, hook="forward"):
    """Return whether packets get through a chain that drops all but what its rules accept: (source, interface)."""
    text = f"table inet t {{ {KNOWN}\n chain c {{ type filter hook {hook} priority 0; policy drop;\n{rules}\n }} }}"
    engine = fastnat.Engine(node_of(text))
    batch = [fastnat.packets(proto="udp", src=s, dst="192.0.2.1", sport=n, dport=9, iface=i, node=engine.node)
             for n, (s, i) in enumerate(senders, 1)]  # fmt: skip
    return [engine.process(packet)["verdict"][0] == fastnat.Verdict.FORWARD for packet in batch]


SENDERS = (("10.0.1.9", "lan0"), ("10.0.1.10", "lan0"), ("10.0.1.77", "lan0"), ("10.0.3.9", "tun0"))


@pytest.mark.parametrize("hook", ["prerouting", "forward", "postrouting"])
@pytest.mark.parametrize(
    ("rule", "through"),
    [
        (f"ether saddr {HERE} accept", [1, 0, 0, 0]),
        ("ether saddr @known accept", [1, 0, 0, 0]),
        # who is not known has no address that could be another one
        (f"ether saddr != {HERE} accept", [0, 1, 0, 0]),
        (f"ether daddr {OWN} accept", [1, 1, 1, 0]),
        ("ether type ip accept", [1, 1, 1, 0]),
        ("@ll,48,16 0x0200 accept", [1, 1, 0, 0]),
        (f"iifname . ether saddr {{ lan0 . {THERE} }} accept", [0, 1, 0, 0]),
        (f"ether saddr . ip saddr {{ {HERE} . 10.0.1.9, {HERE} . 10.0.1.10 }} accept", [1, 0, 0, 0]),
        ("ether saddr & 00:00:00:00:ff:0f == 00:00:00:00:01:0a accept", [0, 1, 0, 0]),
        ("vlan id 5 accept", [0, 0, 0, 0]),
        ("vlan id != 5 accept", [0, 0, 0, 0]),
    ],
)
def test_neighbours_say_who_sent_a_packet(rule, through, hook):
    assert verdicts(rule, *SENDERS, hook=hook) == [bool(x) for x in through]


def test_what_the_node_sends_came_in_no_frame():
    text = "table inet t { chain c { type filter hook output priority 0; policy drop; ether type ip accept; } }"
    engine = fastnat.Engine(node_of(text))
    assert engine.process(engine.packets(proto="udp", dst="192.0.2.1", dport=9))["verdict"][0] == fastnat.Verdict.DROP


def test_nat_does_not_change_who_sent_a_packet():
    text = f"""
        table ip nat {{
            chain pre {{ type nat hook prerouting priority dstnat; udp dport 9 dnat to 192.0.2.7; }}
            chain post {{ type nat hook postrouting priority srcnat; masquerade; }}
        }}
        table inet t {{
            chain late {{ type filter hook postrouting priority 300; policy drop;
                ether saddr {{ {HERE}, {ROUTER} }} accept
            }}
        }}
    """
    engine = fastnat.Engine(node_of(text))
    there = engine.packets(proto="udp", src="10.0.1.9", dst="192.0.2.1", sport=1, dport=9, iface="lan0")
    out = engine.process(there)[0]
    assert out["verdict"] == fastnat.Verdict.FORWARD and out["src"] == fastnat.addresses.V4.to_int("198.51.100.2")
    # a server behind the uplink's router: nobody has said whose device sent it
    back = engine.packets(
        proto="udp", src="192.0.2.7", dst="198.51.100.2", sport=9, dport=int(out["sport"]), iface="wan0"
    )
    assert engine.process(back)["verdict"][0] == fastnat.Verdict.DROP
    data = bytes(IP(src="192.0.2.7", dst="198.51.100.2") / UDP(sport=9, dport=int(out["sport"])))
    link = bytes.fromhex((OWN + ROUTER).replace(":", ""))
    assert engine.process_packet(data, "wan0", link=link)[0] == fastnat.Verdict.FORWARD
    with pytest.raises(InputError, match="12 bytes are two link-layer addresses"):
        engine.process_packet(data, "wan0", link=link[:6])


def test_the_frame_goes_before_the_neighbours():
    text = (
        f"table inet t {{ chain c {{ type filter hook forward priority 0; policy drop; ether saddr {HERE} accept; }} }}"
    )
    engine = fastnat.Engine(node_of(text))
    data = bytes(IP(src="10.0.1.9", dst="192.0.2.1") / UDP(sport=1, dport=9))
    other = bytes.fromhex((OWN + THERE).replace(":", ""))
    said = [engine.process_packet(data, "lan0", link=link)[0] for link in (b"", other, b"")]
    assert said == [fastnat.Verdict.FORWARD, fastnat.Verdict.DROP, fastnat.Verdict.FORWARD]


def test_frames_of_captures_are_those_of_their_packets(tmp_path):
    text = f"table inet t {{ chain c {{ type filter hook prerouting priority 0; ether saddr {HERE} accept; drop; }} }}"
    frames = [Ether(src=mac, dst=OWN) / IP(src="10.0.1.9", dst="192.0.2.1") / UDP(sport=n, dport=9) / bytes(64)
              for n, mac in enumerate((HERE, THERE), 1)]  # fmt: skip
    # conntrack, which comes later, needs them whole: the first part says who sent the datagram
    parts = fragment(IP(src="10.0.1.9", dst="192.0.2.1", id=7) / UDP(sport=3, dport=9) / bytes(64), fragsize=40)
    frames += [Ether(src=mac, dst=OWN) / part for mac, part in zip((HERE, THERE), parts, strict=True)]
    frames += [Ether(src=HERE, dst=OWN) / IPv6(src="fd00:1::8", dst="fd00:2::1") / UDP(sport=4, dport=9)]
    wrpcap(str(tmp_path / "in.pcap"), frames)
    engine = fastnat.Engine(node_of(text + "\ntable ip x { chain y { ct state new }\n }"))
    lines = [r.line for r in replay(engine, read(tmp_path / "in.pcap"), "lan0")]
    assert [(line.verdict, line.reason) for line in lines] == [
        ("forward", "none"), ("drop", "rule_drop"), ("drop", "fragment"), ("forward", "none"), ("drop", "no_route")
    ]  # fmt: skip


@pytest.mark.parametrize("rule", [f"-m mac --mac-source {HERE}", f"-m mac ! --mac-source {HERE}"])
def test_mac_of_iptables(rule):
    node = node_of("")
    node.load_rules(f"*filter\n:FORWARD DROP [0:0]\n-A FORWARD {rule} -j ACCEPT\nCOMMIT\n")
    engine = fastnat.Engine(node)
    batch = [
        engine.packets(proto="udp", src=s, dst="192.0.2.1", dport=9, iface=i) for s, i in SENDERS for _ in range(2)
    ]
    through = [engine.process(packet)["verdict"][0] == fastnat.Verdict.FORWARD for packet in batch]
    wanted = [0, 1, 0, 0] if "!" in rule else [1, 0, 0, 0]
    assert through == [bool(x) for x in wanted for _ in range(2)]
    assert rule in engine.save_rules()


def test_files_say_who_is_where(tmp_path):
    node = node_of(f"table inet t {{ chain c {{ ether saddr {HERE} accept; }} }}")
    node.save(tmp_path)
    again = fastnat.Node.load(tmp_path)
    assert again.neighbours == node.neighbours and len(again.neighbours) == 4
    assert again.interfaces["lan0"].mac == node.interfaces["lan0"].mac and again.interfaces["tun0"].mac is None
    # as ip prints them: who does not answer, who stands for others, and a tunnel whose address is one of IP
    said = json.loads((tmp_path / "neigh.json").read_text())
    said += [{"dst": "10.0.1.3", "dev": "lan0", "state": ["FAILED"]}, {}]
    said += [{"dst": "10.0.3.7", "dev": "tun0", "lladdr": "192.0.2.9", "state": ["NOARP"]}]
    (tmp_path / "neigh.json").write_text(json.dumps(said))
    assert fastnat.Node.load(tmp_path).neighbours == node.neighbours
    (tmp_path / "neigh.json").write_text('[{"dst": "10.0.1.3", "dev": "eth9", "lladdr": "02:00:00:00:00:03"}]')
    with pytest.raises(
        InputError, match=r"neigh.json: .*no interface 'eth9' in addr.json.*the output of `ip -j neigh`"
    ):
        fastnat.Node.load(tmp_path)


def test_frames_outlive_saving(tmp_path):
    text = (
        f"table inet t {{ chain c {{ type filter hook forward priority 0; policy drop; ether saddr {HERE} accept; }} }}"
    )
    engine = fastnat.Engine(node_of(text))
    engine.save(tmp_path / "state")
    again = fastnat.Engine.restore(tmp_path / "state")
    for e in (again, engine.fork()):
        said = [e.process(e.packets(proto="udp", src=s, dst="192.0.2.1", dport=9, iface=i)) for s, i in SENDERS]
        assert [r["verdict"][0] == fastnat.Verdict.FORWARD for r in said] == [True, False, False, False]


@pytest.mark.parametrize(("mac", "why"), [("02:00", "is no such address"), (5, "is no such address")])
def test_neighbours_that_are_none(mac, why):
    with pytest.raises(InputError, match=why):
        node_of("").add_neighbour("lan0", "10.0.1.3", mac)


def test_egress_sees_the_frame_that_leaves():
    text = f"""table netdev n {{ chain c {{ type filter hook egress device wan0 priority 0; policy drop;
        ether daddr {ROUTER} iifname "" oifname wan0 meta length {14 + 32} accept; }} }}"""
    engine = fastnat.Engine(node_of(text))
    data = bytes(IP(src="10.0.1.9", dst="192.0.2.1") / UDP(sport=1, dport=9) / struct.pack("!I", 0))
    assert engine.process_packet(data, "lan0")[0] == fastnat.Verdict.FORWARD
    assert engine.process_packet(data + b"", "tun0")[0] == fastnat.Verdict.FORWARD
    aside = bytes(IP(src="10.0.1.9", dst="198.51.100.77") / UDP(sport=1, dport=9) / struct.pack("!I", 0))
    assert engine.process_packet(aside, "lan0")[0] == fastnat.Verdict.DROP


def test_a_chain_at_a_device_asks_for_the_family_that_its_rule_names():
    """`ip protocol udp` was taken for what `udp dport` says anyway, and packets of IPv6 met the rule."""
    text = """table netdev n { chain c { type filter hook ingress device lan0 priority 0;
        ip protocol udp udp dport 9 drop; }
        }"""
    engine = fastnat.Engine(node_of(text))
    for src, dst in (("10.0.1.9", "198.51.100.2"), ("fd00:1::9", "fd00:1::1")):
        packet = engine.packets(proto="udp", src=src, dst=dst, dport=9, iface="lan0")
        wanted = fastnat.Verdict.LOCAL if ":" in src else fastnat.Verdict.DROP
        assert engine.process(packet)["verdict"][0] == wanted
