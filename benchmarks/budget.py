"""Where the instructions of an operation go: callgrind's lines of the generated C, put down to the step they came from.

`PYTHONPATH=benchmarks python benchmarks/budget.py` prints a table for docs/performance.md.
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from generated import places
from instructions import BATCH, FEW, MANY, OPERATIONS, callgrind

GENERATED = Path(__file__).parents[1] / "build/cython-release/fastnat/core/datapath.c"
COMMENT = re.compile(r'\s*/\* "([\w/]+\.(?:pxd|pyx))":\d+')
COST = re.compile(r"([+-]?\d+|\*) (\d+)$")
NAME = re.compile(r"\((\d+)\)(?: (.*))?")


def origins():
    """Return for each line of the generated C the file that it came from."""
    found, origin = {}, "datapath.pyx"
    for number, line in enumerate(GENERATED.open(), 1):
        said = COMMENT.match(line)
        origin = said[1] if said else origin
        found[number] = origin
    where = places(set(found.values()))
    return {number: where.get(name, name) for number, name in found.items()}


def steps(text, origin):
    """Return the instructions of each step in a callgrind file."""
    counted, names = Counter(), {}
    file, line, in_call = "", 0, False
    for row in text.splitlines():
        key, equals, value = row.partition("=")
        if equals and key in ("fl", "fi", "fe", "cfi", "cfl"):
            number, name = NAME.match(value).groups()
            names[number] = name or names[number]
            file = file if key[0] == "c" else names[number]
        elif key == "calls":
            in_call = True
        elif cost := COST.match(row):
            place = cost[1]
            line = line if place == "*" else line + int(place) if place[0] in "+-" else int(place)
            if not in_call:
                counted[origin[line] if file.endswith("datapath.c") else Path(file).name] += int(cost[2])
            in_call = False
    return counted


def main():
    origin = origins()
    table = {}
    with tempfile.TemporaryDirectory() as folder:
        for operation in OPERATIONS:
            few, many = (steps(callgrind(operation, n, folder).read_text(), origin) for n in (FEW, MANY))
            table[operation] = {k: (many[k] - few[k]) / ((MANY - FEW) * BATCH) for k in many}
    every = sorted({k for row in table.values() for k in row}, key=lambda k: -table["new"].get(k, 0))
    print("| step | " + " | ".join(OPERATIONS) + " |\n| --- |" + " ---: |" * len(OPERATIONS))
    for step in every:
        cells = [table[o].get(step, 0) for o in OPERATIONS]
        if max(cells) >= 10:
            print(f"| {step} | " + " | ".join(f"{c:,.0f}" for c in cells) + " |")
    print("| all | " + " | ".join(f"{sum(table[o].values()):,.0f}" for o in OPERATIONS) + " |")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{error.stderr}")
