"""The rows of a dump: plain lines come from the compiled reader (lines.pyx), all others from parse_line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dtypes import Status
from ..errors import InputError
from .lines import FLAGS, LINE, scan
from .text import Connection, parse_line

LOW = 2**64 - 1
NEWLINE = ord("\n")
USE = b" use="
CUT = "the line is cut: it has no use=, as the one before it"
# half of a surrogate pair stays what it is
AS_IT_WAS = "surrogatepass"


@dataclass
class Rows:
    """The connections of some lines, in their order.

    rows: LINE[n] of lines.pyx; helpers: by place in rows; broken: numbers of the lines that are none, and why; ends:
    how many lines have an end.
    """

    rows: NDArray[np.void]
    helpers: dict[int, str]
    broken: list[tuple[int, str]]
    ends: int


def read_rows(text: bytes, first: int = 1) -> Rows:
    """Read all lines of a text, numbered from `first` on; empty ones and the tool's own last line are left out."""
    # in a tenth of the time of bytes.count
    ends = int(np.count_nonzero(np.frombuffer(text, np.uint8) == NEWLINE))
    n = ends + 1
    rows, odd = np.empty(n, LINE), np.empty((n, 3), np.int64)
    plain, others = scan(text, rows, odd, first)
    rows = rows[:plain]
    parsed: list[tuple[int, Connection]] = []
    broken: list[tuple[int, str]] = []
    for number, begin, end in odd[:others].tolist():
        line = decoded(text[begin:end])
        if not line.strip() or line.startswith("conntrack v"):
            continue
        try:
            parsed.append((number, parse_line(line)))
        except InputError as error:
            broken.append((number, str(error)))
    if not parsed:
        return Rows(rows, {}, broken, ends)
    both = np.concatenate([rows, np.array([row_of(number, c) for number, c in parsed], LINE)])
    order = np.argsort(both["number"], kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    helpers = {int(place[plain + k]): c.helper for k, (_, c) in enumerate(parsed) if c.helper}
    return Rows(both[order], helpers, broken, ends)


def is_cut(last: bytes, before: bytes) -> bool:
    """Tell whether the end of a last line is missing, whose last number may then be half of one.

    before: the line in front of it; what the kernel and conntrack(8) write behind all numbers of an entry stands there.
    """
    return bool(last.strip()) and not last.endswith(b"\n") and USE in before and USE not in last


def last_line(text: bytes) -> bytes:
    """Return the last line of a text that ends one."""
    return text[text.rfind(b"\n", 0, -1) + 1 :]


def decoded(line: bytes) -> str:
    """Return a line as text: what `encoded` made as it was, of a file whatever its bytes are."""
    try:
        return line.decode(errors=AS_IT_WAS)
    except UnicodeDecodeError:
        return line.decode(errors="replace")


def encoded(text: str) -> bytes:
    """Return a text as the reader takes it; any text has such a form."""
    return text.encode(errors=AS_IT_WAS)


def row_of(number: int, c: Connection) -> Any:
    """Return the row of a connection, as the compiled reader would fill it."""
    counts = c.counts or ((0, 0), (0, 0))
    ends = [(end >> 64, end & LOW) for t in (c.original, c.reply) for end in t[:2]]
    ports = [port for t in (c.original, c.reply) for port in t[2:]]
    flags = 0 if c.status & Status.SEEN_REPLY else FLAGS["UNREPLIED"]
    flags |= FLAGS["ASSURED"] if c.status & Status.ASSURED else 0
    packets, octets = zip(*counts, strict=True)
    # a list is an array of its own to NumPy, a tuple a part of the row
    return (
        tuple(ends), packets, octets, number, int(c.timeout), c.mark, tuple(ports), c.zone, c.zone_dir,
        c.family.version, c.proto, c.state, flags,
    )  # fmt: skip
