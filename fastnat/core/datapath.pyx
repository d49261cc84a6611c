"""The datapath: tables in memory that NumPy owns, and the batch loop over the steps of a packet's life."""

from cpython.bytearray cimport PyByteArray_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from ..errors import ArgumentError, BusyError, CheckError, ClockError, InputError
from .types cimport *
from .batch cimport batch_t, DATAGRAM_ROOM, run_batch, run_race, scratch_t
from .check cimport check_engine, ROOM_ARRAYS, room_sizes, room_t, room_take
from .conntrack.adopt cimport adopt_conn
from .conntrack.create cimport CREATED, create_conntrack, fetch_for_creation, take_as_it_comes
from .conntrack.expire cimport advance_to, next_expiry, tick_of, time_before
from .conntrack.insert cimport conn_delete, conn_flush
from .conntrack.lookup cimport find_tuple
from .frames cimport first_outside, frames_t, run_frames, walk_alone
from .helpers.adopt cimport adopt_expect, adopt_help, find_master, has_conn, HELP_MASTER
from .ipvs.adopt cimport adopt_ipvs, control_again, told_by_entry
from .ipvs.connection cimport end_serverless
from .nat.masquerade cimport flush_masqueraded
from .nat.port_bitmap cimport forget_bitmaps
from .nat.ports_used cimport ports_used
from .packet.parse cimport datagram_entry, datagram_t, ENTRY_HOOKS
from .reload cimport change_policies, find_servers, forget_routes, pick_up_windows
from .fib cimport route_lookup
from .rules.connlimit cimport connlimit_adopt
from .rules.recent cimport bound_recent
from .shard_batch cimport run_shard
from .shard_frames cimport run_shard_frames, shards_of_frames
from .shards cimport range_t, shards_of, shards_t
from .shortcuts.conditions cimport may_go_shortly, may_pass_untracked, ruled_chains
from .shortcuts.hook_memo cimport flush_counters, forget_memos
from .source_address cimport select_addr, select_addr6
from .start cimport start_generator, start_keys, start_tables
from .tuples.hash cimport random_u64, tuple_hash
from .tuples.rehash cimport collect_due, is_crowded, rehash
from .tuples.tuple cimport tuple_make

cdef extern from "platform.h" nogil:
    ctypedef struct fn_ndarray:
        char *data
        int nd
        int64_t *dimensions
        int64_t *strides
        int flags

cdef extern from "pythread.h" nogil:
    unsigned long PyThread_get_thread_ident()

cdef type NDARRAY = np.ndarray
cdef object DOUBLE = np.dtype(np.float64)
cdef object BYTE = np.dtype(np.uint8)
cdef object OFFSET = np.dtype(np.int64)
cdef object IFACE = np.dtype(np.uint16)

fn_hash_init()
fn_crc32c_init()

cdef enum:
    C_CONTIGUOUS = 0x1
    WRITEABLE = 0x400
    # records of a dump in front, for which buckets are fetched
    FETCHED_AHEAD = 16


# by the codes of conntrack/adopt.pxd
cdef tuple WHY_NOT_ADOPTED = (
    "", "its tuples or status cannot be", "its state, status or interface cannot be", "its TCP record cannot be",
    "only TCP has numbers to adjust", "its SCTP record cannot be", "it is due already", "another one has its tuple",
    "the table holds {count} connections, its maximum", "the table is full", "the tables are full",
)
# by those of conntrack/create.pxd
cdef tuple WHY_NOT_CREATED = (
    "", "no reply can belong to such a tuple", "a connection with this tuple exists",
    "the table holds {count} connections, its maximum", "the table is full", "the connection cannot be confirmed",
)
# by those of helpers/adopt.pxd; its master is not there: as _check_conn says it
cdef tuple WHY_NO_HELP = ("", "its numbers cannot be", "not of its protocol", "", "its connection can have none")


cdef fn_ndarray *array_of(object array, object dtype, int flags) except NULL:
    # array_of: the raw array behind a one-dimensional contiguous ndarray of exactly this dtype.
    cdef fn_ndarray *raw
    # a subclass may lay out its memory otherwise
    if type(array) is not NDARRAY:
        raise ArgumentError(f"expected a numpy array of {dtype}, got {type(array).__name__}")
    raw = <fn_ndarray *><void *>array
    # identity first: structured dtypes are compared field by field
    if array.dtype is not dtype and array.dtype != dtype:
        raise ArgumentError(f"expected a numpy array of {dtype}, got {array.dtype}")
    if raw.nd != 1 or raw.flags & flags != flags:
        raise InputError("expected a one-dimensional, contiguous array" + (", writeable" if flags & WRITEABLE else ""))
    return raw


cdef void *table_data(dict arrays, str name, uint64_t itemsize) except? NULL:
    # table_data: the memory of one of the arrays that Python allocated; NULL only for an empty one.
    array = arrays[name]
    # the one place where Python's records meet those of C: a wrong size would be a wrong address for ever after
    if array.itemsize != itemsize or not array.flags.c_contiguous or not array.flags.writeable:
        raise ValueError(f"array {name!r} does not fit its record of {itemsize} bytes")
    return <void *>(<fn_ndarray *><void *>array).data


cdef addr_t addr_of(object value) except? 0:
    # addr_of: an address of this family out of a Python integer, 64 bits at a time.
    cdef uint64_t low = value & 0xffffffffffffffff
    cdef uint64_t high = value >> 64
    return <addr_t>low | (<addr_t>high << (FN_ADDR_BITS >> 1))


cdef object addr_to_int(addr_t addr):
    # by halves: Cython knows no integer of 128 bits
    cdef object low = <uint64_t>addr
    cdef object high
    if not FN_V6:
        return low
    high = <uint64_t>(addr >> (FN_ADDR_BITS >> 1))
    return low | high << 64


cdef inline bint overlap(const void *a, uint64_t a_size, const void *b, uint64_t b_size) noexcept nogil:
    return <uint64_t>a < <uint64_t>b + b_size and <uint64_t>b < <uint64_t>a + a_size


cdef void *data_of(object array):
    return (<fn_ndarray *><void *>array).data


cdef object read_only(object array):
    view = array.view()
    view.flags.writeable = False
    return view


