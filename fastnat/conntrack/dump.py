"""Read `conntrack -L` text of millions of lines, as far as port spaces need it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..addresses import family_of
from ..errors import InputError
from ..util.text import excerpt
from .text import parse_line

LAST_PORT = 65535
CHUNK = 1 << 22
# bytes of a line, and lines of a dump: twice the connections that the largest engine holds
MAX_LINE, MAX_LINES = 1 << 16, 1 << 26
# bytes of two addresses and a port with the words between them
MAX_FIELD = 160
# a word of eight bytes can be read at each of a chunk's bytes
WORD = 8
MIX = np.uint64(0x9E3779B97F4A7C15)
# eight bytes at most in front of " src="
TIME_WAIT, SYN_SENT2, CLOSE = np.frombuffer(b"TIME_WAISYN_SENTCLOSE sr", np.uint64)
FAMILIES = np.frombuffer(b"ipv4    ipv6    ", np.uint64)
NAME = re.compile(rb"[!-~]+ ([!-<>-~]+) dst=([!-<>-~]+) sport=(\d{1,5})")
# " zone" and "ne-reply", as they stand in front of a "="
ZONE, NE_REPLY = (int.from_bytes(word, "little") for word in (b" zone", b"ne-reply"))
ZONE_MIX = np.uint64(0xD6E8FEB86659FD93)
EQUALS, NEWLINE, SPACE = (ord(c) for c in "=\n ")


@dataclass
class Part:
    """What some lines of a dump hold: connections, and of those with ports a field in each array.

    translated: which have another address in the reply than their own; waits: which are in TIME_WAIT; closed: in
    TIME_WAIT, CLOSE or SYN_SENT2. Texts are kept once, by a hash of 64 bits: `sources` of addresses, `spaces` of
    "proto X dst=Y sport=P zone=N", the reply tuple and its zone.
    """

    connections: int
    space: NDArray[np.uint64]
    source: NDArray[np.uint64]
    port: NDArray[np.uint16]
    waits: NDArray[np.bool_]
    closed: NDArray[np.bool_]
    translated: NDArray[np.bool_]
    spaces: dict[int, str]
    sources: dict[int, str]


@dataclass
class Dump:
    """A whole dump, in the parts in which it was read.

    Untranslated connections count, too: they occupy a port of their own address. cut: what is wrong with a last line
    that was cut off, "" if none was.
    """

    parts: list[Part] = field(default_factory=list)
    spaces: dict[int, str] = field(default_factory=dict)
    sources: dict[int, str] = field(default_factory=dict)
    cut: str = ""

    def add(self, part: Part) -> None:
        """Add the next part of the text; all parts share the texts that came first."""
        for there, new in ((self.spaces, part.spaces), (self.sources, part.sources)):
            for h, text in new.items():
                there.setdefault(h, text)
        self.parts.append(replace(part, spaces=self.spaces, sources=self.sources))

    @property
    def connections(self) -> int:
        """Return the number of connections."""
        return sum(part.connections for part in self.parts)

    @property
    def others(self) -> int:
        """Return how many have no ports: ICMP and the like."""
        return sum(part.connections - len(part.space) for part in self.parts)

    def whole(self) -> Part:
        """Return all parts as one; there is at least one."""
        arrays = ("space", "source", "port", "waits", "closed", "translated")
        joined = {name: np.concatenate([getattr(part, name) for part in self.parts]) for name in arrays}
        return Part(self.connections, **joined, spaces=self.spaces, sources=self.sources)


def read(file: BinaryIO, source: str = "<conntrack>") -> Dump:
    """Read `conntrack -L`, `-o extended` or /proc/net/nf_conntrack text; InputError names a line that is none.

    If only the last line is broken and has no end, the text was cut off: the lines before it are kept, and Dump.cut
    says so.
    """
    dump = Dump()
    first = 1
    chunk = b"\n"
    # NumPy lets go of the GIL in its long loops: two chunks at a time, at most four in memory
    with ThreadPoolExecutor(2) as pool:
        reading: deque[Future[Part]] = deque()
        for chunk in _chunks(file, source):
            if not chunk.endswith(b"\n"):
                break
            n_lines = chunk.count(b"\n")
            reading.append(pool.submit(_read_lines, chunk, n_lines, source, first))
            first += n_lines
            if first > MAX_LINES:
                raise InputError(f"{source}:{first}: more than {MAX_LINES:,} lines, the limit of a dump")
            if len(reading) == 4:
                dump.add(reading.popleft().result())
        for part in reading:
            dump.add(part.result())
    if not chunk.endswith(b"\n"):
        try:
            dump.add(_read_lines(chunk + b"\n", 1, source, first))
        except InputError as error:
            dump.cut = str(error)
    return dump


def _read_lines(chunk: bytes, n_lines: int, source: str, first: int) -> Part:
    part = _count(chunk, n_lines)
    if part is None:
        sound = _sound(chunk.split(b"\n")[:-1], source, first)
        part = _count(b"".join(sound), len(sound))
        if part is None:
            where = f"{source}: lines {first} to {first + n_lines - 1}"
            raise InputError(f"{where}: a line with ports in one direction only, or words between its addresses")
    return part


def _chunks(file: BinaryIO, source: str) -> Iterator[bytes]:
    """Yield the text in pieces of whole lines; a last line without an end comes alone."""
    rest = b""
    n = 1
    try:
        while data := file.read(CHUNK):
            whole, newline, tail = data.rpartition(b"\n")
            if newline:
                yield rest + whole + newline
                n += whole.count(b"\n") + 1
                rest = tail
            else:
                rest += tail
            if len(rest) > MAX_LINE:
                raise InputError(f"{source}:{n}: a line of more than {MAX_LINE:,} bytes; is this `conntrack -L` text?")
    except OSError as error:
        raise InputError(f"{source}: {error.strerror or error}") from None
    if rest:
        yield rest


def _sound(lines: list[bytes], source: str, first: int) -> list[bytes]:
    """Drop lines that are no connection, reject broken ones, and separate the words of the others by one space."""
    kept = []
    for number, line in enumerate(lines, first):
        text = line.decode(errors="replace")
        if not text.strip() or text.startswith("conntrack v"):
            continue
        try:
            parse_line(text)
        except InputError as error:
            raise InputError(f"{source}:{number}: {error}\n  in the line: {excerpt(text.rstrip(), 200)}") from None
        words = text.split()
        kept.append(" ".join(words[2:] if words[0] in ("ipv4", "ipv6") else words).encode() + b"\n")
    return kept


class Text:
    """A chunk of lines, processed in whole columns: a loop over a million lines would take too long."""

    def __init__(self, chunk: bytes) -> None:
        padded = chunk + bytes(2 * WORD)
        self.bytes = np.frombuffer(padded, np.uint8)
        self.words = np.ndarray((len(padded) - WORD,), np.uint64, padded, 0, (1,))
        self.chunk = chunk

    def hashes(self, start: NDArray[Any], end: NDArray[Any]) -> NDArray[np.uint64]:
        """Return a hash of each piece of text start..end-1."""
        lengths = end - start
        mixed = lengths.astype(np.uint64)
        for k in range(0, int(lengths.max(initial=0)), WORD):
            left = np.clip(lengths - k, 0, WORD).astype(np.uint64)
            # shifted out in two steps, as a shift by 64 bits is none
            word = self.words[np.minimum(start + k, end)] << (np.uint64(32) - np.uint64(4) * left)
            word = word << (np.uint64(32) - np.uint64(4) * left)
            mixed = (mixed ^ word) * MIX
            mixed = mixed ^ (mixed >> np.uint64(29))
        result: NDArray[np.uint64] = mixed
        return result

    def numbers(self, start: NDArray[Any]) -> NDArray[np.int64]:
        """Return the decimal numbers that begin at these places, up to their sixth digit."""
        value = np.zeros(len(start), np.int64)
        more = np.ones(len(start), np.bool_)
        for k in range(6):
            digit = self.bytes[start + k] - np.uint8(48)
            more &= digit < 10
            value = np.where(more, value * 10 + digit, value)
        return value


def _firsts(hashes: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Return each hash once, and its first place."""
    unique, first = np.unique(hashes, return_index=True)
    return list(zip(unique.tolist(), first.tolist(), strict=True))


