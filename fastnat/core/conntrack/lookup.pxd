# Finding the connection of a tuple.
#
# Source: __nf_conntrack_find_get, ____nf_conntrack_find (Linux 6.18).
# Invariants: an entry whose timeout is due is never returned (nf_ct_is_expired: signed difference <= 0).
# Differs from the kernel: expired entries met on the way are left to conntrack/timing_wheel, which runs before each packet.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from ..types cimport (addr_t, bucket_t, CONN_LIVE, conn_t, engine_t, FN_ADDR_BITS, fn_ctz, fn_likely, fn_tags_equal,
                      FN_GROUP_BUCKETS, FN_NONE, FN_DST16, fn_unlikely, FN_V6, PROTO_TCP, tuple_t)
from ..tuples.hash cimport tuple_hash
from ..tuples.table cimport bucket_home, bucket_neighbour, CROWDED, ID_MASK, note_crowd, overflow_count, tag_of
from ..tuples.tuple cimport conn_tuple, tuple_equal, tuple_in_zone, zone_of


cdef enum:
    # lines of a record, at most
    RECORD_LINES = 1 + 2 * FN_V6


cdef inline bint is_live(const conn_t *ct) noexcept nogil:
    # is_live: it is in the tables, or a packet is just opening it. Nobody else may write to a record.
    return ct.flags & CONN_LIVE


cdef inline bint is_expired(const conn_t *ct, uint32_t now) noexcept nogil:
    # is_expired: nf_ct_is_expired: by the signed difference, so that jiffies may wrap.
    return <int32_t>(ct.timeout - now) <= 0


cdef inline uint32_t find_tuple(const engine_t *e, tuple_t t, uint64_t h, uint32_t now) noexcept nogil:
    # find_tuple: the table id (record << 1 | direction) of a tuple.
    # => FN_NONE when no live confirmed connection has it.
    cdef const bucket_t *home = bucket_home(&e.tuples, h)
    cdef const bucket_t *b = home
    cdef unsigned char tag = tag_of(h)
    cdef uint32_t q = 0
    cdef uint32_t mistaken = 0
    cdef uint32_t hits, id_
    while True:
        hits = fn_tags_equal(b, tag)
        while hits:
            id_ = b.items[fn_ctz(hits)] & ID_MASK
            # of what is due the wheel leaves what began in this very jiffy, with a timeout of 0 s
            if tuple_equal(conn_tuple(&e.conns[id_ >> 1], id_ & 1), t) and not is_expired(&e.conns[id_ >> 1], now):
                return id_
            mistaken += 1
            # tags mistaken so often are no chance: somebody knows the key
            if fn_unlikely(mistaken == CROWDED):
                note_crowd(&e.tuples)
            hits &= hits - 1
        # each item that left home is counted there by its tag: a miss, as every new connection is, costs one line
        if not fn_unlikely(overflow_count(home, tag) != 0):
            return FN_NONE
        q += 1
        if q == FN_GROUP_BUCKETS:
            return FN_NONE
        b = bucket_neighbour(&e.tuples, h, q)


cdef inline uint32_t next_with(const engine_t *e, tuple_t t, uint64_t h, uint32_t *at) noexcept nogil:
    # next_with: the items that have a tuple, one by one, expired ones too. at: where to look on, 0 at first.
    # => FN_NONE: there is no further one. More than one there is where zones differ by direction, or timeouts are 0 s.
    cdef const bucket_t *b
    cdef unsigned char tag = tag_of(h)
    cdef uint32_t hits, id_
    while at[0] < FN_GROUP_BUCKETS * 16:
        b = bucket_neighbour(&e.tuples, h, at[0] >> 4)
        hits = fn_tags_equal(b, tag) >> (at[0] & 15)
        if hits == 0:
            at[0] = ((at[0] >> 4) + 1) << 4
            # if nothing was displaced from its home bucket, no other bucket can have an item of it
            if overflow_count(bucket_home(&e.tuples, h), tag) == 0:
                return FN_NONE
            continue
        at[0] += <uint32_t>fn_ctz(hits)
        id_ = b.items[at[0] & 15] & ID_MASK
        at[0] += 1
        if tuple_equal(conn_tuple(&e.conns[id_ >> 1], id_ & 1), t):
            return id_
    return FN_NONE


