"""Nat tables as the systems write them, from their documentation: each loads strictly and decides as it should."""

from pathlib import Path

import pytest

import fastnat

FOLDER = Path(__file__).parents[1] / "data" / "rules"
SETS = """create KUBE-CLUSTER-IP hash:ip,port family inet hashsize 1024 maxelem 65536
add KUBE-CLUSTER-IP 10.96.0.10,udp:53
create KUBE-LOOP-BACK hash:ip,port,ip family inet hashsize 1024 maxelem 65536
add KUBE-LOOP-BACK 10.244.1.5,udp:53,10.244.1.5
create KUBE-NODE-PORT-TCP bitmap:port range 0-65535
add KUBE-NODE-PORT-TCP 30080
create cali40all-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40all-ipam-pools 10.244.0.0/16
create cali40masq-ipam-pools hash:net family inet hashsize 1024 maxelem 1048576
add cali40masq-ipam-pools 10.244.0.0/16
"""
# file: a packet (interface, source, destination, protocol, destination port) and where it must go from and to
EXPECTED = {
    "kube-proxy-iptables": ("cni0", "10.244.1.2", "10.96.0.10", "udp", 53, None, {"10.244.1.5", "10.244.2.7"}),
    "kube-proxy-ipvs": ("cni0", "10.244.1.2", "203.0.113.9", "udp", 53, "198.51.100.10", {"203.0.113.9"}),
    "flannel": ("cni0", "10.244.1.2", "203.0.113.9", "tcp", 80, "198.51.100.10", {"203.0.113.9"}),
    "calico": ("cni0", "10.244.1.2", "203.0.113.9", "tcp", 80, "198.51.100.10", {"203.0.113.9"}),
    "docker": ("eth0", "203.0.113.9", "198.51.100.10", "tcp", 8080, "203.0.113.9", {"10.244.1.2"}),
    "libvirt": ("cni0", "10.244.1.2", "203.0.113.9", "tcp", 80, "198.51.100.10", {"203.0.113.9"}),
    "openwrt": ("eth0", "203.0.113.9", "198.51.100.10", "tcp", 2222, "203.0.113.9", {"10.244.1.2"}),
    "tailscale": ("cni0", "10.244.1.2", "203.0.113.9", "udp", 53, "10.244.1.2", {"203.0.113.9"}),
    "ufw": ("cni0", "10.244.1.2", "203.0.113.9", "udp", 53, "198.51.100.10", {"203.0.113.9"}),
}


def node(name, lenient=False):
    made = fastnat.Node()
    made.add_interface("cni0", ["10.244.1.1/16"])
    made.add_interface("eth0", ["198.51.100.10/24"])
    made.add_interface("tailscale0", ["100.64.0.1/32"])
    made.add_route("default", via="198.51.100.1", dev="eth0")
    made.load_sets(SETS)
    return made, made.load_rules((FOLDER / f"{name}.v4").read_text(), f"{name}.v4", lenient)


@pytest.mark.parametrize("name", EXPECTED)
def test_it_loads_and_decides(name):
    made, warnings = node(name)
    assert warnings == []
    nat = fastnat.Engine(made)
    iface, src, dst, proto, dport, new_src, new_dst = EXPECTED[name]
    packet = nat.packets(proto=proto, src=src, dst=dst, sport=4000, dport=dport, iface=iface, tcp_flags=2)
    out = nat.process(packet)[0]
    assert out["verdict"] == fastnat.Verdict.FORWARD
    assert fastnat.addresses.to_text(int(out["src"])) == (new_src or src)
    assert fastnat.addresses.to_text(int(out["dst"])) in new_dst


def test_istio_asks_for_owners():
    """The proxy of uid and gid 1337 reaches the servers; what others send goes to the proxy, as what comes in does."""
    made, warnings = node("istio")
    assert warnings == []
    nat = fastnat.Engine(made)
    tcp = {"proto": "tcp", "tcp_flags": 2, "dport": 80}
    out = nat.process(nat.packets(**tcp, src="203.0.113.9", sport=1, dst="10.244.1.1", iface="eth0"))
    assert (out["verdict"][0], out["dport"][0]) == (fastnat.Verdict.LOCAL, 15006)
    for n, (uid, gid, expected) in enumerate([(1337, 0, 80), (5, 1337, 80), (5, 0, 15001), (None, None, 15001)]):
        nat.uid, nat.gid = uid, gid
        out = nat.process(nat.packets(**tcp, src="10.244.1.1", sport=2 + n, dst="203.0.113.9", iface="local"), 1.0)
        assert out["dport"][0] == expected, (uid, gid)
    assert nat.owner_assumed == ["uid", "gid"]


