"""Random gateways whose addresses, routes, policy rules and sysctls change, beside the running kernel."""

import os
from pathlib import Path

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
    try:
        gateway.compare(node, traffic, tmp_path)
    except gateway.Difference as difference:
        smaller, packets = gateway.shrink(node, difference, tmp_path)
        path = Path(gateway.__file__).with_name("gateways") / f"found-moves-{seed}.json"
        gateway.record(smaller, packets, path, f"seed {seed}: {difference.kind}")
        pytest.fail(f"{difference}\nkept in {path}")
