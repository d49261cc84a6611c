"""Connections end at their very jiffy, however far it is, and however the clock gets there."""

import random

import pytest

import fastnat

PREFIX = "net.netfilter.nf_conntrack_"
# about the ends of a turn of the wheel, 131.072 s, and of all its far slots, 6.2 days
LIVES = [1, 30, 131, 132, 262, 500, 40_000, 536_870, 536_871, 600_000, 4_000_000, 8_589_933]
STARTS = [0.0, 1e3, 4e6, 1.6e7, 1.7e7, 4.3e6]


@pytest.mark.one_of(3)
@pytest.mark.parametrize("seed", range(12))
def test_connections_end_when_they_should(seed):
    rng = random.Random(seed)
    node = fastnat.Node.example()
    life = rng.choice(LIVES)
    node.sysctls[PREFIX + "udp_timeout"] = str(life)
    nat = fastnat.Engine(node, max_connections=50_000, seed=seed)
    tick = round(rng.choice(STARTS) * 250)
    nat.advance(tick / 250)
    ends = {}
    for _ in range(60):
        src = [f"10.244.{rng.randrange(1, 200)}.{rng.randrange(1, 250)}" for _ in range(rng.randrange(1, 20))]
        fields = {"sport": rng.randrange(1024, 60_000), "dst": "203.0.113.9", "dport": 53, "iface": "cni0"}
        out = nat.process(nat.packets(proto="udp", src=src, **fields), tick / 250)
        ends |= {int(conn): tick + life * 250 for conn in out["conn"]}
        steps = [0, 1, 250, 32_767, 32_768, 32_769, 250_000, life * 250, life * 250 - 1, life * 250 + 1, life * 125]
        tick += rng.choice(steps)
        nat.advance(tick / 250)
        ends = {conn: end for conn, end in ends.items() if end > tick}
        assert {c.index for c in nat.conntrack} == set(ends)
        nat.check()
        if rng.random() < 0.1:
            nat = nat.fork(rng.randrange(1000))


@pytest.mark.parametrize("seed", range(6))
def test_a_timeout_that_becomes_shorter_counts(seed):
    """A RST shortens days to seconds: from a far slot into a near one."""
    rng = random.Random(seed)
    node = fastnat.Node.example()
    nat = fastnat.Engine(node, seed=seed)
    nat.advance(rng.choice(STARTS))
    flow = {"proto": "tcp", "src": "10.244.1.9", "sport": 4000, "dst": "203.0.113.9", "dport": 443, "iface": "cni0"}
    for flags, back in ((0x02, False), (0x12, True), (0x10, False)):
        sent = nat.packets(**flow, tcp_flags=flags)
        if back:
            c = next(iter(nat.conntrack))
            src, dst, sport, dport = c.reply
            sent = nat.packets(proto="tcp", src=src, dst=dst, sport=sport, dport=dport, iface="eth0", tcp_flags=flags)
        nat.process(sent, nat.now + rng.random())
    assert next(iter(nat.conntrack)).timeout > 400_000
    nat.advance(nat.now + rng.choice([0, 1, 131, 1000, 100_000]))
    nat.process(nat.packets(**flow, tcp_flags=0x14), nat.now)
    nat.check()
    assert 9.9 < next(iter(nat.conntrack)).timeout <= 10
    nat.advance(nat.now + 9.9)
    assert len(nat.conntrack) == 1
    nat.advance(nat.now + 0.1)
    assert len(nat.conntrack) == 0


@pytest.mark.parametrize("late", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("saved", [False, True])
def test_a_timeout_brought_to_where_a_far_slot_is_dealt_out(late, saved, tmp_path):
    """A far slot comes up in the jiffy before its turn, too late for what ends in that very jiffy."""
    nat = fastnat.Engine(fastnat.Node.example())
    nat.advance(1000.0)
    flow = {"proto": "tcp", "src": "10.244.1.9", "sport": 4000, "dst": "203.0.113.9", "dport": 443, "iface": "cni0"}
    nat.process(nat.packets(**flow, tcp_flags=0x02), 1000.0)
    src, dst, sport, dport = next(iter(nat.conntrack)).reply
    back = {"proto": "tcp", "src": src, "dst": dst, "sport": sport, "dport": dport, "iface": "eth0"}
    nat.process(nat.packets(**back, tcp_flags=0x12), 1000.0)
    nat.process(nat.packets(**flow, tcp_flags=0x10), 1000.0)
    end = round(nat.now * 250) + 432_000 * 250
    # a RST leaves 10 s: the connection ends about the jiffy in which the turn of its far slot is dealt out
    reset = end // 32_768 * 32_768 - 1 - 2500 + late
    nat.process(nat.packets(**flow, tcp_flags=0x14), reset / 250)
    nat.advance((reset + 2499) / 250)
    assert len(nat.conntrack) == 1
    nat.advance((reset + 2500) / 250)
    assert len(nat.conntrack) == 0
    nat.check()
    if saved:
        nat.save(tmp_path / "state.npz")
        assert len(fastnat.Engine.restore(tmp_path / "state.npz").conntrack) == 0
