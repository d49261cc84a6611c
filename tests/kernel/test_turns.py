"""Rules of nftables that change while packets pass, beside the running kernel."""

import os
import shutil
from pathlib import Path

import pytest

from kernel import gateway
from kernel.random_turns import turning_gateway
from kernel.test_live import pytestmark as needs_kernel

pytestmark = [*needs_kernel, pytest.mark.skipif(not shutil.which("nft"), reason="needs nft")]

SEEDS = int(os.environ.get("FASTNAT_SEEDS", "6"))
PACKETS = int(os.environ.get("FASTNAT_PACKETS", "400"))


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("slow", [False, True], ids=["commands", "time"])
def test_random_turns(seed, slow, tmp_path):
    """More: FASTNAT_SEEDS=500 FASTNAT_PACKETS=2000. A difference that is there again is kept in gateways/.

    When the kernel looks which counted connections are over is chance: what is not there again is none.
    """
    node, traffic = turning_gateway(seed, min(PACKETS, 120) if slow else PACKETS, slow)
    try:
        gateway.compare(node, traffic, tmp_path)
    except gateway.Difference as difference:
        if not all(gateway.differs(node, difference.packets, tmp_path, difference.kind) for _ in range(2)):
            return
        smaller, packets = gateway.shrink(node, difference, tmp_path)
        path = Path(gateway.__file__).with_name("gateways") / f"found-turns-{slow:d}-{seed}.json"
        gateway.record(smaller, packets, path, f"seed {seed}: {difference.kind}")
        pytest.fail(f"{difference}\nkept in {path}")