cdef class Datapath:
    """Tables and counters of one engine; the steps in this folder are compiled into it.

    One thread at a time may use it; a call that finds another one at work raises BusyError. `with datapath:` keeps it for
    this thread over several calls.
    """

    cdef engine_t e
    cdef double clock
    cdef uint32_t limit
    # connections of the other family, of those
    cdef uint32_t others
    # the thread that uses it, 0 none; how many calls deep; whether a batch is at work
    cdef unsigned long owner
    cdef uint32_t depth
    cdef bint running
    # asked to stop a shard's batch
    cdef bint halted
    # packets of the last batch that were decided
    cdef readonly uint64_t processed
    cdef dict memory
    # the same arrays, read-only: the core believes what is in them
    cdef readonly dict arrays
    cdef object scratch_memory
    cdef scratch_t *scratch
    cdef readonly object packet_dtype
    cdef readonly object result_dtype
    cdef shards_t shards
    cdef uint32_t shard
    # what `shards` points into
    cdef tuple shard_memory

    def __cinit__(self, dict arrays, dict config, object packet_dtype, object result_dtype):
        # config None: set_state() follows
        memset(&self.e, 0, sizeof(engine_t))
        self.memory = arrays
        self.packet_dtype = packet_dtype
        self.result_dtype = result_dtype
        self.clock = 0.0
        # what is not touched takes no memory; from a cache line's beginning on
        self.scratch_memory = np.zeros(sizeof(scratch_t) + 64, np.uint8)
        self.scratch = <scratch_t *>((<uint64_t>(<fn_ndarray *><void *>self.scratch_memory).data + 63) & ~<uint64_t>63)
        self._attach()
        self._capacities()
        if config is not None:
            self._start(config)

    cdef int _start(self, dict config) except -1:
        cdef bytes secret = config["secret"]
        cdef engine_t *e = &self.e
        # before anything is put into a table
        start_keys(e, config["key"], config["seed"])
        if len(secret) != sizeof(e.secret):
            raise InputError(f"the secret has {len(secret)} bytes, not {sizeof(e.secret)}")
        memcpy(e.secret, <const char *>secret, sizeof(e.secret))
        self._configure(config)
        return 0

    cdef int begin(self) except -1:
        # begin: from here to end() this thread alone uses the engine.
        # a signal handler runs in the thread that it interrupts: it has the engine, but a batch is at work
        if fn_claim(&self.owner, PyThread_get_thread_ident()) == 0 or self.running:
            raise BusyError("this engine is at work in another call: one thread at a time; give each thread an engine of its own, "
                            "or see EngineGroup")
        self.depth += 1
        return 0

    cdef void end(self) noexcept:
        self.depth -= 1
        if self.depth == 0:
            fn_release(&self.owner)

    def __enter__(self):
        self.begin()
        return self

    def __exit__(self, *exception):
        self.end()

    cdef int _attach(self) except -1:
        cdef engine_t *e = &self.e
        cdef uint32_t i
        for i in range(FN_ARRAYS):
            # every place holds a pointer to its kind of record; a pointer of any kind is as wide
            (<void **>(<char *>e + fn_arrays[i].at))[0] = table_data(self.memory, fn_arrays[i].name.decode(), fn_arrays[i].size)
        self.arrays = {name: read_only(array) for name, array in self.memory.items()}
        return 0

    cdef int _capacities(self) except -1:
        # _capacities: every size that an array gives, out of the array itself.
        cdef engine_t *e = &self.e
        memory = self.memory
        e.capacity = min([len(memory[name]) for name in ("conns", "tcp", "acct", "free_ids")])
        e.n_chains = len(memory["chains"])
        e.max_chunks = len(memory["chunks"])
        e.max_bitmaps = len(memory["bitmap_keys"])
        e.max_pages = len(memory["bitmap_pages"]) // (FN_PAGE_MAPS * FN_PAGE_WORDS)
        e.bitmap_index_mask = len(memory["bitmap_index"]) - 1
        e.tuples.max_groups = len(memory["tuples"]) // FN_GROUP_BUCKETS
        e.sources.max_groups = len(memory["sources"]) // FN_GROUP_BUCKETS
        e.max_events = len(memory["events"])
        e.help_capacity = len(memory["helps"])
        e.expect_capacity = len(memory["expects"])
        e.n_routes = len(memory["routes"])
        e.n_fib_rules = len(memory["fib_rules"])
        e.n_classes = len(memory["class_start"])
        e.n_port_classes[0] = len(memory["port_start0"])
        e.n_port_classes[1] = len(memory["port_start1"])
        e.n_services = len(memory["services"])
        e.service_mask = len(memory["service_slots"]) - 1
        e.ipvs_capacity = len(memory["ipvs_conns"])
        e.ipvs_mask = len(memory["ipvs_heads"]) - 1
        e.n_addresses = len(memory["addresses"])
        e.max_jumps = len(memory["jump_stack"])
        e.connlimit_capacity = len(memory["connlimits"])
        e.n_bases = len(memory["bases"])
        e.max_nft_log = len(memory["nft_log"])
        e.max_waypoints = len(memory["waypoints"])
        e.max_nft_conns = len(memory["nft_conns"])
        e.n_policies = len(memory["policies"]) // FN_TIMEOUTS
        e.n_neighbours = len(memory["neighbours"])
        return 0

    cdef int _configure(self, dict config) except -1:
        cdef engine_t *e = &self.e
        # of both families together: max_conns of the core is what the other one leaves of it (_leave_room)
        self.limit = config["max_connections"]
        e.max_conns = self.limit
        e.bitmap_probes = config["bitmap_probes"]
        start_tables(e, config["groups"])
        e.profile = config["profile"]
        e.epoch = config["epoch"]
        self._configure_node(config)
        return 0

    cdef int _configure_node(self, dict config) except -1:
        # _configure_node: what changes with the node's rules, addresses, routes and sysctls.
        cdef engine_t *e = &self.e
        cdef uint32_t i, j
        e.n_ifaces = config["n_ifaces"]
        e.n_memos = config["n_memos"]
        # rules and classes are others: no bounds hold
        e.memo_bounds.born = 0
        e.untracked_bounds.born = 0
        for i in range(5):
            for j in range(5):
                e.hook_entry[i][j] = FN_NONE
                e.hook_policy[i][j] = FN_NONE
        e.n_wide = len(config["wide"])
        for i in range(e.n_wide):
            e.wide[i] = config["wide"][i]
        e.n_nft_wide = len(config["nft_wide"])
        for i in range(e.n_nft_wide):
            e.nft_wide[i] = config["nft_wide"][i]
        # without memos nobody asks for classes of what the runs leave out
        e.n_apart = len(config["apart"]) if e.n_memos else 0
        for i in range(e.n_apart):
            e.apart[i] = config["apart"][i]
        for (i, j), entry in config["hook_entry"].items():
            e.hook_entry[i][j] = entry
        for (i, j), policy in config["hook_policy"].items():
            e.hook_policy[i][j] = policy
        memset(e.base_count, 0, sizeof(e.base_count))
        for (i, j), (first, count) in config["bases"].items():
            e.base_first[i][j] = first
            e.base_count[i][j] = count
            if e.hook_entry[i][j] == FN_NONE:
                e.hook_entry[i][j] = FN_ONLY_BASES
        e.max_expects = config["max_expects"]
        e.auto_helpers = config["auto_helpers"]
        e.tracking = config["tracking"]
        e.nat_hooks = config["nat_hooks"]
        e.due_at_once = config["due_at_once"]
        for name, value in config["timeouts"].items():
            e.timeouts[name] = value
            e.due_at_once |= value == 0
        if e.due_at_once:
            # an entry that is due as it begins stands in nobody's way, and two may have one tuple until the next jiffy
            e.may_share_tuple = 1
            forget_bitmaps(e)
        e.checksum = config["checksum"]
        e.routes_by_packet = config["routes_by_packet"]
        e.multipath_policy = config["multipath_policy"]
        e.dissects = config["dissects"]
        e.multipath_seed = config["multipath_seed"]
        e.loopback = config["loopback"]
        e.loose = config["loose"]
        e.be_liberal = config["be_liberal"]
        e.max_retrans = config["max_retrans"]
        e.ignore_invalid_rst = config["ignore_invalid_rst"]
        e.accounting = config["accounting"]
        e.local_routes = config["local_routes"]
        e.n_connlimits = 0
        e.free_connlimit = 0
        e.conn_reuse_mode = config["conn_reuse_mode"]
        e.expire_nodest_conn = config["expire_nodest_conn"]
        e.expire_quiescent_template = config["expire_quiescent_template"]
        e.sloppy_tcp = config["sloppy_tcp"]
        e.sloppy_sctp = config["sloppy_sctp"]
        for i in range(3):
            e.ipvs_timeouts[i] = config["ipvs_timeouts"][i]
        e.ruled = ruled_chains(e)
        e.shortly = may_go_shortly(e, config["remember"])
        e.untracked_shortly = may_pass_untracked(e, config["remember"])
        return 0

    @property
    def now(self):
        """Virtual time of the last packet [s]."""
        return self.clock

    @property
    def count(self):
        """Connections held, unconfirmed ones included (nf_conntrack_count)."""
        return self.e.count

    @property
    def is_tracking(self):
        """Whether conntrack sees packets."""
        return self.e.tracking != 0

    @property
    def high_water(self):
        """Records ever used: those at and above this index were never touched."""
        return self.e.high_water

    @property
    def stats(self):
        """Counters in the order of fastnat.dtypes.STATS."""
        return [self.e.stats[i] for i in range(FN_STATS)]

    @property
    def tables(self):
        """Sizes that nbytes and the benchmarks report, by name."""
        return {
            "tuples": self.e.tuples.used, "tuple_groups": self.e.tuples.groups,
            "tuple_overflows": self.e.tuples.overflows,
            "sources": self.e.sources.used, "source_groups": self.e.sources.groups,
            "chunks": self.e.n_chunks, "bitmaps": self.e.n_bitmaps, "bitmap_pages": self.e.n_pages, "free": self.e.n_free,
            "table_memos": sum([self.e.table_memos[i].key[2] != 0 for i in range(self.e.n_memos)]),
            "helps": self.e.n_helps, "expects": self.e.expect_high, "rehashes": self.e.rehashes,
            "connlimits": self.e.n_connlimits, "ipvs_conns": self.e.n_ipvs_conns,
            "nft_conns": self.e.n_nft_conns,
            "memos": sum([self.e.memos[i].key[2] != 0 for i in range(self.e.n_memos)]),
        }

    cdef int _clock(self, object now, uint64_t n, double *last, double **times) except -1:
        # _clock: check `now`, a number or one float64 a packet, before anything is done.
        cdef fn_ndarray *raw
        cdef uint64_t i
        cdef double t
        times[0] = NULL
        if type(now) is NDARRAY:
            raw = array_of(now, DOUBLE, C_CONTIGUOUS)
            if <uint64_t>raw.dimensions[0] != n:
                raise InputError(f"{raw.dimensions[0]} times for {n} packets")
            times[0] = <double *>raw.data
            last[0] = self.clock
            for i in range(n):
                t = times[0][i]
                # so written, NaN is refused as well
                if not t >= last[0]:
                    raise ClockError(f"time goes back from {last[0]} s to {t} s at packet {i}")
                last[0] = t
            t = last[0]
        else:
            t = now
            last[0] = t
            if not t >= self.clock:
                raise ClockError(f"time goes back from {self.clock} s to {t} s")
        # 2^64 jiffies of 4 ms are 7e16 s; timeouts are added to it
        if t > 1e15:
            raise ClockError(f"time {t} s is beyond what 64-bit jiffies hold")
        return 0

    cdef object _new_results(self, int64_t n):
        # _new_results: np.empty(n, result_dtype). That asks every field how it is filled with zeros, which takes as long as thirty
        # packets; memory that somebody else has taken needs no filling.
        n = max(n, 0)
        return NDARRAY(n, self.result_dtype, PyByteArray_FromStringAndSize(NULL, n * <int64_t>sizeof(result_t)))

    cdef fn_ndarray *_results(self, object out, uint64_t n) except NULL:
        cdef fn_ndarray *raw = array_of(out, self.result_dtype, C_CONTIGUOUS | WRITEABLE)
        if <uint64_t>raw.dimensions[0] < n:
            raise InputError(f"out has room for {raw.dimensions[0]} of {n} results")
        return raw

    cdef int _apart(self, fn_ndarray *out, uint64_t n, const void *other, uint64_t size, str name) except -1:
        # _apart: what is written while a batch runs must not be what is read.
        if overlap(out.data, n * sizeof(result_t), other, size):
            raise InputError(f"out shares memory with {name}: give it memory of its own")
        return 0

    cdef int _pause(self, uint64_t done, uint64_t n, double last, const double *times) except -1:
        # _pause: a batch has come to its end or wants a pause: note how far it is, and see whether somebody interrupts it.
        self.processed = done
        if times == NULL:
            self.clock = last
        elif done:
            # somebody may have written to it since it was checked
            self.clock = time_before(times[done - 1], last)
        if is_crowded(&self.e):
            rehash(&self.e)
        # between two packets only: a handler sees whole tables, and an exception leaves what was decided
        if done < n:
            PyErr_CheckSignals()
        return 0

    cdef void _pass_time(self, double now) noexcept:
        # _pass_time: up to a time that has been checked; due connections are deleted.
        with nogil:
            advance_to(&self.e, tick_of(now))
        self.clock = now

    cdef int _begin_batch(self, batch_t *b, object packets, object now, object out) except -1:
        # _begin_batch: check all that a batch of headers is given; afterwards the engine is at work.
        cdef fn_ndarray *raw = array_of(packets, self.packet_dtype, C_CONTIGUOUS)
        b.n = raw.dimensions[0]
        b.packets = <const packet_t *>raw.data
        raw = self._results(out, b.n)
        b.results = <result_t *>raw.data
        # before begin: nothing to undo if it raises
        self._apart(raw, b.n, b.packets, b.n * sizeof(packet_t), "packets")
        self.begin()
        try:
            self._clock(now, b.n, &b.last, &b.times)
            if b.times != NULL:
                self._apart(raw, b.n, b.times, b.n * sizeof(double), "now")
        except BaseException:
            self.end()
            raise
        self.processed = 0
        self.running = True
        return 0

    cdef void _end_batch(self) noexcept:
        self.running = False
        self.end()

    def check_batch(self, packets not None, now, out not None):
        """Raise what process() would raise for these arguments; do nothing with them."""
        cdef batch_t b
        self._begin_batch(&b, packets, now, out)
        self._end_batch()

    def process(self, packets not None, now=0.0, out=None, uint32_t cpus=1, meet=None):
        """Run a batch of packet headers through the node's hooks; see Engine.process.

        meet: called when everything has been checked and before the first packet; it brings the other family up to the
        same time and returns how many connections that has.
        """
        cdef batch_t b
        cdef uint64_t done = 0
        if not 1 <= cpus <= FN_CPUS:
            raise InputError(f"cpus {cpus} is not in 1..{FN_CPUS}")
        if out is None:
            out = self._new_results(array_of(packets, self.packet_dtype, C_CONTIGUOUS).dimensions[0])
        self._begin_batch(&b, packets, now, out)
        try:
            if meet is not None:
                # now that nothing can be refused any more: a rejected call must not let time pass in the other family
                self._leave_room(meet())
            if b.times == NULL:
                with nogil:
                    advance_to(&self.e, tick_of(b.last))
            while done < b.n:
                with nogil:
                    if cpus > 1:
                        done += run_race(&self.e, b.packets + done, b.results + done, b.times + done if b.times != NULL else NULL,
                                         b.last, b.n - done, self.scratch.held, cpus)
                    else:
                        done += run_batch(&self.e, self.scratch.ring, b.packets + done, b.results + done,
                                          b.times + done if b.times != NULL else NULL, b.last, b.n - done)
                self._pause(done, b.n, b.last, b.times)
            self.clock = b.last
        finally:
            self._end_batch()
        return out

    def take_shard(self, inside not None, ranges not None, behind not None, uint32_t n, uint32_t number):
        """Be one of n engines side by side, for process_shard.

        inside: uint8[interfaces], whether clients are behind it; ranges, behind: bytes of pairs of addresses, ascending, that
        connections are translated to, and to which routes lead through these interfaces; number: 0..n-1. The arrays are not
        to change.
        """
        cdef const uint8_t[::1] clients = inside
        cdef const uint8_t[::1] addresses = ranges
        cdef const uint8_t[::1] routed = behind
        if clients.shape[0] == 0 or not number < n <= 0xffff:
            raise ValueError("interfaces and one of the shards are needed")
        if addresses.shape[0] % sizeof(range_t) or routed.shape[0] % sizeof(range_t):
            raise ValueError("whole ranges are needed")
        self.shard_memory = (inside, ranges, behind)
        self.shard = number
        self.shards.n = n
        self.shards.n_ifaces = <uint32_t>clients.shape[0]
        self.shards.inside = &clients[0]
        self.shards.n_ranges = <uint32_t>(<uint64_t>addresses.shape[0] // sizeof(range_t))
        self.shards.ranges = <const range_t *>&addresses[0] if addresses.shape[0] else NULL
        self.shards.n_clients = <uint32_t>(<uint64_t>routed.shape[0] // sizeof(range_t))
        self.shards.clients = <const range_t *>&routed[0] if routed.shape[0] else NULL

    def shards_of(self, packets not None):
        """The shard that each packet of a batch belongs to: uint16[n]."""
        cdef fn_ndarray *raw = array_of(packets, self.packet_dtype, C_CONTIGUOUS)
        cdef uint64_t n = raw.dimensions[0]
        numbers = np.empty(n, np.uint16)
        shards_of(&self.shards, <const packet_t *>raw.data, n, <uint16_t *>data_of(numbers))
        return numbers

    def process_shard(self, packets not None, now, out not None):
        """Run those packets of a batch that belong to this shard, as process would run them alone, in order.

        Their results go to their places in `out`, which other shards may fill at the same time. `processed` says how many
        packets of the batch were looked at: fewer than all when halt() was called meanwhile.
        """
        cdef batch_t b
        cdef uint64_t at = 0
        self._begin_batch(&b, packets, now, out)
        try:
            if b.times == NULL:
                with nogil:
                    advance_to(&self.e, tick_of(b.last))
            while at < b.n:
                with nogil:
                    at = run_shard(&self.e, &self.shards, self.shard, self.scratch, &b, at)
                self._pause(at, b.n, b.last, b.times)
                if self.halted:
                    return
            self._pass_time(b.last)
        finally:
            self._end_batch()

    def halt(self, bint wanted):
        """Ask process_shard() to stop soon, or, before it begins, not to; the only call that may be made meanwhile."""
        self.halted = wanted

    cdef object _datagram(self, object data, double now, datagram_t *d, uint32_t others, uint64_t link_dst, uint64_t link_src,
                          result_t *r):
        # _datagram: run one. d: all but where it lies. => Its bytes as they leave, or None.
        cdef bytes given = data if type(data) is bytes else bytes(data)
        cdef pkt_t p
        d.data = &self.scratch.room[0]
        # no IP header says more than 65,535; what is longer has bytes behind its datagram
        d.length = <uint32_t>min(len(given), DATAGRAM_ROOM - 1)
        d.room = DATAGRAM_ROOM
        self.begin()
        try:
            if not now >= self.clock or now > 1e15:
                raise ClockError(f"time goes back from {self.clock} s to {now} s, or is none")
            self._leave_room(others)
            memcpy(d.data, <const char *>given, d.length)
            advance_to(&self.e, tick_of(now))
            self.e.link_dst = link_dst
            self.e.link_src = link_src
            walk_alone(&self.e, d, &p, self.scratch.ring, self.scratch.packets, r)
            self.clock = now
            # copied while the engine is ours: the room is shared by all packets
            return (<char *>d.data)[:p.len] if r.verdict != VERDICT_DROP else None
        finally:
            self.e.link_dst = 0
            self.e.link_src = 0
            self.end()

    def process_packet(self, data not None, uint32_t iface, double now, uint32_t mark=0, uint32_t largest=0, uint32_t entry=0,
                       uint64_t link_dst=0, uint64_t link_src=0):
        """Run one datagram.

        => (verdict, rewritten bytes or None, out_iface, ctinfo, reason, src, dst, sport, dport, copied).

        largest: size of the largest fragment that it came in [bytes], 0 when it came whole. entry: 0; 1 for what comes back
        from among the fragments; 2 for a datagram that passed PREROUTING in fragments. link_dst, link_src: addresses of its
        frame, see FN_MAC_BITS.
        """
        cdef datagram_t d
        cdef result_t r
        d.iface = iface
        d.mark = mark
        d.largest = largest
        d.entry = <datagram_entry>entry
        rewritten = self._datagram(data, now, &d, self.others, link_dst, link_src, &r)
        return (r.verdict, rewritten, r.out_iface, r.ctinfo, r.reason, addr_to_int(r.src), addr_to_int(r.dst), r.sport, r.dport,
                r.copied != 0)

    def process_datagram(self, data not None, uint32_t iface, double now, uint32_t others=0, uint64_t link_dst=0, uint64_t link_src=0):
        """Run one datagram that came whole: (verdict, rewritten bytes or None), the first two that process_packet returns.

        others: as for leave_room.
        """
        cdef datagram_t d
        cdef result_t r
        d.iface = iface
        d.mark = 0
        d.largest = 0
        d.entry = ENTRY_HOOKS
        rewritten = self._datagram(data, now, &d, others, link_dst, link_src, &r)
        return r.verdict, rewritten

    cdef int _frames(self, frames_t *f, object buffer, object offsets, object ifaces) except -1:
        # _frames: check what process_frames is given but for time and results, both of which come last.
        cdef fn_ndarray *raw = array_of(buffer, BYTE, C_CONTIGUOUS | WRITEABLE)
        cdef uint64_t i
        f.data = <uint8_t *>raw.data
        f.size = raw.dimensions[0]
        raw = array_of(offsets, OFFSET, C_CONTIGUOUS)
        f.offs = <const int64_t *>raw.data
        if raw.dimensions[0] < 1:
            raise InputError("offsets must have one element more than there are frames")
        f.n = raw.dimensions[0] - 1
        raw = array_of(ifaces, IFACE, C_CONTIGUOUS)
        f.ifaces = <const uint16_t *>raw.data
        if <uint64_t>raw.dimensions[0] != f.n:
            raise InputError(f"{raw.dimensions[0]} interfaces for {f.n} frames")
        i = first_outside(f)
        if i < f.n:
            raise InputError(f"frame {i}: offsets {f.offs[i]} to {f.offs[i + 1]} do not lie in the buffer of {f.size} bytes")
        # a packet that writes its own offsets could send the next one anywhere
        if overlap(f.data, f.size, f.offs, (f.n + 1) * sizeof(int64_t)) or overlap(f.data, f.size, f.ifaces, f.n * sizeof(uint16_t)):
            raise InputError("offsets or interfaces lie in the buffer, which is written: give them memory of their own")
        return 0

    cdef int _begin_frames(self, frames_t *f, object buffer, object offsets, object ifaces, object now, object out) except -1:
        # _begin_frames: check all that a run of frames is given; afterwards the engine is at work.
        cdef fn_ndarray *raw
        self._frames(f, buffer, offsets, ifaces)
        raw = self._results(out, f.n)
        self._apart(raw, f.n, f.data, f.size, "the buffer")
        self._apart(raw, f.n, f.offs, (f.n + 1) * sizeof(int64_t), "offsets")
        self._apart(raw, f.n, f.ifaces, f.n * sizeof(uint16_t), "interfaces")
        f.results = <result_t *>raw.data
        f.places = NULL
        self.begin()
        try:
            self._clock(now, f.n, &f.last, &f.times)
            if f.times != NULL:
                self._apart(raw, f.n, f.times, f.n * sizeof(double), "now")
                if overlap(f.data, f.size, f.times, f.n * sizeof(double)):
                    raise InputError("now lies in the buffer, which is written: give it memory of its own")
        except BaseException:
            self.end()
            raise
        self.processed = 0
        self.running = True
        return 0

    def process_frames(self, buffer not None, offsets not None, ifaces, now=0.0, out=None, meet=None):
        """Run datagrams that lie in one buffer, rewriting them in place; see Engine.process_frames."""
        cdef frames_t f
        cdef uint64_t done = 0
        if out is None:
            out = self._new_results(array_of(offsets, OFFSET, C_CONTIGUOUS).dimensions[0] - 1)
        self._begin_frames(&f, buffer, offsets, ifaces, now, out)
        try:
            if meet is not None:
                self._leave_room(meet())
            while done < f.n:
                with nogil:
                    done = run_frames(&self.e, &f, done, self.scratch.ring, self.scratch.packets, self.scratch.room)
                self._pause(done, f.n, f.last, f.times)
            self.clock = f.last
        finally:
            self._end_batch()
        return out

    def check_frames(self, buffer not None, offsets not None, ifaces, now, out not None):
        """Raise what process_frames() would raise for these arguments; do nothing with them."""
        cdef frames_t f
        self._begin_frames(&f, buffer, offsets, ifaces, now, out)
        self._end_batch()

    def shards_of_frames(self, buffer not None, offsets not None, ifaces, numbers not None, uint64_t first, uint64_t end):
        """Write the shard of each of the frames first..end-1 to `numbers`: uint16, one a frame."""
        cdef frames_t f
        cdef uint16_t[::1] to = numbers
        self._frames(&f, buffer, offsets, ifaces)
        if not first <= end <= f.n or <uint64_t>to.shape[0] < f.n:
            raise ValueError("some of the frames, and a number for each, are needed")
        if first < end:
            with nogil:
                shards_of_frames(&self.shards, &f, first, end, &to[0])

    def process_shard_frames(self, buffer not None, offsets not None, ifaces, numbers not None, now, out not None):
        """Run those frames of a buffer that belong to this shard, as process_frames would run them alone, in order.

        numbers: uint16, the shard of each frame; see process_shard.
        """
        cdef frames_t f
        cdef uint64_t at = 0
        cdef const uint16_t[::1] shards = numbers
        self._begin_frames(&f, buffer, offsets, ifaces, now, out)
        try:
            if <uint64_t>shards.shape[0] < f.n:
                raise ValueError("a number for each frame is needed")
            while at < f.n:
                with nogil:
                    at = run_shard_frames(&self.e, &f, &shards[0], self.shard, self.scratch, at)
                self._pause(at, f.n, f.last, f.times)
                if self.halted:
                    return
            self._pass_time(f.last)
        finally:
            self._end_batch()

    def advance(self, double now):
        """Let virtual time pass [s]; due connections are deleted. Raises ClockError when now lies in the past."""
        cdef double last
        cdef double *times
        with self:
            self._clock(now, 1, &last, &times)
            self._pass_time(last)

    def find(self, src, dst, uint32_t sport, uint32_t dport, uint32_t proto, uint32_t zone=0):
        """The connection of a tuple, either direction: (record, direction), or None."""
        cdef tuple_t t = tuple_make(addr_of(src), addr_of(dst), sport & 0xffff, dport & 0xffff, proto & 0xff, zone & 0xffff)
        cdef uint32_t id_
        with self:
            id_ = find_tuple(&self.e, t, tuple_hash(&self.e, t), <uint32_t>self.e.now)
            return None if id_ == FN_NONE else (id_ >> 1, id_ & 1)

    def delete(self, uint32_t conn):
        """Delete a confirmed connection (conntrack -D). Raises IndexError when there is none with that number."""
        with self:
            if not has_conn(&self.e, conn):
                raise IndexError(f"no connection {conn}")
            conn_delete(&self.e, conn)

    def insert(self, original, reply, uint32_t proto, uint32_t status, uint32_t state, double timeout, uint32_t mark,
               uint32_t zone, uint32_t zone_dir):
        """Put a connection into the table as it was elsewhere (conntrack -I).

        original, reply: (src, dst, sport, dport); status without CONFIRMED; timeout: seconds left. Returns its number.
        Raises ValueError when a tuple is taken or the table is full; the table is unchanged then.
        """
        cdef conn_t wanted
        cdef uint32_t here = FN_NONE
        wanted.tuples[0] = tuple_make(addr_of(original[0]), addr_of(original[1]), original[2], original[3], proto,
                                      zone if zone_dir & 1 else 0)
        wanted.tuples[1] = tuple_make(addr_of(reply[0]), addr_of(reply[1]), reply[2], reply[3], proto, zone if zone_dir & 2 else 0)
        wanted.zone = <uint16_t>zone
        wanted.status = <uint16_t>status
        wanted.state = <uint8_t>state
        # one that is due at once lives for a jiffy
        wanted.timeout = <uint32_t>tick_of(timeout if timeout > 0 else 0.004)
        with self:
            why = WHY_NOT_CREATED[<int>create_conntrack(&self.e, &wanted, mark, &here)]
            if why:
                raise ValueError(why.format(count=self.e.count))
            return here

    def insert_many(self, records not None, marks not None, numbers not None, codes not None):
        """Put connections of a dump into the table, each that can be: CONN[n] and uint32[n] of their marks.

        Unlike those of `insert` they take whatever their ends send: a dump says nothing of windows and tags. Of a record
        tuples, zone, status, state and timeout, in jiffies left, are read. Writes the numbers that they have here into uint32[n],
        and into uint8[n] codes 0, or what why_not_created() puts into words.
        """
        cdef fn_ndarray *raw = array_of(records, self.arrays["conns"].dtype, C_CONTIGUOUS)
        cdef const conn_t *from_ = <const conn_t *>raw.data
        cdef const uint32_t[::1] mark = marks
        cdef uint32_t[::1] here = numbers
        cdef uint8_t[::1] code = codes
        cdef Py_ssize_t i
        cdef Py_ssize_t n = raw.dimensions[0]
        if not n == mark.shape[0] == here.shape[0] == code.shape[0]:
            raise ValueError("not one mark, number and code for each record")
        with self:
            for i in range(n):
                if i + FETCHED_AHEAD < n:
                    fetch_for_creation(&self.e, from_ + i + FETCHED_AHEAD)
                code[i] = <uint8_t>create_conntrack(&self.e, from_ + i, mark[i], &here[i])
                if code[i] == CREATED:
                    take_as_it_comes(&self.e, here[i])

    @staticmethod
    def why_not_created(uint32_t code, count):
        """What a code of insert_many() means, in a table that held `count` connections."""
        return WHY_NOT_CREATED[code].format(count=count)

    def collect_due(self):
        """Delete connections that a timeout of 0 s ends in the jiffy they began in; for a caller that holds the engine."""
        collect_due(&self.e)

    def adopt(self, records not None, tcp not None, acct not None):
        """Put connections into the table as another engine held them: CONN[n], TCP[n] and ACCT[n], of one source the oldest first.

        The bytes may be from anywhere: what does not fit this engine raises ValueError that names the record; those before
        it stay. Routes are found again. Returns uint32[n], the numbers that the connections have here.
        """
        cdef fn_ndarray *raw = array_of(records, self.arrays["conns"].dtype, C_CONTIGUOUS)
        cdef uint64_t n = raw.dimensions[0]
        cdef const conn_t *from_ = <const conn_t *>raw.data
        cdef const tcp_t *beside
        cdef const acct_t *had
        cdef uint64_t i
        numbers = np.empty(n, np.uint32)
        cdef uint32_t[::1] here = numbers
        with self:
            raw = array_of(tcp, self.arrays["tcp"].dtype, C_CONTIGUOUS)
            if <uint64_t>raw.dimensions[0] != n:
                raise ValueError(f"{raw.dimensions[0]} TCP records for {n} connections")
            beside = <const tcp_t *>raw.data
            raw = array_of(acct, self.arrays["acct"].dtype, C_CONTIGUOUS)
            if <uint64_t>raw.dimensions[0] != n:
                raise ValueError(f"{raw.dimensions[0]} accounts for {n} connections")
            had = <const acct_t *>raw.data
            for i in range(n):
                why = WHY_NOT_ADOPTED[<int>adopt_conn(&self.e, from_ + i, beside + i, had + i, &here[i])]
                if why:
                    raise ValueError(f"connection {i}: {why.format(count=self.e.count)}")
            return numbers

    def adopt_help(self, helps not None, conns not None, masters not None):
        """Give connections what helpers know about them: HELP[n], and uint32[n] of their numbers and of their masters'.

        A master that is over is 2**32 - 1. Raises ValueError for what cannot be; the bytes may be from anywhere.
        """
        cdef const help_t *from_ = <const help_t *>array_of(helps, self.arrays["helps"].dtype, C_CONTIGUOUS).data
        cdef const uint32_t[::1] cts = conns
        cdef const uint32_t[::1] of = masters
        cdef Py_ssize_t i
        cdef uint32_t why
        with self:
            if not len(helps) == cts.shape[0] == of.shape[0]:
                raise ValueError("not one connection and one master for each")
            for i in range(cts.shape[0]):
                self._check_conn(cts[i])
                why = adopt_help(&self.e, cts[i], from_ + i, of[i])
                if why == HELP_MASTER:
                    raise ValueError(f"no connection {of[i]}")
                if why:
                    raise ValueError(f"helper {i}: {WHY_NO_HELP[<int>why]}")
            for i in range(cts.shape[0]):
                find_master(&self.e, cts[i], of[i])

    def adopt_expects(self, expects not None):
        """Expect connections as another engine did: EXPECT[n] with the masters' numbers here, the oldest first.

        Raises ValueError for what cannot be; the bytes may be from anywhere.
        """
        cdef fn_ndarray *raw = array_of(expects, self.arrays["expects"].dtype, C_CONTIGUOUS)
        cdef const expect_t *x = <const expect_t *>raw.data
        cdef int64_t i
        with self:
            # the next look finds out which of them is due first
            self.e.next_expect = <uint32_t>self.e.now
            for i in range(raw.dimensions[0]):
                self._check_conn(x[i].master)
                if not adopt_expect(&self.e, &x[i]):
                    raise ValueError(f"expectation {i}: it cannot be")

    cdef int _check_conn(self, uint32_t ct) except -1:
        if not has_conn(&self.e, ct):
            raise ValueError(f"no connection {ct}")
        return 0

    def set_counted(self, uint32_t n):
        """Say how many records of nft_conns are in use, from the first on."""
        with self:
            if n > self.e.max_nft_conns:
                raise ValueError(f"{n} connections, and room for {self.e.max_nft_conns}")
            self.e.n_nft_conns = n
            self.e.free_nft_conn = 0

    def set_slice(self, uint16_t first, uint16_t last):
        """Let SNAT and MASQUERADE of nftables choose among these ports where a rule gives none."""
        with self:
            self.e.slice_first = first
            self.e.slice_last = last

    def take_over(self, dict lists not None, list rng, list stats):
        """Go on where another engine of the same node was: its lists, its schedulers, its generator (two words), its counters.

        lists: recent, stamps, hashlimits, elements and services by these names, of another engine's `arrays`.
        Raises ValueError when they are not of this node's rules; what they hold is bounded here.
        """
        cdef uint64_t i
        if len(rng) != 2 or len(stats) != FN_STATS:
            raise ValueError(f"{len(rng)} words of a generator and {len(stats)} counters, not 2 and {FN_STATS}")
        with self:
            services = lists["services"]
            for name in ("recent", "stamps", "hashlimits", "elements"):
                given, there = lists[name], self.memory[name]
                if given.dtype != there.dtype or given.shape != there.shape:
                    raise ValueError(f"{name}: not of this node's rules")
                if name == "elements":
                    # what a set holds is the node's
                    there["packets"] = given["packets"]
                    there["bytes"] = given["bytes"]
                else:
                    there[...] = given
            bound_recent(&self.e, len(self.arrays["recent"]))
            if services.dtype != self.memory["services"].dtype or services.shape != self.memory["services"].shape:
                raise ValueError("services: not of this node")
            for i in range(self.e.n_services):
                self.e.services[i].at = services["at"][i]
                self.e.services[i].weight = min(<int32_t>services["weight"][i], self.e.services[i].max_weight)
            for i in range(2):
                self.e.rng[i] = rng[i]
            for i in range(FN_STATS):
                self.e.stats[i] = stats[i]

    def set_owner(self, uint32_t uid, uint32_t gid):
        """Say who sends the node's own packets from here on: user and group id of their sockets, for -m owner."""
        with self:
            self.e.owner_uid = uid
            self.e.owner_gid = gid
            self.e.owner_asked = 0

    def set_epoch(self, uint64_t jiffies):
        """Say how many jiffies after 1970 the engine's time 0 is."""
        with self:
            self.e.epoch = jiffies

    @property
    def owner_asked(self):
        """Which ids of the owner of the node's own packets rules have asked for since set_owner(): a bit for each OwnerPart."""
        return self.e.owner_asked

    def connlimits(self):
        """What -m connlimit has counted, a copy: CONNLIMIT[n], each list in its order; links mean nothing."""
        cdef uint32_t i, at
        places = []
        with self:
            for i in range(FN_CONNLIMIT_HEADS if self.e.connlimit_capacity else 0):
                at = self.e.connlimit_heads[i]
                while at:
                    places.append(at - 1)
                    at = self.e.connlimits[at - 1].next
            return self.arrays["connlimits"][places]

    def adopt_connlimits(self, entries not None, uint32_t n_lists):
        """Count what connlimits() gave, after the same rules; ValueError for a list that is not there or too many entries."""
        cdef fn_ndarray *raw = array_of(entries, self.arrays["connlimits"].dtype, C_CONTIGUOUS)
        cdef const connlimit_t *c = <const connlimit_t *>raw.data
        cdef int64_t i
        with self:
            # each goes in front of its bucket
            for i in range(raw.dimensions[0] - 1, -1, -1):
                if c[i].list >= n_lists or not connlimit_adopt(&self.e, c + i):
                    raise ValueError(f"connlimit {i}: it cannot be")

    def ipvs_connections(self):
        """The connections of IPVS and its templates, a copy: IPVS_CONN[n], in each bucket the oldest first.

        `control` is the place of its template among them, plus one; the other links mean nothing.
        """
        cdef uint32_t i, at
        cdef list places = []
        cdef list bucket
        with self:
            for i in range(len(self.arrays["ipvs_heads"])):
                bucket = []
                at = self.e.ipvs_heads[i]
                while at:
                    bucket.append(at - 1)
                    at = self.e.ipvs_conns[at - 1].next
                places.extend(bucket[::-1])
            taken = self.arrays["ipvs_conns"][places]
            new = np.zeros(self.e.n_ipvs_conns + 1, np.uint32)
            new[np.array(places, np.int64) + 1] = np.arange(1, len(places) + 1, dtype=np.uint32)
            taken["control"] = new[taken["control"]]
            return taken

    def adopt_ipvs(self, connections not None):
        """Go on with what ipvs_connections() gave; ValueError for what cannot be. The bytes may be from anywhere."""
        cdef fn_ndarray *raw = array_of(connections, self.arrays["ipvs_conns"].dtype, C_CONTIGUOUS)
        cdef const ipvs_conn_t *c = <const ipvs_conn_t *>raw.data
        cdef int64_t n = raw.dimensions[0]
        cdef uint32_t[::1] here = np.zeros(n + 1, np.uint32)
        cdef int64_t i
        with self:
            for i in range(n):
                here[i + 1] = adopt_ipvs(&self.e, c + i)
                if here[i + 1] == 0:
                    raise ValueError(f"connection {i} of IPVS: it cannot be")
            # templates may stand behind what they control
            for i in range(n):
                if c[i].control and (c[i].control > n or not control_again(&self.e, here[i + 1], here[c[i].control])):
                    raise ValueError(f"connection {i} of IPVS: its template cannot be")

    def told_of_ipvs(self, records not None):
        """Which of CONN[n] IPVS must have given their real server, bool[n]: such entries have no DST_NAT."""
        cdef fn_ndarray *raw = array_of(records, self.arrays["conns"].dtype, C_CONTIGUOUS)
        cdef const conn_t *c = <const conn_t *>raw.data
        cdef int64_t i
        cdef ipvs_conn_t told
        found = np.zeros(raw.dimensions[0], np.uint8)
        cdef uint8_t[::1] flags = found
        with self:
            if self.e.n_services:
                for i in range(raw.dimensions[0]):
                    flags[i] = told_by_entry(&self.e, c + i, &told)
            return found.view(np.bool_)

    def serve_entries(self, numbers not None):
        """Give IPVS a connection for each of these entries, uint32[n], that told_of_ipvs() names, as of a packet just now."""
        cdef const uint32_t[::1] cts = numbers
        cdef Py_ssize_t i
        cdef ipvs_conn_t told
        with self:
            for i in range(cts.shape[0]):
                self._check_conn(cts[i])
                if told_by_entry(&self.e, &self.e.conns[cts[i]], &told):
                    adopt_ipvs(&self.e, &told)

    @property
    def generator(self):
        """The two words of the random generator: its seed and the state of the packet at hand."""
        return [self.e.rng[0], self.e.rng[1]]

    def timeout_left(self):
        """Seconds until each record expires, float64 by record index; meaningless for unused ones."""
        with self:
            used = self.arrays["conns"][: self.e.high_water]
            return (used["timeout"] - np.uint32(self.e.now & 0xffffffff)).astype(np.int32) / FN_HZ

    def next_expiry(self):
        """Time of the earliest expiry [s], or None; looks at every live record."""
        cdef uint32_t left
        with self:
            left = next_expiry(&self.e)
            return None if left == FN_NONE else <double>(self.e.now + left) / FN_HZ

    def ports_used(self, addr, uint32_t proto, peer, uint32_t peer_port):
        """Which of the 65,536 ports of `addr` are taken towards a peer: bool[65536]. Looks every port up."""
        cdef tuple_t peer_tuple = tuple_make(addr_of(peer), addr_of(addr), peer_port, 0, proto, 0)
        taken = np.zeros(65536, np.uint8)
        cdef uint8_t *flags = <uint8_t *>data_of(taken)
        with self:
            with nogil:
                ports_used(&self.e, peer_tuple, flags)
            return taken.view(np.bool_)

    def check(self):
        """Walk everything and raise CheckError that names the first broken invariant; slow, see Engine.check."""
        cdef room_t room
        cdef uint64_t sizes[ROOM_ARRAYS]
        cdef void *places[ROOM_ARRAYS]
        cdef const char *wrong
        cdef uint32_t i
        with self:
            n_servers = len(self.memory["servers"])
            room_sizes(&self.e, n_servers, sizes)
            # a byte more, so that each has an address of its own
            held = [np.zeros(sizes[i] + 1, np.uint8) for i in range(ROOM_ARRAYS)]
            for i in range(ROOM_ARRAYS):
                places[i] = data_of(held[i])
            room_take(&room, places, n_servers)
            with nogil:
                wrong = check_engine(&self.e, &room)
            if wrong != NULL:
                raise CheckError(f"{(<bytes>wrong).decode()} (at {room.at}): this is a fault of fastnat, please report it")

    check_invariants = check

    def rule_counters(self):
        """Bring the packet and byte counters of the rules up to date; they lie in arrays["rules"]."""
        with self:
            flush_counters(&self.e)
            return self.arrays["rules"]

    def log_packets(self, rules not None, waypoints not None):
        """Note from now on which rules of nftables hold, in an array of uint32: rule, then what it said; and WAYPOINT[n].

        Short cuts, which know of neither, are closed for good.
        """
        with self:
            self.memory["nft_log"], self.memory["waypoints"] = rules, waypoints
            self._attach()
            self._capacities()
            self.e.n_nft_log = 0
            self.e.n_waypoints = 0
            self.e.holder = FN_NONE
            self.e.shortly = False
            self.e.untracked_shortly = False

    def taken_log(self):
        """What log_packets() asked for, so far: rules, waypoints, and the number of the connection that is in the way."""
        return self.memory["nft_log"][:self.e.n_nft_log], self.memory["waypoints"][:self.e.n_waypoints], self.e.holder

    def forget_memos(self):
        """Drop what is remembered about walks through the rules: after a change to rules or targets."""
        with self:
            forget_memos(&self.e)

    def leave_room(self, uint32_t others):
        """Count `others` connections of the other family toward nf_conntrack_max, which is one for both."""
        with self:
            self._leave_room(others)

    cdef void _leave_room(self, uint32_t others) noexcept:
        self.others = others
        self.e.max_conns = self.limit - others if others < self.limit else 0

    def take_events(self):
        """The events since the last time, a copy, and how many did not fit."""
        with self:
            taken = self.arrays["events"][: self.e.n_events].copy()
            lost = self.e.lost_events
            self.e.n_events = 0
            self.e.lost_events = 0
            return taken, lost

    def reload(self, dict arrays, dict config, policies=None):
        """Go on with other rules, addresses and routes: `arrays` replace those of the same names.

        policies: uint8[256], which policy takes the place of each one, 0 none; None: no connection keeps one.
        """
        cdef bint hooks_are_new = config["tracking"] and not self.e.tracking
        cdef bint had_policies = self.e.n_policies != 0
        cdef const uint8_t[::1] now = bytes(256) if policies is None or not had_policies else policies
        if len(now) != 256:
            raise InputError(f"expected 256 policies, got {len(now)}")
        with self:
            self.memory.update(arrays)
            self._attach()
            self._capacities()
            self.e.n_nft_conns = 0
            self.e.free_nft_conn = 0
            self._configure_node(config)
            if self.e.n_policies:
                change_policies(&self.e, &now[0])
            find_servers(&self.e)
            # ip_vs_expire_nodest_conn_flush, since Linux 5.9
            if self.e.expire_nodest_conn and self.e.profile != LINUX_5_4:
                end_serverless(&self.e)
            forget_routes(&self.e)
            if hooks_are_new:
                pick_up_windows(&self.e)

    def flush(self):
        """Delete all connections; return how many there were."""
        with self:
            return conn_flush(&self.e)

    def flush_masqueraded(self, uint32_t iface, addr=None):
        """Delete what was masqueraded on an interface, with one address only if given (masq_device_event); how many."""
        cdef addr_t wanted = 0
        with self:
            if addr is not None:
                wanted = addr_of(addr)
            return flush_masqueraded(&self.e, iface, &wanted if addr is not None else NULL)

    def reseed(self, uint64_t seed):
        """Draw other random numbers from here on; the keys of the tables stay."""
        with self:
            start_generator(&self.e, seed)

    def random_u64(self):
        """The next number of the engine's generator."""
        with self:
            return random_u64(&self.e)

    def route(self, dst):
        """Index of the route of a destination, or None."""
        cdef uint32_t r
        with self:
            r = route_lookup(&self.e, addr_of(dst))
            return r - 1 if r else None

    def select_addr(self, uint32_t iface, hop):
        """The address that MASQUERADE takes on an interface (inet_select_addr); 0: none."""
        with self:
            return addr_to_int(select_addr6(&self.e, iface, addr_of(hop)) if FN_V6 else select_addr(&self.e, iface, addr_of(hop)))

    def state(self):
        """The scalars of the engine as bytes; with the arrays they are all of its state. Never from outside."""
        with self:
            rest = np.float64(self.clock).tobytes() + np.uint64(self.limit).tobytes()
            return bytes((<char *>&self.e)[:sizeof(engine_t)]) + rest

    def set_state(self, bytes state not None):
        """Take over what state() gave; the arrays must already hold what belongs to it."""
        cdef engine_t *e = &self.e
        with self:
            if len(state) != sizeof(engine_t) + 16:
                raise InputError("a state of another version of fastnat")
            memcpy(e, <const char *>state, sizeof(engine_t))
            self.clock = np.frombuffer(state[sizeof(engine_t):], np.float64)[0]
            self.limit = np.frombuffer(state[sizeof(engine_t):], np.uint64)[1]
            self._attach()
            self._capacities()
            if (e.high_water > e.capacity or e.n_chunks > e.max_chunks or e.n_bitmaps > e.max_bitmaps or e.n_pages > e.max_pages
                    or e.n_helps > e.help_capacity or e.expect_high > e.expect_capacity or e.n_events > e.max_events
                    or e.n_connlimits > e.connlimit_capacity or e.n_ipvs_conns > e.ipvs_capacity
                    or e.tuples.groups > e.tuples.max_groups or e.sources.groups > e.sources.max_groups
                    or e.n_memos > <uint64_t>len(self.memory["table_memos"]) or e.n_memos > <uint64_t>len(self.memory["memos"])
                    or <uint64_t>FN_PASS_MEMOS > <uint64_t>len(self.memory["pass_memos"])):
                memset(e, 0, sizeof(engine_t))
                self._attach()
                raise InputError("the tables are smaller than what the state says")

    def writable(self, str name):
        """The array of that name to write to: for who keeps what the core relies on (indices, sizes, links)."""
        return self.memory[name]
