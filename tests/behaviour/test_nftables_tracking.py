"""Which rules of nftables turn connection tracking on, recorded on 6.18: packets need not reach the rule."""

import pytest

import fastnat

BASE = "chain base {\ntype filter hook forward priority 0; counter\n}\n"
ON = {
    "a key": "ct state new", "a mark": "ct mark set 1", "a mark that is read": "meta mark set ct mark",
    "a count": "ct count over 3 counter", "masquerade": "masquerade", "snat": "snat to 192.0.2.4",
    "dnat": "dnat to 192.0.2.4", "redirect": "meta l4proto tcp redirect", "a zone": "ct zone set 1",
    "a verdict map": "ct state vmap { new : accept }", "events": "ct event set new",
    "a part of a key": "ip saddr . ct mark { 192.0.2.4 . 1 } accept",
    "a map": "ct mark set ip saddr map { 192.0.2.4 : 1 }", "a hash": "jhash ct mark mod 2 seed 1 == 1",
}  # fmt: skip
OFF = {
    "a counter": "counter", "notrack": "notrack", "fib": "fib daddr type local", "log": "log",
    "a limit": "limit rate 1/second", "reject": "reject", "rt": "rt mtu 3",
}  # fmt: skip
TABLES = {
    "a table without base chain": ("table inet t {\nchain c {\nct state new\n}\n}", True),
    "a table of the other family": ("table ip6 t {\nchain c {\nct state new\n}\n}", False),
    "snat of the other family": ("table inet t {\nchain c {\nsnat ip6 to fd01::1\n}\n}", False),
    "masquerade of both": ("table inet t {\nchain c {\nmasquerade\n}\n}", True),
    "a dormant table": (
        "table ip t {\nflags dormant;\nchain c {\ntype filter hook forward priority 0;\nct state new\n}\n}",
        True,
    ),
    "notrack that packets reach": (
        "table ip t {\nchain c {\ntype filter hook prerouting priority -300;\nnotrack\n}\n}",
        False,
    ),
    "an empty chain of type nat": ("table ip t {\nchain c {\ntype nat hook postrouting priority 100;\n}\n}", False),
    "one that counts": ("table ip t {\nchain c {\ntype nat hook postrouting priority 100;\ncounter\n}\n}", False),
    "a helper": ('table ip t {\nct helper h {\ntype "ftp" protocol tcp;\n}\n}', True),
    "a helper of IPv6": ('table inet t {\nct helper h {\ntype "ftp" protocol tcp; l3proto ip6;\n}\n}', True),
    "a set that counts": ("table ip t {\nset s {\ntype ipv4_addr; size 99; flags dynamic; ct count over 3\n}\n}", True),
    "a set of marks": ("table ip t {\nset s {\ntypeof ct mark;\n}\n}", False),
    "a synproxy": ("table ip t {\nsynproxy h {\nmss 1460\nwscale 7\n}\n}", True),
}  # fmt: skip


def tracks(node, nft):
    """Return whether a packet leaves a connection."""
    node.load_nft(nft)
    nat = fastnat.Engine(node)
    nat.process(nat.packets(proto="udp", src="10.244.1.2", sport=4000, dst="203.0.113.5", dport=53, iface="cni0"))
    return len(nat.conntrack) == 1


@pytest.fixture
def plain():
    node = fastnat.Node()
    node.add_interface("cni0", ["10.244.1.1/24"])
    node.add_interface("eth0", ["198.51.100.10/24"])
    node.add_route("default", via="198.51.100.1")
    return node


@pytest.mark.parametrize(("rule", "on"), [*((r, True) for r in ON.values()), *((r, False) for r in OFF.values())])
def test_a_rule_in_a_chain_that_no_packet_reaches(plain, rule, on):
    assert tracks(plain, f"table ip t {{\nchain loose {{\n{rule}\n}}\n{BASE}}}") == on


@pytest.mark.parametrize("name", TABLES)
def test_a_table(plain, name):
    nft, on = TABLES[name]
    assert tracks(plain, nft) == on
