"""The failure curve against ten runs of a real 6.18 kernel (tests/data, one SNAT address, one destination, UDP)."""

import csv
from pathlib import Path

import numpy as np
import pytest

import fastnat
from fastnat.exhaustion import Workload, client_addresses, run, verdict

DATA = Path(__file__).with_name("data")
MASQUERADE, RANDOM_FULLY = 11, 16


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flag"), [("masq", 0), ("random-fully", RANDOM_FULLY)])
def test_failure_share_of_every_row_lies_within_two_hundredths(name, flag):
    rows = csv.DictReader((DATA / f"exhaustion-kernel-6.18-{name}.csv").read_text().splitlines())
    kernel = [float(r["fail"]) for r in rows]
    runs = []
    for seed in range(10):
        nat = fastnat.Engine(fastnat.Node.example(), seed=seed)
        rules, targets = nat.ruleset.rules, nat.ruleset.targets
        targets["flags"][rules["target_arg"][rules["target"] == MASQUERADE]] |= flag
        runs.append([r.fail for r in run(nat, Workload((("203.0.113.10", 53),))).rows])
    mean = np.mean(runs, axis=0)
    assert np.abs(mean - kernel).max() < 0.02
    assert np.max(runs, axis=0)[:45].max() == 0


def test_clients_are_never_the_nodes_own_addresses():
    nat = fastnat.Engine(fastnat.Node.example())
    addresses = client_addresses(nat, None)
    assert 0x0AF40101 not in addresses
    assert len(set(addresses.tolist())) == len(addresses) > 65_000


def test_a_full_table_is_told_apart_from_exhausted_ports():
    nat = fastnat.Engine(fastnat.Node.example(), max_connections=1000)
    run(nat, Workload((("203.0.113.10", 53),), flows=1000))
    nat._core.arrays["conns"]["status"] |= np.uint16(fastnat.Status.ASSURED)
    outcome = run(nat, Workload((("203.0.113.11", 53),), flows=1000))
    assert outcome.reasons == {"table_full": 1000}
    assert "table is full" in verdict(outcome)
