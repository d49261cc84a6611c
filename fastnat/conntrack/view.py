"""The engine's connections: look-up, listing, deletion, loading from a dump, arrays and text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..addresses import FAMILIES, AddressLike
from ..core.datapath import Datapath
from ..dtypes import CONN_COUNTED, CONN_HELPED, CONN_MARKED, HELPERS, Status
from ..errors import ArgumentError, InputError
from ..util.arguments import address, port, protocol
from ..util.text import text_of, whole
from .columns import listed, rows_of, to_pandas, to_polars
from .load import Loader
from .text import Connection, counts_of, format_line, tuple_of

# PPTP_GRE_TIMEOUT, PPTP_GRE_STREAM_TIMEOUT
PPTP_LIFETIMES = (600, 18_000)
HELPER_NAMES = {number: name for name, (number, _) in HELPERS.items()}


class Conntrack:
    """A view of the engine's connections; len(), iteration, find, delete, flush, to_numpy, to_pandas, format."""

    def __init__(
        self,
        cores: dict[int, Datapath],
        gre_lifetimes: tuple[int, int] = (30, 180),
        max_connections: int = 1 << 25,
        seed: int = 0,
    ) -> None:
        self._cores = cores
        self.gre_lifetimes = gre_lifetimes
        self._max_connections, self._seed = max_connections, seed

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied by the module copy: it is a view of its engine's tables."""
        raise ArgumentError(
            "a Conntrack is a view of its engine and neither pickled nor copied: to_numpy() and format() return copies"
        )

    def __len__(self) -> int:
        """Return their number, as `conntrack -C` does; it includes those with NAT_CLASH, which listings hide."""
        return sum(int(core.count) for core in self._cores.values())

    def _connection(
        self, version: int, index: int, left: NDArray[np.void], announced: dict[int, int] | None = None
    ) -> Connection:
        arrays = self._cores[version].arrays
        row = arrays["conns"][index]
        marked = row["flags"] & CONN_MARKED
        mark = int(arrays["tcp"]["mark"][index]) if marked else 0
        zone = int(row["zone"])
        zone_dir = sum(1 << d for d in (0, 1) if row["tuples"][d]["zone"] == zone)
        return Connection(
            FAMILIES[version], index, int(row["tuples"][0]["proto"]), tuple_of(row, 0), tuple_of(row, 1),
            int(row["status"]), int(row["state"]), float(left[index]), mark, zone, zone_dir,
            *self._helper(version, index, row, announced),
            PPTP_LIFETIMES if int(row["status"]) & Status.EXPECTED else self.gre_lifetimes,
            counts_of(arrays["acct"][index]) if row["flags"] & CONN_COUNTED else None,
        )  # fmt: skip

    def _helper(self, version: int, index: int, row: Any, announced: dict[int, int] | None) -> tuple[str, int]:
        """Return the helper that watches a connection, and how many live connections it has announced for it."""
        if not row["flags"] & CONN_HELPED:
            return "", 0
        arrays = self._cores[version].arrays
        kind = arrays["helps"]["kind"][arrays["tcp"]["help"][index]]
        if not kind:
            return "", 0
        counts = self._announced(version) if announced is None else announced
        return HELPER_NAMES[kind], counts.get(int(arrays["helps"]["serial"][arrays["tcp"]["help"][index]]), 0)

    def _announced(self, version: int) -> dict[int, int]:
        """Return the number of live connections that each helper's serial announced, once for a whole listing."""
        arrays = self._cores[version].arrays
        expected = np.flatnonzero(arrays["conns"]["status"][: self._cores[version].high_water] & Status.EXPECTED)
        expected = expected[arrays["conns"]["flags"][expected] & CONN_HELPED != 0]
        serials = arrays["helps"]["master_serial"][arrays["tcp"]["help"][expected]]
        masters, counts = np.unique(serials, return_counts=True)
        return dict(zip(masters.tolist(), counts.tolist(), strict=True))

    def at(self, version: int, index: int) -> Connection:
        """Return the connection in a record of IPv4 or IPv6, as results name it (`conn`)."""
        return self._connection(version, index, self._cores[version].timeout_left())

    def __iter__(self) -> Iterator[Connection]:
        for version, core in self._cores.items():
            left, announced = core.timeout_left(), self._announced(version)
            for index in np.flatnonzero(listed(core.arrays["conns"][: core.high_water])):
                yield self._connection(version, int(index), left, announced)

    def find(self, proto: str | int, src: AddressLike, sport: int, dst: AddressLike, dport: int) -> Connection | None:
        """Return the connection that has this tuple in either direction, or None; InputError for an invalid tuple."""
        family, near = address("src", src)
        far = address("dst", dst, family)[1]
        ends = port("sport", sport), port("dport", dport), protocol(proto)
        if family.version not in self._cores:
            return None
        core = self._cores[family.version]
        found = core.find(near, far, *ends)
        return None if found is None else self._connection(family.version, found[0], core.timeout_left())

    def delete(self, connection: Connection | int) -> None:
        """Delete a connection; a number alone means an IPv4 one. IndexError if it no longer exists."""
        if isinstance(connection, int):
            self._cores[4].delete(whole("connection", connection, 0, 2**32 - 1))
        else:
            if not isinstance(connection, Connection):
                raise ArgumentError(f"expected a Connection or its number, got {type(connection).__name__}")
            self._cores[connection.family.version].delete(connection.index)

    def flush(self) -> int:
        """Delete all connections, those with NAT_CLASH too (nf_ct_iterate_cleanup); return how many."""
        return sum(core.flush() for core in self._cores.values())

    def load(self, text: str, source: str = "<conntrack>", left_out: list[str] | None = None) -> int:
        """Load the connections of a dump: `conntrack -L`, `-o extended` or /proc/net/nf_conntrack text.

        Returns their number. What a dump counts goes on being counted if the node has nf_conntrack_acct = 1.
        What a dump does not contain is set as the kernel sets it for `conntrack -I`; the masquerading interface is
        unknown. But the ends of these connections keep to windows of TCP and tags of SCTP that only they know: what
        they send is taken, as of connections that the kernel picks up (IP_CT_TCP_FLAG_BE_LIBERAL). The last sequence
        numbers of connections in TIME_WAIT, CLOSE and SYN_SENT2 are drawn, uniformly from the engine's seed: from them
        linux-6.18 decides whether a SYN may take over a port. Helpers that do not exist here are left out. An entry to
        a virtual service gets a connection of IPVS, whose time begins anew.

        Raises InputError that names source, line and fault; then nothing is loaded. With a list `left_out`, such lines
        are described there, one string each, and the others are loaded.
        """
        loader = Loader(self._cores, self._max_connections, self._seed, source, left_out)
        return loader.load(text_of(text, source))

    def to_numpy(self, version: int = 4) -> NDArray[np.void]:
        """Return the connections of IPv4 (or 6) as a flat structured array, a copy: a field for each column.

        proto; src, dst, sport, dport and the same of the reply with reply_ in front; timeout (seconds left), status
        (IPS_* bits), state (of the protocol), mark, zone; packets, bytes and those of the reply, 0 where connections
        are not accounted. Addresses are uint32; of IPv6 two uint64 each, src_high and src_low.
        """
        if whole("version", version, 4, 6) not in self._cores:
            raise InputError(f"this engine has no connections of IPv{version}: the node has none of its addresses")
        return rows_of(self._cores[version], FAMILIES[version])

    def to_pandas(self) -> Any:
        """Return the connections of both families as a pandas DataFrame, with the columns of to_numpy().

        Addresses are text, proto and state categories by name. InputError when pandas is missing
        (`fastnat[pandas]`).
        """
        return to_pandas(self._cores)

    def to_polars(self) -> Any:
        """Return the connections of both families as a polars DataFrame; see to_pandas()."""
        return to_polars(self._cores)

    def format(self, style: str = "conntrack") -> str:
        """Return the table as text: "conntrack" (-L), "extended" or "proc"; ValueError for another style."""
        if style not in ("conntrack", "extended", "proc"):
            raise ValueError(f"style {style!r}: expected conntrack, extended or proc")
        return "".join(format_line(c, style == "extended", style == "proc") + "\n" for c in self)
