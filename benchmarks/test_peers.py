"""A plain Python dict beside the engine; `make peers` compares with the kernel and NumPy, too."""

import random

from peers.dictionary import DictNat, flows


def test_dict_nat(timed):
    nat = DictNat()
    for key in flows(0, 900_000):
        nat.packet(key)
    fresh = flows(900_000, 100_000)
    timed("Python dict, new connection, 1,000,000 live", [lambda key=key: nat.packet(key) for key in fresh], 1)
    old = flows(0, 100_000)
    assert all(nat.packet(key)[1] == key[1] for key in old)
    assert len(nat.table) == 2_000_000


def test_dict_nat_established(timed):
    nat = DictNat()
    keys = flows(0, 1_000_000)
    for key in keys:
        nat.packet(key)
    picked = random.Random(1).sample(keys, 100_000)
    timed("Python dict, established packet, 1,000,000 live", [lambda key=key: nat.packet(key) for key in picked], 1)
    assert len(nat.table) == 2_000_000
