"""Services of IPVS in both families: servers on the node itself, policy rules, clients that keep their server."""

from dataclasses import replace

import pytest
from behaviour.test_corner_steps import FAMILIES

import fastnat
from fastnat import Verdict
from fastnat.addresses import FAMILIES as FAMILY
from fastnat.dtypes import HZ
from fastnat.node.parts import PolicyRule

OF = {
    4: {"service": "10.96.0.10", "pod": "10.244.2.9", "there": "10.244.2.5", "own": "10.244.2.1",
        "far": "203.0.113.9", "net": "10.96.0.0/24"},
    6: {"service": "fd00:96::a", "pod": "fd00:2::9", "there": "fd00:2::5", "own": "fd00:2::1",
        "far": "fd03::9", "net": "fd00:96::/64"},
}  # fmt: skip


def node_of(family, saved, rules="", policy=()):
    """Return a node with one service and a second table of routes, by cni0; saved: with the names of OF."""
    said = {name: f"[{at}]" if family == 6 and name != "net" else at for name, at in OF[family].items()}
    node = fastnat.Node()
    node.add_interface("eth0", ["10.0.0.5/24", "fd00:1::5/64"])
    node.add_interface("cni0", ["10.244.2.1/24", "fd00:2::1/64"])
    node.add_interface("kube-ipvs0", ["10.96.0.10/32", "fd00:96::a/128"])
    node.add_route("default", via="10.0.0.1")
    node.add_route("::/0", via="fd00:1::1")
    for dst, via in (("default", "10.244.2.77"), ("::/0", "fd00:2::77")):
        node.add_route(dst, via=via)
        routes = node.routes if dst == "default" else node.routes6
        routes[-1] = replace(routes[-1], table="7")
    for number, rule in enumerate(policy):
        node.policy_of(FAMILY[family]).append(PolicyRule(number + 1, "7", **rule))
    if policy:
        node.policy_of(FAMILY[family])[:0] = [PolicyRule(0, "local")]
        node.policy_of(FAMILY[family]).append(PolicyRule(32766, "main"))
    node.load_services(saved.format(**said))
    (node.load_rules if family == 4 else node.load_rules6)(rules)
    return node


def asked(nat, family, iface, src, dst, sport, dport, now=0.0):
    """Send a datagram between addresses of OF; return its verdict, where it goes, and by which device."""
    ends = {"src": OF[family][src], "dst": OF[family][dst]}
    (out,) = nat.process(nat.packets(proto="udp", sport=sport, dport=dport, iface=iface, **ends), now)
    kind = FAMILY[family]
    return out["verdict"], kind.to_text(kind.unpack(out["dst"])), nat.node.iface_names[out["out_iface"]]


@FAMILIES
@pytest.mark.parametrize("sender", ["pod", "far", "local"])
def test_a_server_on_the_node_itself(family, sender):
    """A real server at an address of the node: the packet stays, and is none that leaves by OUTPUT and POSTROUTING."""
    rules = "*filter\n-A INPUT -p udp -j ACCEPT\n-A FORWARD -j DROP\nCOMMIT\n"
    rules += "*mangle\n-A POSTROUTING ! -o lo -j DROP\nCOMMIT\n"
    services = "-A -u {service}:53 -s rr\n-a -u {service}:53 -r {own}:5353 -m -w 1\n"
    nat = fastnat.Engine(node_of(family, services, rules))
    iface = {"pod": "cni0", "far": "eth0", "local": "local"}[sender]
    src = "own" if sender == "local" else sender
    said = asked(nat, family, iface, src, "service", 1, 53)
    assert said[:2] == (Verdict.LOCAL, OF[family]["own"])
    assert asked(nat, family, iface, src, "service", 1, 53)[:2] == said[:2]
    nat.check()


