"""One pinned CPU, no garbage collection, and the yardstick measured beside every figure."""

import gc
import os
import statistics
import time

import pytest
from yardstick import EVERY
from yardstick import yardstick as measuring


@pytest.fixture(scope="session", autouse=True)
def _quiet():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    gc.collect()
    gc.freeze()
    yield
    os.sched_setaffinity(0, before)


@pytest.fixture(scope="session")
def yardstick():
    """R [ns] as docs/vocabulary.md defines it, measured now."""
    return measuring()


@pytest.fixture
def timed(benchmark, yardstick, capsys):
    """Time calls one by one, R in between; report the medians for one of `each` items."""

    def run(name, calls, each, **extra):
        spent, ratio = [], []

        def loop():
            r = yardstick()
            for i, call in enumerate(calls):
                if i % EVERY == EVERY - 1:
                    r = yardstick()
                start = time.perf_counter_ns()
                call()
                spent.append(time.perf_counter_ns() - start)
                ratio.append(spent[-1] / each / r)

        benchmark.pedantic(loop, rounds=1)
        ns, in_r = statistics.median(spent) / each, statistics.median(ratio)
        benchmark.extra_info.update(ns=ns, ratio_to_r=in_r, **extra)
        with capsys.disabled():
            shown = "".join(f", {k.replace('_', ' ')} {v:,.4g}" for k, v in extra.items())
            print(f"\n{name}: {ns:,.1f} ns, {in_r:.1f} R{shown}")
        return spent

    return run
