# Bitmaps of the ports in use towards one busy peer: the port search reads 64 candidates at a time.
#
# Source: ours; it gives the answers that nf_conntrack_tuple_taken would give one by one.
# Invariants: for a tuple with destination port p, bit p of `known` says that bit p of `taken` is exact. Every
# insert and delete of any tuple, in either direction, updates the bitmap of its key if there is one. `known`
# fills as candidates are probed, so a bitmap costs nothing to create and no call ever walks the table.
# Expired entries are collected before a packet is looked at, so a set bit is never out of date.
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from .types cimport bitmap_key_t, engine_t, tuple_t
from .tuple cimport tuple_equal
from .tuple_hash cimport tuple_hash

cdef enum:
    WORDS = 1024


cdef inline uint64_t bitmap_key_rest(tuple_t t) noexcept nogil:
    return t.rest & ~<uint64_t>0xffff0000


cdef inline uint32_t bitmap_slot(const engine_t *e, tuple_t t) noexcept nogil:
    # bitmap_slot: start of the key's probe sequence; the table holds at most a quarter.
    cdef uint64_t h
    t.rest = bitmap_key_rest(t)
    h = tuple_hash(e, t)
    return <uint32_t>(h >> 40) & e.bitmap_index_mask


cdef inline int bitmap_find(const engine_t *e, tuple_t t) noexcept nogil:
    # bitmap_find: the bitmap of a tuple's peer.
    # => Its number, or -1.
    cdef uint32_t slot = bitmap_slot(e, t)
    cdef uint32_t b
    t.rest = bitmap_key_rest(t)
    while e.bitmap_index[slot] != 0xffff:
        b = e.bitmap_index[slot]
        if tuple_equal(e.bitmap_keys[b].t, t):
            return <int>b
        slot = (slot + 1) & e.bitmap_index_mask
    return -1


cdef inline void bitmap_reindex(engine_t *e) noexcept nogil:
    # bitmap_reindex: rebuild the index; the key set has just lost a member.
    cdef uint32_t b, slot
    memset(e.bitmap_index, 0xff, (e.bitmap_index_mask + 1) * sizeof(uint16_t))
    for b in range(e.n_bitmaps):
        slot = bitmap_slot(e, e.bitmap_keys[b].t)
        while e.bitmap_index[slot] != 0xffff:
            slot = (slot + 1) & e.bitmap_index_mask
        e.bitmap_index[slot] = <uint16_t>b


cdef inline int bitmap_create(engine_t *e, tuple_t t, uint32_t now) noexcept nogil:
    # bitmap_create: a bitmap that knows nothing yet; at the limit it takes the place of the one unused longest.
    # => Its number.
    cdef uint32_t b = e.n_bitmaps
    cdef uint32_t i
    cdef uint32_t age = 0
    if b == e.max_bitmaps:
        b = 0
        for i in range(e.n_bitmaps):
            if now - e.bitmap_keys[i].last_search >= age:
                age = now - e.bitmap_keys[i].last_search
                b = i
    else:
        e.n_bitmaps += 1
    t.rest = bitmap_key_rest(t)
    e.bitmap_keys[b].t = t
    e.bitmap_keys[b].last_search = now
    memset(e.bitmaps + <uint64_t>b * 2 * WORDS, 0, 2 * WORDS * 8)
    bitmap_reindex(e)
    return <int>b


cdef inline void bitmap_note(engine_t *e, tuple_t t, bint taken) noexcept nogil:
    # bitmap_note: a tuple has entered or left the table.
    cdef int b
    cdef uint64_t *words
    cdef uint32_t port = <uint32_t>(t.rest >> 16) & 0xffff
    cdef uint64_t bit = <uint64_t>1 << (port & 63)
    if e.n_bitmaps == 0:
        return
    b = bitmap_find(e, t)
    if b < 0:
        return
    words = e.bitmaps + <uint64_t>b * 2 * WORDS
    words[WORDS + (port >> 6)] |= bit
    if taken:
        words[port >> 6] |= bit
    else:
        words[port >> 6] &= ~bit
