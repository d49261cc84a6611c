# Datagrams with all their bytes, one after the other: copied, walked through the hooks, written back.
#
# Source: ours; the walk itself is hooks.
# Invariants: a datagram is looked at in a copy that nobody else can write to, and written back only where it was. Offsets are
# looked at again when it is their turn, as somebody may write to them meanwhile. The run may stop behind any datagram. The
# stages of batch look ahead at what a datagram seems to be; a short way is taken only if it turns out to be that in its copy.
# Differs from the kernel: nothing.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from .types cimport *
from .batch cimport (begin_half, DATAGRAM_ROOM, DECIDE, fetch, group_size, group_t, HALF, RING, stage_hash, stage_probe, take_classes,
                     take_turn, turn_t, turns_of, was_mistaken)
from .conntrack.expire cimport advance_to, tick_before, tick_of
from .hooks cimport deliver, walk
from .packet.checksum cimport load_addr, load_be16
from .packet.extensions cimport BEHIND_ADDRESSES, V6_HEADER
from .packet.packet cimport pkt_reset, store
from .packet.parse cimport datagram_t, ENTRY_HOOKS, ENTRY_INPUT, parse_ip, SOURCE_AT
from .shortcuts.conditions cimport is_bare
from .shortcuts.datagrams cimport open_bytes, pass_bytes
from .shortcuts.pass_memo cimport remember_pass
from .tuples.hash cimport begin_packet, tuple_hash
from .tuples.rehash cimport is_crowded, rehash
from .tuples.tuple cimport tuple_equal, tuple_make


cdef enum:
    # bytes of these headers, without options
    UDP_HEADER = 8
    TCP_HEADER = 20


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
    # the numbers of n frames to run, ascending, or NULL: all
    const uint64_t *places


cdef inline uint64_t place_of(const frames_t *f, uint64_t i) noexcept nogil:
    # place_of: => The number in the buffer of the i-th frame to run.
    return i if f.places == NULL else f.places[i]


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


cdef inline bint is_as_seen(const pkt_t *p, const packet_t *seen, tuple_t t) noexcept nogil:
    # is_as_seen: whether a parsed datagram is what it seemed to be: somebody may have written to it meanwhile.
    return (tuple_equal(p.t, t) and p.in_iface == seen.iface and p.mark == seen.mark and p.tcp_flags == seen.tcp_flags
            and p.length == seen.length)


cdef inline bint decide_shortly(engine_t *e, pkt_t *p, group_t *g, uint32_t i, result_t *out) noexcept nogil:
    # decide_shortly: a parsed datagram as the header that the stages have seen as i-th of a group.
    # => False: take the long way.
    cdef const packet_t *in_ = g.packets + i
    cdef bint missed = g.found[i] == FN_NONE
    if not missed and e.shortly:
        if pass_bytes(e, in_, p, g.found[i], out):
            return True
        missed = was_mistaken(e, g, i)
    if not missed:
        return False
    if e.shortly and open_bytes(e, in_, p, &g.ahead[i], out):
        return True
    p.ahead = &g.ahead[i]
    take_classes(p, p.ahead)
    return False


cdef inline void walk_datagram(engine_t *e, const datagram_t *d, pkt_t *p, group_t *g, uint32_t i, result_t *out) noexcept nogil:
    # walk_datagram: parse one, the i-th of a group, and take it through the hooks; it is rewritten where it lies, p.len bytes then.
    cdef uint32_t reason
    cdef bint seen
    load_datagram(e, d, p)
    reason = parse_ip(e, p, d)
    if reason == REASON_NONE and d.iface >= e.n_ifaces:
        reason = REASON_INTERFACE
    if reason:
        p.verdict = VERDICT_DROP
        p.reason = <uint8_t>reason
        store(p, out)
        return
    seen = is_as_seen(p, g.packets + i, g.tuples[i])
    p.hash = g.hashes[i] if seen else tuple_hash(e, p.t)
    # fragments put together behind PREROUTING have passed some of the hooks
    seen = seen and d.entry != ENTRY_INPUT
    if not seen or not decide_shortly(e, p, g, i, out):
        if fn_unlikely(d.entry == ENTRY_INPUT):
            deliver(e, p)
        else:
            walk(e, p)
        if fn_unlikely(e.ruled != 0) and e.shortly and seen and is_bare(p):
            remember_pass(e, g.packets + i, p)
        e.stats[STAT_PORT_SEARCH_PROBES] += p.probes
        store(p, out)
    # between packets: another key moves every item, and nobody holds a place in the tables now
    if fn_unlikely(is_crowded(e)):
        rehash(e)
        # hashes computed ahead hold no longer
        p.pause = True


cdef inline uint64_t frame_at(const frames_t *f, uint64_t i, uint64_t *size) noexcept nogil:
    # frame_at: where frame i of a buffer begins; what does not lie there any more is empty.
    cdef uint64_t at = <uint64_t>f.offs[i]
    cdef uint64_t end = <uint64_t>f.offs[i + 1]
    if end > f.size or at > end:
        size[0] = 0
        return 0
    size[0] = end - at
    return at


