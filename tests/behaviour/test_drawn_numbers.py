"""What is drawn, beside the same numbers drawn in Python: odds of a rule, numgen of nftables, limits of chains."""

import random
import re

import numpy as np
import pytest
from behaviour.test_corner_steps import CLIENT, FAMILIES, MASQUERADE, SERVER, clients, nft_chain, router

import fastnat
from fastnat import Reason

WORD = (1 << 64) - 1
GAMMA = 0x9E3779B97F4A7C15


def splitmix64(state):
    """Return the next state, and the number that it gives (Steele, Lea, Flood 2014)."""
    state = (state + GAMMA) & WORD
    z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & WORD
    z = (z ^ z >> 27) * 0x94D049BB133111EB & WORD
    return state, z ^ z >> 31


def drawn(core, number, n):
    """Return the first numbers of a packet, before which so many have come."""
    state = splitmix64((core.generator[0] + number * GAMMA) & WORD)[1]
    found = []
    for _ in range(n):
        state, z = splitmix64(state)
        found.append(z)
    return found


def sent(nat, family, now=0.0, **fields):
    ends = {"src": CLIENT[family], "dst": SERVER[family], "sport": 4000, "iface": "r0", "proto": "udp"}
    return nat.process(nat.packets(**{**ends, **fields}), now)


def chances(family, of):
    """Return an engine with rules by port, each for so many of 2**31 packets."""
    rules = "".join(
        f"-A FORWARD -p udp -m udp --dport {port} -m statistic --mode random --probability {below / 2**31:.20f}\n"
        for port, below in of.items()
    )
    return fastnat.Engine(router(family, f"*filter\n{rules}COMMIT\n"), seed=7)


@FAMILIES
def test_a_rule_by_chance_matches_whoever_draws_less(family):
    """statistic_mt: 31 bits of a number against the probability, which is as many of 2**31."""
    core = chances(family, {1: 1}).core_of(family)
    ports = range(1000, 1060)
    draws = {port: drawn(core, n, 1)[0] >> 33 for n, port in enumerate(ports)}
    for more in (-1, 0, 1, 2):
        nat = chances(family, {port: max(draw + more, 0) for port, draw in draws.items()})
        sent(nat, family, dport=list(ports))
        met = [int(n) for n in re.findall(r"^\[(\d+):\d+\] -A FORWARD", nat.save_rules(family), re.MULTILINE)]
        assert met == [int(more > 0)] * len(ports)


@FAMILIES
@pytest.mark.parametrize("seed", range(3))
def test_numgen_random_scales_what_is_drawn(family, seed):
    """nft_ng_random_gen: reciprocal_scale of 32 bits, and an offset; each rule that a packet meets draws anew."""
    rng = random.Random(seed)
    kinds = [(rng.choice((1, 2, 3, 7, 100, 2**31, 2**32 - 1)), rng.choice((0, 0, 1, 77))) for _ in range(4)]
    rules = "\n".join(
        f"udp dport {n} numgen random mod {mod} offset {offset} > 0 ct mark set numgen random mod {mod} offset {offset}"
        for n, (mod, offset) in enumerate(kinds)
    )
    nat = fastnat.Engine(router(family, nft=nft_chain(family, rules)), seed=seed)
    there = clients(family, 60)
    ports = [rng.randrange(4) for _ in there]
    out = sent(nat, family, src=there, dport=ports)
    marks = nat.conntrack.to_numpy(family)["mark"]
    wanted = []
    for n, port in enumerate(ports):
        (mod, offset), (one, other) = kinds[port], drawn(nat.core_of(family), n, 2)
        wanted.append(((other >> 32) * mod >> 32) + offset if ((one >> 32) * mod >> 32) + offset > 0 else 0)
    assert len(set(wanted)) > 8
    assert marks[out["conn"]].tolist() == wanted


@pytest.mark.one_of(2)
@FAMILIES
@pytest.mark.parametrize("buckets", [1, 2, 5])
def test_a_chain_takes_as_many_as_was_drawn(family, buckets):
    """__nf_conntrack_confirm: a limit of 50 to 79 for both chains, drawn anew for each new connection."""
    node = router(family, MASQUERADE.format(""))
    node.sysctls["net.netfilter.nf_conntrack_buckets"] = str(buckets)
    # which chains a connection is in: one that is alone there says it
    nat, alone = (fastnat.Engine(node, seed=buckets, key=99, max_connections=5000) for _ in "12")
    core, chains = nat.core_of(family), nat.core_of(family).arrays["chains"]
    assert len(chains) == buckets
    rng, port, reasons = random.Random(buckets), 1024, []
    for now in range(900):
        port += 1
        fields = {"src": rng.choice(clients(family, 9)), "sport": port, "dport": 53}
        alone.conntrack.flush()
        sent(alone, family, float(now), **fields)
        mine = np.nonzero(alone.core_of(family).arrays["chains"])[0]
        # those that are over leave their chains before the packet is looked at
        nat.advance(now / 8)
        limit = 50 + drawn(core, nat.stats["packets"], 1)[0] % 30
        full = bool((chains[mine] >= limit + 2).any())
        (out,) = sent(nat, family, now / 8, **fields)
        assert out["reason"] == (Reason.CHAIN_TOO_LONG if full else Reason.NONE), (now, limit, chains)
        reasons.append(full)
    nat.check()
    assert 50 < sum(reasons) < 850
    assert nat.stats["chaintoolong"] == nat.stats["insert_failed"] == sum(reasons)
