"""Walks that the running kernel goes now, of every generator of million.py: tests/mutants.py lets survivors go them.

    python tests/kernel/fresh.py FOLDER [--first SEED] [--each 6] [--most 400]      as root, writes FOLDER/KIND.json.xz

Where the engine differs from the kernel the walk is left out, and the difference printed: `make kernel-test` is where
it counts.
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fastnat.errors import FastnatError
from kernel import gateway, million, walks


class First:
    """The first packets of traffic."""

    def __init__(self, traffic, most):
        self.traffic, self.left, self.tell = traffic, most, traffic.tell

    def step(self):
        self.left -= 1
        return self.traffic.step() if self.left >= 0 else None

    def refused(self, step):
        self.traffic.refused(step)


def recorded(kind, seed, most):
    """Return the recording of a walk, or None where there is none to compare with."""
    try:
        node, traffic = million.KINDS[kind][0](seed)
        return walks.recorded(node, First(traffic, most), f"{kind} {seed}")
    except (gateway.Difference, FastnatError) as difference:
        print(f"{kind} {seed}: {type(difference).__name__}: {str(difference)[:1000]}", flush=True)
        return None


def main():
    """Record some walks of each kind; those of headers alone are no packets."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, default=int(time.time()) // 60 * 1000)
    parser.add_argument("--each", type=int, default=6)
    parser.add_argument("--most", type=int, default=400)
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    for kind, (make, _) in million.KINDS.items():
        if make:
            seeds = range(asked.first, asked.first + asked.each)
            every = [recorded(kind, seed, asked.most) for seed in seeds]
            walks.write(asked.folder / f"{kind}.json.xz", [said for said in every if said])


if __name__ == "__main__":
    main()
