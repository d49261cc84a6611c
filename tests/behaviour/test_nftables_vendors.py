"""Rules of kube-proxy, Docker, Podman, firewalld, fw4, libvirt, MAP-E routers and others: each decides as it should."""

import pytest
from behaviour.test_nftables import text
from behaviour.vendors import SCENARIOS, kube_proxy

import fastnat

SPORT = 40_000


def engine_of(scenario):
    node = fastnat.Node()
    for name, addresses in scenario.interfaces.items():
        node.add_interface(name, addresses)
    for route in scenario.routes:
        dst, *words = route.split()
        node.add_route(dst, **dict(zip(words[::2], words[1::2], strict=True)))
    node.load_nft(scenario.nft, f"{scenario.name}.nft")
    return fastnat.Engine(node, epoch=43_200.0)


def among(value, said):
    """Tell whether a value is what is said of it: one, or one of several."""
    return value in said if isinstance(said, (set, range)) else value == said


def gone(engine, packet, sport):
    """Send one connection's first packet; return where it goes and as what."""
    src, proto, dst, dport = packet.came
    flags = {"tcp_flags": 2} if proto == "tcp" else {}
    batch = engine.packets(
        proto=proto, src=src, sport=sport, dst=dst, dport=dport, iface=packet.iface or "local", **flags
    )
    result = engine.process(batch, 0.0)[0]
    out = {fastnat.Verdict.FORWARD: engine.iface_names[int(result["out_iface"])], fastnat.Verdict.LOCAL: "node"}
    out = out.get(fastnat.Verdict(int(result["verdict"])), "")
    return out, text(result["src"]), int(result["sport"]), text(result["dst"]), int(result["dport"])


def check(packet, sport, found):
    """Compare where a packet went with what is said of it."""
    out, src, s, dst, d = found
    assert out == packet.out
    if out in ("", "node"):
        return
    came_src, _, came_dst, came_dport = packet.came
    assert among(src, came_src if packet.src is None else packet.src)
    assert among(s, sport if packet.sport is None else packet.sport)
    assert among(dst, came_dst if packet.dst is None else packet.dst)
    assert among(d, came_dport if packet.dport is None else packet.dport)


def run(engine, scenario):
    sport = SPORT
    for packet in scenario.packets:
        ends = set()
        for _ in range(packet.times):
            sport += 1
            found = gone(engine, packet, sport)
            try:
                check(packet, sport, found)
            except AssertionError as error:
                raise AssertionError(f"{scenario.name}: {packet.what}: {found}") from error
            ends.add(found[3:])
        # one of several is drawn anew for each connection
        assert len(ends) == 1 or not packet.one
        assert len(ends) > 1 or packet.one or packet.times < 20 or not isinstance(packet.dst, set)
    assert not engine.check()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_where_connections_go(scenario):
    run(engine_of(scenario), scenario)


@pytest.mark.parametrize("n", [10, pytest.param(10_000, marks=pytest.mark.slow)])
def test_services_of_kubernetes(n):
    scenario = kube_proxy(n)
    engine = engine_of(scenario)
    run(engine, scenario)
    used = {p: sum(f"sport={p}" in line for line in engine.conntrack.format().splitlines()) for p in (8000, 8001, 8002)}
    assert all(used.values())
