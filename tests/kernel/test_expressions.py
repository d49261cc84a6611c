"""Rules of nftables with every expression there is, beside the running kernel."""

import os

import pytest

from kernel import gateway
from kernel.random_expressions import node_of
from kernel.test_nftables import pytestmark as needs_kernel

pytestmark = needs_kernel


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(int(os.environ.get("FASTNAT_SEEDS", "4"))))
def test_every_expression_decides_as_in_the_kernel(seed, tmp_path):
    """More: FASTNAT_SEEDS=100 FASTNAT_PACKETS=500. What nft takes and the engine refuses fails, too."""
    node, traffic = node_of(seed, 6 if seed % 2 else 4, int(os.environ.get("FASTNAT_PACKETS", "150")))
    gateway.compare_and_keep(node, traffic, tmp_path, f"expressions-{seed}")
