"""Rules of nftables that change while packets pass, beside the running kernel."""

import os
import shutil

import pytest

from kernel import gateway
from kernel.random_turns import turning_gateway
from kernel.test_live import pytestmark as needs_kernel

pytestmark = [*needs_kernel, pytest.mark.skipif(not shutil.which("nft"), reason="needs nft")]

SEEDS = int(os.environ.get("FASTNAT_SEEDS", "6"))
PACKETS = int(os.environ.get("FASTNAT_PACKETS", "400"))


# at most one of so many runs differs by chance: the kernel looks when it likes which counted connections are over
CHANCE = 10


@pytest.fixture(scope="module")
def by_chance():
    """Differences that were not there again; of all runs of the module together few may have one."""
    found = []
    yield found
    assert len(found) <= 1 + 2 * SEEDS // CHANCE, found


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("slow", [False, True], ids=["commands", "time"])
def test_random_turns(seed, slow, by_chance, tmp_path):
    """More: FASTNAT_SEEDS=500 FASTNAT_PACKETS=2000. A difference that comes again is shrunk and kept in gateways/."""
    node, traffic = turning_gateway(seed, min(PACKETS, 120) if slow else PACKETS, slow)
    gateway.compare_and_keep(node, traffic, tmp_path, f"turns-{slow:d}-{seed}", by_chance)
