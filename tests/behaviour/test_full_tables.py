"""Tables that cannot grow: who finds no room is lost and leaves nothing behind, and all others stay."""

import random

import numpy as np
import pytest
from behaviour.test_corner_steps import FAMILIES, MASQUERADE, OWN, SERVER, clients, router

import fastnat
from fastnat import Reason, Verdict
from fastnat.core.layout import FN_GROUP_BUCKETS

# items of one group
ROOM = FN_GROUP_BUCKETS * 12


@pytest.mark.one_of(3)
@FAMILIES
@pytest.mark.parametrize("remember", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_table_of_one_group_takes_its_384_items_and_no_more(family, remember, seed, monkeypatch):
    """A connection needs two places, one that only shares its original tuple with another needs one (NAT_CLASH).

    The table is told that it may not grow; where somebody gives a place up the next one has it.
    """
    made = fastnat.engine.arrays._buckets
    monkeypatch.setattr("fastnat.engine.arrays._buckets", lambda n: FN_GROUP_BUCKETS if n == 20_000 else made(n))
    node = router(family, MASQUERADE.format("--random-fully" if seed else ""))
    node.sysctls["net.netfilter.nf_conntrack_udp_timeout"] = "7"
    nat, rng = fastnat.Engine(node, seed=seed, remember=remember, max_connections=10_000), random.Random(seed)
    core, there = nat.stacks[family].core, clients(family, 50)
    now, port, lost = 0.0, 1024, dict.fromkeys(Reason, 0)
    for _ in range(120):
        now += rng.choice((0.0, 0.0, 0.1, 0.4, 2.5))
        nat.advance(now)
        left = ROOM - int((core.arrays["tuples"]["tags"] != 0).sum())
        failed = nat.stats["insert_failed"]
        # often just as many as have room, or all but one
        n = rng.choice((2, 2, rng.randrange(1, 60), max(left // 2 + rng.randrange(-1, 2), 1)))
        fields = {"proto": "udp", "dst": SERVER[family], "dport": 53, "iface": "r0"}
        if n == 2 and seed:
            # two packets of one flow at once
            batch = nat.packets(src=rng.choice(there), sport=np.full(2, port), **fields)
            out = nat.process(batch, now, cpus=2)
            wanted = [Reason.NONE if left >= 2 else Reason.TABLE_FULL]
            wanted.append(wanted[0] if left < 2 else Reason.NONE if left >= 3 else Reason.CLASH)
        else:
            batch = nat.packets(src=rng.choice(there), sport=port + np.arange(n), **fields)
            out = nat.process(batch, now)
            wanted = [Reason.NONE] * min(n, left // 2) + [Reason.TABLE_FULL] * (n - left // 2)
        port += n
        assert out["reason"].tolist() == wanted, (left, n)
        assert (out["verdict"] == np.where(out["reason"] == 0, Verdict.FORWARD, Verdict.DROP)).all()
        assert nat.stats["insert_failed"] - failed == sum(reason != Reason.NONE for reason in wanted)
        for reason in wanted:
            lost[reason] += 1
        nat.check()
    assert lost[Reason.TABLE_FULL] > 50 and lost[Reason.NONE] > 500 and (lost[Reason.CLASH] or not seed)


@FAMILIES
@pytest.mark.parametrize(
    ("low", "high"), [(2000, 2020), (2047, 2048), (2030, 2070), (4090, 4180), (8100, 8290), (65_500, 65_535)]
)
def test_a_bitmap_has_a_page_for_each_2048_ports_that_were_looked_at(family, low, high, monkeypatch):
    """What a search learns is kept: crowded peers have the pages of their window, and no other ones."""
    monkeypatch.setattr("fastnat.engine.settings.BITMAP_PROBES", 1)
    to = f"{OWN[family] if family == 4 else f'[{OWN[6]}]'}:{low}-{high}"
    nat = fastnat.Engine(router(family, f"*nat\n-A POSTROUTING -o r1 -p udp -j SNAT --to-source {to}\nCOMMIT\n"))
    core, size = nat.core_of(family), high - low + 1
    for n, last in enumerate("789", 1):
        there = {"src": clients(family, size + 9), "dst": SERVER[family][:-1] + last}
        for part in (1, 2):
            # the second part meets what the first one has left
            out = nat.process(nat.packets(proto="udp", sport=9 * part, dport=53, iface="r0", **there))
        assert (out["reason"] == Reason.CLASH).all()
        assert core.tables["bitmaps"] == n
        assert core.tables["bitmap_pages"] == n * ((high >> 11) - (low >> 11) + 1)
    nat.check()
