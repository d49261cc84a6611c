import gc
import mmap
import signal
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from nodes import examples, make_node
from xdist.workermanage import NodeManager

# no test asks the clock, not even how long an example takes to draw
settings.register_profile(
    "fastnat", max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fastnat")


# a shell that starts the tests in the background has Ctrl-C ignored, and some of them send one
signal.signal(signal.SIGINT, signal.default_int_handler)

# no table asks for huge pages: the first record of each would have 2 MB zeroed, a fifth of all that the tests take. The
# commands that run as processes of their own do ask
vars(mmap).pop("MADV_HUGEPAGE", None)

# a worker writes what it has covered as it ends; on a busy machine xdist's 10 s are over before [s]
NodeManager.EXIT_TIMEOUT = 300


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Let the collector of garbage leave alone what stays to the end: it would go through all tests again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what Hypothesis draws, and what `make test` leaves out of the cases of a test marked one_of(n, first).

    One of n cases is left to it: of each n in a row another one, so that each value of each parameter has its turn.
    """
    seen = Counter()
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("drawn")
        mark = item.get_closest_marker("one_of")
        if mark and not item.get_closest_marker("slow"):
            test = item.nodeid.partition("[")[0]
            n, first = (*mark.args, 0)[:2]
            row, place = divmod(seen[test], n)
            seen[test] += 1
            if place != (row + first) % n:
                item.add_marker("again")


@pytest.fixture
def node():
    return make_node()
