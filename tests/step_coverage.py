"""Print which share of each step's lines the checked build has run, IPv4 and IPv6 together; `make checked`.

    python tests/step_coverage.py build/temp-checked [--least 95]

gcov counts lines of the C that Cython makes; its #line directives lead back to the .pxd and .pyx files. With --least it
is an error if a step has a smaller share, unless FEW says why.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from generated import places

FULL = "what follows when a table takes no further item, even under another key: no input is known that leads there"
# of steps below the least share: why. What the kernel tests reach is not counted: they run on the release build
FEW = {
    "_steps.pyx": "calls of single steps, for tests alone; slow ones make the others",
    "check.pxd": "the names of broken invariants: nothing but a test that breaks a table gets one",
    "conntrack/adopt.pxd": FULL,
    "conntrack/confirm.pxd": FULL,
    "conntrack/create.pxd": FULL,
    "datapath.pyx": "refusals of what fastnat.engine never passes, and of memory that is not there",
    "multipath.pxd": "what policy rules dissect of IPv6, later parts without conntrack: drawn beside the kernel",
    "packet/frame.pxd": "frames to groups and frames of lo: drawn beside the kernel",
    "rules/fetch_ahead.pxd": "it only fetches, which gives no answer; long chains behind a jump are in the benchmarks",
    "rules/proxy.pxd": "one line of thirteen: a cut header, drawn beside the kernel",
    "rules/tcpmss.pxd": "cut headers and tiny MTUs: drawn beside the kernel",
    "tuples/rehash.pxd": FULL,
}


def executed(folder):
    """Return of each step, by its path in core, its lines: whether any module has run them."""
    lines = defaultdict(lambda: defaultdict(bool))
    for notes in sorted(Path(folder).rglob("*.gcda")):
        words = ["gcov", "--json-format", "--stdout", notes.name]
        said = subprocess.run(words, cwd=notes.parent, capture_output=True, text=True, check=True).stdout
        files = json.loads(said)["files"]
        where = places(file["file"] for file in files)
        for file in files:
            for line in file["lines"] if file["file"] in where else ():
                lines[where[file["file"]]][line["line_number"]] |= line["count"] > 0
    return lines


def ranges(numbers):
    """Return line numbers as "3, 7-9"."""
    found = []
    for n in numbers:
        if found and n == found[-1][1] + 1:
            found[-1][1] = n
        else:
            found.append([n, n])
    return ", ".join(f"{a}-{b}" if b > a else str(a) for a, b in found)


def main():
    """Print a line for each step, the least covered first, and the total."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--least", type=float, default=0.0)
    told = parser.parse_args()
    folder = told.folder
    steps = executed(folder).items()
    rows = [(name, len(ran), [n for n, was in sorted(ran.items()) if not was]) for name, ran in steps]
    if not rows:
        sys.exit(f"{folder}: no .gcda files; has the checked build run?")
    for name, total, missed in sorted(rows, key=lambda row: 1 - len(row[2]) / row[1]):
        print(f"{1 - len(missed) / total:6.1%}  {name:34} {total:5}  {ranges(missed)}"[:160])
    total, missed = sum(row[1] for row in rows), sum(len(row[2]) for row in rows)
    print(f"{1 - missed / total:6.1%}  all {len(rows)} files, {total} lines")
    few = [name for name, lines, left in rows if 100 * (1 - len(left) / lines) < told.least and name not in FEW]
    if few:
        sys.exit(f"below {told.least:g} %, and FEW of tests/step_coverage.py gives no reason: {', '.join(few)}")


if __name__ == "__main__":
    main()
