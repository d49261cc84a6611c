"""Tests that draw, with seeds that nobody has had: a plugin of pytest.

    FASTNAT_FRESH=100000:50 python -m pytest -p fresh tests/behaviour        make fresh SEED=100000 COUNT=50

Each test with a parameter `seed` gets these seeds in place of its own; the others are left out. At the end stands how
many packets went through engines.
"""

import os
from pathlib import Path

import pytest

import fastnat

FIRST, COUNT = map(int, os.environ.get("FASTNAT_FRESH", "100000:10").split(":"))
# each process writes how many packets it has counted
COUNTS = Path(__file__).parents[1] / "build" / "fresh"
packets = 0


def counts(name, how_many):
    """Let a method of Engine count the packets that it is given."""
    call = getattr(fastnat.Engine, name)

    def run(self, *given, **options):
        global packets
        packets += how_many(given)
        return call(self, *given, **options)

    setattr(fastnat.Engine, name, run)


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc):
    """Put fresh seeds in the place of those that a test names."""
    marks = metafunc.definition.own_markers
    for n, mark in enumerate(marks):
        if mark.name == "parametrize" and mark.args[0] == "seed":
            marks[n] = pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT)).mark


def pytest_collection_modifyitems(config, items):
    """Leave out tests without a seed."""
    kept = [item for item in items if "seed" in getattr(getattr(item, "callspec", None), "params", ())]
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = kept


def pytest_sessionstart(session):
    """Begin to count."""
    COUNTS.mkdir(parents=True, exist_ok=True)
    if not hasattr(session.config, "workerinput"):
        for path in COUNTS.iterdir():
            path.unlink()
    counts("process", lambda given: given[0].size)
    counts("process_packet", lambda given: 1)
    counts("run", lambda given: 1)
    counts("process_frames", lambda given: len(given[1]) - 1)


def pytest_sessionfinish(session):
    """Note the count of this process."""
    (COUNTS / str(os.getpid())).write_text(str(packets))


def pytest_terminal_summary(terminalreporter):
    """Say how many packets all processes have counted."""
    total = sum(int(path.read_text()) for path in COUNTS.iterdir())
    terminalreporter.write_line(f"seeds from {FIRST} on, {COUNT} of each test: {total:,} packets through engines")
