# The life of a record: allocate, confirm into the tables, delete.
#
# Source: __nf_conntrack_alloc, early_drop, __nf_conntrack_confirm, nf_ct_delete (nf_conntrack_core.c, Linux 6.18).
# Invariants: a confirmed connection has two items in the tuple table and one place in the wheel; one with
# SRC_NAT_DONE is in bysource; a released record is in none of them.
# Differs from the kernel: buckets of early drop are groups of the table here, so which unreplied entries go is
# not the same ones (the kernel's are random, too); no chain limit, see docs/differences.md.
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memset
from .types cimport (bucket_t, CONN_LIVE, conn_t, engine_t, fn_ctz, fn_tags_equal, FN_GROUP_BUCKETS, FN_NONE, fn_unlikely,
                     IPS_ASSURED, IPS_CONFIRMED, IPS_DYING, IPS_SRC_NAT_DONE, pkt_t, STAT_DELETE,
                     STAT_DROP, STAT_EARLY_DROP, STAT_INSERT_FAILED, STAT_NEW, tuple_t)
from .tuple cimport conn_tuple, invert_tuple, tuple_equal, tuple_in_zone, tuple_proto, tuple_zone
from .tuple_hash cimport tuple_hash
from .hash_table cimport bucket_index, ID_MASK, table_insert, table_remove
from .ct_lookup cimport find_tuple
from .ct_expire cimport wheel_add, wheel_remove
from .nat_port_bitmap cimport bitmap_note
from .nat_bysource cimport bysource_remove

cdef enum:
    # buckets that early_drop of the kernel looks at
    EARLY_DROP_BUCKETS = 8


cdef inline void conn_release(engine_t *e, uint32_t ct) noexcept nogil:
    # conn_release: free a record that is in no table any more.
    if e.conns[ct].status & IPS_SRC_NAT_DONE:
        bysource_remove(e, ct)
    e.conns[ct].flags = 0
    e.free_ids[e.n_free] = ct
    e.n_free += 1
    e.count -= 1


cdef inline void conn_unlink(engine_t *e, uint32_t ct, uint64_t h_orig, uint64_t h_reply) noexcept nogil:
    # conn_unlink: conn_delete for a caller that has hashed both tuples already.
    table_remove(&e.tuples, h_orig, ct << 1)
    table_remove(&e.tuples, h_reply, ct << 1 | 1)
    bitmap_note(e, conn_tuple(&e.conns[ct], 0), False)
    bitmap_note(e, conn_tuple(&e.conns[ct], 1), False)
    wheel_remove(e, ct)
    e.conns[ct].status |= IPS_DYING
    e.confirmed -= 1
    e.stats[STAT_DELETE] += 1
    conn_release(e, ct)


cdef inline void conn_delete(engine_t *e, uint32_t ct) noexcept nogil:
    # conn_delete: remove a confirmed connection from every table and free it (nf_ct_delete).
    conn_unlink(e, ct, tuple_hash(e, conn_tuple(&e.conns[ct], 0)), tuple_hash(e, conn_tuple(&e.conns[ct], 1)))


cdef inline uint32_t early_drop(engine_t *e, uint64_t h) noexcept nogil:
    # early_drop: the table is full; delete the unassured connections of the first of eight buckets that has any.
    # => How many went.
    cdef uint32_t first = bucket_index(&e.tuples, h)
    cdef uint32_t n_buckets = e.tuples.n_buckets
    cdef uint32_t dropped = 0
    cdef uint32_t i, used, ct
    cdef bucket_t *b
    for i in range(EARLY_DROP_BUCKETS):
        b = e.tuples.buckets + (first + i) % n_buckets
        used = (~fn_tags_equal(b, 0)) & 0xfff
        while used:
            ct = (b.items[fn_ctz(used)] & ID_MASK) >> 1
            used &= used - 1
            if e.conns[ct].status & IPS_ASSURED:
                continue
            conn_delete(e, ct)
            dropped += 1
            used &= (~fn_tags_equal(b, 0)) & 0xfff
        if dropped:
            break
    e.stats[STAT_EARLY_DROP] += dropped
    return dropped


cdef inline uint32_t conn_alloc(engine_t *e, tuple_t t, uint64_t h) noexcept nogil:
    # conn_alloc: a new unconfirmed connection for an invertible tuple (init_conntrack).
    # => Its record, or FN_NONE: the table is full and nothing could be dropped early.
    cdef uint32_t ct
    cdef conn_t *c
    if fn_unlikely(e.count >= e.max_conns) and (e.max_conns == 0 or early_drop(e, h) == 0):
        e.stats[STAT_DROP] += 1
        return FN_NONE
    if e.n_free:
        e.n_free -= 1
        ct = e.free_ids[e.n_free]
    elif e.high_water < e.capacity:
        ct = e.high_water
        e.high_water += 1
    else:
        e.stats[STAT_DROP] += 1
        return FN_NONE
    e.count += 1
    c = &e.conns[ct]
    c.tuples[0] = t
    c.tuples[1] = invert_tuple(t)
    c.timeout = 0
    c.wheel_pos = FN_NONE
    c.bysource_next = FN_NONE
    c.bysource_prev = FN_NONE
    c.stream_ts = 0
    c.routes[0] = 0
    c.routes[1] = 0
    c.masq_iface = 0
    c.zone = <unsigned short>tuple_zone(t)
    c.status = 0
    c.state = 0
    c.flags = CONN_LIVE
    return ct


cdef inline bint confirm(engine_t *e, pkt_t *p) noexcept nogil:
    # confirm: put the packet's new connection into the tables (__nf_conntrack_confirm).
    # => False when a tuple is taken, i.e. the port search found nothing: the packet is lost and counted.
    cdef conn_t *c = &e.conns[p.ct]
    cdef tuple_t orig = conn_tuple(c, 0)
    cdef tuple_t reply = conn_tuple(c, 1)
    cdef uint64_t h = p.reply_hash
    if not (p.verified and tuple_equal(p.reply_checked, reply)):
        h = tuple_hash(e, reply)
        if find_tuple(e, reply, h, p.now) != FN_NONE:
            e.stats[STAT_INSERT_FAILED] += 1
            e.stats[STAT_DROP] += 1
            return False
    if not table_insert(e, &e.tuples, p.hash, p.ct << 1):
        e.stats[STAT_INSERT_FAILED] += 1
        return False
    if not table_insert(e, &e.tuples, h, p.ct << 1 | 1):
        table_remove(&e.tuples, p.hash, p.ct << 1)
        e.stats[STAT_INSERT_FAILED] += 1
        return False
    bitmap_note(e, orig, True)
    bitmap_note(e, reply, True)
    c.timeout += p.now
    c.status |= IPS_CONFIRMED
    wheel_add(e, p.ct, c.timeout)
    e.confirmed += 1
    e.stats[STAT_NEW] += 1
    return True
