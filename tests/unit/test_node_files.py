"""What the files of a node directory lack, or hold beyond what is modelled, is said by every command that uses them."""

import json

import pytest
from click.testing import CliRunner

import fastnat
from fastnat.cli import group


def address(local, prefix):
    return {"family": "inet6" if ":" in local else "inet", "local": local, "prefixlen": prefix}


ADDR = [
    {"ifindex": 1, "ifname": "lo", "flags": ["LOOPBACK"], "addr_info": [address("127.0.0.1", 8)]},
    {"ifindex": 2, "ifname": "eth0", "addr_info": [address("192.0.2.1", 24)]},
    {"ifindex": 3, "ifname": "br0", "addr_info": [address("10.89.0.1", 24), address("2001:db8::1", 64)]},
    {},
]
NAT = "*nat\n-A POSTROUTING -o eth0 -j MASQUERADE\nCOMMIT\n"


@pytest.fixture
def node(tmp_path):
    (tmp_path / "addr.json").write_text(json.dumps(ADDR))
    (tmp_path / "rules.v4").write_text(NAT)
    return tmp_path


def run(*words):
    return CliRunner().invoke(group, [str(word) for word in words])


def test_connected_routes_follow_from_addresses(node):
    loaded = fastnat.Node.load(node)
    assert [(r.dst, r.prefix, r.iface) for r in loaded.routes] == [(0xC0000200, 24, "eth0"), (0x0A590000, 24, "br0")]
    assert [(r.dst >> 64, r.prefix, r.iface) for r in loaded.routes6] == [(0x20010DB8 << 32, 64, "br0")]
    assert "no route.json: 2 routes to the networks of addr.json are assumed" in loaded.notes[0]
    assert "no route6.json: 1 routes" in loaded.notes[1]
    checked = run("check", node)
    assert checked.exit_code == 0
    assert "no route.json" in checked.stderr
    traced = run("trace", node, "-p", "udp", "-s", "10.89.0.2", "-d", "192.0.2.9", "--dport", "53", "-i", "br0")
    assert "out     udp 192.0.2.1" in traced.output


def test_a_next_hop_that_is_dead_is_not_chosen(node):
    hops = [{"dev": "eth0", "weight": 1, "flags": ["onlink", "dead"]}, {"dev": "br0", "weight": 1, "flags": []}]
    (node / "route.json").write_text(json.dumps([{"dst": "198.51.100.0/24", "nexthops": hops}]))
    (node / "route6.json").write_text("[]")
    there = fastnat.Node.load(node)
    there.save(node)
    for found in (there, fastnat.Node.load(node)):
        (route,) = [r for r in found.routes if r.prefix == 24 and r.dst == 0xC6336400]
        assert (route.iface, [(h.iface, h.weight) for h in route.hops]) == ("br0", [("br0", 1), ("eth0", 0)])


