# The life of a record: allocate, delete; conntrack/confirm is between the two.
#
# Source: __nf_conntrack_alloc, early_drop, nf_ct_delete (nf_conntrack_core.c, Linux 6.18).
# Invariants: a confirmed connection has two items in the tuple table and one place in the wheel (with NAT_CLASH one item);
# one with SRC_NAT_DONE is in bysource; a released record is in none of them.
# Differs from the kernel: buckets of early drop are groups of the table here, so which unreplied entries go is
# not the same ones (the kernel's are random, too).
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.string cimport memset
from ..types cimport (acct_t, bucket_t, CONN_COUNTED, CONN_HELPED, CONN_LIVE, CONN_MARKED, conn_t, engine_t,
                      EVENT_DESTROY, fn_ctz, fn_hash_stage, fn_prefetch_write, fn_tags_equal, FN_NONE, fn_unlikely, help_t, HELPER_PPTP,
                      IPS_ASSURED, IPS_CONFIRMED, IPS_DYING, IPS_NAT_CLASH, IPS_SRC_NAT_DONE, STAT_DELETE, STAT_DROP, STAT_EARLY_DROP,
                      pkt_t, tuple_t)
from ..helpers.expect cimport (find_expect, forget_expects, GRE_KEYS, help_of, help_of_master,
                               sibling_tuple, take_help, unlink_expect)
from ..nat.bysource cimport bysource_remove
from ..nat.port_bitmap cimport note_given_up
from ..tuples.hash cimport source_hash, source_tuple, tuple_hash
from ..tuples.table cimport bucket_home, bucket_index, ID_MASK, table_remove
from ..tuples.tuple cimport conn_tuple, invert_tuple, tuple_zone
from .events cimport note_event
from .lookup cimport find_tuple, dst16_count
from .timing_wheel cimport WHEEL_MASK, wheel_remove

cdef enum:
    # buckets that early_drop of the kernel looks at
    EARLY_DROP_BUCKETS = 8


cdef inline uint16_t *chain_of(const engine_t *e, uint64_t h) noexcept nogil:
    # chain_of: how many items the bucket of a hash would hold in a table of nf_conntrack_buckets.
    # of the kernel's buckets (reciprocal_scale): this table has others
    return &e.chains[((h >> 32) * e.n_chains) >> 32]


cdef inline void kill(engine_t *e, uint32_t ct) noexcept nogil:
    # kill: conn_delete for one that expire_chunk may be about to look at.
    if e.conns[ct].wheel_pos != FN_NONE and e.chunks[e.conns[ct].wheel_pos >> 4].slot == (<uint32_t>e.now & WHEEL_MASK):
        # its slot is out of the wheel already; there, and in no other slot, it will be found due
        e.conns[ct].timeout = <uint32_t>e.now
    else:
        conn_delete(e, ct)


cdef inline void delete_siblings(engine_t *e, uint32_t ct) noexcept nogil:
    # delete_siblings: the tunnel of a PPTP connection, or the expectation of it (pptp_destroy_siblings).
    cdef uint32_t dir, found
    cdef tuple_t t
    forget_expects(e, ct, GRE_KEYS)
    for dir in range(2):
        t = sibling_tuple(e, ct, dir)
        # either the tunnel has come, or it is still expected: one direction never has both
        found = find_tuple(e, t, tuple_hash(e, t), <uint32_t>e.now)
        if found != FN_NONE:
            kill(e, found >> 1)
            continue
        found = find_expect(e, t)
        if found != FN_NONE:
            unlink_expect(e, found)


cdef inline void leave_helper(engine_t *e, uint32_t ct) noexcept nogil:
    # leave_helper: a connection that a helper watched, or announced, is over.
    cdef const help_t *help = help_of(e, ct)
    if help.kind == HELPER_PPTP:
        delete_siblings(e, ct)
    elif help.master_kind == HELPER_PPTP and help_of_master(e, help) != NULL:
        # without its tunnel a PPTP connection has no keys (destroy_gre_conntrack)
        forget_expects(e, help.master, GRE_KEYS)
    take_help(e, ct)


