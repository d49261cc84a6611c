# Letting time pass: collect what falls due, jiffy by jiffy.
#
# Source: nf_ct_gc_expired, gc_worker (nf_conntrack_core.c); the wheel itself is conntrack/timing_wheel.
# Invariants: when this returns no confirmed connection has a timeout at or before e.now.
# Differs from the kernel: see conntrack/timing_wheel.
from libc.math cimport floor
from libc.stdint cimport uint32_t, uint64_t
from ..types cimport (chunk_t, engine_t, FN_CHUNK_IDS, fn_hash_stage, FN_HZ, fn_likely, FN_NONE, fn_prefetch_far,
                      fn_unlikely, IPVS_NFCT, STAT_EXPIRED, tuple_t)
from ..helpers.expect cimport expire_expects
from ..ipvs.connection cimport expire_ipvs, ipvs_due
from ..tuples.table cimport bucket_home
from .insert cimport conn_delete, conn_unlink, unlink_messages
from .lookup cimport is_expired, is_live
from .timing_wheel cimport chunk_release, deal_far, NEVER, wheel_add, wheel_next, WHEEL_MASK

cdef enum:
    # messages that conn_unlink wants the hashes of, for a connection and for a chunk of them
    MESSAGES = 3
    CHUNK_MESSAGES = MESSAGES * FN_CHUNK_IDS


cdef inline uint64_t tick_of(double now) noexcept nogil:
    # tick_of: the jiffy of a time in seconds; the small part keeps 0.3 s from falling into jiffy 74.
    return <uint64_t>floor(now * FN_HZ + 1e-6)


cdef inline double time_before(double now, double last) noexcept nogil:
    # time_before: a time that was checked, but that somebody may have written to since.
    return now if 0.0 <= now <= last else last


cdef inline uint64_t tick_before(double now, double last) noexcept nogil:
    # tick_before: the jiffy of a time of a batch, see time_before.
    return tick_of(time_before(now, last))


cdef struct due_t:
    # a chunk of the slot that falls due, its connections hashed; bit i of `hashed`: the i-th was due then
    const chunk_t *chunk
    uint32_t hashed
    uint64_t hashes[FN_CHUNK_IDS][MESSAGES]


cdef inline void fetch_records(engine_t *e, const chunk_t *chunk) noexcept nogil:
    # fetch_records: the records of a chunk, on their way while another is worked on.
    cdef uint32_t i
    for i in range(chunk.count):
        fn_prefetch_far(&e.conns[chunk.ids[i]])


cdef inline void hash_chunk(engine_t *e, const chunk_t *chunk, due_t *due) noexcept nogil:
    # hash_chunk: the hashes that conn_unlink wants of those that are due, and their buckets on the way.
    cdef tuple_t messages[CHUNK_MESSAGES]
    cdef uint32_t i = 0
    due.chunk = chunk
    due.hashed = 0
    # a chunk is never empty: so written, the compiler sees that there is a message
    while True:
        # all are hashed, due or not: a hash in a stage costs less than a branch that is mistaken
        if is_expired(&e.conns[chunk.ids[i]], <uint32_t>e.now):
            due.hashed |= <uint32_t>1 << i
        unlink_messages(&e.conns[chunk.ids[i]], messages + MESSAGES * i)
        i += 1
        if i >= chunk.count:
            break
    fn_hash_stage(e.key, messages, &due.hashes[0][0], MESSAGES * chunk.count)
    for i in range(chunk.count):
        if (due.hashed >> i) & 1:
            fn_prefetch_far(bucket_home(&e.tuples, due.hashes[i][0]))
            fn_prefetch_far(bucket_home(&e.tuples, due.hashes[i][1]))
            fn_prefetch_far(bucket_home(&e.sources, due.hashes[i][2]))


