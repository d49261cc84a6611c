"""EngineGroup: shards with ports of their own, and replies that find their way back."""

import numpy as np
import pytest

import fastnat
from fastnat import EngineGroup, Verdict
from fastnat.errors import InputError


@pytest.fixture
def group():
    made = EngineGroup(fastnat.Node.example(), ["cni0"], shards=4, seed=3)
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
    answers = group.packets(
        proto="udp", src="203.0.113.10", sport=53, dst=out["src"], dport=out["sport"], iface="eth0"
    )
    back = group.process(answers, np.full(len(answers), 1.5))
    assert (back["verdict"] == Verdict.FORWARD).all()
    assert (back["dst"] == asked["src"]).all()
    assert (back["ctinfo"] == fastnat.CtInfo.ESTABLISHED_REPLY).all()
    assert group.stats["new"] == len(asked)
    group.advance(200.0)
    assert len(group) == 0


def test_the_same_seed_gives_the_same_output(group):
    other = EngineGroup(fastnat.Node.example(), ["cni0"], shards=4, seed=3)
    assert group.process(queries(group)).tobytes() == other.process(queries(other)).tobytes()
    other.close()


def test_untranslated_answers_go_by_their_destination(group):
    out = group.process(
        group.packets(proto="udp", src="10.244.3.9", sport=5, dst="10.244.9.9", dport=53, iface="cni0")
    )
    assert out["src"][0] == 0x0AF40309
    back = group.packets(proto="udp", src="10.244.9.9", sport=53, dst="10.244.3.9", dport=5, iface="eth0")
    assert group.process(back)["ctinfo"][0] == fastnat.CtInfo.ESTABLISHED_REPLY


@pytest.mark.parametrize(("options", "word"), [({"shards": 0}, "shards 0"), ({"inside": ["nope"]}, "no interface")])
def test_what_cannot_be_is_named(options, word):
    with pytest.raises(InputError, match=word):
        EngineGroup(fastnat.Node.example(), **{"inside": ["cni0"], **options})