cdef inline void peek(const uint8_t *data, uint64_t size, uint16_t iface, packet_t *header) noexcept nogil:
    # peek: the header of what a datagram seems to be, of UDP or TCP; nothing is checked, and nothing but what is fetched depends on it.
    cdef uint8_t proto
    memset(header, 0, sizeof(packet_t))
    # of ICMP that asks nothing, nothing is looked ahead for
    header.proto = PROTO_ICMP
    header.iface = iface
    if size < BEHIND_ADDRESSES + UDP_HEADER or data[0] != (0x60 if FN_V6 else 0x45):
        return
    proto = data[6] if FN_V6 else data[9]
    if proto != PROTO_UDP and (proto != PROTO_TCP or size < BEHIND_ADDRESSES + TCP_HEADER):
        return
    header.proto = proto
    header.src = load_addr(data + SOURCE_AT)
    header.dst = load_addr(data + SOURCE_AT + FN_ADDR_BYTES)
    header.sport = <uint16_t>load_be16(data + BEHIND_ADDRESSES)
    header.dport = <uint16_t>load_be16(data + BEHIND_ADDRESSES + 2)
    header.length = <uint16_t>(load_be16(data + 4) + V6_HEADER if FN_V6 else load_be16(data + 2))
    if header.proto == PROTO_TCP:
        header.tcp_flags = data[BEHIND_ADDRESSES + 13]


cdef inline void walk_alone(engine_t *e, const datagram_t *d, pkt_t *p, group_t *g, packet_t *header, result_t *out) noexcept nogil:
    # walk_alone: walk_datagram for one that comes by itself: it is a group of one. g, header: room for it.
    peek(d.data, d.length, <uint16_t>d.iface, header)
    header.mark = d.mark
    stage_hash(e, g, e.stats[STAT_PACKETS], header, 1)
    # where no short way is taken nothing is looked ahead for: any record will do
    g.found[0] = 0
    if e.shortly:
        stage_probe(e, g)
        # they travel while the bytes are checked
        fetch(g.lines, g.n_lines)
    walk_datagram(e, d, p, g, 0, out)


cdef inline void walk_frame(engine_t *e, const frames_t *f, uint64_t at, group_t *g, uint32_t i, uint8_t *room, pkt_t *p) noexcept nogil:
    # walk_frame: frame `at` of a buffer, the i-th of a group.
    cdef datagram_t d
    cdef uint64_t size
    cdef uint8_t *data = f.data + frame_at(f, at, &size)
    d.data = room
    d.length = <uint32_t>size if size < DATAGRAM_ROOM else <uint32_t>DATAGRAM_ROOM
    # in the buffer there is no room for more
    d.room = d.length
    d.iface = f.ifaces[at]
    d.mark = 0
    d.largest = 0
    d.entry = ENTRY_HOOKS
    memcpy(room, data, d.length)
    walk_datagram(e, &d, p, g, i, f.results + at)
    if p.verdict != VERDICT_DROP:
        memcpy(data, room, p.len)


cdef inline uint32_t stage_frames(engine_t *e, const frames_t *f, uint64_t first, const turn_t *turn, uint8_t *room) noexcept nogil:
    # stage_frames: stage_decide for frames, of which `first` is the first of the group.
    # => How many were decided; fewer than the group has: the run is to stop.
    cdef uint64_t tick = tick_of(f.last)
    cdef uint32_t half, i
    cdef pkt_t p
    for half in range(2):
        for i in range(half * HALF, begin_half(turn, half)):
            if f.times != NULL:
                tick = tick_before(f.times[place_of(f, first + i)], f.last)
            advance_to(e, tick)
            walk_frame(e, f, place_of(f, first + i), turn.group, i, room, &p)
            if fn_unlikely(p.pause):
                return i + 1
    return turn.group.n


cdef inline uint64_t run_frames(engine_t *e, const frames_t *f, uint64_t done, group_t *ring, packet_t *headers, uint8_t *room) noexcept nogil:
    # run_frames: run_batch for frames, from the done-th to run on. headers: room for those of RING groups; room: DATAGRAM_ROOM bytes
    # that nobody else writes to.
    # => How many of them are decided: all, or those up to where it stops.
    cdef uint64_t n = f.n - done
    cdef uint64_t number = e.stats[STAT_PACKETS]
    cdef uint64_t begun = fn_cycles()
    cdef uint64_t k, first, size, at
    cdef uint32_t i, decided
    cdef const uint8_t *data
    cdef packet_t *seen
    cdef turn_t turn
    for k in range(turns_of(n)):
        seen = headers + k % RING * FN_STAGE
        for i in range(group_size(n, k)):
            at = place_of(f, done + k * FN_STAGE + i)
            data = f.data + frame_at(f, at, &size)
            peek(data, size, f.ifaces[at], seen + i)
        take_turn(e, ring, n, k, seen, number, &turn)
        if k < DECIDE:
            begin_half(&turn, 0)
            begin_half(&turn, 1)
            continue
        first = done + (k - DECIDE) * FN_STAGE
        decided = stage_frames(e, f, first, &turn, room)
        if fn_unlikely(decided < turn.group.n or fn_cycles() - begun > FN_SLICE):
            return first + decided
    return f.n
