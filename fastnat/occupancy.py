"""How full the port spaces of a real node are, out of its `conntrack -L` text.

A port space is what one NAT address can offer towards one destination: (NAT address, protocol, destination, port). Of a
connection they stand in its reply tuple, as destination, protocol, source and source port; its destination port is the
one that is taken.

Source: the search of nf_nat_l4proto_unique_tuple: windows of 128, 64, 32, 16 and 8 ports, each begun anywhere.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from .conntrack import parse_line
from .errors import InputError

FIRST, LAST, PORTS = 1024, 65535, 64512
WINDOWS = (128, 64, 32, 16, 8)
CHUNK = 1 << 24
# share of the ports in use from which the kernel's search begins to fail, measured (see the README)
PAIN = 0.84
# protocol, and "X dst=Y sport=P" of the reply tuple
Key = tuple[bytes, bytes]


@dataclass
class PortSpace:
    """One port space: its connections, ports of 1024..65535 in use, connections in TIME_WAIT, and who has most of them.

    fails: the probability that a new connection whose own source port is random finds none.
    """

    address: str
    proto: str
    dst: str
    dport: int
    connections: int
    used: int
    time_wait: int
    fails: float
    sources: list[tuple[str, int]]

    @property
    def free(self) -> int:
        """Ports of 1024..65535 not in use."""
        return PORTS - self.used

    @property
    def occupancy(self) -> float:
        """Share of the ports in use."""
        return self.used / PORTS


@dataclass
class Dump:
    """A whole dump: connections, those without ports (ICMP and the like), and the lines of each port space.

    Connections that are not translated count, too: they take their port from the address that they have.
    """

    connections: int = 0
    others: int = 0
    spaces: dict[Key, list[bytes]] = field(default_factory=dict)


def read(file: BinaryIO, source: str = "<conntrack>") -> Dump:
    """Read `conntrack -L`, `-o extended` or /proc/net/nf_conntrack text; InputError names a line that is none."""
    dump = Dump()
    first = 1
    # a million short-lived objects and no cycle among them: the collector takes a tenth of the time
    collects = gc.isenabled()
    gc.disable()
    try:
        for chunk in _chunks(file):
            lines = chunk.splitlines()
            if chunk.count(b"src=") != 2 * len(lines):
                _count(dump, _sound(lines, source, first))
            else:
                _count(dump, lines)
            first += len(lines)
    finally:
        if collects:
            gc.enable()
    return dump


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the text in pieces of whole lines."""
    rest = b""
    while data := file.read(CHUNK):
        whole, newline, tail = (rest + data).rpartition(b"\n")
        rest = tail
        if newline:
            yield whole + newline
    if rest:
        yield rest


def _sound(lines: list[bytes], source: str, first: int) -> list[bytes]:
    """Leave out what is no connection line, and refuse a broken one."""
    kept = []
    for number, line in enumerate(lines, first):
        text = line.decode(errors="replace")
        if not text.strip() or text.startswith("conntrack v"):
            continue
        try:
            parse_line(text)
        except ValueError as error:
            raise InputError(f"{source}:{number}: {error}\n  in the line: {text[:200]}") from None
        kept.append(line)
    return kept


def _count(dump: Dump, lines: list[bytes]) -> None:
    """Sort lines by port space; the fields inside them are looked at for the fullest ones only."""
    spaces = dump.spaces
    for line in lines:
        reply = line.rfind(b"src=")
        end = line.find(b" dport=", reply)
        if end < 0:
            dump.others += 1
            continue
        key = line[:4], line[reply:end]
        there = spaces.get(key)
        if there is None:
            # "ipv4     2 udp      17 29 src=..." of -o extended and /proc
            proto = line.split(None, 3)[2] if key[0][:3] == b"ipv" else key[0]
            there = spaces[key] = spaces.setdefault((proto.ljust(4), key[1]), [])
        there.append(line)
    dump.connections += len(lines)


def spaces_of(dump: Dump, rows: int = 20) -> list[PortSpace]:
    """Return the port spaces with most ports in use, the fullest first."""
    merged = {id(lines): (key, lines) for key, lines in dump.spaces.items() if not key[0].startswith(b"ipv")}
    fullest = sorted(merged.values(), key=lambda item: -len(item[1]))[:rows]
    return [_space(key, lines) for key, lines in fullest]


def _space(key: Key, lines: list[bytes]) -> PortSpace:
    far, near, far_port = (word.partition(b"=")[2].decode() for word in key[1].split())
    text = b"\n".join(lines)
    # each line has two tuples: every other piece begins with the wanted word
    ports = np.array([int(piece.split(None, 1)[0]) for piece in text.split(b" dport=")[2::2]])
    taken = np.zeros(PORTS, np.bool_)
    taken[ports[(ports >= FIRST) & (ports <= LAST)] - FIRST] = True
    used = int(taken.sum())
    holders = Counter([piece.split(None, 1)[0] for piece in text.split(b"src=")[1::2]])
    time_wait = text.count(b"TIME_WAIT")
    sources = [(s.decode(), n) for s, n in holders.most_common(3)]
    fails = used / PORTS * search_fails(taken)
    return PortSpace(near, key[0].strip().decode(), far, int(far_port), len(lines), used, time_wait, fails, sources)


def search_fails(taken: NDArray[np.bool_]) -> float:
    """Return the probability that the kernel's port search finds nothing.

    taken: bool[64512], which of the ports 1024..65535 are in use. Each window begins at a random 16-bit offset modulo
    64512, so the first 1024 ports are twice as likely as the others.
    """
    weights = np.ones(PORTS)
    weights[: 65536 - PORTS] = 2
    weights /= 65536
    around = np.concatenate([taken, taken[: WINDOWS[0]]]).astype(np.int64)
    sums = np.concatenate([[0], np.cumsum(around)])
    chance = 1.0
    for window in WINDOWS:
        full = sums[window : window + PORTS] - sums[:PORTS] == window
        chance *= float(weights[full].sum())
    return chance


def seconds_left(used: int, before: int, apart: float) -> float | None:
    """Return after how many seconds PAIN is reached if the ports in use go on growing as between two dumps."""
    growth = (used - before) / apart
    return max(PAIN * PORTS - used, 0) / growth if growth > 0 else None
