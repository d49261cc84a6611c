"""Time to the first failure and share of failures, at a small scale, beside the running kernel (some 8 s each)."""

import pytest
from test_exhaustion import agree, simulated

from kernel import exhaustion
from kernel.test_live import pytestmark as needs_kernel

pytestmark = needs_kernel


@pytest.mark.slow
@pytest.mark.parametrize("name", ["udp-300", "tcp-100-long"])
def test_the_simulation_agrees_with_the_kernel(name):
    first, failed = exhaustion.measure(name)
    agree(first, len(failed), simulated(name))