def test_what_of_routing_is_not_modelled_is_said(node):
    routes = [
        {}, {"dst": "default", "gateway": "192.0.2.254", "dev": "eth0"}, {"dst": "default", "dev": "br0", "table": "2"},
        {"dst": "198.51.100.0/24", "nexthops": [{"dev": "eth0", "weight": 1}, {"dev": "br0", "weight": 1}]},
    ]  # fmt: skip
    usual = [{"priority": n, "src": "all", "table": t} for n, t in ((0, "local"), (32766, "main"), (32767, "default"))]
    (node / "route.json").write_text(json.dumps(routes))
    (node / "route6.json").write_text("[]")
    (node / "rule.json").write_text(json.dumps(usual))
    there = fastnat.Node.load(node)
    assert (there.notes, there.policy) == ([], [])
    more = [
        {"priority": 9, "src": "10.89.0.2", "table": "2"}, {"priority": 8, "src": "all", "tos": "0x10", "table": "2"},
        {"priority": 3, "src": "all", "oif": "eth0", "table": "2"},
        {"priority": 7, "src": "all", "fwmark": "0x1", "fwmask": "0x1", "table": "vpn"},
        {"priority": 6, "src": "all", "l3mdev": None, "table": "3"}, {"priority": 4, "src": "all", "uid_range": "1-2"},
        {"priority": 5, "src": "all", "action": "nop"},
    ]  # fmt: skip
    (node / "rule.json").write_text(json.dumps([*usual, *more]))
    there = fastnat.Node.load(node)
    assert [(r.priority, r.table) for r in there.policy] == [
        (0, "local"), (3, "2"), (7, "vpn"), (8, "2"), (9, "2"), (32766, "main"), (32767, "default"),
    ]  # fmt: skip
    for words in (["check", node], ["exhaust", node, "--flows", "100", "--iface", "br0"]):
        said = run(*words).stderr
        assert "a rule is ignored, as uid_range is not modelled" in said
        assert "table vpn has no routes here" in said
    again = fastnat.Node.load(saved(there, node))
    assert (again.policy, again.routes) == (there.policy, there.routes)
    (node / "rule.json").write_text("[5]")
    with pytest.raises(fastnat.InputError, match=r"rule.json.*expected"):
        fastnat.Node.load(node)


def saved(node, folder):
    node.save(folder / "again")
    return folder / "again"


@pytest.mark.parametrize(
    "said", ["contains incompatible base-chains, use 'nft' tool to list them.", "is incompatible, use 'nft' tool."]
)
def test_rules_that_iptables_save_cannot_show_are_no_fine_node(node, said):
    (node / "rules.v4").write_text(f"# Table `nat' {said}\n*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n")
    checked = run("check", node)
    assert checked.exit_code == 1
    assert "table nat holds native nftables rules" in checked.stderr
    assert "fine" not in checked.stdout


def test_the_security_table_is_ignored_whole(node):
    (node / "rules.v4").write_text(
        "*security\n:INPUT ACCEPT [0:0]\n:MINE - [0:0]\n-A INPUT -p tcp --what 5 -j SECMARK\nCOMMIT\n" + NAT
    )
    assert fastnat.Node.load(node).rules.tables.keys() == {"nat"}


SETS = (
    "create ODD hash:net,net family inet\nadd ODD 10.0.0.0/24,eth0\n"
    "create GOOD hash:ip family inet\nadd GOOD 10.89.0.2\ncreate BOTH list:set\nadd BOTH GOOD\nadd BOTH ODD\n"
)


@pytest.mark.parametrize("counters", ["", " counters"])
@pytest.mark.parametrize("asks", ["", " --packets-gt 3", " ! --bytes-eq 5", " ! --update-subcounters"])
def test_what_a_list_of_sets_has_counted_cannot_be_asked(node, counters, asks):
    """list_set_ktest compares what the list counts of each of its members, not what they count."""
    (node / "ipset.save").write_text(
        f"create A hash:ip counters\ncreate L list:set{counters}\nadd L A\nadd A 10.89.0.2\n"
    )
    (node / "rules.v4").write_text(f"*filter\n-A FORWARD -m set --match-set L src{asks} -j DROP\nCOMMIT\n")
    if not counters or not asks.endswith(("3", "5")):
        fastnat.Engine(fastnat.Node.load(node))
        return
    with pytest.raises(fastnat.RuleError, match="of L, a list:set with counters"):
        fastnat.Engine(fastnat.Node.load(node))
    lenient = fastnat.Node.load(node, lenient=True)
    fastnat.Engine(lenient)
    assert "a list:set with counters" in lenient.rules.warnings[0]


