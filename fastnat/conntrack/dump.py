"""Read `conntrack -L` text of millions of lines, as far as port spaces need it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..addresses import FAMILIES
from ..dtypes import PROTOCOL_NAMES
from ..errors import InputError
from ..util.files import other_form
from ..util.text import excerpt
from .lines import ENTRY, Interned, port_spaces
from .rows import CUT, decoded, is_cut, last_line, read_rows

# pages of larger pieces would be given back, and taken anew, each time
CHUNK = 1 << 20
# bytes of a line, and lines of a dump: twice the connections that the largest engine holds
MAX_LINE, MAX_LINES = 1 << 16, 1 << 26


class Name(NamedTuple):
    """The fields that identify a port space."""

    address: str
    proto: str
    dst: str
    dport: int
    zone: int


@dataclass
class Entries:
    """Connections with ports. records: ENTRY[n] of lines.pyx; addresses and spaces have what their numbers mean."""

    records: NDArray[np.void]
    addresses: Interned = field(repr=False)
    spaces: Interned = field(repr=False)

    def address(self, number: int) -> str:
        """Return the text of an address."""
        high, low, version = self.addresses.keys[number].tolist()
        return FAMILIES[version].to_text(high << 64 | low)

    def name_of(self, space: int) -> Name:
        """Return what identifies a port space."""
        ends, proto, behind = self.spaces.keys[space].tolist()
        name = PROTOCOL_NAMES.get(proto, str(proto))
        return Name(self.address(ends & 0xFFFFFFFF), name, self.address(ends >> 32), behind & 0xFFFF, behind >> 16)

    def nat_addresses(self) -> NDArray[np.uint64]:
        """Return for each port space the number of its address."""
        return self.spaces.keys[: self.spaces.n, 0] & np.uint64(0xFFFFFFFF)


@dataclass
class Dump:
    """A whole dump.

    connections: of all protocols; lines: those with an end; cut: what is wrong with a last one that was cut off, or "".
    Untranslated connections count, too: they occupy a port of their own address.
    """

    connections: int = 0
    lines: int = 0
    cut: str = ""
    addresses: Interned = field(default_factory=Interned, repr=False)
    spaces: Interned = field(default_factory=Interned, repr=False)
    parts: list[NDArray[np.void]] = field(default_factory=list, repr=False)

    def add(self, rows: NDArray[np.void]) -> None:
        """Add the next connections, LINE[n]."""
        records = np.zeros(len(rows), ENTRY)
        n = port_spaces(rows, self.addresses, self.spaces, records.view(np.uint8))
        self.connections += len(rows)
        self.parts.append(records[:n])

    @property
    def others(self) -> int:
        """Return how many have no ports: ICMP and the like."""
        return self.connections - sum(map(len, self.parts))

    def entries(self) -> Entries:
        """Return the connections with ports."""
        return Entries(np.concatenate([np.zeros(0, ENTRY), *self.parts]), self.addresses, self.spaces)


def read(file: BinaryIO, source: str = "<conntrack>") -> Dump:
    """Read `conntrack -L`, `-o extended` or /proc/net/nf_conntrack text; InputError names a line that is none.

    If only the last line is broken and has no end, the text was cut off: the lines before it are kept, and Dump.cut
    says so. So it was if that line lacks the `use=` that those before it have: its last number may be half of one.
    """
    dump, before = Dump(), b""
    for chunk in _chunks(file, source, dump):
        first = dump.lines + 1
        found = read_rows(chunk, first)
        if is_cut(chunk, before) and not found.broken:
            dump.cut = f"{source}:{first}: {CUT}\n  in the line: {excerpt(decoded(chunk).rstrip(), 200)}"
            return dump
        before = last_line(chunk)
        for number, why in found.broken[:1]:
            line = decoded(chunk.split(b"\n")[number - first])
            said = f"{source}:{number}: {why}\n  in the line: {excerpt(line.rstrip(), 200)}"
            if chunk.endswith(b"\n"):
                raise InputError(said)
            dump.cut = said
        dump.add(found.rows)
        dump.lines += found.ends
        if dump.lines >= MAX_LINES:
            raise InputError(f"{source}:{dump.lines + 1}: more than {MAX_LINES:,} lines, the limit of a dump")
    return dump


def _chunks(file: BinaryIO, source: str, dump: Dump) -> Iterator[bytes]:
    """Yield the text in pieces of whole lines; a last line without an end comes alone. dump: what is read of it."""
    rest = b""
    try:
        while data := file.read(CHUNK):
            if not dump.lines and not rest and (other := other_form(data)):
                raise InputError(f"{source}: {other}")
            end = data.rfind(b"\n") + 1
            if end:
                yield rest + data[:end]
                rest = data[end:]
            else:
                rest += data
            if len(rest) > MAX_LINE:
                raise InputError(
                    f"{source}:{dump.lines + 1}: a line of more than {MAX_LINE:,} bytes; is this `conntrack -L` text?"
                )
    except OSError as error:
        raise InputError(f"{source}: {error.strerror or error}") from None
    if rest:
        yield rest
