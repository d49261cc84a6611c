"""The counters of conntrack: `conntrack -S` and /proc/net/stat/nf_conntrack, summed over all CPUs.

Source: nf_conntrack_standalone.c (ct_cpu_seq_show), libnetfilter_conntrack; which failure counts where is in
docs/behaviour.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..conntrack.text import PROC_COUNTERS
from ..errors import InputError
from ..util.text import each_line, excerpt

LINE = re.compile(r"\s*cpu=(\d{1,6})\s+((?:[a-z_]+=\d{1,20}\s*)+)")
WORD = re.compile(r"([a-z_]+)=(\d+)")
HEADER = re.compile(r"\s*entries\s+(?:searched|clashres)\s+found\s")
# without them nothing can be told apart
NEEDED = ("insert_failed", "drop", "early_drop", "invalid")


@dataclass(frozen=True)
class Counters:
    """Counters by name, those of all CPUs together; entries: of the table, where the text says it."""

    values: dict[str, int]
    cpus: int
    entries: int | None = None

    def __getitem__(self, name: str) -> int:
        """Return a counter, 0 for one that this kernel does not have."""
        return self.values.get(name, 0)

    def since(self, before: Counters) -> Counters | None:
        """Return what has been counted since; None if these are not later counters of the same node since its start."""
        if self.cpus != before.cpus or self.values.keys() != before.values.keys():
            return None
        grown = {name: n - before[name] for name, n in self.values.items()}
        return None if min(grown.values()) < 0 else Counters(grown, self.cpus)

    @property
    def table_drops(self) -> int:
        """Packets dropped that never came as far as confirm: there was no room for their connection."""
        return max(self["drop"] - self["insert_failed"], 0)


def is_counters(text: str) -> bool:
    """Tell whether a text begins as one of both forms does."""
    first = next((line for line in each_line(text) if line.strip()), "")
    return bool(LINE.match(first) or HEADER.match(first))


def parse(text: str, source: str) -> Counters:
    """Return the counters of a text; InputError names the line that is none."""
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if lines and HEADER.match(lines[0][1]):
        return _of_proc(lines, source)
    values: dict[str, int] = {}
    cpus = set()
    for n, line in lines:
        found = LINE.fullmatch(line)
        if not found or found[1] in cpus:
            why = f"cpu {found[1]} occurs twice" if found else "expected cpu=N found=N ... as `conntrack -S` prints it"
            raise InputError(f"{source}:{n}: {why}\n  in the line: {excerpt(line)}")
        cpus.add(found[1])
        for name, number in WORD.findall(found[2]):
            values[name] = values.get(name, 0) + int(number)
    return _complete(Counters(values, len(cpus)), source)


def _of_proc(lines: list[tuple[int, str]], source: str) -> Counters:
    names = [PROC_COUNTERS.get(name, name) or name for name in lines[0][1].split()]
    values = dict.fromkeys(names[1:], 0)
    entries = None
    for n, line in lines[1:]:
        words = line.split()
        try:
            numbers = [int(word, 16) for word in words]
        except ValueError:
            numbers = []
        if len(numbers) != len(names):
            raise InputError(f"{source}:{n}: expected {len(names)} hexadecimal numbers\n  in the line: {excerpt(line)}")
        # every CPU shows the entries of the whole table
        entries = numbers[0]
        for name, number in zip(names[1:], numbers[1:], strict=True):
            values[name] += number
    return _complete(Counters(values, len(lines) - 1, entries), source)


def _complete(counters: Counters, source: str) -> Counters:
    missing = [name for name in NEEDED if name not in counters.values]
    if missing:
        raise InputError(f"{source}: {missing[0]} is missing; the text is cut, or not that of `conntrack -S`")
    return counters
