"""The engine through its public API: the behaviour of one node."""

import numpy as np
import pytest
from nodes import flows, make_dual, make_node

import fastnat
from fastnat import Reason, Status, Verdict


def test_masquerade_keeps_a_free_port_and_finds_another_for_a_taken_one(node):
    nat = fastnat.Engine(node, seed=1)
    out = nat.process(flows(nat, 2))
    assert (out["verdict"] == Verdict.FORWARD).all()
    assert out["sport"][0] == 40000
    assert out["sport"][1] != 40000
    assert out["sport"][1] >= 1024
    assert nat.stats["found"] == 1


@pytest.mark.parametrize(
    ("port", "low", "high"), [(400, 1, 511), (512, 600, 1023), (1023, 600, 1023), (1024, 1024, 65535)]
)
def test_port_classes(node, port, low, high):
    nat = fastnat.Engine(node)
    out = nat.process(flows(nat, 20, sport=port))
    assert ((out["sport"][1:] >= low) & (out["sport"][1:] <= high)).all()


def test_reply_is_translated_back(node):
    nat = fastnat.Engine(node)
    out = nat.process(flows(nat, 1))
    reply = nat.packets(
        proto="udp", src="203.0.113.10", dst=int(out["src"][0]), sport=53, dport=int(out["sport"][0]), iface="eth0"
    )
    back = nat.process(reply)
    assert (int(back["dst"][0]), int(back["dport"][0])) == (0x0AF40202, 40000)
    assert next(iter(nat.conntrack)).status & Status.SEEN_REPLY


def test_bysource_reuse(node):
    nat = fastnat.Engine(node, seed=3)
    drawn = nat.process(flows(nat, 2))["sport"][1]
    again = nat.process(flows(nat, 1, src=np.uint32(0x0AF40203), dst="203.0.113.99"))
    assert again["sport"][0] == drawn


def test_exhausted_range_is_a_clash_counted_as_the_kernel_counts():
    """-p udp -j SNAT --to-source 198.51.100.20:7000-7003 --random-fully, six flows."""
    rules = "*nat\n-A POSTROUTING -p udp -j SNAT --to-source 198.51.100.20:7000-7003 --random-fully\nCOMMIT\n"
    nat = fastnat.Engine(make_node(rules))
    out = nat.process(flows(nat, 40))
    good = out["verdict"] == Verdict.FORWARD
    assert set(out["sport"][good]) <= {7000, 7001, 7002, 7003}
    assert (out["reason"][~good] == Reason.CLASH).all()
    assert nat.stats["drop"] == nat.stats["insert_failed"] == (~good).sum()
    assert len(nat.conntrack) == good.sum()
    nat.core_of(4).check_invariants()


@pytest.mark.parametrize("size", [1, 7, 256, 5000])
def test_batch_split_never_shows(size):
    """Same seed, same input: the same bytes, however the input is cut."""
    whole = fastnat.Engine(make_node(), seed=9)
    cut = fastnat.Engine(make_node(), seed=9)
    rng = np.random.default_rng(4)
    batch = flows(whole, 5000, src=rng.integers(0x0AF40202, 0x0AF40302, 5000).astype(np.uint32))
    batch["sport"] = rng.integers(1, 65535, 5000) % 50 * 1000 + 1
    batch["dport"] = rng.integers(50, 60, 5000)
    now = np.sort(rng.random(5000) * 100)
    a = whole.process(batch, now)
    b = np.concatenate([cut.process(batch[i : i + size], now[i : i + size]) for i in range(0, 5000, size)])
    assert a.tobytes() == b.tobytes()
    assert whole.conntrack.to_numpy().tobytes() == cut.conntrack.to_numpy().tobytes()


def test_tcp_headers_leave_nothing_undefined_in_the_tables():
    """A header-only SYN has no sequence numbers: its window data are zero, not what lay in memory."""
    nat = fastnat.Engine(make_node())
    nat.process(flows(nat, 300))
    nat.process(flows(nat, 100, proto="tcp", tcp_flags=2))
    tcp = nat.core_of(4).arrays["tcp"].view(np.uint32).reshape(-1, 16)[300:400]
    assert (tcp[:, :4] == 0).all()


