"""Random gateways whose addresses, routes, policy rules and sysctls change, beside the running kernel."""

import os

import pytest

from kernel import gateway
from kernel.random_moves import moving_gateway
from kernel.test_live import pytestmark as needs_kernel

pytestmark = needs_kernel

SEEDS = int(os.environ.get("FASTNAT_SEEDS", "6"))
PACKETS = int(os.environ.get("FASTNAT_PACKETS", "400"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_moves(seed, tmp_path):
    """More: FASTNAT_SEEDS=500 FASTNAT_PACKETS=2000. A difference is shrunk and kept in gateways/."""
    node, traffic = moving_gateway(seed, PACKETS)
    gateway.compare_and_keep(node, traffic, tmp_path, f"moves-{seed}")