# most sources stand in many chunks
@lru_cache(1 << 17)
def _address(raw: bytes) -> str | None:
    """Return the text of an address; None for anything else."""
    text = raw.decode(errors="replace")
    try:
        family_of(text).to_int(text)
    except ValueError:
        return None
    return text


def _count(chunk: bytes, n_lines: int) -> Part | None:
    """Return a chunk's connections; None if some line lacks two tuples, has an impossible one, or other blanks."""
    text = Text(chunk)
    b = text.bytes
    equals = np.flatnonzero(b == EQUALS)
    ends = np.flatnonzero(b[: len(chunk)] == NEWLINE)
    if np.count_nonzero(b[: len(chunk)] < SPACE) != n_lines:
        return None
    last, before = b[equals - 1], b[equals - 2]
    src = equals[(last == ord("c")) & (before == ord("r")) & (b[equals - 3] == ord("s"))]
    if len(src) != 2 * n_lines or (np.searchsorted(ends, src[::2]) != np.arange(n_lines)).any():
        return None
    dport = equals[(last == ord("t")) & (before == ord("r")) & (b[equals - 5] == ord("d"))]
    # the last one of each line is the reply tuple's
    taken = np.full(n_lines, -1)
    taken[np.searchsorted(ends, dport)] = dport
    there = taken >= 0
    begins = np.concatenate([[0], ends[:-1] + 1])[there] if n_lines else np.zeros(0, np.int64)
    original, reply, taken = src[::2][there], src[1::2][there], taken[there]
    if not len(taken):
        nothing = np.zeros(0, np.uint64)
        none = nothing.astype(np.bool_)
        return Part(n_lines, nothing, nothing, nothing.astype(np.uint16), none, none, none, {}, {})
    # "ipv4     2 udp      17 29 " of -o extended and /proc
    extended = (b[begins] == ord("i")) & (b[begins + 2] == ord("v"))
    columns = np.isin(text.words[begins], FAMILIES) & (b[begins + 8] == SPACE) & (b[begins + 9] > SPACE)
    begins = begins + extended * (11 + (b[begins + 10] != SPACE))
    columns &= b[begins - 1] == SPACE
    # in a line that was indented or pasted, protocol and state stand elsewhere
    if (b[begins] <= SPACE).any() or (extended & ~columns).any() or (b[original - 5] <= SPACE).any():
        return None
    # of conntrack -E: the line parser says so
    if (b[begins] == ord("[")).any():
        return None
    proto = text.words[begins] & np.uint64(0xFFFFFFFF)
    # from behind "src=" up to " dport="
    start, end = reply + 1, taken - 6
    # "src=A dst=": A ends five bytes in front of the next "="
    until = np.minimum(np.searchsorted(equals, original) + 1, len(equals) - 1)
    address_end = equals[until] - 4
    ports = text.numbers(taken + 1)
    digit = b[taken + 1] - np.uint8(48)
    longest = max((end - start).max(), (address_end - original).max())
    if (digit > 9).any() or longest > MAX_FIELD or ports.max() > LAST_PORT:
        return None
    zones = _zones(text, equals, ends)[there]
    spaces = text.hashes(start, end) ^ proto * MIX ^ zones * ZONE_MIX
    names: dict[int, str] = {}
    for h, n in _firsts(spaces):
        name = chunk[begins[n] : begins[n] + 8].split(None, 1)[0] + b" " + chunk[start[n] : max(end[n], start[n])]
        found = NAME.fullmatch(name)
        if not found or int(found[3]) > LAST_PORT or None in (_address(found[1]), _address(found[2])):
            return None
        names[h] = f"{name.decode()} zone={zones[n]}"
    sources = text.hashes(original + 1, address_end)
    holders: dict[int, str] = {}
    for h, n in _firsts(sources):
        holder = _address(chunk[original[n] + 1 : address_end[n]])
        if holder is None:
            return None
        holders[h] = holder
    state, short = text.words[np.maximum(original - 13, 0)], text.words[np.maximum(original - 9, 0)]
    waits = state == TIME_WAIT
    closed = waits | (state == SYN_SENT2) | (short == CLOSE)
    # "src=X dst=Y sport=P": Y stands between the next two "=", as A does
    behind = np.minimum(np.searchsorted(equals, reply) + 1, len(equals) - 2)
    near = text.hashes(equals[behind] + 1, np.maximum(equals[behind + 1] - 6, equals[behind] + 1))
    return Part(n_lines, spaces, sources, ports.astype(np.uint16), waits, closed, near != sources, names, holders)


def _zones(text: Text, equals: NDArray[Any], ends: NDArray[Any]) -> NDArray[np.uint64]:
    """Return for each line the zone of its reply tuple, from "zone=N" or "zone-reply=N", else 0."""
    b, zones = text.bytes, np.zeros(len(ends), np.uint64)
    at = equals[(b[equals - 1] == ord("e")) & (text.words[np.maximum(equals - 8, 0)] >> np.uint64(24) == ZONE)]
    whole = (text.words[np.maximum(equals - 8, 0)] == NE_REPLY) & (b[np.maximum(equals - 9, 0)] == ord("o"))
    at = np.concatenate([at, equals[whole]])
    zones[np.searchsorted(ends, at)] = text.numbers(at + 1).astype(np.uint64)
    return zones