def test_timeouts_and_reuse_of_records(node):
    nat = fastnat.Engine(node)
    nat.process(flows(nat, 500), 0.0)
    assert nat.next_expiry == 30.0
    nat.advance(29.9)
    assert len(nat.conntrack) == 500
    nat.advance(30.0)
    assert len(nat.conntrack) == 0
    nat.process(flows(nat, 500), 31.0)
    nat.core_of(4).check_invariants()
    assert nat.core_of(4).high_water == 500


def test_a_clock_that_goes_back_is_refused_whole(node):
    nat = fastnat.Engine(node)
    nat.process(flows(nat, 1), 5.0)
    with pytest.raises(fastnat.ClockError, match="goes back"):
        nat.process(flows(nat, 2), np.array([6.0, 5.5]))
    assert len(nat.conntrack) == 1


def test_growth_keeps_every_connection(node):
    nat = fastnat.Engine(node, max_connections=60_000)
    rng = np.random.default_rng(5)
    batch = flows(nat, 50_000, sport=rng.integers(1024, 65535, 50_000))
    batch["dst"] = rng.integers(0xCB007100, 0xCB0071FF, 50_000)
    out = nat.process(batch)
    assert (out["verdict"] == Verdict.FORWARD).all()
    nat.core_of(4).check_invariants()
    assert (nat.process(batch)["conn"] == out["conn"]).all()


def test_full_table_drops_early_then_drops(node):
    nat = fastnat.Engine(node, max_connections=1000)
    out = nat.process(flows(nat, 3000, sport=np.arange(3000) + 1024))
    assert nat.stats["early_drop"] > 0
    assert len(nat.conntrack) <= 1000
    assert set(out["reason"]) <= {Reason.NONE, Reason.TABLE_FULL}
    nat.core_of(4).check_invariants()


def test_bitmap_and_probing_give_the_same_ports(monkeypatch):
    """The 64-at-a-time search must draw, find and count as one-by-one probing does."""
    fast = fastnat.Engine(make_node(), seed=2)
    monkeypatch.setattr("fastnat.engine.settings.BITMAP_PROBES", 1 << 30)
    slow = fastnat.Engine(make_node(), seed=2)
    batch = flows(fast, 60_000)
    a, b = fast.process(batch), slow.process(batch)
    assert a.tobytes() == b.tobytes()
    assert fast.stats["found"] == slow.stats["found"]
    assert fast.core_of(4).tables["bitmaps"] == 1
    assert slow.core_of(4).tables["bitmaps"] == 0
    fast.core_of(4).check_invariants()


def test_bitmap_and_probing_give_the_same_ports_over_ipv6(monkeypatch):
    """The same for IPv6: crowded peers in turn, connections that expire, and bitmaps that are taken again."""

    def run():
        made = fastnat.Node()
        made.add_interface("cni0", ["2001:db8:a::1/64"])
        made.add_interface("eth0", ["2001:db8:b::1/64"])
        made.add_route("::/0", via="2001:db8:b::fe", dev="eth0")
        snat = "-j SNAT --to-source [2001:db8:b::1]:2000-2400"
        made.load_rules6(f"*nat\n-A POSTROUTING -o eth0 -p udp {snat}\nCOMMIT\n")
        nat = fastnat.Engine(made, seed=2, bitmap_bytes=1 << 20)
        said = []
        for round_ in range(4):
            for peer in range(30):
                batch = nat.packets(
                    proto="udp", src="2001:db8:a::2", sport=np.arange(400) + 5000, dst=f"2001:db8:c::{peer}", dport=53,
                    iface="cni0",
                )  # fmt: skip
                said.append(nat.process(batch, 100.0 * round_).tobytes())
        return nat, said

    fast, one = run()
    monkeypatch.setattr("fastnat.engine.settings.BITMAP_PROBES", 1 << 30)
    slow, other = run()
    assert one == other
    assert fast.stats == slow.stats
    assert fast.stacks[6].core.tables["bitmaps"] > 1
    assert slow.stacks[6].core.tables["bitmaps"] == 0
    fast.stacks[6].core.check_invariants()


