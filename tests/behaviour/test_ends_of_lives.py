"""Every connection ends at the jiffy that the listing says, whatever came in between: other timeouts, IPVS, batches."""

import random

import numpy as np
import pytest
from behaviour.test_corner_steps import FAMILIES
from behaviour.test_ipvs_families import OF, node_of
from nodes import MASQUERADE, make_dual

import fastnat
from fastnat.dtypes import HZ

NAMES = (
    "udp_timeout", "udp_timeout_stream", "tcp_timeout_syn_sent", "tcp_timeout_syn_recv", "tcp_timeout_established",
    "tcp_timeout_fin_wait", "tcp_timeout_close", "sctp_timeout_closed", "generic_timeout",
)  # fmt: skip
SEEDS = pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 5))])


def left(nat):
    """Return by their numbers the jiffies that connections have left."""
    return {c.index: round(c.timeout * HZ) for c in nat.conntrack}


def goes_on(nat, ahead):
    """Let so many jiffies pass; those that had more are there, and no others."""
    due = {index for index, jiffies in left(nat).items() if jiffies <= ahead}
    there = {c.index for c in nat.conntrack}
    nat.advance(round(nat.now * HZ + ahead) / HZ)
    assert {c.index for c in nat.conntrack} == there - due, ahead
    nat.check()


def change_timeouts(nat, rng):
    for name in [*NAMES[:2], *rng.sample(NAMES[2:], 3)]:
        nat.node.sysctls[f"net.netfilter.nf_conntrack_{name}"] = str(rng.choice([1, 2, 5, 30, 131, 132, 140, 600]))
    nat.reload()


@pytest.mark.one_of(2)
@FAMILIES
@pytest.mark.parametrize("remember", [True, False])
@SEEDS
def test_timeouts_that_change_on_the_way(family, remember, seed):
    rng = random.Random(f"{family} {seed}")
    nat = fastnat.Engine(make_dual(**{"rules" if family == 4 else "rules6": MASQUERADE}), remember=remember)
    nat.advance(rng.choice([0.0, 17_179_860.0]))
    host, server = {4: ("10.244.1.{}", "203.0.113.9"), 6: ("fd00:1::{}", "2001:db8:7::9")}[family]
    own = {4: "198.51.100.10", 6: "2001:db8::10"}[family]
    for _ in range(25):
        n = rng.randrange(1, 30)
        proto = rng.choices([17, 17, 6, 132, 47], k=n)
        src, sport = (
            [host.format(2 + rng.randrange(4)) for _ in range(n)],
            [rng.randrange(2000, 2006) for _ in range(n)],
        )
        flags = [rng.choice([2, 2, 16, 17, 4]) if one == 6 else 0 for one in proto]
        there = nat.packets(proto=proto, src=src, dst=server, sport=sport, dport=53, iface="cni0", tcp_flags=flags)
        out = nat.process(there, nat.now)
        back = nat.packets(proto=proto, src=server, dst=own, sport=53, dport=out["sport"], iface="eth0",
                           tcp_flags=[rng.choice([18, 16, 17, 4]) if one == 6 else 0 for one in proto])  # fmt: skip
        some = np.array([rng.random() < 0.5 for _ in range(n)])
        nat.process(back[some], nat.now)
        for _ in range(rng.randrange(3)):
            goes_on(nat, rng.choice([1, 250, 251, 1250, 7500, 32_750]))
            nat.process(there[some], nat.now)
        if rng.random() < 0.5:
            change_timeouts(nat, rng)
    while nat.conntrack:
        ahead = round(nat.next_expiry * HZ) - round(nat.now * HZ)
        assert ahead == min(left(nat).values())
        if ahead > 1:
            goes_on(nat, ahead - 1)
        goes_on(nat, 1)
    assert nat.next_expiry is None


@pytest.mark.one_of(2)
@FAMILIES
@SEEDS
def test_connections_of_ipvs_end_when_they_are_due(family, seed):
    """Many in one slot of the wheel, some of which get another time; each takes its entry with it."""
    rng = random.Random(seed)
    services = "".join(
        f"-A -{flag} {{service}}:{port} -s rr{kept}\n-a -{flag} {{service}}:{port} -r {{there}}:{port} -m -w 1\n"
        for flag, port, kept in (("u", 53, ""), ("t", 80, ""), ("u", 99, " -p 7"))
    )
    nat = fastnat.Engine(node_of(family, services))
    nat.node.service_timeouts = (rng.choice([3, 131, 900]), rng.choice([1, 120]), rng.choice([2, 7, 300]))
    nat.reload()
    core, ends = nat.core_of(family), OF[family]

    def due():
        """Return by ports how many jiffies are left; a template outlives those that it controls."""
        now = round(nat.now * HZ)
        return {
            (one["client_port"], one["service_port"], one["proto"]): int(one["expires"]) - now
            for one in core.ipvs_connections() if not one["n_control"]
        }  # fmt: skip

    for _ in range(12):
        n = rng.randrange(1, 9)
        udp = np.array([rng.random() < 0.6 for _ in range(n)])
        dport = np.where(udp, [rng.choice([53, 99]) for _ in range(n)], 80)
        sport = [rng.randrange(1000, 1012) for _ in range(n)]
        flags = np.where(udp, 0, [rng.choice([2, 2, 16, 17, 4]) for _ in range(n)])
        there = nat.packets(proto=np.where(udp, 17, 6), src=ends["pod"], dst=ends["service"], sport=sport, dport=dport,
                            iface="cni0", tcp_flags=flags)  # fmt: skip
        nat.process(there, nat.now)
        back = nat.packets(proto=np.where(udp, 17, 6), src=ends["there"], dst=ends["pod"], sport=dport, dport=sport,
                           iface="cni0", tcp_flags=np.where(udp, 0, 18))  # fmt: skip
        nat.process(back[: n // 2], nat.now)
        nat.check()
        ahead = rng.choice([0, 1, 2, 250, 500, 750, 1750])
        before = due()
        nat.advance(round(nat.now * HZ + ahead) / HZ)
        after = due()
        for key, jiffies in before.items():
            assert after.get(key) == (jiffies - ahead if jiffies > ahead else None)
        nat.check()
    for _ in range(20_000):
        if nat.next_expiry is None:
            break
        nat.advance(nat.next_expiry)
    assert nat.next_expiry is None and not len(nat.conntrack)
    # templates are no entries of conntrack; a minute behind a vain attempt to go they try again (ip_vs_conn_expire)
    nat.advance(nat.now + 60)
    assert not due()
