"""Random gateways that change beside the running kernel: rules loaded anew, time that passes, packets in batches."""

import os

import pytest

from kernel import gateway
from kernel.gateway import PAUSE, RELOAD
from kernel.random_changes import changing_gateway
from kernel.test_live import pytestmark as needs_kernel

pytestmark = needs_kernel

SEEDS = int(os.environ.get("FASTNAT_SEEDS", "6"))
PACKETS = int(os.environ.get("FASTNAT_PACKETS", "400"))


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("kinds", [(RELOAD,), (PAUSE, RELOAD)], ids=["rules", "time"])
def test_random_changes(seed, kinds, tmp_path):
    """More: FASTNAT_SEEDS=500 FASTNAT_PACKETS=2000. A difference is shrunk and kept in gateways/."""
    node, traffic = changing_gateway(seed, PACKETS, kinds)
    gateway.compare_and_keep(node, traffic, tmp_path, f"changes-{seed}")