def test_unknown_interface_number_is_a_verdict(node):
    nat = fastnat.Engine(node)
    assert nat.process(flows(nat, 1, iface=99))["reason"][0] == Reason.INTERFACE


def test_ports_counts(node):
    nat = fastnat.Engine(node)
    nat.process(flows(nat, 10))
    assert nat.ports("198.51.100.10", proto="udp", dst="203.0.113.10", dport=53) == {
        "used": 10, "free": 64502, "total": 64512,
    }  # fmt: skip


@pytest.mark.parametrize("bad", [b"", b"\x45", b"\x45" + bytes(19), bytes(range(256))])
def test_broken_packets_are_verdicts(node, bad):
    nat = fastnat.Engine(node)
    verdict, data = nat.process_packet(bad, iface="cni0")
    assert verdict == Verdict.DROP
    assert data is None


def test_no_connection_is_refused_for_want_of_a_table_slot():
    """The table grows group by group: those that wait longest for their turn must not fill up."""
    nat = fastnat.Engine(make_node(), max_connections=400_000)
    k = np.arange(400_000, dtype=np.uint32)
    nat.process(flows(nat, len(k), src=0x0AF40202 + k % 50_000, sport=1024 + k // 50_000, dst=0xCB007100 + k % 50_000))
    assert nat.stats["insert_failed"] == 0
    assert len(nat.conntrack) == 400_000
    nat.core_of(4).check_invariants()


def test_a_fork_goes_on_alike_and_apart():
    whole = fastnat.Engine(make_node(), seed=5)
    whole.process(flows(whole, 3000), 1.0)
    same, other = whole.fork(), whole.fork(seed=6)
    more = flows(whole, 2000, src=np.arange(2000, dtype=np.uint32) + 0x0AF41002)
    a, b, c = whole.process(more, 2.0), same.process(more, 2.0), other.process(more, 2.0)
    assert a.tobytes() == b.tobytes() != c.tobytes()
    assert same.stats == whole.stats
    whole.conntrack.flush()
    assert len(same.conntrack) == len(other.conntrack) == 5000
    same.advance(40.0)
    assert len(same.conntrack) == 0
    assert whole.now == 2.0
    for engine in (whole, same, other):
        engine.core_of(4).check_invariants()


@pytest.mark.parametrize("family", [4, 6])
def test_a_reply_that_another_zone_has_makes_another_port(family):
    """nf_nat_used_tuple_new looks for the other connection in the zones of both directions."""
    rules = "*raw\n-A PREROUTING -m statistic --mode nth --every 2 --packet 1 -j CT --zone-orig 1\nCOMMIT\n"
    rules += "*nat\n-A POSTROUTING -p tcp -j MASQUERADE\nCOMMIT\n"
    nat = fastnat.Engine(make_dual(*((rules, "") if family == 4 else ("", rules))))
    ends = ("10.244.1.2", "203.0.113.9") if family == 4 else ("fd00:1::2", "2001:db8:9::9")
    batch = nat.packets(proto="udp", src=ends[0], sport=[4000, 4000], dst=ends[1], dport=53, iface="cni0")
    out = nat.process(batch)
    assert [int(v) for v in out["verdict"]] == [fastnat.Verdict.FORWARD] * 2
    assert out["sport"][0] == 4000 != out["sport"][1]
    assert (len(nat.conntrack), nat.stats["insert_failed"]) == (2, 0)


def test_what_one_engine_does_to_its_node_is_nothing_to_its_fork():
    node = fastnat.Node.example()
    node.load_nft("table ip t {\n\tset s {\n\t\ttype ipv4_addr\n\t}\n}\n")
    nat = fastnat.Engine(node)
    before, files = nat.list_nft(), node.texts()
    other = nat.fork()
    other.change_nft("add element ip t s { 10.0.0.1 }")
    other.node.sysctls["net.netfilter.nf_conntrack_max"] = "7"
    other.node.add_interface("new0", ["192.0.2.77/24"])
    next(iter(other.node.interfaces.values())).addresses.clear()
    other.node.load_rules("")
    other.reload()
    assert nat.list_nft() == before
    assert nat.node is node
    assert node.texts() == files
    nat.reload()
    assert nat.list_nft() == before