cdef inline void expire_chunk(engine_t *e, const due_t *due) noexcept nogil:
    # expire_chunk: delete the due ones of its connections, find another place in the wheel for the others.
    cdef uint32_t i, ct
    for i in range(due.chunk.count):
        ct = due.chunk.ids[i]
        # its chunk is given back as a whole: nobody may take it out of there any more
        e.conns[ct].wheel_pos = FN_NONE
        if not is_expired(&e.conns[ct], <uint32_t>e.now):
            wheel_add(e, ct, e.conns[ct].timeout)
            continue
        e.stats[STAT_EXPIRED] += 1
        if fn_likely((due.hashed >> i) & 1):
            conn_unlink(e, ct, &due.hashes[i][0])
        else:
            # the end of another one, meanwhile, was the end of this
            conn_delete(e, ct)


cdef inline void expire_slot(engine_t *e) noexcept nogil:
    # expire_slot: chunk by chunk; while one is deleted, the next one's buckets and the records of the one behind are fetched.
    # => Nothing that is done to a chunk touches the others of its slot: see kill of conntrack/insert.
    cdef uint32_t slot = <uint32_t>e.now & WHEEL_MASK
    cdef uint32_t c = e.wheel[slot]
    cdef uint32_t next_
    cdef uint32_t turn = 0
    cdef due_t due[2]
    # out of the wheel before its chunks are walked: what finds another place below finds none in this slot, as wheel_add looks a
    # jiffy ahead at least
    e.wheel[slot] = FN_NONE
    e.wheel_busy[slot >> 6] &= ~(<uint64_t>1 << (slot & 63))
    fetch_records(e, &e.chunks[c])
    next_ = e.chunks[c].next
    if next_ != FN_NONE:
        fetch_records(e, &e.chunks[next_])
    hash_chunk(e, &e.chunks[c], &due[0])
    while c != FN_NONE:
        next_ = e.chunks[c].next
        if next_ != FN_NONE:
            hash_chunk(e, &e.chunks[next_], &due[1 - turn])
            if e.chunks[next_].next != FN_NONE:
                fetch_records(e, &e.chunks[e.chunks[next_].next])
        expire_chunk(e, &due[turn])
        chunk_release(e, c)
        c = next_
        turn = 1 - turn


cdef inline void advance_conntrack(engine_t *e, uint64_t tick) noexcept nogil:
    # advance_conntrack: the clock moves to `tick`, and what is due up to then ends.
    cdef int ahead
    cdef uint64_t near
    while e.now < tick:
        ahead = wheel_next(e)
        # from slot to slot in use, however far the clock jumps: a connection ends at its own jiffy
        near = e.now + <uint64_t>ahead if ahead >= 0 else NEVER
        e.now = near if near < tick else tick
        # in front of the slot: what is dealt out now may be due in the very next jiffy
        if fn_unlikely(e.next_far <= e.now):
            e.now = e.next_far
            deal_far(e)
        if e.now == near:
            expire_slot(e)


cdef inline void advance_ipvs(engine_t *e, uint64_t tick) noexcept nogil:
    # advance_ipvs: up to each jiffy at which connections of IPVS are due, which end their entries in conntrack.
    cdef uint64_t due = ipvs_due(e)
    while due <= tick:
        # what is due before ends before: an entry must not outlive its own time by a connection of IPVS
        advance_conntrack(e, due)
        expire_ipvs(e)
        due = ipvs_due(e)


cdef inline void advance_to(engine_t *e, uint64_t tick) noexcept nogil:
    # advance_to: the clock moves to `tick`, which is not before e.now.
    if e.now >= tick:
        return
    if fn_unlikely(e.n_ipvs_conns != 0):
        advance_ipvs(e, tick)
    advance_conntrack(e, tick)
    expire_expects(e)


cdef inline uint32_t next_expiry(const engine_t *e) noexcept nogil:
    # next_expiry: looks at every record.
    # => Jiffies until the first connection expires, FN_NONE: there is none.
    cdef uint32_t best = FN_NONE
    cdef uint32_t i
    for i in range(e.n_ipvs_conns):
        if e.ipvs_conns[i].flags & IPVS_NFCT and e.ipvs_conns[i].expires - <uint32_t>e.now < best:
            best = e.ipvs_conns[i].expires - <uint32_t>e.now
    for i in range(e.high_water):
        if is_live(&e.conns[i]) and e.conns[i].timeout - <uint32_t>e.now < best:
            best = e.conns[i].timeout - <uint32_t>e.now
    return best
