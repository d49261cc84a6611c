"""Times of two builds, or of two nodes, side by side in one call; instructions of one.

Two processes run the same blocks in turns, so that what else the machine does meets both alike; pairs of processes are
started anew several times, because where memory happens to lie makes one faster than the other by a few percent. A
change counts as large as the smallest of those pairs shows it: of equal builds all of them show one above 0 in one of
2**PAIRS runs.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..util.files import scratch
from ..util.text import excerpt
from . import worker

PAIRS, TURNS = 8, 12
NAMES = tuple(worker.BLOCKS)
# rounds of which callgrind sees the difference
FEW, MANY = 20, 60
CALLS = "__pyx_pw_*8Datapath_*process*"


@dataclass(frozen=True)
class Pair:
    """One time on both sides [ns], and how much longer the first takes [%]: least, median and most of the pairs."""

    name: str
    ns: float
    against_ns: float
    low: float
    percent: float
    high: float


@dataclass(frozen=True)
class Side:
    """What one side runs: an interpreter with fastnat, and a node directory, "" the packaged one."""

    python: str
    node: str


def sides(node: str, against: str) -> tuple[Side, Side]:
    """Return both sides; against: a Python interpreter with another fastnat, or another node directory."""
    here = Side(sys.executable, node)
    there = Path(against)
    try:
        if there.is_dir():
            return here, Side(sys.executable, against)
        if there.is_file() and os.access(there, os.X_OK):
            return here, Side(str(there), node)
    except (OSError, ValueError):
        pass
    raise InputError(f"--against {excerpt(against)!r}: neither a node directory nor a Python interpreter with fastnat")


def words(side: Side, flows: tuple[str, str, int, int], *more: str) -> list[str]:
    """Return the command of a worker; flows: interface, profile, first client and number of clients."""
    return [side.python, "-P", worker.__file__, side.node, *map(str, flows), *more]


@contextmanager
def started(side: Side, flows: tuple[str, str, int, int]) -> Iterator[Callable[[str], float]]:
    """Start a worker; yield a function that runs a block and returns nanoseconds of an operation."""
    # another interpreter has its own fastnat
    env = {k: v for k, v in os.environ.items() if side.python == sys.executable or k != "PYTHONPATH"}
    pipe = subprocess.PIPE
    with subprocess.Popen(words(side, flows), stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env) as process:
        assert process.stdin and process.stdout and process.stderr
        try:
            given, answers, errors = process.stdin, process.stdout, process.stderr

            def answer() -> str:
                line = answers.readline()
                if not line:
                    said = errors.read().strip().splitlines() or ["it ended"]
                    raise InputError(f"{excerpt(side.python)} cannot measure: {excerpt(said[-1])}")
                return line

            def block(name: str) -> float:
                given.write(f"{name}\n")
                given.flush()
                return float(answer())

            if not answer().startswith("ready"):
                raise InputError(f"{excerpt(side.python)} cannot measure: it is not ready")

            yield block
        finally:
            process.kill()


def one_pair(both: tuple[Side, Side], flows: tuple[str, str, int, int]) -> dict[str, tuple[float, float, float]]:
    """Return of each name the median times of both sides, and of their ratio in percent, of processes started anew."""
    with ExitStack() as running:
        blocks = [running.enter_context(started(side, flows)) for side in both]
        found = {}
        for name in NAMES:
            turns: list[tuple[float, float]] = []
            for n in range(TURNS + 1):
                # each side is the first one as often as the other
                order = (0, 1) if n % 2 else (1, 0)
                spent = {k: blocks[k](name) for k in order}
                turns.append((spent[0], spent[1]))
            # the first turn fills the caches
            turns = turns[1:]
            ratio = statistics.median(a / b for a, b in turns)
            found[name] = (
                statistics.median(a for a, _ in turns), statistics.median(b for _, b in turns), (ratio - 1) * 100,
            )  # fmt: skip
    return found


def paired(
    node: str, against: str, flows: tuple[str, str, int, int], progress: Callable[[str], None] | None = None
) -> list[Pair]:
    """Return how times on `node` differ from those of another build or node, measured in turns."""
    both = sides(node, against)
    pairs = []
    for n in range(PAIRS):
        if progress:
            progress(f"times in turns, {n + 1} of {PAIRS}")
        pairs.append(one_pair(both, flows))
    found = []
    for name in NAMES:
        ours, theirs, percents = zip(*(pair[name] for pair in pairs), strict=True)
        found.append(
            Pair(name, statistics.median(ours), statistics.median(theirs), min(percents), statistics.median(percents),
                 max(percents))
        )  # fmt: skip
    return found


def instructions(node: str, flows: tuple[str, str, int, int]) -> dict[str, float]:
    """Return the instructions of the datapath for each operation of a node, as callgrind counts them."""
    if not shutil.which("valgrind"):
        raise InputError("--instructions needs valgrind, which counts them")
    side = Side(sys.executable, node)
    with ThreadPoolExecutor(2) as pool:
        jobs = {(name, n): pool.submit(counted, side, flows, name, n) for name in NAMES for n in (FEW, MANY)}
        counts = {key: job.result() for key, job in jobs.items()}
    return {
        f"instructions_{name}": round(
            (counts[name, MANY] - counts[name, FEW]) / ((MANY - FEW) * worker.BLOCKS[name]), 1
        )
        for name in NAMES
    }


def counted(side: Side, flows: tuple[str, str, int, int], name: str, rounds: int) -> int:
    """Return the instructions that the datapath executes for so many rounds, and for what comes before them."""
    with scratch() as folder:
        out = Path(folder) / "callgrind"
        tool = ["valgrind", "--tool=callgrind", "--collect-atstart=no", f"--toggle-collect={CALLS}",
                f"--callgrind-out-file={out}", "--"]  # fmt: skip
        done = subprocess.run(
            [*tool, *words(side, flows, name, str(rounds))], capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )  # fmt: skip
        text = out.read_text() if out.exists() else ""
    found = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
    if done.returncode or not found:
        raise InputError(f"valgrind cannot count: {excerpt((done.stderr.strip().splitlines() or ['no output'])[-1])}")
    return int(found[1])