def test_a_set_of_an_unsupported_type_matters_only_to_rules_that_name_it(node):
    (node / "ipset.save").write_text(SETS)
    rule = "*filter\n-A FORWARD -m set {}--match-set {} src -j DROP\nCOMMIT\n"
    (node / "rules.v4").write_text(rule.format("", "GOOD"))
    loaded = fastnat.Node.load(node)
    assert loaded.sets.keys() == {"GOOD"}
    assert sum("ODD is left out" in note or "BOTH is left out" in note for note in loaded.notes) == 2
    fastnat.Engine(loaded)
    for name, says in (("ODD", "hash:net,net"), ("BOTH", "hash:net,net"), ("GONE", "doesn't exist")):
        (node / "rules.v4").write_text(rule.format("! ", name))
        with pytest.raises(fastnat.RuleError, match=says):
            fastnat.Engine(fastnat.Node.load(node))
        lenient = fastnat.Node.load(node, lenient=True)
        nat = fastnat.Engine(lenient)
        assert says in lenient.rules.warnings[0]
        packet = nat.packets(proto="udp", src="10.89.0.2", dst="192.0.2.9", sport=1, dport=53, iface="br0")
        assert nat.process(packet)["verdict"][0] == fastnat.Verdict.FORWARD
    assert run("check", node, "--lenient").exit_code == 0


def test_local_routes_are_the_kernels_or_somebodys(node):
    """Who adds one turns the full check of sources on (fib_has_custom_local_routes), also for a node that was saved."""
    known = {"type": "local", "dev": "eth0", "table": "local"}
    routes = [known | {"dst": "192.0.2.7", "protocol": "kernel"}, known | {"dst": "198.51.100.0/24"}]
    (node / "route-all.json").write_text(json.dumps(routes))
    there = fastnat.Node.load(node)
    there.save(node)
    for found in (there, fastnat.Node.load(node)):
        assert [r.kernel for r in found.routes if r.kind == "local" and r.prefix in (24, 32)] == [True, False]


@pytest.mark.parametrize("file", ["rule.json", "rule6.json"])
def test_policy_rules_name_protocols_and_traffic_classes_as_ip_prints_them(node, file):
    """Of /etc/protocols and rt_dsfield, whatever their versions have; a number behind a word, or alone."""
    protocols = {"esp": 50, "ospf": 89, "ipv6-icmp": 58, "dccp": 33, "ipproto-99": 99, "ipproto-250": 250, "47": 47}
    classes = {"EF": 0xB8, "CS1": 0x20, "AF41": 0x88, "0x10": 0x10}
    rules = [{"priority": 0, "src": "all", "table": "local"}]
    rules += [{"priority": n, "src": "all", "ipproto": name, "table": "7"} for n, name in enumerate(protocols, 1)]
    rules += [{"priority": n, "src": "all", "tos": name, "table": "7"} for n, name in enumerate(classes, 50)]
    rules += [{"priority": n, "src": "all", "dscp": name, "table": "7"} for n, name in ((98, "EF"), (99, "46"))]
    (node / file).write_text(json.dumps(rules))
    loaded = fastnat.Node.load(node)
    policy = loaded.policy if file == "rule.json" else loaded.policy6
    assert [r.proto for r in policy[1 : 1 + len(protocols)]] == list(protocols.values())
    assert [r.tos for r in policy[1 + len(protocols) :]] == [*classes.values(), 0xB8, 0xB8]
    for wrong in ("ipproto-256", "ipproto-", "nobody"):
        rules[1]["ipproto"] = wrong
        (node / file).write_text(json.dumps(rules))
        with pytest.raises(fastnat.InputError, match="expected the output of `ip -j rule`"):
            fastnat.Node.load(node)


def test_routes_with_a_tos_are_left_out_and_said(node):
    routes = [{"dst": "default", "gateway": "192.0.2.9", "dev": "eth0"},
              {"dst": "default", "tos": "0x10", "gateway": "10.89.0.9", "dev": "br0"}]  # fmt: skip
    (node / "route.json").write_text(json.dumps(routes))
    loaded = fastnat.Node.load(node)
    assert [r.iface for r in loaded.routes] == ["eth0"]
    assert any("tos is not modelled" in note for note in loaded.notes)