@FAMILIES
@pytest.mark.parametrize(
    ("rule", "device"),
    [
        ({"iface": "cni0"}, "eth0"),
        ({"iface": "lo"}, "cni0"),
        ({"iface": "eth0"}, "eth0"),
        ({}, "cni0"),
        ({"iface": "kube-ipvs0"}, "eth0"),
    ],
)
@pytest.mark.parametrize("n", [1, 3])
def test_answers_of_a_server_are_routed_as_what_the_node_sends(family, rule, device, n):
    """ip_vs_route_me_harder, where policy rules are: whatever device the server is behind."""
    services = "-A -u {service}:53 -s rr\n-a -u {service}:53 -r {there}:5353 -m -w 1\n"
    nat = fastnat.Engine(node_of(family, services, policy=[rule]))
    for k in range(n):
        there = asked(nat, family, "eth0", "far", "service", 7, 53, float(k))
        assert there[:2] == (Verdict.FORWARD, OF[family]["there"])
        said = asked(nat, family, "cni0", "there", "far", 5353, 7, k + 0.5)
        assert said == (Verdict.FORWARD, OF[family]["far"], device)
    nat.check()


@pytest.mark.one_of(2)
@FAMILIES
@pytest.mark.parametrize("kind", ["fwmark", "port", "every port"])
def test_a_persistent_client_keeps_its_server_over_a_restore(family, kind, tmp_path):
    """The template of a mark has no protocol, as the kernel's (IPPROTO_IP)."""
    front = {"fwmark": "-f 9", "port": "-u {service}:53", "every port": "-u {service}:0"}[kind]
    six = " -6" if family == 6 and kind == "fwmark" else ""
    servers = [OF[family]["there"][:-1] + str(k) for k in range(3, 9)]
    shown = [f"[{at}]" if family == 6 else at for at in servers]
    saved = f"-A {front}{six} -s rr -p 600\n" + "".join(f"-a {front}{six} -r {at}:0 -m -w 1\n" for at in shown)
    mark = f"*mangle\n-A PREROUTING -d {OF[family]['net']} -p udp -j MARK --set-mark 9\nCOMMIT\n"
    nat = fastnat.Engine(node_of(family, saved, mark if kind == "fwmark" else ""))
    hosts = {f"pod {k}": OF[family]["pod"][:-1] + f"{20 + k}" for k in range(12)}
    try:
        OF[family] |= hosts
        first = {pod: asked(nat, family, "cni0", pod, "service", 1, 53)[1] for pod in hosts}
        assert set(first.values()) == set(servers)
        nat.save(tmp_path / "state")
        # in another order, so that the turn of the servers would be another one
        for again in (fastnat.Engine.restore(tmp_path / "state"), nat.fork()):
            # their own connections are over, and only the template is left
            later = {pod: asked(again, family, "cni0", pod, "service", 2, 53, 400.0)[1] for pod in reversed(hosts)}
            assert later == first
            again.check()
    finally:
        for pod in hosts:
            OF[family].pop(pod, None)


@FAMILIES
@pytest.mark.parametrize("start", [0.0, 1.0, 5000.0, 17_179_860.0])
def test_the_next_expiry_is_when_the_first_one_goes(family, start):
    """Connections of IPVS end their entries, some before these would be over; jiffies of 32 bits wrap meanwhile."""
    nat = fastnat.Engine(node_of(family, "-A -u {service}:53 -s rr\n-a -u {service}:53 -r {there}:5353 -m -w 1\n"))
    asked(nat, family, "cni0", "pod", "far", 9, 99, start)
    nat.node.service_timeouts = (900, 120, 7)
    nat.reload()
    for n in range(3):
        asked(nat, family, "cni0", "pod", "service", 10 + n, 53, start + 2 * n)
    there = len(nat.conntrack)
    while there:
        due = nat.next_expiry
        nat.advance(due - 1 / HZ)
        assert len(nat.conntrack) == there
        nat.advance(due)
        assert len(nat.conntrack) < there
        there = len(nat.conntrack)
    assert nat.next_expiry is None
