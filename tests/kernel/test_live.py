"""The running kernel and the engine side by side, packet by packet."""

import os
import platform
import shutil
from pathlib import Path

import pytest

from kernel import cases, differential, recorder
from kernel.random_case import random_case


def missing():
    """Return why the kernel cannot be asked here, or an empty string."""
    if os.geteuid():
        return "needs root"
    if tuple(int(x) for x in platform.release().split("-")[0].split(".")[:2]) < (6, 12):
        return f"kernel {platform.release()} is not of the linux-6.18 profile"
    tools = [t for t in ("ip", "ipset", "iptables-legacy-restore", "sysctl") if not shutil.which(t)]
    return f"needs {', '.join(tools)}" if tools else "" if Path("/dev/net/tun").exists() else "needs /dev/net/tun"


pytestmark = [pytest.mark.kernel, pytest.mark.skipif(bool(missing()), reason=missing() or "kernel is at hand")]


@pytest.mark.parametrize("name", cases.CASES)
def test_same_packets_come_out(name):
    case = cases.CASES[name]
    engine = cases.EngineNode(case.node())
    kernel = recorder.Namespace(case)
    try:
        for n, (packet, iface, data, theirs) in enumerate(cases.conversation(case, kernel)):
            assert engine.pass_packet(iface, data) == theirs, f"packet {n}: {packet.summary()}"
    finally:
        kernel.close()


@pytest.mark.parametrize("seed", range(int(os.environ.get("FASTNAT_SEEDS", "6"))))
def test_random_rules_and_traffic(seed):
    """More: FASTNAT_SEEDS=20 FASTNAT_PACKETS=5000 make kernel-test. A difference is shrunk and kept in found/."""
    wanted = int(os.environ.get("FASTNAT_PACKETS", "400"))
    done = 0
    for part in range(wanted):
        case = random_case(seed, wanted - done, part)
        try:
            done += differential.run(case)
        except differential.Difference as difference:
            smaller, packets = differential.shrink(case, difference)
            path = differential.keep(f"seed-{seed}-{part}", smaller, packets)
            pytest.fail(f"{differential.fails(smaller) or difference}\n{smaller.rules}kept in {path}")
        if done >= wanted:
            break
