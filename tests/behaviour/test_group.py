"""EngineGroup: shards with ports of their own, and replies that find their way back."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from nodes import MASQUERADE, make_dual, make_node

import fastnat
from fastnat import EngineGroup, Verdict
from fastnat.errors import ClockError, InputError


@pytest.fixture
def group():
    made = EngineGroup(make_node(), ["cni0"], shards=4, seed=3)
    yield made
    made.close()


def queries(group, n=20_000):
    k = np.arange(n)
    return group.packets(
        proto="udp", src=(0x0AF40300 + k).astype(np.uint32), sport=40_000, dst="203.0.113.10", dport=53, iface="cni0"
    )


def test_no_two_shards_use_one_port_and_answers_come_home(group):
    asked = queries(group)
    out = group.process(asked, 1.0)
    assert (out["verdict"] == Verdict.FORWARD).all()
    assert len(np.unique(out["sport"])) == len(asked) == len(group)
    shard = group.shard_of(asked)
    assert np.bincount(shard).min() > len(asked) / 4 * 0.9
    for k in range(4):
        ports = out["sport"][shard == k]
        assert (ports >= group.starts[k]).all() and (ports < group.starts[k + 1]).all()
    answers = group.packets(proto="udp", src="203.0.113.10", sport=53, dst=out["src"], dport=out["sport"], iface="eth0")
    back = group.process(answers, np.full(len(answers), 1.5))
    assert (back["verdict"] == Verdict.FORWARD).all()
    assert (back["dst"] == asked["src"]).all()
    assert (back["ctinfo"] == fastnat.CtInfo.ESTABLISHED_REPLY).all()
    assert group.stats["new"] == len(asked)
    group.advance(200.0)
    assert len(group) == 0


@pytest.mark.parametrize("shards", [1, 2, 5, 11])
def test_every_port_is_of_the_shard_whose_slice_has_it(shards):
    """Ports in front of all slices, which SNAT does not choose, are of the first one."""
    made = EngineGroup(make_node(), ["cni0"], shards=shards, seed=3)
    ports = np.arange(1, 65536)
    back = made.packets(proto="udp", src="203.0.113.10", sport=53, dst="198.51.100.10", dport=ports, iface="eth0")
    wanted = np.searchsorted(made.starts[:shards], ports, side="right") - 1
    np.testing.assert_array_equal(made.shard_of(back), np.maximum(wanted, 0))
    made.close()


def test_the_same_seed_gives_the_same_output(group):
    other = EngineGroup(make_node(), ["cni0"], shards=4, seed=3)
    assert group.process(queries(group)).tobytes() == other.process(queries(other)).tobytes()
    other.close()


def test_untranslated_answers_go_by_their_destination(group):
    out = group.process(group.packets(proto="udp", src="10.244.3.9", sport=5, dst="10.244.9.9", dport=53, iface="cni0"))
    assert out["src"][0] == 0x0AF40309
    back = group.packets(proto="udp", src="10.244.9.9", sport=53, dst="10.244.3.9", dport=5, iface="eth0")
    assert group.process(back)["ctinfo"][0] == fastnat.CtInfo.ESTABLISHED_REPLY


@pytest.mark.parametrize(("options", "word"), [({"shards": 0}, "shards 0"), ({"inside": ["nope"]}, "no interface")])
def test_what_cannot_be_is_named(options, word):
    with pytest.raises(InputError, match=word):
        EngineGroup(make_node(), **{"inside": ["cni0"], **options})


def test_a_shard_runs_its_packets_as_an_engine_runs_them_alone(group):
    asked = queries(group)
    times = np.arange(len(asked)) / 1000
    shard = group.shard_of(asked)
    out = group.process(asked, times)
    for k in range(4):
        twin = EngineGroup(make_node(), ["cni0"], shards=4, seed=3)
        mine = shard == k
        np.testing.assert_array_equal(twin.engines[k].process(asked[mine], times[mine]), out[mine])
        twin.close()
    assert [e.now for e in group.engines] == [times[-1]] * 4


def test_few_packets_need_no_threads_and_out_is_filled(group):
    other = EngineGroup(make_node(), ["cni0"], shards=4, seed=3)
    asked = queries(group, 5000)
    at_once = group.process(asked)
    out = np.empty(5000, fastnat.RESULT)
    for a in range(0, 5000, 100):
        assert other.process(asked[a : a + 100], 0.0, out[a : a + 100]).base is out
    assert sorted(at_once["sport"]) == sorted(np.unique(out["sport"]))
    assert len(group.process(asked[:0])) == 0
    other.close()


def test_a_time_that_goes_back_stops_every_shard_before_it_begins(group):
    asked = queries(group)
    group.process(asked[:10], 5.0)
    before = group.stats
    times = np.full(len(asked), 6.0)
    times[-1] = 5.5
    for now in (4.0, times):
        with pytest.raises(ClockError, match="goes back"):
            group.process(asked, now)
    assert group.stats == before
    assert group.now == 5.0


def test_ipv6_flows_are_spread_and_come_home():
    node = make_dual(rules6=MASQUERADE)
    group = EngineGroup(node, ["cni0"], shards=3)
    sources = [f"fd00:1::{k:x}" for k in range(2, 3002)]
    asked = group.packets(proto="udp", src=sources, sport=40_000, dst="2001:db8:1::5", dport=53, iface="cni0")
    out = group.process(asked, 1.0)
    assert (out["verdict"] == Verdict.FORWARD).all()
    assert len(np.unique(out["sport"])) == len(asked)
    assert np.bincount(group.shard_of(asked)).min() > len(asked) / 3 * 0.8
    answers = asked.copy()
    answers["src"], answers["dst"], answers["sport"], answers["dport"] = asked["dst"], out["src"], 53, out["sport"]
    answers["iface"] = node.iface_number("eth0")
    back = group.process(answers, 1.5)
    assert (back["ctinfo"] == fastnat.CtInfo.ESTABLISHED_REPLY).all()
    np.testing.assert_array_equal(back["dst"], asked["src"])
    group.close()


def test_engines_in_threads_do_not_disturb_each_other():
    """An engine is one thread's at a time; different ones share nothing that is written."""

    def run(seed):
        nat = fastnat.Engine(make_node(), seed=seed)
        batch = queries(nat, 500)
        parts = [nat.process(batch, float(k)).tobytes() for k in range(40)]
        return parts, nat.process_packet(b"E", "cni0", 40.0), nat.conntrack.format()

    with ThreadPoolExecutor(8) as pool:
        side_by_side = list(pool.map(run, range(16)))
    assert side_by_side == [run(seed) for seed in range(16)]
