"""Random gateways beside the running kernel: whole nodes of both families, with rules and packets of every kind."""

import os
from pathlib import Path

import pytest

from kernel import gateway
from kernel.random_gateway import random_gateway
from kernel.test_live import pytestmark as needs_kernel

pytestmark = needs_kernel

SEEDS = int(os.environ.get("FASTNAT_SEEDS", "6"))
PACKETS = int(os.environ.get("FASTNAT_PACKETS", "400"))


class Some:
    """The first packets of traffic."""

    def __init__(self, traffic, n):
        self.traffic, self.left = traffic, n
        self.tell = traffic.tell

    def step(self):
        self.left -= 1
        return self.traffic.step() if self.left >= 0 else None


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_gateways(seed, tmp_path):
    """More: FASTNAT_SEEDS=500 FASTNAT_PACKETS=2000. A difference is shrunk and kept in gateways/."""
    node, traffic = random_gateway(seed)
    try:
        gateway.compare(node, Some(traffic, PACKETS), tmp_path)
    except gateway.Difference as difference:
        smaller, packets = gateway.shrink(node, difference, tmp_path)
        path = Path(gateway.__file__).with_name("gateways") / f"found-{seed}.json"
        gateway.record(smaller, packets, path, f"seed {seed}: {difference.kind}")
        pytest.fail(f"{difference}\nkept in {path}")
