"""Fragments, options, broken headers and the like through the running kernel and through a replay."""

import os

import pytest

from kernel import corners
from kernel.test_live import pytestmark as needs_kernel

pytestmark = needs_kernel
SEEDS = 4 * int(os.environ.get("FASTNAT_SEEDS", "6"))


@pytest.mark.parametrize("name", corners.CORNERS)
def test_corner(name):
    case = corners.CORNERS[name]
    corners.check(case, corners.told_by_kernel(case))


@pytest.mark.parametrize("seed", range(1000, 1000 + SEEDS))
@pytest.mark.parametrize("family", [4, 6])
def test_random_fragments(family, seed):
    """Every fourth seed has no conntrack: each fragment goes its way alone."""
    plain = corners.PLAIN if family == 4 else corners.PLAIN6
    case = corners.fragments(seed, family, corners.MASQUERADE if seed % 4 else plain, (1500, 300, 120)[seed % 3])
    corners.check(case, corners.told_by_kernel(case))


@pytest.mark.parametrize("seed", range(1000, 1000 + SEEDS))
def test_random_bundles(seed):
    case = corners.bundled(seed)
    corners.check(case, corners.told_by_kernel(case))
