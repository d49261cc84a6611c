"""What-if changes of rules do the same to rules of iptables and of nftables, in both families."""

import copy
import itertools

import pytest
from click.testing import CliRunner
from nodes import make_dual

import fastnat
from fastnat.addresses import FAMILIES, V4
from fastnat.cli import group
from fastnat.errors import InputError
from fastnat.exhaustion import Workload
from fastnat.exhaustion.source_nat import PortWindows
from fastnat.exhaustion.spaces import Spaces
from fastnat.exhaustion.variants import apply, compare, parse

WAYS = {
    "masquerade": ("-j MASQUERADE --to-ports 1024-1535", "masquerade to :1024-1535"),
    "snat": ("-j SNAT --to-source {0}:1024-1535", "snat {1}to {0}:1024-1535"),
    "random": ("-j MASQUERADE --to-ports 1024-1535 --random", "masquerade to :1024-1535 random"),
    "all ports": ("-j SNAT --to-source {0}", "snat {1}to {0}"),
}
VARY = ("random-fully", "addresses=1:3", "ports=1024-1535:3000-3999", "addresses=2,ports=2000-2255")
OWN = {4: "198.51.100.10", 6: "2001:db8::10"}
SERVER = {4: "203.0.113.9", 6: "2001:db8:9::9"}


def figures(node, vary, version, proto="udp"):
    work = Workload(((SERVER[version], 80),), proto, flows=1500, iface="cni0")
    found = compare(node, work, parse(vary), seeds=1)
    return [
        (r.variant.label, o.failed, o.first_failure, o.addresses, o.window, o.fullest, o.bound)
        for r in found
        for o in r.outcomes
    ]


