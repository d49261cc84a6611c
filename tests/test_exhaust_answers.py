"""Answers of `fastnat exhaust` that hold: TIME_WAIT, port spaces, causes, advice, labels."""

import numpy as np
import pytest

import fastnat
from fastnat.exhaustion import Workload, simulation, workload

WEB = (("203.0.113.10", 443),)
WAITING = (
    "tcp      6 110 TIME_WAIT src=10.{}.{}.{} dst=203.0.113.10 sport={port} dport=443 "
    "src=203.0.113.10 dst=198.51.100.10 sport=443 dport={port} [ASSURED] mark=0 use=1\n"
)


def waiting(n):
    """Return a dump of n connections to WEB in TIME_WAIT."""
    return "".join(WAITING.format(244 + k // 62500, k // 250 % 250, 2 + k % 250, port=1024 + k) for k in range(n))


@pytest.mark.parametrize("held", [{}, {"rate": 500.0, "hold": 5.0}, {"rate": 500.0, "hold": "exp:5", "clients": 200}])
@pytest.mark.parametrize(("there", "flows"), [(60_000, 1000), (64_512, 2000)])
def test_ports_in_time_wait_are_taken_over_as_the_kernel_does(there, flows, held):
    """linux-6.18 passes 1,000 of 1,000 SYNs among 60,000 in TIME_WAIT, and 2,000 of 2,000 where all 64,512 are."""
    text = waiting(there)
    for seed in range(2):
        nat = fastnat.Engine(fastnat.Node.example(), seed=seed)
        nat.conntrack.load(text)
        outcome = simulation.run(nat, Workload(WEB, "tcp", flows, sport="random", **held))
        assert (outcome.failed, outcome.opened) == (0, flows)
        assert outcome.stats["evicted"] > 0


def test_sequence_numbers_of_neighbours_are_independent():
    """Ports that count up do not count in sequence numbers: a search would find 32 neighbours all newer, or none."""
    batch = fastnat.packets(proto="tcp", src="10.244.0.2", dst="203.0.113.10", sport=np.arange(1024, 9216), dport=443)
    steps = np.diff(workload.initial_sequence(batch, np.zeros(len(batch))).astype(np.int64)) % 2**16
    # of a progression there were two or three
    assert len(np.unique(steps)) > 7000