cdef inline void conn_detach(engine_t *e, uint32_t ct, uint64_t h_source) noexcept nogil:
    # conn_detach: nothing knows the record any more but who holds it.
    # before the record is free: expectations name their master by its number
    if fn_unlikely(e.conns[ct].flags & CONN_HELPED):
        leave_helper(e, ct)
    if e.conns[ct].status & IPS_SRC_NAT_DONE:
        bysource_remove(e, ct, h_source)


cdef inline uint32_t next_record(const engine_t *e) noexcept nogil:
    # next_record: the one that the next connection will have. => FN_NONE: there is none.
    # used records first: the memory that was touched stays as small as it can
    if e.n_free:
        return e.free_ids[e.n_free - 1]
    return e.high_water if e.high_water < e.capacity else FN_NONE


cdef inline void hold_record(engine_t *e) noexcept nogil:
    # hold_record: take the next one, of which there is one, out of the free ones.
    if e.n_free:
        e.n_free -= 1
    else:
        e.high_water += 1


cdef inline void give_back(engine_t *e, uint32_t ct) noexcept nogil:
    # give_back: a record that was held is the next one.
    # not CONN_LIVE: listings and walks pass over it
    e.conns[ct].flags = 0
    e.free_ids[e.n_free] = ct
    e.n_free += 1


cdef inline void record_free(engine_t *e, uint32_t ct) noexcept nogil:
    # record_free: the record may be used again.
    give_back(e, ct)
    e.count -= 1


cdef inline void conn_free(engine_t *e, uint32_t ct, uint64_t h_source) noexcept nogil:
    # conn_free: conn_release for a caller that has hashed the source already.
    conn_detach(e, ct, h_source)
    record_free(e, ct)


cdef inline void conn_release(engine_t *e, uint32_t ct) noexcept nogil:
    # conn_release: free a record that is in no table any more.
    conn_free(e, ct, source_hash(e, conn_tuple(&e.conns[ct], 0)))


cdef inline void unlink_tuple(engine_t *e, uint32_t ct, uint32_t dir, uint64_t h) noexcept nogil:
    # unlink_tuple: out of the table by one tuple, and out of what counts tuples.
    table_remove(&e.tuples, h, ct << 1 | dir)
    dst16_count(e, e.conns[ct].tuples[dir].dst)[0] -= 1
    note_given_up(e, conn_tuple(&e.conns[ct], dir))
    if e.n_chains:
        chain_of(e, h)[0] -= 1


cdef inline void unlink_messages(const conn_t *c, tuple_t *messages) noexcept nogil:
    # unlink_messages: what conn_unlink wants the hashes of: both tuples and the source.
    messages[0] = conn_tuple(c, 0)
    messages[1] = conn_tuple(c, 1)
    messages[2] = source_tuple(messages[0])


cdef inline void hash_links(const engine_t *e, const conn_t *c, uint64_t *hashes) noexcept nogil:
    # hash_links: by which a connection is found: both tuples and the source. hashes: room for three.
    cdef tuple_t messages[3]
    unlink_messages(c, messages)
    fn_hash_stage(e.key, messages, hashes, 3)


cdef inline void tables_unlink(engine_t *e, uint32_t ct, const uint64_t *hashes) noexcept nogil:
    # tables_unlink: out of the tuple table and the wheel.
    if fn_unlikely(e.max_events != 0):
        note_event(e, ct, EVENT_DESTROY, 0)
    # hidden: a race was lost, and only its reply tuple is in the table (nf_ct_resolve_clash_harder)
    if not e.conns[ct].status & IPS_NAT_CLASH:
        unlink_tuple(e, ct, 0, hashes[0])
    unlink_tuple(e, ct, 1, hashes[1])
    wheel_remove(e, ct)
    e.conns[ct].status |= IPS_DYING
    e.confirmed -= 1
    e.stats[STAT_DELETE] += 1


cdef inline void conn_unlink(engine_t *e, uint32_t ct, const uint64_t *hashes) noexcept nogil:
    # conn_unlink: conn_delete for a caller that has hashed unlink_messages already.
    tables_unlink(e, ct, hashes)
    conn_free(e, ct, hashes[2])


