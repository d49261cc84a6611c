"""Engine: the one object that runs packets; thin over core.datapath."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, overload

import numpy as np
from numpy.typing import NDArray

from .. import nftables
from ..addresses import FAMILIES, AddressLike
from ..conntrack import Connection, Conntrack
from ..core.datapath import Datapath
from ..core.layout import FN_MAC_BITS, OwnerPart
from ..dtypes import HZ, PACKET6, STATS, Verdict
from ..errors import ArgumentError, ClockError, FastnatError, InputError
from ..iptables.context import MAX_ID
from ..nftables.counted import Half, counted, keep_unreached, with_elements
from ..node import Node
from ..node.ipvs import format_connections, format_services
from ..util.arguments import address, datagram, port, protocol
from ..util.interrupts import uninterrupted
from ..util.text import finite, shown, text_of, whole
from . import flows, reload, saved
from .packets import packets, packets_from
from .settings import (
    ACCOUNTING,
    MAX_CONNECTIONS,
    PROFILES,
    Settings,
    helpers_by_port,
    is_accounted,
    jiffies_of,
    room_of,
)
from .stack import Stack, stacks_of
from .trace import Trace, trace

MAX_BITMAP_BYTES = 1 << 40
# kept between two calls of events()
MAX_EVENTS = 1 << 28
MAX_DATE = 1e12
GRE_LIFETIMES = (("", 30), ("_stream", 180))
# of the two addresses in front of a frame
LINK_BYTES = 12
VERDICTS = tuple(Verdict)
# verdict, datagram, out_iface, ctinfo, reason, src, dst, sport, dport, copied
Answer = tuple[int, bytes | None, int, int, int, int, int, int, int, bool]
NO_IPV6 = "this node has no IPv6: neither addresses nor rules.v6"


def first_of(now: float | NDArray[np.float64]) -> Any:
    """Return the unchecked time of the first packet; `now` itself if it is not an array, or is empty."""
    return now.flat[0] if isinstance(now, np.ndarray) and now.size else now


def date_of(epoch: Any) -> float:
    """Return an epoch [s]; InputError for anything that is none."""
    try:
        return finite(epoch, 0, MAX_DATE)
    except (TypeError, ValueError):
        raise InputError(f"epoch: expected seconds since 1970, up to {MAX_DATE:.0f}, got {shown(epoch, 60)}") from None


def time_of(now: Any) -> float:
    """Return a time [s] as a number; ClockError for anything else."""
    try:
        return float(now)
    except (TypeError, ValueError, OverflowError):
        raise ClockError(f"{shown(now)} is not a time in seconds") from None


def count_of(offsets: NDArray[np.int64]) -> int:
    """Return how many frames offsets say; ArgumentError for what is no array at all. The core checks all else."""
    if not isinstance(offsets, np.ndarray) or not offsets.ndim:
        raise ArgumentError(f"offsets: expected a numpy array of int64, got {shown(offsets, 60)}")
    return len(offsets) - 1


def numbers_of(node: Node, iface: str | NDArray[np.uint16], n: int) -> NDArray[np.uint16]:
    """Return the interface by which each of n frames enters; those of one are named, others have their numbers."""
    return np.full(max(n, 0), node.iface_number(iface), np.uint16) if isinstance(iface, str) else iface


def link_of(link: bytes) -> tuple[int, int]:
    """Return the addresses of receiver and sender at the beginning of a frame, as the core has them."""
    if not isinstance(link, bytes) or len(link) != LINK_BYTES:
        raise InputError(f"link: {LINK_BYTES} bytes are two link-layer addresses, got {shown(link, 60)}")
    known = 1 << FN_MAC_BITS
    return int.from_bytes(link[:6], "big") | known, int.from_bytes(link[6:], "big") | known


def devices_up(node: Node) -> set[str]:
    """Return the names of the interfaces that are up."""
    return {name for name, iface in node.interfaces.items() if iface.up}


class Engine:
    """A node's connection tracking and NAT on a virtual clock.

    process() runs a batch of headers as packets() builds them, process_packet() one datagram as bytes, connect() opens
    flows; `conntrack` is a Conntrack, a view of the connections: len(), iteration, find(), delete(), load(), format()
    as conntrack -L prints them, to_numpy(), to_pandas(), to_polars(). `stats` has the counters, `now` the time [s].

    One thread at a time may call an engine: process() releases the GIL, and a call from another thread during that time
    raises BusyError. Engines share nothing.

    Parameters
    ----------
    node : Node
    profile : str            "linux-6.18" (default) or "linux-5.4"
    seed : int               0..2**64-1; the same seed and input give the same output, bit for bit
    max_connections : int    nf_conntrack_max, at most 2**25; None: the node's sysctl, else 262,144; of 0 it is 2**25
    remember : bool          remember the answers of the rules for packets that they cannot tell apart, and let
                             established packets skip hooks without rules; False changes no answer, only costs time
    events : int             how many events to keep between two calls of events(); 0: none, at no cost
    key : int                0..2**64-1, None: 0; key of the tables' hash. A sender who knows it can make flows meet in
                             one place; the tables then change to a random key. Only two answers depend on it: which
                             connections early drop finds, and which chains are too long (docs/differences.md)
    bitmap_bytes : int       0..2**40: limit of the memory for the bitmaps of the port search, both families together
    epoch : float            seconds from 1970 to the engine's time 0, for rules with -m time; None: the engine has no
                             date, and such rules are an error
    prefault : bool          take the memory of max_connections now (about 0.25 KB each), so that no call of process()
                             waits for a page while the tables grow

    Raises
    ------
    InputError, RuleError    the profile, a sysctl or a rule cannot be used
    ArgumentError            node is no Node
    """

    def __init__(
        self,
        node: Node,
        profile: str = "linux-6.18",
        seed: int = 0,
        max_connections: int | None = None,
        *,
        remember: bool = True,
        events: int = 0,
        key: int | None = None,
        bitmap_bytes: int = 32 << 20,
        prefault: bool = False,
        epoch: float | None = None,
    ) -> None:
        if not isinstance(node, Node):
            raise ArgumentError(f"node: expected a Node, got {type(node).__name__}")
        if not isinstance(profile, str) or profile not in PROFILES:
            raise InputError(f"profile {shown(profile)}: expected one of {', '.join(PROFILES)}")
        seed, events = whole("seed", seed, 0, 2**64 - 1), whole("events", events, 0, MAX_EVENTS)
        max_connections = room_of(node) if max_connections is None else max_connections
        max_connections = whole("max_connections", max_connections, 1, MAX_CONNECTIONS)
        self.node, self.profile, self.seed, self.max_connections = node, profile, seed, max_connections
        self.remember, self.max_events, self.prefault = bool(remember), events, bool(prefault)
        self.key = whole("key", 0 if key is None else key, 0, 2**64 - 1)
        self.bitmap_bytes = whole("bitmap_bytes", bitmap_bytes, 0, MAX_BITMAP_BYTES)
        epoch = node.epoch if epoch is None else epoch
        self._epoch = None if epoch is None else date_of(epoch)
        self._owner: dict[str, int | None] = {"uid": None, "gid": None}
        settings = Settings(
            profile,
            seed,
            max_connections,
            self.remember,
            events,
            self.prefault,
            self.key,
            self.bitmap_bytes,
            self._epoch,
        )
        self._take_stacks(stacks_of(node, settings))
        # the tables were made from this; the node itself may change before reload()
        self.node_files = node.texts()
        self.up = devices_up(node)
        # whether connections that begin are counted, and what the node's sysctl said
        self.accounted = is_accounted(node), node.sysctls.get(ACCOUNTING)
        self.random_fully = False
        self._name_interfaces()
        gre = tuple(int(node.sysctl(f"net.netfilter.nf_conntrack_gre_timeout{s}", n)) for s, n in GRE_LIFETIMES)
        self.conntrack = Conntrack(self._cores(), (gre[0], gre[1]), max_connections, seed)
        if node.conntrack_text:
            self.conntrack.load(node.conntrack_text, "conntrack.txt")

    def _take_stacks(self, stacks: dict[int, Stack]) -> None:
        """Use these stacks, by 4 and 6, from now on."""
        self.stacks = stacks
        cores = self._cores()
        # for a node without IPv6, where no batch has to be assigned and no other family shares the clock
        self._only = cores[4] if len(cores) == 1 else None
        # of each family its datapath and the other one
        self._pairs = None if self._only else ((cores[4], cores[6]), (cores[6], cores[4]))
        self._last = cores[4]

    def _cores(self) -> dict[int, Datapath]:
        return {version: stack.core for version, stack in self.stacks.items()}

    @property
    def _core(self) -> Datapath:
        """The datapath of IPv4 by its old name, which the next release removes: stacks[4].core."""
        return self.stacks[4].core

    def _name_interfaces(self) -> None:
        """Take the node's interfaces, by which packets enter and leave."""
        self.iface_names = self.node.iface_names
        self._iface_numbers = {name: n for n, name in enumerate(self.iface_names)}

    @property
    def epoch(self) -> float | None:
        """Seconds from 1970 to the engine's time 0; None: none was given, and none can be."""
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: float) -> None:
        if self._epoch is None:
            raise ArgumentError("this engine has no date: give Engine(epoch=...)")
        self._epoch = date_of(epoch)
        for core in self._cores().values():
            core.set_epoch(jiffies_of(self._epoch))

    @property
    def uid(self) -> int | None:
        """The user whose sockets send the node's own packets from now on, for -m owner; None: not known, 0 counts."""
        return self._owner["uid"]

    @uid.setter
    def uid(self, uid: int | None) -> None:
        self._own("uid", uid)

    @property
    def gid(self) -> int | None:
        """The group whose sockets send the node's own packets from now on, for -m owner; None: not known, 0 counts."""
        return self._owner["gid"]

    @gid.setter
    def gid(self, gid: int | None) -> None:
        self._own("gid", gid)

    def _own(self, name: str, number: int | None) -> None:
        self._owner = {**self._owner, name: None if number is None else whole(name, number, 0, MAX_ID)}
        for core in self._cores().values():
            core.set_owner(self._owner["uid"] or 0, self._owner["gid"] or 0)

    @property
    def owner_assumed(self) -> list[str]:
        """Which of "uid" and "gid" rules have asked for although nobody has given it: 0 was assumed."""
        asked = 0
        for core in self._cores().values():
            asked |= core.owner_asked
        parts = (("uid", OwnerPart.UID), ("gid", OwnerPart.GID))
        return [name for name, part in parts if asked >> part & 1 and self._owner[name] is None]

    def packets(self, **fields: Any) -> NDArray[np.void]:
        """Return headers of packets, PACKET[n], for process(); all fields broadcast against each other.

        proto: "udp", "tcp", "icmp", a number, or an array of numbers; src, dst: an address as text, number or object of
        ipaddress, or many of them (IPv6 addresses make IPv6 headers, PACKET6[n]); sport, dport: of ICMP the id, and
        type << 8 | code; iface: name or numbers of interfaces, 0 or "local": the node itself; tcp_flags, length
        [bytes], mark; isn: upper 16 bits of the sequence number of a SYN. See fastnat.packets.
        """
        return packets(node=self.node, **fields)

    def packets_from(
        self, batch: NDArray[np.void], results: NDArray[np.void], iface: str | int, out_iface: int | None = None
    ) -> NDArray[np.void]:
        """Return what another node forwarded as headers for this one, on which they enter by `iface`: PACKET[m].

        batch, results: what the other engine's process() was given and returned; out_iface: only what left it by the
        interface of this number. Packets that were dropped, or were for the other node itself, are left out.
        """
        return packets_from(
            batch, results, self.node.iface_number(iface) if isinstance(iface, str) else iface, out_iface
        )

    def process(
        self,
        batch: NDArray[np.void],
        now: float | NDArray[np.float64] = 0.0,
        out: NDArray[np.void] | None = None,
        *,
        cpus: int = 1,
    ) -> NDArray[np.void]:
        """Run a batch of packet headers through the node's hooks, in order.

        Parameters
        ----------
        batch : PACKET[n]          addresses and ports in host byte order, see packets()
        now : float or float64[n]  virtual time [s]; must not go back
        out : RESULT[>= n]         written and returned if given
        cpus : int                 1..256: this many packets at a time pass set-up before the first of them confirms, as
                                   in the worst case of that many CPUs; if two of them want the same tuple, confirm
                                   decides (insert_failed, clash_resolve)

        Returns
        -------
        RESULT[n]

        Raises
        ------
        ClockError                 now is earlier than the engine's clock; nothing was processed
        ArgumentError, InputError  wrong dtype, wrong shape, or `out` shares memory with what is read
        BusyError                  another thread is at work in this engine
        KeyboardInterrupt          Ctrl-C; the engine stopped between two packets: `processed` says how many were done,
                                   and `out` holds their results

        Notes
        -----
        A bad packet is never an exception: it is a verdict with a reason. O(n), no allocation per packet.
        Source: nf_conntrack_in and nf_nat_inet_fn, Linux 6.18; RFC 4787.
        """
        if not isinstance(now, np.ndarray) or not now.ndim:
            now = time_of(now)
        self._last = core = self.core_for(batch)
        meet, cpus = self._meeting(core, now), whole("cpus", cpus, 1, 256)
        try:
            results: NDArray[np.void] = core.process(batch, now, out, cpus, meet)
        except KeyboardInterrupt:
            self.catch_up(core)
            raise
        self.catch_up(core)
        return results

    @property
    def processed(self) -> int:
        """Number of packets of the last batch that were done: all, or those before an interruption."""
        return int(self._last.processed)

    def check(self) -> None:
        """Walk all tables from end to end; raise CheckError, which names the first broken invariant. Slow, for tests.

        Every connection is found by both tuples and by its source, and none twice; each has one place in the wheel;
        each record, chunk, help, expectation and page is either in use or free; bitmaps, chains and all counts are
        right.
        """
        for stack in self.stacks.values():
            stack.core.check()

    def core_for(self, batch: NDArray[np.void]) -> Datapath:
        """Return the datapath of a batch's family; InputError for IPv6 headers on a node without IPv6."""
        if not isinstance(batch, np.ndarray):
            raise ArgumentError(f"expected a numpy array of packet headers, got {type(batch).__name__}; see packets()")
        if batch.dtype.itemsize != PACKET6.itemsize:
            return self.stacks[4].core
        if self._only is not None:
            raise InputError(NO_IPV6)
        return self.stacks[6].core

    def _other(self, core: Datapath) -> Datapath:
        """Return the datapath of the other family, of an engine that has both."""
        return self.stacks[6 if core is self.stacks[4].core else 4].core

    def _meeting(self, core: Datapath, now: float | NDArray[np.float64]) -> Callable[[], int] | None:
        """Return a function that brings the other family, if any, to the time of a batch, as both share a clock.

        Raises ClockError if now is earlier than the engine's clock. The function returns the number of connections of
        the other family, which count toward the same nf_conntrack_max.
        """
        first = first_of(now)
        # the datapath rejects an array that holds no times
        if self._only is not None or not isinstance(first, float):
            return None
        if first < self.now:
            raise ClockError(f"time goes back from {self.now} s to {first} s")
        other = self._other(core)

        def meet() -> int:
            if first > other.now:
                other.advance(first)
            return int(other.count)

        return meet

    def follow(self, core: Datapath, now: float | NDArray[np.float64]) -> int:
        """Bring both families to the time of a packet that has been checked; ClockError when now is earlier.

        Returns the number of connections of the other family, for which room is left.
        """
        meet = self._meeting(core, now)
        if meet is None:
            return 0
        others = meet()
        core.advance(self.now)
        core.leave_room(others)
        return others

    def catch_up(self, core: Datapath) -> None:
        """Bring the other family, if any, to the time at which a batch of one has ended."""
        if self._only is None and (other := self._other(core)).now < core.now:
            with uninterrupted():
                other.advance(core.now)

    def process_packet(
        self, data: bytes, iface: str = "local", now: float = 0.0, link: bytes = b""
    ) -> tuple[Verdict, bytes | None]:
        """Run one IPv4 or IPv6 datagram as bytes that enters on an interface ("local": sent by the node).

        link: the 12 bytes of its frame's addresses, receiver and sender, or none: those of addr.json and neigh.json.
        Returns the verdict and the rewritten datagram, None when dropped. Raises InputError for an unknown
        interface or a frame of other addresses, ClockError when now [s] goes back.
        """
        if type(now) is not float:
            now = time_of(now)
        if not isinstance(data, bytes):
            data = datagram(data)
        number = self._iface_numbers.get(iface) if isinstance(iface, str) else None
        if number is None:
            number = self.node.iface_number(iface)
        if self._pairs is None:
            core, others = self.stacks[4].core, 0
        else:
            core, other = self._pairs[data[:1] >= b"\x60"]
            # most packets come while no time passes, and only how many are live counts
            others = other.count if now == core.now == other.now else self.follow(core, now)
        if link:
            verdict, rewritten = core.process_datagram(data, number, now, others, *link_of(link))
        else:
            verdict, rewritten = core.process_datagram(data, number, now, others)
        return VERDICTS[verdict], rewritten

    def run(
        self, data: bytes, iface: int, now: float, largest: int = 0, entry: int = 0, link: tuple[int, int] = (0, 0)
    ) -> Answer:
        """Run one datagram through the datapath of its family; see Datapath.process_packet."""
        core = self.stacks[6 if self._pairs is not None and data[:1] >= b"\x60" else 4].core
        self.follow(core, now)
        return core.process_packet(data, iface, now, 0, largest, entry, *link)

    def process_frames(
        self,
        buffer: NDArray[np.uint8],
        offsets: NDArray[np.int64],
        iface: str | NDArray[np.uint16] = "local",
        now: float | NDArray[np.float64] = 0.0,
        *,
        version: int = 4,
    ) -> NDArray[np.void]:
        """Run datagrams of one family that lie in one buffer, rewriting them in place.

        A datagram that would become longer, by a helper (FTP) or by TCPMSS, has no room here and is dropped with the
        reason NO_ROOM. If lengthens_packets is true, use process_packet.

        Parameters
        ----------
        buffer : uint8[m]; offsets : int64[n + 1]; iface : a name, or uint16[n] of interface numbers
        now : float or float64[n] [s]
        version : 4 or 6             the family of all of them

        Returns
        -------
        RESULT[n]; RESULT6[n] of IPv6
        """
        numbers = numbers_of(self.node, iface, count_of(offsets))
        self._last = core = self.core_of(version)
        meet = self._meeting(core, now)
        try:
            results: NDArray[np.void] = core.process_frames(buffer, offsets, numbers, now, None, meet)
        except KeyboardInterrupt:
            self.catch_up(core)
            raise
        self.catch_up(core)
        return results

    def ports(self, addr: AddressLike, proto: str, dst: AddressLike, dport: int) -> dict[str, int]:
        """Return used, free and total ports of a NAT address (1024..65535) towards one destination."""
        family, near = address("addr", addr)
        far = address("dst", dst, family)[1]
        number, dport = protocol(proto), port("dport", dport)
        taken = self.core_of(family.version).ports_used(near, number, far, dport)
        used = int(taken[1024:].sum())
        return {"used": used, "free": 64512 - used, "total": 64512}

    @property
    def has_helpers(self) -> bool:
        """Whether connections may get a helper, which may lengthen packets: CT --helper, or linux-5.4 by port."""
        rules = any(stack.ruleset.helpers or stack.program.helpers for stack in self.stacks.values())
        return rules or helpers_by_port(self.node, self.profile)

    @property
    def lengthens_packets(self) -> bool:
        """Whether packets may become longer, one at a time: by a helper, or by TCPMSS, which adds an option."""
        return self.has_helpers or any(stack.ruleset.targets_of("TCPMSS").size for stack in self.stacks.values())

    @property
    def asks_frames(self) -> bool:
        """Whether rules ask for the link-layer addresses of packets: ether, @ll, -m mac."""
        return any(stack.asks_frames for stack in self.stacks.values())

    def is_tracking(self, version: int) -> bool:
        """Tell whether conntrack sees the packets of IPv4 or IPv6: some rule needs it, or a virtual service."""
        return self.stack_of(version).is_tracking

    def stack_of(self, version: int) -> Stack:
        """Return the stack of IPv4 or IPv6; InputError when the node has none of that family."""
        if whole("version", version, 4, 6) not in self.stacks:
            raise InputError(NO_IPV6 if version == 6 else "version 5 is neither 4 nor 6")
        return self.stacks[version]

    def core_of(self, version: int) -> Datapath:
        """Return the datapath of IPv4 or IPv6; InputError when the node has none of that family."""
        return self.stack_of(version).core

    def fork(self, seed: int | None = None) -> Engine:
        """Return an independent engine in the same state: connections, counters, clock.

        With a seed (0..2**64-1), it draws from now on the random numbers that an engine made with that seed draws;
        without one, the same as this engine. Its node is a copy, so that changes to one are none to the other. Until
        reload() it ignores changes to the node since this engine was made.
        """
        seed = None if seed is None else whole("seed", seed, 0, 2**64 - 1)
        other = object.__new__(Engine)
        other.__dict__.update(self.__dict__)
        other.node = self.node.copy()
        other.seed = self.seed if seed is None else seed
        other._take_stacks({version: stack.fork(seed) for version, stack in self.stacks.items()})
        other.conntrack = Conntrack(other._cores(), self.conntrack.gre_lifetimes, self.max_connections, other.seed)
        return other

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied by the module copy: two engines must not share tables."""
        raise ArgumentError(
            "an Engine is neither pickled nor copied: fork() makes an independent one in the same state; save(path) "
            "and Engine.restore(path) take it to another process. A Node can be pickled"
        )

    def save(self, path: str | Path) -> None:
        """Write the whole state to a file: node, connections, what rules remember, clock, generator, counters.

        The file replaces an old one in one step, once it is complete and on the disk: a crash, kill -9 or a full disk
        leaves the old state or the new one. Raises OutputError, an OSError, when it cannot be written.
        """
        saved.save(self, path)

    @staticmethod
    def restore(path: str | Path) -> Engine:
        """Return an engine that continues from a saved state with the same answers; connections get new numbers.

        The file may come from anywhere; InputError if anything in it is invalid.
        """
        return saved.restore(path, Engine)

    def reload(self, counters: bool = False) -> None:
        """Apply the node as it is now: rules, sets, addresses, routes and sysctls may have changed.

        Rules that were loaded anew, the same text or another, take the place of those before as with iptables-restore:
        counters start at 0, with `counters` at those of the text (iptables-restore -c); -m limit, quota, statistic and
        connlimit begin anew; lists of -m recent and tables of -m hashlimit stay where a rule still names them, tables
        with the key and rate that they have. Rules that were not loaded again keep all that they remember, and so do
        sets.

        Connections stay as they are (a decided manip is never decided again), except that connections masqueraded with
        an address that the node has lost, or on an interface that has gone down, are deleted (masq_inet_event,
        masq_device_event); what goes down and comes up again between two calls is seen by link_down() alone. Interfaces
        may be added, not removed. Raises the errors of Engine(); then nothing has changed.
        """
        self._apply(counters)

    def _apply(self, counters: bool, commands: bool = False) -> None:
        """Apply the node; commands: they made its rules of nftables out of those before."""
        sysctls = self.node.sysctls
        if self.accounted == (True, sysctls.get(ACCOUNTING)):
            # rules that may be gone have turned it on as sysctl does: it stays
            self.node.sysctls = sysctls | {ACCOUNTING: "1"}
        try:
            exchanges = reload.prepare(self.stacks, self.node, self.iface_names, counters, commands)
        except FastnatError:
            self.node.sysctls = sysctls
            raise
        files = self.node.texts()
        # half an exchange would leave two sets of rules
        with uninterrupted():
            self.stacks = {version: exchange() for version, exchange in exchanges.items()}
            self._name_interfaces()
            self.node_files = files
            self.accounted = is_accounted(self.node), self.node.sysctls.get(ACCOUNTING)
            before, self.up = self.up, devices_up(self.node)
            for iface in before - self.up:
                self.link_down(iface)
            if self.random_fully:
                self.set_random_fully()

    def link_down(self, iface: str) -> int:
        """Delete the connections masqueraded on an interface, as the kernel does when it goes down; return how many."""
        number = self.node.iface_number(iface)
        return sum(stack.core.flush_masqueraded(number) for stack in self.stacks.values())

    def set_random_fully(self) -> None:
        """From now on, also after reload(), treat every SNAT and MASQUERADE rule as if it had --random-fully."""
        self.random_fully = True
        for stack in self.stacks.values():
            stack.set_random_fully()

    def advance(self, now: float) -> None:
        """Let virtual time pass to now [s]; ClockError if that lies in the past, or is not a time."""
        now = time_of(now)
        if now < self.now:
            raise ClockError(f"time goes back from {self.now} s to {now} s")
        for stack in self.stacks.values():
            stack.core.advance(now)

    @property
    def now(self) -> float:
        """Virtual time [s]."""
        return max(stack.core.now for stack in self.stacks.values())

    @property
    def next_expiry(self) -> float | None:
        """Time of the next expiry [s], None without connections."""
        times = [stack.core.next_expiry() for stack in self.stacks.values()]
        return min((t for t in times if t is not None), default=None)

    def trace(self, packet: NDArray[np.void], now: float | None = None) -> Trace:
        """Tell how one packet header (PACKET[1]) would be treated, rule by rule; the engine does not change."""
        return trace(self, packet, now)

    def save_rules(self, version: int = 4) -> str:
        """Return the rules as `iptables-save -c` prints them, with the counters of this run."""
        return self.stack_of(version).save_rules()

    def change_nft(self, commands: str, source: str = "<commands>", folder: Path | None = None) -> None:
        """Carry out commands of nft on the rules that the engine has, and apply them, as `nft -f` does.

        What the commands do not name goes on: rules, sets and objects keep their counters, limits and elements, also
        those that rules have added; `delete element` finds those. Numbers of rules (`delete rule ... handle 7`) are
        those that list_nft(handles=True) prints. The node's rules are then those; other changes of the node apply, too.

        folder: where the files of `include` lie. Raises RuleError naming line, column and command; then nothing has
        changed.
        """
        if self.node.nft is not self.stacks[4].program.ruleset:
            # an engine of its own says whether the commands are taken: else the new rules would run without them
            trial = self.fork()
            trial.reload()
            trial.change_nft(commands, source, folder)
            self.reload()
        before, text = self.node.nft, self.node.nft_text
        before.number()
        halves = self._halves()
        had, found = counted(before, halves), with_elements(before, halves)
        for table in found.tables.values():
            for named in table.sets.values():
                named.fresh.clear()
        said_of = found.source
        self.node.nft = nftables.change(found, text_of(commands, source), source, folder)
        # what is refused is a command: the rules before it are taken
        found.source = source
        try:
            self._apply(counters=False, commands=True)
        except FastnatError:
            self.node.nft, self.node.nft_text = before, text
            raise
        found.source = said_of
        keep_unreached(self.node.nft, had, [stack.program for stack in self.stacks.values()])
        self.node.nft_text = nftables.text_of(self.node.nft, handles=True)
        self.node_files = self.node.texts()

    def _halves(self) -> list[Half]:
        """Return what each family has counted."""
        return [
            Half(stack.program, stack.core.arrays, int(stack.core.now * HZ + 0.5), self.iface_names, version)
            for version, stack in self.stacks.items()
        ]

    def list_nft(self, as_json: bool = False, handles: bool = False) -> str:
        """Return the rules of nftables with this run's counters and elements, as `nft list ruleset` prints them.

        as_json: as `nft -j list ruleset` does; handles: with numbers of rules, as `nft -a` does. All read back as one
        rule set; times left are whole seconds in JSON.
        """
        found = counted(self.node.nft, self._halves())
        return nftables.json_listing(found) if as_json else nftables.listing(found, handles)

    @overload
    def connect(
        self,
        proto: str,
        src: AddressLike,
        sport: int,
        dst: AddressLike,
        dport: int,
        now: float,
        iface: str | None = None,
    ) -> Connection | None: ...

    @overload
    def connect(
        self, proto: str, src: Any, sport: Any, dst: Any, dport: Any, now: float, iface: str | None = None
    ) -> NDArray[np.uint32]: ...

    def connect(
        self,
        proto: str,
        src: Any,
        sport: Any,
        dst: Any,
        dport: Any,
        now: float,
        iface: str | None = None,
    ) -> Any:
        """Open a flow as its first packet would, and return its connection, or None if it got none.

        proto: "udp", "tcp" (a SYN), "icmp"...; now: seconds; iface: where the packet enters, by default the interface
        whose network holds src, or "local" for an address of the node. An existing flow is returned as it is. If there
        is no connection, Engine.stats says why: drop, insert_failed, invalid. Raises InputError if no interface leads
        to the source.

        If an address or port is an array or list, all of them broadcast, and the flows open in order: the result is
        uint32[n], the numbers of their connections as results name them, 2**32 - 1 for none.
        """
        return flows.connect(self, proto, (src, sport, dst, dport), now, iface)

    def close(self, connection: Any, now: float, version: int = 4) -> None:
        """Close a flow that connect() opened: TCP goes to TIME_WAIT as after FIN from both ends; others are deleted.

        connection: a Connection, or an array of numbers as connect() returns them, of IPv4 or (version=6) IPv6. now:
        seconds. A connection that no longer exists is not an error; of numbers, one that another flow has is closed.
        """
        flows.close(self, connection, now, version)

    def services(self, version: int = 4) -> str:
        """Return the virtual services and the connections of their real servers as `ipvsadm -Ln` lists them."""
        servers = self.core_of(version).arrays["servers"]
        return format_services(self.node.services, FAMILIES[version], servers)

    def service_connections(self, version: int = 4) -> str:
        """Return the connections of IPVS and what its persistent clients keep, as `ipvsadm -Lnc` lists them."""
        core = self.core_of(version)
        return format_connections(FAMILIES[version], core.ipvs_connections(), core.now)

    def events(self, version: int = 4) -> NDArray[np.void]:
        """Return what happened to connections since the last call: EVENT[n], in order; they are then forgotten.

        `kind` is an Event, `what` the subject of an UPDATE (EVENT_REPLY...), `tick` is in jiffies, `timeout` in jiffies
        left, not positive for an expired connection. Engine(events=n) sets how many are kept; InputError if more
        happened, and the later ones are lost. conntrack.format_event() gives the text of conntrack -E.
        """
        taken, lost = self.core_of(version).take_events()
        if lost:
            kept = f"events={self.max_events}"
            raise InputError(f"{lost} events did not fit into {kept}: call events() more often, or raise events")
        events: NDArray[np.void] = taken
        return events

    def all_events(self) -> list[Any]:
        """Return the records of events() of both families, in the order of time."""
        return sorted((e for version in self.stacks for e in self.events(version)), key=lambda e: int(e["tick"]))

    @property
    def stats(self) -> dict[str, int]:
        """Counters by their conntrack -S names, and the engine's own."""
        totals = np.sum([stack.core.stats for stack in self.stacks.values()], axis=0)
        return dict(zip(STATS, totals.tolist(), strict=False))

    @property
    def nbytes(self) -> int:
        """Bytes held, counting all that was touched."""
        return sum(stack.nbytes for stack in self.stacks.values())
