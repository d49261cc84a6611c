"""The node: files in and out, routes, addresses."""

import json

import numpy as np
import pytest
from nodes import make_node

import fastnat
from fastnat import InputError, Node
from fastnat.addresses import to_int, to_text
from fastnat.core.layout import RouteKind
from fastnat.node.arrays import address_array, route_array


def test_a_saved_node_loads_as_it_was(tmp_path):
    node = Node.example()
    node.sysctls["net.netfilter.nf_conntrack_udp_timeout"] = "17"
    node.save(tmp_path)
    again = Node.load(tmp_path)
    assert route_array(again).tobytes() == route_array(node).tobytes()
    assert address_array(again).tobytes() == address_array(node).tobytes()
    assert (again.rules_text, again.sysctls) == (node.rules_text, node.sysctls)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("addr.json", "[{", "addr.json"),
        ("addr.json", '[{"ifname": 7}]', "ip -j addr"),
        ("addr.json", '[{"ifname": "a", "ifindex": 2, "addr_info": [{"family": "inet"}]}]', "addr.json"),
        ("route.json", '[{"dst": "nonsense", "dev": "eth0"}]', "route.json"),
        ("route.json", '[{"dst": "default", "dev": "nowhere"}]', "nowhere"),
        ("sysctl.conf", "net.ipv4.ip_forward", "sysctl.conf"),
        ("rules.v4", "*nat\n-A POSTROUTING -j NOWHERE\nCOMMIT\n", "rules.v4:2"),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, says):
    Node.example().save(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=says):
        Node.load(tmp_path)


def test_a_bad_rule_leaves_the_old_rules():
    node = make_node()
    before = node.rules_text
    with pytest.raises(fastnat.RuleError):
        node.load_rules("*nat\n-A X -j NOWHERE\n")
    assert node.rules_text == before


def test_every_class_of_addresses_has_the_route_of_a_linear_search():
    node = make_node()
    rng = np.random.default_rng(5)
    for _ in range(60):
        prefix = int(rng.integers(0, 33))
        kind = str(rng.choice(["unicast", "blackhole", "throw", "unreachable"]))
        dst = f"{to_text(int(rng.integers(0, 2**32)) & ~((1 << 32 - prefix) - 1) & 0xFFFFFFFF)}/{prefix}"
        node.add_route(dst, dev="eth0" if kind == "unicast" else None, kind=kind)
    nat = fastnat.Engine(node)
    routes = route_array(node)
    near = np.concatenate([routes["dst"], routes["dst"] - np.uint32(1), routes["dst"] | ~routes["mask"]])
    for addr in np.concatenate([near, rng.integers(0, 2**32, 500, np.uint32)]).tolist():
        fits = (addr ^ routes["dst"].astype(np.int64)) & routes["mask"] == 0
        first = int(np.argmax(fits)) if fits.any() else None
        # a throw ends the look-up in its table
        wanted = None if first is None or routes["kind"][first] == RouteKind.THROW else first
        assert nat.stacks[4].core.route(addr) == wanted, to_text(addr)


def test_interfaces_and_routes_must_make_sense():
    node = make_node()
    with pytest.raises(InputError, match="exists already"):
        node.add_interface("eth0")
    with pytest.raises(InputError, match=r"192\.0\.2\.1/24"):
        node.add_interface("eth1", ["192.0.2.300/24"])
    with pytest.raises(InputError, match="no interface 'eth9'"):
        node.add_route("10.0.0.0/8", dev="eth9")
    assert json.dumps(to_int("0.0.0.1")) == "1"


def test_what_the_local_table_holds():
    node = fastnat.Node()
    node.add_interface("eth0", ["192.0.2.1/24", "2001:db8::1/64", "fe80::1/64"])
    node.add_interface("eth1", ["198.51.100.1/24", "fe80::2/64"])
    node.add_address("lo", "203.0.113.1/28")
    node.add_route("fe80::/64", dev="eth0")
    node.add_route("fe80::/64", dev="eth1")
    nat = fastnat.Engine(node)

    def verdict(dst, src, iface="eth0"):
        packet = nat.packets(iface=iface, src=src, dst=dst, sport=1, dport=53, proto="udp")
        return fastnat.Verdict(nat.process(packet)["verdict"][0]).name

    def local(dst, src, iface="eth0"):
        return verdict(dst, src, iface) == "LOCAL"

    assert local("203.0.113.9", "192.0.2.9") and not local("203.0.113.16", "192.0.2.9")
    assert local("192.0.2.255", "192.0.2.9") and local("224.0.0.1", "192.0.2.9") and not local("224.0.0.2", "192.0.2.9")
    assert local("2001:db8::", "2001:db8::9") and not local("2001:db8:0:1::", "2001:db8::9")
    assert local("fe80::1", "fe80::9") and not local("fe80::1", "fe80::9", "eth1")
    assert local("fe80::2", "fe80::9", "eth1") and verdict("fe80::7", "fe80::9", "eth1") == "FORWARD"
    assert local("ff02::1", "fe80::9") and local("ff02::2", "fe80::9") and local("ff02::1:ff00:1", "fe80::9")
    assert not local("ff02::1:ff00:77", "fe80::9") and not local("ff05::1", "fe80::9")
