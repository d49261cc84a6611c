"""The failure curve against ten runs of a real 6.18 kernel (tests/data, one SNAT address, one destination, UDP)."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from kernel import exhaustion as small

import fastnat
from fastnat.exhaustion import Workload, client_addresses, run, verdict

# one of each protocol in make test
SMALL = [pytest.param(name, marks=[] if name == "udp-100" else pytest.mark.slow) for name in small.CASES]
DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize(
    ("name", "flag"), [("masq", False), pytest.param("random-fully", True, marks=pytest.mark.slow)]
)
def test_failure_share_of_every_row_lies_near_the_kernels(name, flag):
    rows = csv.DictReader((DATA / f"exhaustion-kernel-6.18-{name}.csv").read_text().splitlines())
    kernel = [float(r["fail"]) for r in rows]
    runs = []
    for seed in range(10):
        nat = fastnat.Engine(fastnat.Node.example(), seed=seed)
        if flag:
            nat.set_random_fully()
        runs.append([r.fail for r in run(nat, Workload((("203.0.113.10", 53),))).rows])
    mean = np.mean(runs, axis=0)
    assert np.abs(mean - kernel).max() < 0.014
    assert np.max(runs, axis=0)[:45].max() == 0


def simulated(name):
    """Return the outcomes of forty seeds of a small-scale case."""
    nodes = [fastnat.Engine(small.node_of(name), seed=seed) for seed in range(40)]
    return [run(nat, small.workload(name)) for nat in nodes]


def agree(first, failed, outcomes):
    """Compare a kernel's run with the seeds, within three standard deviations of a single run."""
    counts = [o.failed for o in outcomes]
    assert abs(failed - np.mean(counts)) <= 3 * max(np.std(counts), np.sqrt(np.mean(counts)) / 3)
    times = [o.first_failure_time for o in outcomes]
    assert (first is None) == all(t is None for t in times)
    if first is not None:
        assert abs(first - np.mean(times)) <= 3 * np.std(times) + 0.1


@pytest.mark.again
@pytest.mark.parametrize("name", SMALL)
def test_small_scale_agrees_with_the_recorded_kernel(name):
    """Ports of 100 and 300, timeouts of 4 s: UDP, and TCP with TIME_WAIT, whose ports linux-6.18 takes over."""
    kernel = json.loads(small.DATA.read_text())[name]
    agree(kernel["first_failure_time"], kernel["failed"], simulated(name))


def test_clients_are_never_the_nodes_own_addresses():
    nat = fastnat.Engine(fastnat.Node.example())
    addresses = client_addresses(nat, None)
    assert 0x0AF40101 not in addresses
    assert len(set(addresses.tolist())) == len(addresses) > 65_000


def test_a_full_table_is_told_apart_from_exhausted_ports():
    nat = fastnat.Engine(fastnat.Node.example(), max_connections=1000)
    run(nat, Workload((("203.0.113.10", 53),), flows=1000))
    nat.stacks[4].core.writable("conns")["status"] |= np.uint16(fastnat.Status.ASSURED)
    outcome = run(nat, Workload((("203.0.113.11", 53),), flows=1000))
    assert outcome.reasons == {"table_full": 1000}
    assert "table is full" in verdict(outcome)


def test_held_udp_flows_level_out_at_rate_times_lifetime():
    """100 flows a second, held for 60 s by a packet every 20 s, gone 30 s after the last one."""
    nat = fastnat.Engine(fastnat.Node.example())
    outcome = run(nat, Workload((("203.0.113.10", 53),), flows=30_000, rate=100.0, hold=60.0))
    assert outcome.failed == 0
    # the last packet of a flow leaves 40..60 s after its first: rows of 10 s, packets 20 s apart
    assert 7_000 <= outcome.rows[-1].count <= 9_500
    assert outcome.rows[-1].count == pytest.approx(outcome.rows[-10].count, rel=0.1)


def test_closed_tcp_flows_wait_in_time_wait():
    """50 flows a second, closed after 10 s, 120 s in TIME_WAIT."""
    nat = fastnat.Engine(fastnat.Node.example())
    outcome = run(nat, Workload((("203.0.113.10", 443),), "tcp", flows=20_000, rate=50.0, hold=10.0))
    assert outcome.failed == 0
    states = [fastnat.dtypes.TCP_STATES[c.state] for c in nat.conntrack]
    assert set(states) == {"ESTABLISHED", "TIME_WAIT"}
    assert states.count("TIME_WAIT") == pytest.approx(50 * 120, rel=0.2)


def test_holding_needs_a_rate():
    with pytest.raises(fastnat.InputError, match="needs a rate"):
        run(fastnat.Engine(fastnat.Node.example()), Workload((("203.0.113.10", 53),), hold=1.0))