# a quarter of them in make test
EVERY = [
    pytest.param(*asked, marks=pytest.mark.slow if n % 4 != n // 16 else [])
    for n, asked in enumerate(itertools.product(WAYS, VARY, [4, 6], ["ip", "inet"]))
]


@pytest.mark.one_of(2)
@pytest.mark.parametrize(("way", "vary", "version", "family"), EVERY)
def test_both_kinds_of_rules_are_changed_alike(way, vary, version, family):
    iptables, nft = WAYS[way]
    end = OWN[version] if version == 4 else f"[{OWN[6]}]"
    rule = f"*nat\n-A POSTROUTING -o eth0 -p udp {iptables.format(end)}\nCOMMIT\n"
    if family == "ip" and version == 6:
        family = "ip6"
    said = nft.format(end, {4: "ip ", 6: "ip6 "}[version] if family == "inet" else "")
    chain = f'type nat hook postrouting priority 100; oifname "eth0" udp dport 0-65535 {said};'
    native = f"table {family} t {{ chain c {{ {chain} }} }}"
    old = make_dual(**{"rules" if version == 4 else "rules6": rule})
    new = make_dual(native=native)
    was = new.nft_text
    found = figures(old, vary, version)
    assert found == figures(new, vary, version)
    # they do change something, and not the node that was given
    assert len({f[1:] for f in found}) > 1 or vary == "random-fully" or len(found) == 1
    assert new.nft_text == was


@pytest.mark.parametrize("vary", ["random-fully", "ports=1024-2000", "addresses=2"])
def test_without_a_rule_to_change_it_says_so(vary):
    with pytest.raises(InputError):
        figures(make_dual(native="table ip t { chain c { type nat hook postrouting priority 100; } }"), vary, 4)


def test_addresses_that_a_map_says_are_not_changed():
    native = (
        "table ip t { chain c { type nat hook postrouting priority 100; "
        "snat to ip saddr map { 10.244.0.0/16 : 198.51.100.10 }; } }"
    )
    with pytest.raises(InputError, match="from a map"):
        figures(make_dual(native=native), "addresses=2", 4)
    assert figures(make_dual(native=native), "random-fully", 4)


@pytest.mark.parametrize(("rule", "window"), [
    ("udp dport 53 masquerade to :2000-2999", (2000, 2999)), ("meta l4proto udp masquerade to :2000", (2000, 2000)),
    ("tcp dport 53 masquerade to :2000-2999; masquerade", (1024, 65535)), ("masquerade", (1024, 65535)),
    ("udp dport 53 masquerade to :2000-2999; tcp dport 53 masquerade", (2000, 2999)),
    ("meta l4proto udp masquerade to :2000-2999; meta l4proto udp masquerade to :2000-3999", None),
    ("meta l4proto udp snat to 198.51.100.10:numgen random mod 9 offset 2000", (1024, 65535)),
])  # fmt: skip
def test_the_ports_of_a_space_are_those_of_the_rules(rule, window):
    native = f"table ip t {{ chain c {{ type nat hook postrouting priority 100; {rule}; }}; }}"
    node = make_dual(native=native)
    assert Spaces(fastnat.Engine(node), "udp", V4).window == window


SUBSCRIBERS = "10.0.0.1 : 198.51.100.20 . 1024-2047, 10.0.0.2 : 198.51.100.20 . 2048-3071, 10.0.0.3 : 198.51.100.21 . 5"
SNAT_OF_EACH = f"snat ip to ip saddr map {{ {SUBSCRIBERS} }}"


@pytest.mark.parametrize(("rule", "address", "windows"), [
    (SNAT_OF_EACH, 20, {(1024, 2047), (2048, 3071)}),
    (SNAT_OF_EACH, 21, {(5, 5)}), (SNAT_OF_EACH, 22, set()),
    ("snat ip to ip saddr map @m", 20, {(7000, 7999)}), ("snat ip to ip saddr map @m", 30, set()),
    ("snat to 198.51.100.20-198.51.100.22:80-89; snat to 198.51.100.22", 22, {(80, 89), (1024, 65535)}),
    ("snat ip prefix to ip saddr map { 10.0.0.0/24 : 198.51.100.0/28 }", 10, {(1024, 65535)}),
    ("snat to 198.51.100.8/29; masquerade to :99", 10, {(1024, 65535), (99, 99)}),
    ("snat to ip saddr map { 10.0.0.1 : 198.51.100.20 }:30-39", 20, {(30, 39)}), ("masquerade to :9-10", 20, set()),
])  # fmt: skip
def test_ports_are_those_of_the_rules_that_give_an_address(rule, address, windows):
    """MASQUERADE gives the node's own address, 198.51.100.10; a map says addresses, and ports behind them."""
    named = "map m { type ipv4_addr : interval ipv4_addr . inet_service; flags interval;"
    named += " elements = { 10.0.0.1 : 198.51.100.20 . 7000-7999 }; }"
    native = f"table ip t {{ {named} chain c {{ type nat hook postrouting priority 100; {rule}; }}; }}"
    given = PortWindows(make_dual(native=native))
    assert given.of(V4, "udp", V4.to_int(f"198.51.100.{address}")) == windows


@pytest.mark.parametrize(("to", "windows"), [
    (":2000-2999", {(2000, 2999)}), ("198.51.100.20-198.51.100.30:2000-2999", {(2000, 2999)}),
    ("198.51.100.30-198.51.100.20:2000-2999", {(2000, 2999)}),
    ("198.51.100.1:80", set()), ("198.51.100.21", {(1024, 65535)}),
])  # fmt: skip
def test_snat_of_ports_alone_gives_them_to_any_address(to, windows):
    """Of addresses in either order, and of no address at all, a rule gives its ports."""
    rules = f"*nat\n-A POSTROUTING -o eth0 -p udp -j SNAT --to-source {to}\nCOMMIT\n"
    address = "198.51.100.21" if to.endswith("21") or "-" in to.partition(":")[0] or to[0] == ":" else "198.51.100.20"
    assert PortWindows(make_dual(rules)).of(V4, "udp", V4.to_int(address)) == windows


def test_rules_that_ask_for_the_sender_are_named(tmp_path):
    node = make_dual(
        native="table ip t { chain c { type nat hook postrouting priority 100; meta skuid 0 masquerade; }; }"
    )
    node.save(tmp_path / "node")
    words = ["exhaust", str(tmp_path / "node"), "--iface", "local", "--flows", "100"]
    result = CliRunner().invoke(group, words)
    assert "root (uid 0, gid 0) is assumed" in result.output


@pytest.mark.parametrize("vary", VARY)
@pytest.mark.parametrize("version", [4, 6])
def test_what_was_given_stays_as_it_is_and_lends_what_does_not_change(vary, version):
    end = OWN[version] if version == 4 else f"[{OWN[6]}]"
    rules = f"*nat\n:OTHER - [0:0]\n-A OTHER -j ACCEPT\n-A POSTROUTING -o eth0 -j SNAT --to-source {end}\nCOMMIT\n"
    node = make_dual(*(rules if v == version else "" for v in (4, 6)))
    chains = "chain other { accept }\nchain c { type nat hook postrouting priority 101; masquerade }"
    node.load_nft(f"table inet t {{ {chains} }}")
    node.sysctls["a.b"] = "1"
    before, rules_before = copy.deepcopy(node.nft), copy.deepcopy(node.rules_of(FAMILIES[version]))
    (*_, variant) = parse(f"{vary},tcp-time-wait=30")
    changed = apply(variant, node, Workload(((SERVER[version], 80),), iface="cni0"), "linux-6.18")[0]
    assert (node.nft, node.rules_of(FAMILIES[version]), node.sysctls["a.b"]) == (before, rules_before, "1")
    assert len(node.sysctls) < len(changed.sysctls)
    mine, other = (n.rules_of(FAMILIES[version]).tables["nat"].chains for n in (changed, node))
    assert mine["OTHER"] is other["OTHER"]
    assert mine["POSTROUTING"].rules[0].target != other["POSTROUTING"].rules[0].target
    mine, other = (n.nft.tables["inet", "t"].chains for n in (changed, node))
    assert mine["other"] is other["other"]
    assert mine["c"] != other["c"]
    assert changed.nft_text != node.nft_text