cdef inline uint32_t find_directed(const engine_t *e, tuple_t t, uint64_t h, uint32_t now, uint32_t dir) noexcept nogil:
    # find_directed: find_tuple for one direction alone, where zones differ by direction and both may have the tuple.
    cdef uint32_t at = 0
    cdef uint32_t id_ = next_with(e, t, h, &at)
    while id_ != FN_NONE and (id_ & 1 != dir or is_expired(&e.conns[id_ >> 1], now)):
        id_ = next_with(e, t, h, &at)
    return id_


cdef inline uint32_t find_in_zone(const engine_t *e, tuple_t t, uint32_t zone, uint32_t dirs, uint32_t now) noexcept nogil:
    # find_in_zone: find_tuple by a template of this zone for the directions `dirs`, 1 original, 2 reply: each direction
    # compares its own zone id (nf_conntrack_find_get).
    cdef uint32_t id_
    cdef tuple_t other = tuple_in_zone(t, zone if dirs & 2 else 0)
    t = tuple_in_zone(t, zone if dirs & 1 else 0)
    # one zone for both: the tuple in its zone names direction and connection
    if dirs == 3 or zone == 0:
        return find_tuple(e, t, tuple_hash(e, t), now)
    id_ = find_directed(e, t, tuple_hash(e, t), now, 0)
    return id_ if id_ != FN_NONE else find_directed(e, other, tuple_hash(e, other), now, 1)


cdef inline uint32_t find_for(const engine_t *e, const conn_t *c, uint32_t dir, tuple_t t, uint64_t h, uint32_t now) noexcept nogil:
    # find_for: who has the tuple t, of hash h, that a connection is to have in one direction (nf_ct_key_equal).
    if fn_likely(zone_of(c, 0) == zone_of(c, 1)):
        return find_tuple(e, t, h, now)
    # the chain is that of our zone of this direction, and there each item is compared with our zone of its own
    return find_directed(e, t, h, now, dir)


cdef inline uint32_t *dst16_count(const engine_t *e, addr_t dst) noexcept nogil:
    # dst16_count: how many tuples of the table have a destination in dst's /16; of IPv6 the upper 64 bits, folded to 16.
    cdef uint64_t high = <uint64_t>(dst >> (FN_ADDR_BITS // 2))
    if FN_V6:
        high ^= high >> 32
        high ^= high >> 16
    return &e.dst16_counts[high & (FN_DST16 - 1)]


cdef inline uint32_t one_of(const engine_t *e, const bucket_t *home, uint32_t hits, const tuple_t *t) noexcept nogil:
    # one_of: of several items with one tag, which somebody may have seen to, that of the tuple; else the first.
    cdef uint32_t first = home.items[fn_ctz(hits)] & ID_MASK
    cdef uint32_t id_
    while hits:
        id_ = home.items[fn_ctz(hits)] & ID_MASK
        if tuple_equal(conn_tuple(&e.conns[id_ >> 1], id_ & 1), t[0]):
            return id_
        hits &= hits - 1
    return first


cdef inline uint32_t candidate(const engine_t *e, const bucket_t *home, uint64_t h, const tuple_t *t) noexcept nogil:
    # candidate: the table id that the tags of the home bucket name; it may be another's.
    # => FN_NONE when no tag of the home bucket fits, which nearly always means a new connection.
    cdef uint32_t hits = fn_tags_equal(home, tag_of(h))
    if hits == 0:
        return FN_NONE
    if fn_unlikely(hits & (hits - 1) != 0):
        return one_of(e, home, hits, t)
    return home.items[fn_ctz(hits)] & ID_MASK


cdef inline const void **name_record(const engine_t *e, uint32_t ct, uint32_t proto, const void **lines) noexcept nogil:
    # name_record: the lines of a record, and of the state that its protocol has beside it.
    # => Their end.
    cdef const char *record = <const char *>&e.conns[ct]
    lines[0] = record
    lines += 1
    if FN_V6:
        lines[0] = record + 64
        lines[1] = record + sizeof(conn_t) - 1
        lines += 2
    if proto == PROTO_TCP:
        lines[0] = &e.tcp[ct]
        lines += 1
    return lines
