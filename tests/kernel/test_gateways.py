"""Random gateways beside the running kernel: whole nodes of both families, with rules and packets of every kind."""

import os

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
    gateway.compare_and_keep(node, Some(traffic, PACKETS), tmp_path, str(seed))