LISTING = """Chain PREROUTING (policy ACCEPT 12 packets, 3K bytes)
 pkts bytes target     prot opt in     out     source               destination

Chain POSTROUTING (policy ACCEPT)
 pkts bytes target     prot opt in     out     source               destination
    7   420 MASQUERADE  all  --  *      !docker0  172.17.0.0/16        anywhere
 100K   6M MASQUERADE  tcp  --  any    eth0    10.0.0.0/8           0.0.0.0/0    tcp dpt:http masq ports: 1024-65535
    0     0 MASQUERADE  all  --  any    any     10.0.0.0/8          !loopback/8
"""


def test_a_listing_is_read_as_far_as_it_goes():
    rules = fastnat.iptables.parse(LISTING, "rules.v4")
    first, second, third = rules.tables["nat"].chains["POSTROUTING"].rules
    assert (third.src, third.invert_dst, third.dst, third.dmask) == (10 << 24, True, 127 << 24, 255 << 24)
    assert (first.out_iface, first.invert_out, first.packets) == ("docker0", True, 7)
    assert (second.out_iface, second.packets, second.matches[0].values) == ("eth0", 100_000, (80, 80))
    assert (second.target.min_proto, second.target.max_proto) == (1024, 65535)
    assert rules.tables["nat"].chains["PREROUTING"].bytes == 3000
    assert "give the output of iptables-save to be sure" in rules.warnings[0]


def test_a_missing_set_names_the_rule():
    made = fastnat.Node()
    made.load_rules("*nat\n-A POSTROUTING -m set --match-set NOPE src -j MASQUERADE\nCOMMIT\n", "rules.v4")
    with pytest.raises(fastnat.RuleError, match=r"rules\.v4:2: set 'NOPE' doesn't exist"):
        fastnat.Engine(made)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "Chain POSTROUTING (policy ACCEPT)\ntarget prot opt source destination\n"
            "RETURN all -- 0.0.0.0/0 0.0.0.0/0 cgroup 5",
            "3:.*cannot tell from the listing what 'cgroup 5' means; give the output of iptables-save",
        ),
        ("Chain X (1 references)\nwhat is this\n", "2: .*not a row of a listing"),
        ("-A PREROUTING -p tcp -j DNAT --to-destination  --random --to-destination 10.0.0.1", "1:.*'--random'"),
        ("-A POSTROUTING -s 10.0. 0.0/8 -j MASQUERADE", "1:16.*'10.0.' is not an IPv4 address"),
        (
            "-A POSTROUTING -m mac --mac-source 00:11:22:33:44:55 -j MASQUERADE",
            "match 'mac'.*PREROUTING, INPUT.*FORWARD",
        ),
        ("-A FORWARD -m mac --mac-source 00:11:22:33:44 -j DROP", "expected six pairs of hexadecimal digits"),
        ("-A FORWARD -m mac -j DROP", "--mac-source"),
    ],
)
def test_garbled_text_is_named_with_line_and_column(text, says):
    with pytest.raises(fastnat.RuleError, match=says):
        fastnat.iptables.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "> *nat\n> -A POSTROUTING -o eth0 -j MASQUERADE\n> COMMIT\n",
        "  | -A POSTROUTING -o eth0 -j MASQUERADE",
        "$ iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE",
        "sudo iptables -w -t nat -A POSTROUTING -o eth0 -j MASQUERADE",
        "  # # Generated by iptables-save\n  # *nat\n  # -A POSTROUTING -o eth0 -j MASQUERADE\n  # COMMIT\n",
        "-P POSTROUTING ACCEPT -c 1 2\n-A POSTROUTING -o eth0 -c 10 840 -j MASQUERADE",
    ],
)
def test_pasted_text_is_read(text):
    rule = fastnat.iptables.parse(text).tables["nat"].chains["POSTROUTING"].rules[0]
    assert (rule.out_iface, rule.target.name) == ("eth0", "MASQUERADE")
