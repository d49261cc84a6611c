# Datagrams with all their bytes, one after the other: copied, walked through the hooks, written back.
#
# Source: ours; the walk itself is hooks.
# Invariants: a datagram is looked at in a copy that nobody else can write to, and written back only where it was. Offsets are
# looked at again when it is their turn, as somebody may write to them meanwhile. The run may stop behind any datagram.
# Differs from the kernel: nothing.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy
from .types cimport (engine_t, fn_cycles, FN_SLICE, FN_STAGE, fn_unlikely, pkt_t, REASON_INTERFACE, REASON_NONE, result_t,
                     STAT_PACKETS, STAT_PORT_SEARCH_PROBES, VERDICT_DROP)
from .batch cimport DATAGRAM_ROOM
from .conntrack.expire cimport advance_to, tick_before, tick_of
from .hooks cimport deliver, walk
from .packet.packet cimport pkt_reset, store
from .packet.parse cimport datagram_t, ENTRY_HOOKS, ENTRY_INPUT, parse_ip
from .tuples.hash cimport begin_packet, tuple_hash
from .tuples.rehash cimport is_crowded, rehash
from .tuples.tuple cimport tuple_make


cdef struct frames_t:
    # datagrams that lie in one buffer, frame i from offs[i] to offs[i + 1]
    uint8_t *data
    uint64_t size
    const int64_t *offs
    const uint16_t *ifaces
    # one a frame, or NULL; the last of them
    double *times
    double last
    result_t *results
    uint64_t n


cdef inline bint are_odd(const int64_t *offs, uint64_t n) noexcept nogil:
    # are_odd: => Whether a frame ends before it begins, or takes 4 GB.
    cdef uint64_t all_ = 0
    cdef uint64_t i
    for i in range(n):
        all_ |= <uint64_t>offs[i + 1] - <uint64_t>offs[i]
    return all_ >> 32 != 0


cdef inline uint64_t first_outside(const frames_t *f) noexcept nogil:
    # first_outside: => The first frame that does not lie in the buffer, or how many there are.
    cdef const int64_t *offs = f.offs
    cdef uint64_t i
    # at first only whether any goes back or too far, which costs little
    if offs[0] >= 0 and <uint64_t>offs[f.n] <= f.size and not are_odd(offs, f.n):
        return f.n
    for i in range(f.n):
        if offs[i] < 0 or offs[i + 1] < offs[i] or <uint64_t>offs[i + 1] > f.size or offs[i + 1] - offs[i] >> 32:
            return i
    return f.n


cdef inline void load_datagram(engine_t *e, const datagram_t *d, pkt_t *p) noexcept nogil:
    # load_datagram: the packet before its headers are read, a new number of the generator's begun.
    pkt_reset(p)
    p.now = <uint32_t>e.now
    p.mark = d.mark
    p.largest = d.largest
    p.room = d.room
    p.in_iface = <uint16_t>d.iface
    p.len = 0
    p.t = tuple_make(0, 0, 0, 0, 0, 0)
    # numbers are drawn by the count of packets, so that they are the same however a batch is split
    begin_packet(e, e.stats[STAT_PACKETS])
    e.stats[STAT_PACKETS] += 1


cdef inline void walk_datagram(engine_t *e, const datagram_t *d, pkt_t *p) noexcept nogil:
    # walk_datagram: parse one and take it through the hooks; it is rewritten where it lies, p.len bytes then.
    cdef uint32_t reason
    load_datagram(e, d, p)
    reason = parse_ip(e, p, d)
    if reason == REASON_NONE and d.iface >= e.n_ifaces:
        reason = REASON_INTERFACE
    if reason:
        p.verdict = VERDICT_DROP
        p.reason = <uint8_t>reason
        return
    p.hash = tuple_hash(e, p.t)
    if fn_unlikely(d.entry == ENTRY_INPUT):
        deliver(e, p)
    else:
        walk(e, p)
    e.stats[STAT_PORT_SEARCH_PROBES] += p.probes
    # between packets: another key moves every item, and nobody holds a place in the tables now
    if fn_unlikely(is_crowded(e)):
        rehash(e)


cdef inline void walk_frame(engine_t *e, const frames_t *f, uint64_t i, uint8_t *room, pkt_t *p) noexcept nogil:
    # walk_frame: frame i of a buffer; what does not lie there any more is empty.
    cdef datagram_t d
    cdef uint64_t at = <uint64_t>f.offs[i]
    cdef uint64_t end = <uint64_t>f.offs[i + 1]
    if end > f.size or at > end:
        at = 0
        end = 0
    d.data = room
    d.length = <uint32_t>(end - at) if end - at < DATAGRAM_ROOM else <uint32_t>DATAGRAM_ROOM
    # in the buffer there is no room for more
    d.room = d.length
    d.iface = f.ifaces[i]
    d.mark = 0
    d.largest = 0
    d.entry = ENTRY_HOOKS
    memcpy(room, f.data + at, d.length)
    walk_datagram(e, &d, p)
    if p.verdict != VERDICT_DROP:
        memcpy(f.data + at, room, p.len)


cdef inline uint64_t run_frames(engine_t *e, const frames_t *f, uint64_t done, uint8_t *room) noexcept nogil:
    # run_frames: from frame `done` on. room: DATAGRAM_ROOM bytes that nobody else writes to.
    # => How many frames of the buffer are decided: all, or those up to where it stops.
    cdef uint64_t begun = fn_cycles()
    cdef uint64_t tick = tick_of(f.last)
    cdef uint64_t i
    cdef pkt_t p
    for i in range(done, f.n):
        if f.times != NULL:
            tick = tick_before(f.times[i], f.last)
        advance_to(e, tick)
        walk_frame(e, f, i, room, &p)
        store(&p, f.results + i)
        if fn_unlikely(p.pause or ((i - done) % FN_STAGE == 0 and fn_cycles() - begun > FN_SLICE)):
            return i + 1
    return f.n
