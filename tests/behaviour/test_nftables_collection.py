"""Rule sets as firewalls, routers and container software write them: each loads strictly and decides as expected.

The files are our own, after the documentation of the software.
"""

import re
from pathlib import Path

import pytest
from behaviour.test_nftables import send, text, verdict

import fastnat
from fastnat import nftables
from fastnat.addresses import V4

COLLECTION = Path(__file__).parents[1] / "data" / "nftables" / "collection"
NAMES = sorted(path.stem for path in COLLECTION.glob("*.nft"))
IFACE = re.compile(r'\b(?:[io]if(?:name)?|device)\s+(?:!=\s*)?"?([A-Za-z][\w.\-]*)"?')
WORDS = {"lo", "vmap", "exists", "missing", "ne", "eq"}


def node_with(name):
    rules = (COLLECTION / f"{name}.nft").read_text()
    node = fastnat.Node()
    defined = re.findall(r"define \w+ = ([a-z]\w*)$", rules, re.MULTILINE)
    for number, iface in enumerate(sorted({*IFACE.findall(rules), *defined, "eth0", "lan0"} - WORDS)):
        node.add_interface(iface, [f"10.{100 + number}.0.1/16", f"fd00:{number + 1:x}::1/64"])
    node.add_interface("out0", ["192.0.2.200/24", "2001:db8:99::1/64"])
    node.add_route("default", via="192.0.2.1", dev="out0")
    node.load_nft(rules, f"{name}.nft")
    return node


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_strictly_and_its_listing_is_read_again(name):
    node = node_with(name)
    engine = fastnat.Engine(node, epoch=0.0)
    assert not engine.check()
    assert nftables.load(nftables.listing(node.nft)) == node.nft


@pytest.mark.parametrize(
    ("name", "fields", "source"),
    [
        ("firewalld", {"iface": "lan0", "out": "wan0"}, "own"),
        ("incus", {"iface": "incusbr0", "out": "eth0", "src": "10.84.177.20"}, "own"),
        ("systemd-nspawn", {"iface": "lan0", "out": "eth0", "src": "192.168.59.169"}, "own"),
        ("vyos", {"iface": "eth1", "out": "eth0", "src": "192.168.0.5"}, "own"),
        ("vyos", {"iface": "eth1", "out": "eth0", "src": "10.0.0.2"}, "192.0.2.2"),
        ("home-router", {"iface": "lan0", "out": "ppp0", "src": "192.168.1.77"}, None),
        ("wireguard-gateway", {"iface": "wg0", "out": "eth0", "src": "10.66.66.2"}, "own"),
        ("docker", {"iface": "docker0", "out": "eth0", "src": "172.17.0.2"}, "own"),
        ("docker", {"iface": "br-app", "out": "eth0", "src": "172.18.0.3"}, "198.51.100.10"),
        ("cgnat-map", {"iface": "lan0", "out": "wan", "src": "100.64.0.2"}, "203.0.113.1"),
        ("cgnat-chains", {"iface": "lan0", "out": "wan", "src": "100.64.0.1"}, "203.0.113.1"),
        ("map-e", {"iface": "lan0", "out": "map0"}, "203.0.113.9"),
        ("map-e-by-hash", {"iface": "lan0", "out": "map0"}, "203.0.113.9"),
        ("load-balancer", {"iface": "lan0", "out": "eth0", "src": "10.141.11.9"}, "198.51.100.10"),
    ],
)
def test_where_the_source_of_a_new_connection_goes(name, fields, source):
    """own: that of the interface by which it leaves; None: it does not leave."""
    node = node_with(name)
    fields = dict(fields)
    out = fields.pop("out")
    node.add_route("203.0.113.0/24", dev=out)
    own = V4.to_text(node.interfaces[out].addresses_of(V4)[0].local)
    fields.setdefault("src", "10.0.0.77")
    results = [
        send(engine, sport=40_000 + n, dport=443, dst="203.0.113.77", **fields)
        for engine in [fastnat.Engine(node, epoch=0.0)]
        for n in range(3)
    ]
    for result in results:
        assert verdict(result) == ("forward" if source else "drop")
        assert source is None or text(result["src"]) == (own if source == "own" else source)


@pytest.mark.parametrize(
    ("name", "fields", "where"),
    [
        ("firewalld", {"iface": "wan0", "proto": "tcp", "dport": 8080}, ("10.10.0.5", 80)),
        ("systemd-nspawn", {"iface": "eth0", "proto": "udp", "dport": 53}, ("192.168.59.170", 5353)),
        ("home-router", {"iface": "ppp0", "proto": "tcp", "dport": 2222}, ("192.168.1.11", 22)),
        ("docker", {"iface": "eth0", "proto": "tcp", "dport": 8080}, ("172.17.0.2", 80)),
        ("nixos-style", {"iface": "eth0", "proto": "tcp", "dport": 8022}, ("10.100.0.3", 22)),
    ],
)
def test_where_the_destination_of_a_new_connection_goes(name, fields, where):
    node = node_with(name)
    node.add_route("203.0.113.0/24", dev=fields["iface"])
    own = V4.to_text(node.interfaces[fields["iface"]].addresses_of(V4)[0].local)
    engine = fastnat.Engine(node, epoch=0.0)
    send(engine, src="203.0.113.9", dst=own, tcp_flags=2 * (fields["proto"] == "tcp"), **fields)
    (entry,) = engine.conntrack.format("extended").splitlines()
    assert f"src={where[0]} dst=203.0.113.9 sport={where[1]} dport=4000" in entry