cdef inline void fetch_buckets(const engine_t *e, const uint64_t *hashes) noexcept nogil:
    # fetch_buckets: those that a connection is in, or will enter. hashes: those of hash_links.
    fn_prefetch_write(bucket_home(&e.tuples, hashes[0]))
    fn_prefetch_write(bucket_home(&e.tuples, hashes[1]))
    fn_prefetch_write(bucket_home(&e.sources, hashes[2]))


cdef inline void fetch_links(const engine_t *e, const conn_t *c, const uint64_t *hashes) noexcept nogil:
    # fetch_links: what conn_unlink will touch beside the record, all at once: it would wait for one after the other.
    fetch_buckets(e, hashes)
    if c.wheel_pos != FN_NONE:
        fn_prefetch_write(&e.chunks[c.wheel_pos >> 4])
    if c.bysource_next != FN_NONE:
        fn_prefetch_write(&e.conns[c.bysource_next])
    if c.bysource_prev != FN_NONE:
        fn_prefetch_write(&e.conns[c.bysource_prev])


cdef inline void conn_delete(engine_t *e, uint32_t ct) noexcept nogil:
    # conn_delete: remove a confirmed connection from every table and free it (nf_ct_delete).
    cdef uint64_t hashes[3]
    hash_links(e, &e.conns[ct], hashes)
    fetch_links(e, &e.conns[ct], hashes)
    conn_unlink(e, ct, hashes)


cdef inline uint32_t conn_flush(engine_t *e) noexcept nogil:
    # conn_flush: delete all connections, those with NAT_CLASH too (nf_ct_iterate_cleanup). => How many there were.
    cdef uint64_t before = e.confirmed
    cdef uint32_t i
    for i in range(e.high_water):
        # the tunnel of a PPTP connection is deleted with it
        if e.conns[i].flags & CONN_LIVE and e.conns[i].status & IPS_CONFIRMED:
            conn_delete(e, i)
    return <uint32_t>(before - e.confirmed)


cdef inline void conn_kill(engine_t *e, pkt_t *p) noexcept nogil:
    # conn_kill: the packet ends its own connection, but rules go on looking at it, and may mark it, until the packet leaves
    # (nf_ct_kill_acct; the packet holds a reference).
    cdef uint64_t hashes[3]
    cdef conn_t *c = &e.conns[p.ct]
    hash_links(e, c, hashes)
    tables_unlink(e, p.ct, hashes)
    conn_detach(e, p.ct, hashes[2])
    # what helps it has gone with conn_detach; its mark and counters rules may still ask for
    c.flags &= CONN_MARKED | CONN_COUNTED
    p.dying = True


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
        # a tag of 0 is a free place; a bucket has twelve
        used = (~fn_tags_equal(b, 0)) & 0xfff
        while used:
            ct = (b.items[fn_ctz(used)] & ID_MASK) >> 1
            used &= used - 1
            if e.conns[ct].status & IPS_ASSURED:
                continue
            conn_delete(e, ct)
            dropped += 1
            # the one that went may have had its other tuple in this bucket, or a tunnel
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
    # unconfirmed ones count as well: the kernel adds this one before it looks at the limit
    if fn_unlikely(e.count >= e.max_conns) and (e.max_conns == 0 or early_drop(e, h) == 0):
        e.stats[STAT_DROP] += 1
        return FN_NONE
    ct = next_record(e)
    if ct == FN_NONE:
        e.stats[STAT_DROP] += 1
        return FN_NONE
    hold_record(e)
    e.count += 1
    c = &e.conns[ct]
    c.tuples[0] = t
    # the answer as it would come without NAT; setup_info changes it
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
    # the record may have been another connection's, which had a policy
    if fn_unlikely(e.n_policies != 0):
        e.tcp[ct].policy = 0
    if fn_unlikely(e.accounting):
        c.flags |= CONN_COUNTED
        memset(&e.acct[ct], 0, sizeof(acct_t))
    return ct
