# Letting time pass: collect what falls due, jiffy by jiffy.
#
# Source: nf_ct_gc_expired, gc_worker (nf_conntrack_core.c); the wheel itself is ct_expire.
# Invariants: when this returns no confirmed connection has a timeout at or before e.now.
# Differs from the kernel: see ct_expire.
from libc.stdint cimport uint32_t, uint64_t
from .types cimport (chunk_t, engine_t, fn_prefetch, fn_prefetch_write, fn_unlikely, FN_CHUNK_IDS, FN_NONE,
                     STAT_EXPIRED)
from .ct_expire cimport chunk_release, wheel_add, wheel_next, WHEEL_MASK
from .ct_expect cimport expire_expects
from .ct_insert cimport conn_unlink
from .ct_lookup cimport is_expired
from .hash_table cimport bucket_home
from .tuple cimport conn_tuple
from .tuple_hash cimport tuple_hash


cdef inline void expire_chunk(engine_t *e, const chunk_t *chunk) noexcept nogil:
    # expire_chunk: delete the due ones of up to 14 connections, in three passes so that cache misses overlap.
    cdef uint64_t h_orig[FN_CHUNK_IDS]
    cdef uint64_t h_reply[FN_CHUNK_IDS]
    cdef uint32_t i, ct
    cdef uint32_t n = chunk.count
    cdef uint32_t hashed = 0
    for i in range(n):
        fn_prefetch_write(&e.conns[chunk.ids[i]])
    for i in range(n):
        ct = chunk.ids[i]
        if is_expired(&e.conns[ct], <uint32_t>e.now):
            hashed |= <uint32_t>1 << i
            h_orig[i] = tuple_hash(e, conn_tuple(&e.conns[ct], 0))
            h_reply[i] = tuple_hash(e, conn_tuple(&e.conns[ct], 1))
            fn_prefetch_write(bucket_home(&e.tuples, h_orig[i]))
            fn_prefetch_write(bucket_home(&e.tuples, h_reply[i]))
    for i in range(n):
        ct = chunk.ids[i]
        e.conns[ct].wheel_pos = FN_NONE
        if is_expired(&e.conns[ct], <uint32_t>e.now):
            if fn_unlikely((hashed >> i) & 1 == 0):
                # the end of another one, meanwhile, was the end of this
                h_orig[i] = tuple_hash(e, conn_tuple(&e.conns[ct], 0))
                h_reply[i] = tuple_hash(e, conn_tuple(&e.conns[ct], 1))
            conn_unlink(e, ct, h_orig[i], h_reply[i])
            e.stats[STAT_EXPIRED] += 1
        else:
            wheel_add(e, ct, e.conns[ct].timeout)


cdef inline void expire_slot(engine_t *e) noexcept nogil:
    cdef uint32_t slot = <uint32_t>e.now & WHEEL_MASK
    cdef uint32_t c = e.wheel[slot]
    cdef uint32_t next_
    e.wheel[slot] = FN_NONE
    e.wheel_busy[slot >> 6] &= ~(<uint64_t>1 << (slot & 63))
    while c != FN_NONE:
        next_ = e.chunks[c].next
        if next_ != FN_NONE:
            fn_prefetch(&e.chunks[next_])
        expire_chunk(e, &e.chunks[c])
        chunk_release(e, c)
        c = next_


cdef inline void advance_to(engine_t *e, uint64_t tick) noexcept nogil:
    # advance_to: the clock moves to `tick`, which is not before e.now.
    cdef int ahead
    while e.now < tick:
        ahead = wheel_next(e)
        if ahead < 0 or e.now + <uint64_t>ahead > tick:
            e.now = tick
            expire_expects(e)
            return
        e.now += <uint64_t>ahead
        expire_slot(e)
        if e.now == tick:
            expire_expects(e)
