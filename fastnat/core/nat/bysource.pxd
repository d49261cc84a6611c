# The bysource table: the mappings that one source already has, newest first.
#
# Source: hash_by_src, find_appropriate_src, nf_nat_setup_info (nf_nat_core.c, Linux 6.18).
# Invariants: every connection with SRC_NAT_DONE is in the list of its ORIG source; the table holds the newest
# of each source, and lists run through bysource_next / bysource_prev. Neither expiry nor confirmation is
# tested when a mapping is looked for, as in the kernel.
# Differs from the kernel: one list a source instead of one a bucket; the order met is the same.
from libc.stdint cimport uint32_t, uint64_t
from ..types cimport bucket_t, conn_t, engine_t, fn_ctz, fn_tags_equal, FN_GROUP_BUCKETS, FN_NONE, fn_unlikely, target_t, tuple_t
from ..tuples.hash cimport source_rest
from ..tuples.table cimport (bucket_home, bucket_neighbour, CROWDED, ID_MASK, note_crowd, overflow_count, table_insert,
                             table_remove, table_slot, tag_of)
from ..tuples.tuple cimport conn_tuple, invert_tuple, tuple_src, tuple_sport, tuple_with_src
from .range cimport in_range


cdef inline uint32_t bysource_head(const engine_t *e, tuple_t t, uint64_t h) noexcept nogil:
    # bysource_head: the newest connection with this protocol, zone, source address and source port.
    # => Its record, or FN_NONE.
    cdef const bucket_t *home = bucket_home(&e.sources, h)
    cdef const bucket_t *b = home
    cdef unsigned char tag = tag_of(h)
    cdef uint32_t q = 0
    cdef uint32_t mistaken = 0
    cdef uint32_t hits, ct
    cdef tuple_t orig
    while True:
        hits = fn_tags_equal(b, tag)
        while hits:
            ct = (b.items[fn_ctz(hits)] & ID_MASK) >> 1
            orig = conn_tuple(&e.conns[ct], 0)
            if tuple_src(orig) == tuple_src(t) and source_rest(orig) == source_rest(t):
                return ct
            mistaken += 1
            if fn_unlikely(mistaken == CROWDED):
                note_crowd(&e.sources)
            hits &= hits - 1
        # nobody with this tag had to leave home, so nobody is elsewhere: most sources cost one line
        if overflow_count(home, tag) == 0:
            return FN_NONE
        q += 1
        if q == FN_GROUP_BUCKETS:
            return FN_NONE
        b = bucket_neighbour(&e.sources, h, q)


cdef inline bint bysource_add(engine_t *e, uint32_t ct, uint64_t h, uint32_t head) noexcept nogil:
    # bysource_add: the connection becomes the newest mapping of its source; head is the newest so far.
    # => False: it has no room, see table_insert.
    cdef conn_t *c = &e.conns[ct]
    cdef uint32_t *slot
    c.bysource_prev = FN_NONE
    c.bysource_next = head
    if head == FN_NONE:
        return table_insert(e, &e.sources, h, ct << 1)
    e.conns[head].bysource_prev = ct
    # the table names the newest alone: the item stays and takes the new number
    slot = table_slot(&e.sources, h, head << 1)
    slot[0] = (slot[0] & ~<uint32_t>ID_MASK) | (ct << 1)
    return True


cdef inline void bysource_remove(engine_t *e, uint32_t ct, uint64_t h) noexcept nogil:
    # bysource_remove: h is the hash of the connection's source.
    cdef conn_t *c = &e.conns[ct]
    cdef uint32_t *slot
    if c.bysource_next != FN_NONE:
        e.conns[c.bysource_next].bysource_prev = c.bysource_prev
    # the table does not name it
    if c.bysource_prev != FN_NONE:
        e.conns[c.bysource_prev].bysource_next = c.bysource_next
        return
    if c.bysource_next == FN_NONE:
        table_remove(&e.sources, h, ct << 1)
        return
    slot = table_slot(&e.sources, h, ct << 1)
    if slot != NULL:
        slot[0] = (slot[0] & ~<uint32_t>ID_MASK) | (c.bysource_next << 1)


cdef inline bint find_appropriate_src(const engine_t *e, tuple_t cur, uint32_t head, const target_t *range_,
                                      tuple_t *found) noexcept nogil:
    # find_appropriate_src: the source that this host and port already has elsewhere, aimed at cur's destination.
    # => True and *found for the newest mapping that lies in the range; older ones are not tried after a clash.
    cdef uint32_t ct = head
    cdef tuple_t mapped
    while ct != FN_NONE:
        mapped = invert_tuple(conn_tuple(&e.conns[ct], 1))
        mapped = tuple_with_src(cur, tuple_src(mapped), tuple_sport(mapped))
        if in_range(mapped, range_):
            # and no other, though this one may be taken: the kernel then goes on with the range
            found[0] = mapped
            return True
        ct = e.conns[ct].bysource_next
    return False
